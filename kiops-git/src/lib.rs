//! Git hosts for kiops: how each one's webhooks are verified and decoded, and its API as a provider.
//!
//! A module a host: [`bitbucket`] (Cloud), [`bitbucket_dc`] (Data Center and Server), [`gitea`] (with Forgejo and Gogs), [`gitee`],
//! [`github`], [`gitlab`], and [`plain`] for any Git repository without a host's software around it.
//! [`oauth`] connects to the hosts on behalf of people.

pub mod bitbucket;
pub mod bitbucket_dc;
mod body;
mod commits;
mod detect;
pub mod gitea;
pub mod gitee;
pub mod github;
pub mod gitlab;
pub mod oauth;
pub mod plain;
pub mod rest;
mod setup;
mod shape;

pub use detect::{ByHeaders, detect};

pub use setup::{HookSetup, WebhookServer};

use std::sync::Arc;

use kiops_core::webhook::WebhookSource;

/// Every sender of this crate, as [`WebhookSource`]s with the names that routes take: `bitbucket`, `bitbucket-dc`, `forgejo`, `gitea`,
/// `gitee`, `github`, `gitlab`, `gogs`, `plain`.
pub fn sources() -> Vec<Arc<dyn WebhookSource>> {
    vec![
        Arc::new(bitbucket::BitbucketWebhook),
        Arc::new(bitbucket_dc::BitbucketDcWebhook),
        Arc::new(gitea::GiteaWebhook::forgejo()),
        Arc::new(gitea::GiteaWebhook::gitea()),
        Arc::new(gitee::GiteeWebhook),
        Arc::new(github::GitHubWebhook),
        Arc::new(gitlab::GitLabWebhook),
        Arc::new(gitea::GiteaWebhook::gogs()),
        Arc::new(plain::PlainWebhook),
    ]
}
