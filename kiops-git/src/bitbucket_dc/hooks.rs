//! Webhooks of a Bitbucket Data Center repository. They need the permission Repository admin.

use async_trait::async_trait;
use http::Method;
use jiff::Timestamp;
use kiops_core::event::Repository;
use kiops_core::provider::{
    Ensured, HookActivity, HookChange, HookDelivery, HookEvents, HookInfo, HookSecret, HookState, Hooks,
    WantedHook,
};
use kiops_core::secret::Secret;
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::BitbucketDc;

const ENSURE: &str = "set up webhook";
const TEST: &str = "test webhook";
const PUSH: &str = "repo:refs_changed";
/// Whatever a merge request can come to that kiops decodes.
const MERGE_REQUEST: [&str; 6] =
    ["pr:opened", "pr:from_ref_updated", "pr:modified", "pr:merged", "pr:declined", "pr:deleted"];

#[derive(Deserialize)]
struct HookBody {
    id: u64,
    url: String,
    #[serde(default)]
    active: bool,
    #[serde(default)]
    events: Vec<String>,
}

impl HookBody {
    fn into_info(self) -> HookInfo {
        let has = |event: &str| self.events.iter().any(|one| one == event);
        let push = has(PUSH);
        let events = HookEvents {
            push,
            tags: push,
            merge_requests: MERGE_REQUEST.iter().all(|event| has(event)),
            pipelines: false,
        };
        let activity =
            if self.active { HookActivity::Active } else { HookActivity::Disabled { until: None } };
        HookInfo { id: self.id.to_string(), url: self.url, events, activity }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wanted<'a> {
    name: &'static str,
    url: &'a str,
    active: bool,
    events: Vec<&'static str>,
    configuration: Configuration<'a>,
    ssl_verification_required: bool,
}

#[derive(Serialize)]
struct Configuration<'a> {
    secret: &'a str,
}

/// The secret, where it is one that Bitbucket has.
fn shared(wanted: &WantedHook) -> Result<&Secret> {
    match &wanted.secret {
        HookSecret::Shared(secret) => Ok(secret),
        _ => Err(Error::unsupported(ENSURE, "Bitbucket signs with a shared secret only")
            .with_remedy("give the hook a shared secret")),
    }
}

impl<'a> Wanted<'a> {
    fn new(wanted: &'a WantedHook) -> Result<Self> {
        let secret = shared(wanted)?.expose_str().ok_or_else(|| {
            Error::invalid(ENSURE, "the secret is not text").with_remedy("make one of letters and digits")
        })?;
        let mut events = Vec::new();
        if wanted.events.push || wanted.events.tags {
            events.push(PUSH);
        }
        if wanted.events.merge_requests {
            events.extend(MERGE_REQUEST);
        }
        if events.is_empty() {
            return Err(Error::invalid(ENSURE, "a hook of Bitbucket's sends at least one event")
                .with_remedy("choose pushes, tags or merge requests"));
        }
        Ok(Self {
            name: "kiops",
            url: &wanted.url,
            active: true,
            events,
            configuration: Configuration { secret },
            ssl_verification_required: wanted.verify_tls,
        })
    }
}

impl BitbucketDc {
    /// Every hook with this address, oldest first.
    async fn hooks_at(
        &self,
        operation: &'static str,
        repository: &Repository,
        url: &str,
    ) -> Result<Vec<HookBody>> {
        let call = || self.get(operation, repository, &["webhooks"]);
        let mut hooks: Vec<HookBody> = self.every(operation, call).await?;
        hooks.retain(|hook| hook.url == url);
        hooks.sort_unstable_by_key(|hook| hook.id);
        Ok(hooks)
    }

    async fn delete_hook(&self, operation: &'static str, repository: &Repository, id: u64) -> Result<()> {
        let call = self.call(operation, Method::DELETE, repository, &["webhooks", &id.to_string()])?;
        let answer = call.idempotent().send().await?;
        // Somebody else was faster.
        if answer.status == 404 { Ok(()) } else { answer.good().map(drop) }
    }
}

#[async_trait]
impl Hooks for BitbucketDc {
    /// Tags come with pushes, whether they are wanted or not. Pipelines are not Bitbucket's: they are left out.
    async fn ensure(&self, repository: &Repository, wanted: &WantedHook) -> Result<Ensured> {
        let (body, secret) = (Wanted::new(wanted)?, shared(wanted)?);
        let mut found = self.hooks_at(ENSURE, repository, &wanted.url).await?.into_iter();
        let (call, change) = match found.next() {
            None => (self.call(ENSURE, Method::POST, repository, &["webhooks"])?, HookChange::Created),
            Some(hook) => {
                let id = hook.id.to_string();
                let call = self.call(ENSURE, Method::PUT, repository, &["webhooks", &id])?;
                let change = if hook.active { HookChange::Updated } else { HookChange::Reenabled };
                (call.idempotent(), change)
            }
        };
        let answer = call.json(&body)?.send().await?.hiding(Some(secret));
        let hook: HookBody = answer.good()?.read()?;
        let mut removed = 0;
        for other in found {
            self.delete_hook(ENSURE, repository, other.id).await?;
            removed += 1;
        }
        Ok(Ensured { hook: hook.into_info(), change, removed })
    }

    /// The last delivery is all that Bitbucket tells.
    async fn state(&self, repository: &Repository, url: &str) -> Result<Option<HookState>> {
        #[derive(Deserialize)]
        struct Delivery {
            id: Option<serde_json::Value>,
            event: Option<String>,
            /// Milliseconds since 1970.
            start: Option<i64>,
            result: Option<Outcome>,
        }
        #[derive(Deserialize)]
        struct Outcome {
            /// The status, or why there was none.
            description: Option<String>,
        }
        let operation = "read webhook";
        let Some(hook) = self.hooks_at(operation, repository, url).await?.into_iter().next() else {
            return Ok(None);
        };
        let id = hook.id.to_string();
        let answer = self.get(operation, repository, &["webhooks", &id, "latest"])?.send().await?;
        let deliveries = match answer.status {
            // There was none so far.
            204 => Some(Vec::new()),
            404 => None,
            _ => {
                let last: Delivery = answer.good()?.read()?;
                let said = last.result.and_then(|result| result.description);
                let plain = |id: serde_json::Value| id.as_str().map_or_else(|| id.to_string(), str::to_owned);
                Some(vec![HookDelivery {
                    id: last.id.map(plain).unwrap_or_default(),
                    at: last.start.and_then(|start| Timestamp::from_millisecond(start).ok()),
                    event: last.event,
                    status: said.and_then(|said| said.parse().ok()),
                }])
            }
        };
        Ok(Some(HookState { hook: hook.into_info(), deliveries }))
    }

    /// A ping, as the button "Test connection" sends it. It is not signed, and names no repository: a hook's own path answers it 401, which
    /// says that it is reached.
    async fn test(&self, repository: &Repository, url: &str) -> Result<()> {
        if self.hooks_at(TEST, repository, url).await?.is_empty() {
            return Err(
                Error::not_found(TEST, "there is no hook with this address").with_remedy("set it up first")
            );
        }
        let call = self.call(TEST, Method::POST, repository, &["webhooks", "test"])?.query("url", url);
        call.good().await.map(drop)
    }

    async fn remove(&self, repository: &Repository, url: &str) -> Result<bool> {
        let operation = "remove webhook";
        let hooks = self.hooks_at(operation, repository, url).await?;
        for hook in &hooks {
            self.delete_hook(operation, repository, hook.id).await?;
        }
        Ok(!hooks.is_empty())
    }
}
