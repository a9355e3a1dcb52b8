//! Whose deliveries are taken: every Git host and every registry that the library knows.

use std::sync::Arc;

use axum::http::HeaderMap;
use kiops_core::name::ProviderName;
use kiops_core::webhook::{Detector, WebhookSource};
use kiops_git::ByHeaders;
use kiops_registry::webhook::{self as registries, WebhookConfig};

/// Every sender, with the names that `decode` takes.
pub fn senders() -> Vec<Arc<dyn WebhookSource>> {
    kiops_git::sources().into_iter().chain(registries::sources(WebhookConfig::default())).collect()
}

/// Tells senders apart by their headers, those of registries first: GitHub's packages come with GitHub's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnySender;

impl Detector for AnySender {
    fn detect(&self, headers: &HeaderMap) -> Option<ProviderName> {
        registries::detect(headers).or_else(|| ByHeaders.detect(headers))
    }

    fn marks(&self) -> Vec<&'static str> {
        ByHeaders.marks()
    }
}
