//! GitHub, of github.com or GitHub Enterprise Server.

#[cfg(feature = "github-app")]
mod app;
mod decode;
mod payload;
mod pull_request;
mod webhook;

#[cfg(feature = "github-app")]
pub use app::{GitHubApp, GitHubAppClone, GitHubAppConfig};
pub use webhook::GitHubWebhook;
