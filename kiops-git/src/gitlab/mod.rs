//! GitLab, of gitlab.com or self-managed.

mod decode;
mod merge_request;
mod payload;
mod redact;
mod webhook;

pub use webhook::GitLabWebhook;
