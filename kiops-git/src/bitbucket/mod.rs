//! Bitbucket Cloud, of bitbucket.org. Bitbucket Data Center and Server are [`crate::bitbucket_dc`].

mod decode;
mod payload;
mod pull_request;
mod webhook;

pub use webhook::BitbucketWebhook;
