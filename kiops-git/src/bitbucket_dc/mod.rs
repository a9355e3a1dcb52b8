//! Bitbucket Data Center, and Server before it. Bitbucket Cloud is [`crate::bitbucket`].

mod decode;
mod dialect;
mod hooks;
mod host;
mod payload;
mod provider;
mod pull_request;
mod statuses;
mod webhook;

pub use host::BitbucketDc;
pub use webhook::BitbucketDcWebhook;
