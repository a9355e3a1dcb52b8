//! Git hosts for kiops: how each one's webhooks are verified and decoded, and its API as a provider.
//!
//! A module a host: [`github`], [`gitlab`], and [`plain`] for any Git repository without a host's software around it.

mod body;
mod commits;
pub mod github;
pub mod gitlab;
pub mod plain;

use std::sync::Arc;

use kiops_core::webhook::WebhookSource;

/// Every sender of this crate, as [`WebhookSource`]s with the names that routes take: `github`, `gitlab`, `plain`.
pub fn sources() -> Vec<Arc<dyn WebhookSource>> {
    vec![Arc::new(github::GitHubWebhook), Arc::new(gitlab::GitLabWebhook), Arc::new(plain::PlainWebhook)]
}
