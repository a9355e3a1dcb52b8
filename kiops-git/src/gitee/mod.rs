//! Gitee, of gitee.com or Gitee's enterprise edition.

mod decode;
mod payload;
mod redact;
mod webhook;

pub use webhook::GiteeWebhook;
