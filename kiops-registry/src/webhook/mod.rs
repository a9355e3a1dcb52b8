//! Webhooks of registries: how each sender's are proven and decoded.
//!
//! A type a sender: [`DockerHubWebhook`], [`HarborWebhook`], [`AcrWebhook`] (Alibaba Cloud), [`GhcrWebhook`] (GitHub's packages),
//! [`QuayWebhook`], [`AzureAcrWebhook`], and [`DistributionWebhook`] for the notifications of a registry that runs CNCF's distribution.
//! [`sources`] has them all.
//!
//! A push becomes an [`EventKind::ImagePush`](kiops_core::event::EventKind::ImagePush), several in one delivery one event each. The event's
//! repository is the image's path without its host. What starts nothing becomes
//! [`EventKind::Other`](kiops_core::event::EventKind::Other) with a note that says why: pulls, deletions, scans, replications; signatures,
//! attestations and other referrers; layers of a build cache; our own pushes ([`WebhookConfig`]).
//!
//! None of these senders but GitHub signs a body. So what a body claims is confirmed at the registry before anything happens
//! ([`WebhookSource::covers_body`]), and nothing in it is ever called, Docker Hub's `callback_url` least of all.

mod acr;
mod azure;
mod body;
mod config;
mod distribution;
mod dockerhub;
mod ghcr;
mod harbor;
mod notification;
mod push;
mod quay;

pub use acr::AcrWebhook;
pub use azure::AzureAcrWebhook;
pub use config::WebhookConfig;
pub use distribution::DistributionWebhook;
pub use dockerhub::DockerHubWebhook;
pub use ghcr::GhcrWebhook;
pub use harbor::HarborWebhook;
pub use quay::QuayWebhook;

use std::sync::Arc;

use http::{HeaderMap, header};
use kiops_core::name::ProviderName;
use kiops_core::webhook::WebhookSource;

/// Every sender of this crate, as [`WebhookSource`]s with the names that routes take: `acr`, `azure-acr`, `distribution`, `dockerhub`, `ghcr`,
/// `harbor`, `quay`.
pub fn sources(config: impl Into<Arc<WebhookConfig>>) -> Vec<Arc<dyn WebhookSource>> {
    let config = config.into();
    vec![
        Arc::new(AcrWebhook::new(Arc::clone(&config))),
        Arc::new(AzureAcrWebhook::new(Arc::clone(&config))),
        Arc::new(DistributionWebhook::new(Arc::clone(&config))),
        Arc::new(DockerHubWebhook::new(Arc::clone(&config))),
        Arc::new(GhcrWebhook::new(Arc::clone(&config))),
        Arc::new(HarborWebhook::new(Arc::clone(&config))),
        Arc::new(QuayWebhook::new(config)),
    ]
}

/// Which of [`sources`] a delivery with these headers looks like, for an endpoint that takes them all; `None`: none that can be told.
///
/// Only two can: `ghcr` by GitHub's event header, `distribution` by the media type of its envelopes. The others send nothing but JSON,
/// and each needs a path of its own. Ask this before `kiops_git::detect`, which takes whatever GitHub sends for `github`.
///
/// ```
/// let mut headers = http::HeaderMap::new();
/// headers.insert("X-GitHub-Event", "package".parse().unwrap());
/// assert_eq!(kiops_registry::webhook::detect(&headers).unwrap().as_str(), "ghcr");
/// ```
pub fn detect(headers: &HeaderMap) -> Option<ProviderName> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // Forgejo and Gitea send GitHub's header too, beside their own.
    let copied =
        ["x-forgejo-event", "x-gitea-event", "x-gogs-event"].iter().any(|name| headers.contains_key(*name));
    if !copied && text(ghcr::EVENT).is_some_and(ghcr::is_package) {
        return Some(ghcr::NAME.name());
    }
    let envelope = text(header::CONTENT_TYPE.as_str()).is_some_and(distribution::is_envelope);
    envelope.then(|| distribution::NAME.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_senders_with_a_header_of_their_own_are_known_by_it() {
        let found = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            detect(&headers).map(|name| name.to_string())
        };
        for event in ["package", "registry_package"] {
            assert_eq!(found("x-github-event", event).as_deref(), Some("ghcr"));
        }
        assert_eq!(found("x-github-event", "push"), None);
        for version in ["v1", "v2"] {
            let media_type = if version == "v1" { distribution::V1 } else { distribution::V2 };
            assert_eq!(found("content-type", media_type).as_deref(), Some("distribution"), "{version}");
        }
        assert_eq!(found("content-type", "application/json"), None);
        assert_eq!(found("content-type", "application/vnd.docker.distribution.events.v1+jsonx"), None);
        let mut both = HeaderMap::new();
        both.insert("x-github-event", "package".parse().unwrap());
        both.insert("x-gitea-event", "package".parse().unwrap());
        assert_eq!(detect(&both), None, "Gitea's packages are not GitHub's");
    }

    #[test]
    fn every_sender_has_a_name_of_its_own() {
        let names: Vec<String> =
            sources(WebhookConfig::default()).iter().map(|one| one.name().to_string()).collect();
        assert_eq!(names, ["acr", "azure-acr", "distribution", "dockerhub", "ghcr", "harbor", "quay"]);
    }
}
