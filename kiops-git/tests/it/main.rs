//! The crate's integration tests.

mod corpus;
mod deliveries;
mod gitlab_decode;
mod gitlab_merge_request;
mod gitlab_verify;
#[cfg(unix)]
mod plain;
mod plain_webhook;
mod robust;
