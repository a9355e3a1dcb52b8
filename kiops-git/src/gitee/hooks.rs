//! Webhooks of a repository.

use async_trait::async_trait;
use http::Method;
use kiops_core::event::Repository;
use kiops_core::provider::{
    Ensured, HookActivity, HookChange, HookEvents, HookInfo, HookSecret, HookState, Hooks, WantedHook,
};
use kiops_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use super::provider::Gitee;

#[derive(Deserialize)]
struct Hook {
    id: u64,
    #[serde(default)]
    url: String,
    #[serde(default)]
    push_events: bool,
    #[serde(default)]
    tag_push_events: bool,
    #[serde(default)]
    merge_requests_events: bool,
}

impl Hook {
    fn info(&self) -> HookInfo {
        HookInfo {
            id: self.id.to_string(),
            url: self.url.clone(),
            events: HookEvents {
                push: self.push_events,
                tags: self.tag_push_events,
                merge_requests: self.merge_requests_events,
                pipelines: false,
            },
            activity: HookActivity::Active,
        }
    }
}

impl Gitee {
    async fn with_url(
        &self,
        operation: &'static str,
        repository: &Repository,
        url: &str,
    ) -> Result<Vec<Hook>> {
        let mut hooks: Vec<Hook> =
            self.list(operation, "the list of webhooks", repository, &["hooks"]).await?;
        hooks.retain(|hook| hook.url == url);
        hooks.sort_unstable_by_key(|hook| hook.id);
        hooks.dedup_by_key(|hook| hook.id);
        Ok(hooks)
    }

    /// Removes hooks; one that somebody else has removed meanwhile is no error.
    async fn remove_hooks(
        &self,
        operation: &'static str,
        repository: &Repository,
        hooks: &[Hook],
    ) -> Result<()> {
        for hook in hooks {
            let id = hook.id.to_string();
            let call = self.call(operation, Method::DELETE, repository, &["hooks", &id])?.idempotent();
            let answer = call.send().await?;
            if answer.status != 404 {
                answer.good()?;
            }
        }
        Ok(())
    }
}

/// Manages a repository's own hooks. The secret becomes the signature key (签名密钥), never the password that Gitee would send as it is.
///
/// - `pipelines` is not sent: [`HookInfo::events`] says so.
/// - Gitee always checks certificates: a hook that asks for no check is refused (`Unsupported`).
/// - What became of deliveries is shown to people only, and a hook that Gitee has switched off looks like any other.
#[async_trait]
impl Hooks for Gitee {
    async fn ensure(&self, repository: &Repository, wanted: &WantedHook) -> Result<Ensured> {
        let operation = "ensure webhook";
        let unsupported = |message: &'static str, remedy: &'static str| {
            Err(Error::new(ErrorKind::Unsupported, operation, message).with_remedy(remedy))
        };
        if !wanted.verify_tls {
            return unsupported(
                "Gitee has no webhook that leaves certificates unchecked",
                "ask for one that checks",
            );
        }
        let HookSecret::Shared(secret) = &wanted.secret else {
            return unsupported("Gitee does not sign by Standard Webhooks", "give a shared secret");
        };
        let secret = secret.expose_str().ok_or_else(|| {
            Error::invalid(operation, "the secret is no text")
                .with_remedy("give one of ASCII letters and digits")
        })?;
        let body = serde_json::json!({
            "url": wanted.url,
            "encryption_type": 1,
            "password": secret,
            "push_events": wanted.events.push,
            "tag_push_events": wanted.events.tags,
            "merge_requests_events": wanted.events.merge_requests,
            "issues_events": false,
            "note_events": false,
        });
        let found = self.with_url(operation, repository, &wanted.url).await?;
        let Some((first, others)) = found.split_first() else {
            let call = self.call(operation, Method::POST, repository, &["hooks"])?;
            let made: Hook = call.json(&body)?.read().await?;
            return Ok(Ensured { hook: made.info(), change: HookChange::Created, removed: 0 });
        };
        let call = self.call(operation, Method::PATCH, repository, &["hooks", &first.id.to_string()])?;
        let updated: Hook = call.idempotent().json(&body)?.read().await?;
        self.remove_hooks(operation, repository, others).await?;
        Ok(Ensured { hook: updated.info(), change: HookChange::Updated, removed: others.len() })
    }

    async fn state(&self, repository: &Repository, url: &str) -> Result<Option<HookState>> {
        let found = self.with_url("read webhook", repository, url).await?;
        Ok(found.first().map(|hook| HookState { hook: hook.info(), deliveries: None }))
    }

    async fn test(&self, repository: &Repository, url: &str) -> Result<()> {
        let operation = "test webhook";
        let found = self.with_url(operation, repository, url).await?;
        let hook = found.first().ok_or_else(|| {
            Error::not_found(operation, "the repository has no webhook with this address")
                .with_remedy("make it first, or check the address: it must be the same letter by letter")
        })?;
        let id = hook.id.to_string();
        self.call(operation, Method::POST, repository, &["hooks", &id, "tests"])?.good().await?;
        Ok(())
    }

    async fn remove(&self, repository: &Repository, url: &str) -> Result<bool> {
        let operation = "remove webhook";
        let found = self.with_url(operation, repository, url).await?;
        self.remove_hooks(operation, repository, &found).await?;
        Ok(!found.is_empty())
    }
}
