//! Webhooks of a repository.

use async_trait::async_trait;
use http::Method;
use kiops_core::event::Repository;
use kiops_core::provider::{
    Ensured, HookActivity, HookChange, HookEvents, HookInfo, HookSecret, HookState, Hooks, WantedHook,
};
use kiops_core::secret::Secret;
use kiops_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::provider::Gitea;

#[derive(Deserialize)]
struct Hook {
    id: u64,
    #[serde(default)]
    active: bool,
    #[serde(default)]
    events: Option<Vec<String>>,
    #[serde(default)]
    config: Config,
}

#[derive(Default, Deserialize)]
struct Config {
    #[serde(default)]
    url: String,
}

#[derive(Serialize)]
struct Wanted<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    config: WantedConfig<'a>,
    events: Vec<&'static str>,
    active: bool,
    branch_filter: &'static str,
}

#[derive(Serialize)]
struct WantedConfig<'a> {
    url: &'a str,
    content_type: &'static str,
    secret: &'a str,
}

impl Hook {
    fn info(&self) -> HookInfo {
        let has = |name: &str| self.events.iter().flatten().any(|event| event == name);
        let pushes = has("push");
        HookInfo {
            id: self.id.to_string(),
            url: self.config.url.clone(),
            events: HookEvents {
                push: pushes,
                tags: pushes,
                merge_requests: has("pull_request"),
                pipelines: false,
            },
            activity: if self.active { HookActivity::Active } else { HookActivity::Disabled { until: None } },
        }
    }
}

impl Gitea {
    async fn with_url(
        &self,
        operation: &'static str,
        repository: &Repository,
        url: &str,
    ) -> Result<Vec<Hook>> {
        let call = || self.get(operation, repository, &["hooks"]);
        let mut hooks: Vec<Hook> = self.list(operation, "the list of webhooks", call).await?;
        hooks.retain(|hook| hook.config.url == url);
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

/// Manages a repository's own hooks: those of its organisation and of the whole host are not touched.
///
/// - `push` stands for branches and tags: these hosts send both by it.
/// - `pipelines` is not sent: [`HookInfo::events`] says so.
/// - Whether certificates are checked is for the host as a whole: a hook that asks for no check is refused (`Unsupported`).
/// - These hosts never switch a hook off: one that is off was switched off by a person. What became of deliveries is shown to people
///   only.
#[async_trait]
impl Hooks for Gitea {
    async fn ensure(&self, repository: &Repository, wanted: &WantedHook) -> Result<Ensured> {
        let operation = "ensure webhook";
        let body = self.body(operation, wanted)?;
        let found = self.with_url(operation, repository, &wanted.url).await?;
        let Some((first, others)) = found.split_first() else {
            let call = self.call(operation, Method::POST, repository, &["hooks"])?;
            let made: Hook = call.json(&Wanted { kind: Some(self.flavour.hook), ..body })?.read().await?;
            return Ok(Ensured { hook: made.info(), change: HookChange::Created, removed: 0 });
        };
        let call = self.call(operation, Method::PATCH, repository, &["hooks", &first.id.to_string()])?;
        let updated: Hook = call.idempotent().json(&body)?.read().await?;
        self.remove_hooks(operation, repository, others).await?;
        let change = if first.active { HookChange::Updated } else { HookChange::Reenabled };
        Ok(Ensured { hook: updated.info(), change, removed: others.len() })
    }

    async fn state(&self, repository: &Repository, url: &str) -> Result<Option<HookState>> {
        let found = self.with_url("read webhook", repository, url).await?;
        Ok(found.first().map(|hook| HookState { hook: hook.info(), deliveries: None }))
    }

    /// See [`Hooks::test`]. A push of the default branch's newest commit is sent; of a repository without commits nothing.
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

impl Gitea {
    fn body<'a>(&self, operation: &'static str, wanted: &'a WantedHook) -> Result<Wanted<'a>> {
        let refuse = |message: String, remedy: &'static str| {
            Err(Error::new(ErrorKind::Unsupported, operation, message).with_remedy(remedy))
        };
        let host = self.host();
        if !wanted.verify_tls {
            return refuse(
                format!("{host} has no webhook that leaves certificates unchecked"),
                "set `[webhook] SKIP_TLS_VERIFY` in the host's app.ini, and ask for a hook that checks them",
            );
        }
        let HookSecret::Shared(secret) = &wanted.secret else {
            return refuse(
                format!("{host} signs with a shared secret only, not by Standard Webhooks"),
                "give a shared secret",
            );
        };
        let events = &wanted.events;
        let names = [("push", events.push || events.tags), ("pull_request", events.merge_requests)];
        let events: Vec<_> = names.into_iter().filter_map(|(name, on)| on.then_some(name)).collect();
        if events.is_empty() {
            // The host would take an empty list for pushes.
            return Err(Error::invalid(operation, "a webhook without events sends nothing")
                .with_remedy("ask for pushes, tags or merge requests"));
        }
        let config =
            WantedConfig { url: &wanted.url, content_type: "json", secret: text(operation, secret)? };
        Ok(Wanted { kind: None, config, events, active: true, branch_filter: "*" })
    }
}

/// A secret as text.
pub(super) fn text<'a>(operation: &'static str, secret: &'a Secret) -> Result<&'a str> {
    secret.expose_str().ok_or_else(|| {
        Error::invalid(operation, "the secret is no text").with_remedy("give one of ASCII letters and digits")
    })
}
