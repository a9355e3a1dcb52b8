//! The crate's integration tests.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "helpers of tests may panic as tests do"
)]

mod bitbucket;
#[cfg(unix)]
mod bitbucket_api;
mod bitbucket_dc;
#[cfg(unix)]
mod bitbucket_dc_api;
mod corpus;
mod deliveries;
mod gitea;
#[cfg(unix)]
mod gitea_api;
mod gitee;
#[cfg(unix)]
mod gitee_api;
mod github;
#[cfg(unix)]
mod github_api;
#[cfg(feature = "github-app")]
mod github_app;
#[cfg(unix)]
mod gitlab_api;
mod gitlab_decode;
mod gitlab_merge_request;
mod gitlab_verify;
#[cfg(unix)]
mod hosts;
mod oauth;
#[cfg(unix)]
mod plain;
mod plain_webhook;
mod robust;
