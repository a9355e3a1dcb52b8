//! GitHub, of github.com or GitHub Enterprise Server: its webhooks, and its interface as a provider.

#[cfg(feature = "github-app")]
mod app;
mod compare;
mod decode;
mod dialect;
mod pages;
mod payload;
mod provider;
mod pull_request;
mod refs;
mod repositories;
mod trees;
mod webhook;

#[cfg(feature = "github-app")]
pub use app::{GitHubApp, GitHubAppClone, GitHubAppConfig};
pub use provider::GitHub;
pub use webhook::GitHubWebhook;
