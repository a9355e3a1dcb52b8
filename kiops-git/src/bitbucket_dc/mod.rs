//! Bitbucket Data Center, and Server before it. Bitbucket Cloud is [`crate::bitbucket`].

mod decode;
mod payload;
mod pull_request;
mod webhook;

pub use webhook::BitbucketDcWebhook;
