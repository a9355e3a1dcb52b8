//! GitLab, of gitlab.com or self-managed.

mod admin;
mod decode;
mod dialect;
mod hooks;
mod merge_request;
mod payload;
mod provider;
mod redact;
mod statuses;
mod webhook;
mod writes;

pub use provider::GitLab;
pub use webhook::GitLabWebhook;
