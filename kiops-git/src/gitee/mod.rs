//! Gitee, of gitee.com or Gitee's enterprise edition: its webhooks, and its API as a provider.

mod decode;
mod dialect;
mod hooks;
mod payload;
mod provider;
mod redact;
mod statuses;
mod tree;
mod webhook;

pub use provider::Gitee;
pub use webhook::GiteeWebhook;
