//! Webhooks of a Bitbucket Cloud repository. They need the scope `webhook` and admin rights in the repository.

use async_trait::async_trait;
use http::Method;
use kiops_core::event::Repository;
use kiops_core::provider::{
    Ensured, HookActivity, HookChange, HookEvents, HookInfo, HookSecret, HookState, Hooks, WantedHook,
};
use kiops_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::Bitbucket;
use super::host::PAGELEN;

const ENSURE: &str = "set up webhook";
const PUSH: &str = "repo:push";
/// Whatever a merge request can come to that kiops decodes.
const MERGE_REQUEST: [&str; 4] =
    ["pullrequest:created", "pullrequest:updated", "pullrequest:fulfilled", "pullrequest:rejected"];

#[derive(Deserialize)]
struct HookBody {
    uuid: String,
    url: String,
    #[serde(default)]
    active: bool,
    #[serde(default)]
    events: Vec<String>,
    created_at: Option<jiff::Timestamp>,
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
        HookInfo { id: self.uuid, url: self.url, events, activity }
    }
}

#[derive(Serialize)]
struct Wanted<'a> {
    description: &'static str,
    url: &'a str,
    active: bool,
    secret: &'a str,
    events: Vec<&'static str>,
    skip_cert_verification: bool,
}

impl<'a> Wanted<'a> {
    fn new(wanted: &'a WantedHook) -> Result<Self> {
        let secret = match &wanted.secret {
            HookSecret::Shared(secret) => secret.expose_str().ok_or_else(|| {
                Error::invalid(ENSURE, "the secret is not text").with_remedy("make one of letters and digits")
            })?,
            _ => {
                return Err(Error::unsupported(ENSURE, "Bitbucket signs with a shared secret only")
                    .with_remedy("give the hook a shared secret"));
            }
        };
        let mut events = Vec::new();
        if wanted.events.push || wanted.events.tags {
            events.push(PUSH);
        }
        if wanted.events.merge_requests {
            events.extend(MERGE_REQUEST);
        }
        if events.is_empty() {
            return Err(Error::invalid(ENSURE, "a hook of Bitbucket's sends at least one event")
                .with_remedy("choose pushes, tags or merge requests: there are no events of its pipelines"));
        }
        Ok(Self {
            description: "kiops",
            url: &wanted.url,
            active: true,
            secret,
            events,
            skip_cert_verification: !wanted.verify_tls,
        })
    }
}

impl Bitbucket {
    /// Every hook with this address, oldest first.
    async fn hooks_at(
        &self,
        operation: &'static str,
        repository: &Repository,
        url: &str,
    ) -> Result<Vec<HookBody>> {
        let call = || Ok(self.get(operation, repository, &["hooks"])?.query("pagelen", &PAGELEN.to_string()));
        let mut hooks: Vec<HookBody> = self.every(operation, call).await?;
        hooks.retain(|hook| hook.url == url);
        hooks
            .sort_unstable_by(|one, other| (one.created_at, &one.uuid).cmp(&(other.created_at, &other.uuid)));
        Ok(hooks)
    }

    async fn delete_hook(&self, operation: &'static str, repository: &Repository, id: &str) -> Result<()> {
        let call = self.call(operation, Method::DELETE, repository, &["hooks", id])?;
        let answer = call.idempotent().send().await?;
        // Somebody else was faster.
        if answer.status == 404 { Ok(()) } else { answer.good().map(drop) }
    }
}

#[async_trait]
impl Hooks for Bitbucket {
    /// Tags come with pushes, whether they are wanted or not. There are no events of pipelines that kiops could use: they are left out.
    async fn ensure(&self, repository: &Repository, wanted: &WantedHook) -> Result<Ensured> {
        let body = Wanted::new(wanted)?;
        let mut found = self.hooks_at(ENSURE, repository, &wanted.url).await?.into_iter();
        let (hook, change): (HookBody, _) = match found.next() {
            None => {
                let call = self.call(ENSURE, Method::POST, repository, &["hooks"])?.json(&body)?;
                let answer = call.send().await?.hiding(secret_of(wanted));
                let said = answer.said().to_lowercase();
                if answer.status == 400 && (said.contains("maximum") || said.contains("limit")) {
                    let message = format!("the repository has as many webhooks as Bitbucket allows: {said}");
                    return Err(Error::new(ErrorKind::Full, ENSURE, message).with_remedy(
                        "remove one that is not needed: Repository settings -> Webhooks (50 at most)",
                    ));
                }
                (answer.good()?.read()?, HookChange::Created)
            }
            Some(hook) => {
                let call = self.call(ENSURE, Method::PUT, repository, &["hooks", &hook.uuid])?.json(&body)?;
                let answer = call.idempotent().send().await?.hiding(secret_of(wanted));
                let change = if hook.active { HookChange::Updated } else { HookChange::Reenabled };
                (answer.good()?.read()?, change)
            }
        };
        let mut removed = 0;
        for other in found {
            self.delete_hook(ENSURE, repository, &other.uuid).await?;
            removed += 1;
        }
        Ok(Ensured { hook: hook.into_info(), change, removed })
    }

    /// Bitbucket tells nothing about deliveries through its interface: they are in Repository settings, Webhooks, View requests.
    async fn state(&self, repository: &Repository, url: &str) -> Result<Option<HookState>> {
        let hook = self.hooks_at("read webhook", repository, url).await?.into_iter().next();
        Ok(hook.map(|hook| HookState { hook: hook.into_info(), deliveries: None }))
    }

    /// `Unsupported`: there is no such call.
    async fn test(&self, repository: &Repository, url: &str) -> Result<()> {
        let operation = "test webhook";
        if self.hooks_at(operation, repository, url).await?.is_empty() {
            return Err(Error::not_found(operation, "there is no hook with this address")
                .with_remedy("set it up first"));
        }
        Err(Error::unsupported(operation, "Bitbucket sends no test deliveries")
            .with_remedy("push a commit, and look at Repository settings -> Webhooks -> View requests"))
    }

    async fn remove(&self, repository: &Repository, url: &str) -> Result<bool> {
        let operation = "remove webhook";
        let hooks = self.hooks_at(operation, repository, url).await?;
        for hook in &hooks {
            self.delete_hook(operation, repository, &hook.uuid).await?;
        }
        Ok(!hooks.is_empty())
    }
}

/// What no error may repeat.
const fn secret_of(wanted: &WantedHook) -> Option<&kiops_core::secret::Secret> {
    match &wanted.secret {
        HookSecret::Shared(secret) => Some(secret),
        _ => None,
    }
}
