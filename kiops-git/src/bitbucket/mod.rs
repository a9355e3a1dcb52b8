//! Bitbucket Cloud, of bitbucket.org. Bitbucket Data Center and Server are [`crate::bitbucket_dc`].

mod admin;
mod decode;
mod dialect;
mod hooks;
mod host;
mod payload;
mod provider;
mod pull_request;
mod source;
mod statuses;
mod webhook;
mod writes;

pub use host::Bitbucket;
pub use webhook::BitbucketWebhook;
