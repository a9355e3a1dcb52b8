//! GitHub, of github.com or GitHub Enterprise Server.

mod decode;
mod payload;
mod pull_request;
mod webhook;

pub use webhook::GitHubWebhook;
