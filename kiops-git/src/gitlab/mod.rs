//! GitLab, of gitlab.com or self-managed.

mod commits;
mod decode;
mod merge_request;
mod payload;
mod redact;
mod webhook;

pub use webhook::GitLabWebhook;
