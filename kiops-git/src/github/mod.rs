//! GitHub, of github.com or GitHub Enterprise Server: its webhooks, and its interface as a provider.

mod admin;
#[cfg(feature = "github-app")]
mod app;
mod commits;
mod compare;
mod decode;
mod dialect;
mod hooks;
mod pages;
mod payload;
mod provider;
mod pull_request;
mod refs;
mod repositories;
mod statuses;
mod trees;
mod webhook;
mod writes;

#[cfg(feature = "github-app")]
pub use app::{GitHubApp, GitHubAppClone, GitHubAppConfig};
pub use provider::GitHub;
pub use webhook::GitHubWebhook;
