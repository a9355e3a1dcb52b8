//! GitHub's webhooks, managed.

use async_trait::async_trait;
use http::Method;
use jiff::Timestamp;
use kiops_core::event::Repository;
use kiops_core::provider::{
    Ensured, HookActivity, HookChange, HookDelivery, HookEvents, HookInfo, HookSecret, HookState, Hooks,
    WantedHook,
};
use kiops_core::secret::Secret;
use kiops_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::GitHub;
use crate::rest::Answer;

/// How many deliveries are shown.
const DELIVERIES: &str = "30";

#[derive(Debug, Deserialize)]
struct HookObject {
    id: u64,
    active: bool,
    events: Vec<String>,
    config: ConfigObject,
}

#[derive(Debug, Deserialize)]
struct ConfigObject {
    // Hooks of GitHub's own services have none.
    url: Option<String>,
}

#[derive(Deserialize)]
struct DeliveryObject {
    guid: String,
    delivered_at: Option<Timestamp>,
    event: Option<String>,
    /// 0 where there was no answer.
    status_code: Option<u16>,
}

impl HookObject {
    fn sends(&self, event: &str) -> bool {
        self.events.iter().any(|sent| sent == event || sent == "*")
    }

    fn into_info(self) -> HookInfo {
        let push = self.sends("push");
        HookInfo {
            id: self.id.to_string(),
            events: HookEvents {
                push,
                // They come as pushes.
                tags: push,
                merge_requests: self.sends("pull_request"),
                pipelines: self.sends("workflow_run"),
            },
            activity: if self.active { HookActivity::Active } else { HookActivity::Disabled { until: None } },
            url: self.config.url.unwrap_or_default(),
        }
    }
}

/// GitHub's names of what is wanted.
fn events(operation: &'static str, wanted: HookEvents) -> Result<Vec<&'static str>> {
    let names = [
        ("push", wanted.push || wanted.tags),
        ("pull_request", wanted.merge_requests),
        ("workflow_run", wanted.pipelines),
    ];
    let names: Vec<&str> = names.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name).collect();
    if names.is_empty() {
        return Err(Error::invalid(operation, "a hook without events sends nothing")
            .with_remedy("choose pushes, at least"));
    }
    Ok(names)
}

fn shared(operation: &'static str, secret: &HookSecret) -> Result<Zeroizing<String>> {
    let refuse = |error: Error, remedy: &'static str| Err(error.with_remedy(remedy));
    match secret {
        HookSecret::Shared(secret) => match Secret::expose_str(secret) {
            Some(text) => Ok(Zeroizing::new(text.to_owned())),
            None => {
                refuse(Error::invalid(operation, "the secret is no text"), "choose one of letters and digits")
            }
        },
        _ => refuse(
            Error::unsupported(operation, "GitHub has no signing keys of Standard Webhooks"),
            "use a shared secret: GitHub signs with it",
        ),
    }
}

impl GitHub {
    /// Every hook of the repository with this address, the oldest first.
    async fn hooks_at(
        &self,
        operation: &'static str,
        repository: &Repository,
        url: &str,
    ) -> Result<Vec<HookObject>> {
        let found = self.all(operation, || self.get(operation, repository, &["hooks"])).await;
        let mut hooks: Vec<HookObject> = match found {
            Ok(hooks) => hooks,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(self.hidden_hooks(operation, repository, error).await);
            }
            Err(error) => return Err(error),
        };
        hooks.retain(|hook| hook.config.url.as_deref() == Some(url));
        hooks.sort_unstable_by_key(|hook| hook.id);
        Ok(hooks)
    }

    /// GitHub hides the hooks of a repository from those who may not manage them.
    async fn hidden_hooks(&self, operation: &'static str, repository: &Repository, error: Error) -> Error {
        let is_visible = async { self.get(operation, repository, &[])?.find::<serde_json::Value>().await };
        match is_visible.await {
            Ok(Some(_)) => {
                let message = "the token may see this repository, and not manage its webhooks";
                Error::new(ErrorKind::Forbidden, operation, message).with_remedy(
                    "the token's owner has to be an admin of the repository; a classic token needs scope `admin:repo_hook` (`repo` has it), others the permission Webhooks: read and write",
                )
            }
            _ => error,
        }
    }

    async fn write_hook(
        &self,
        operation: &'static str,
        repository: &Repository,
        id: Option<u64>,
        wanted: &WantedHook,
    ) -> Result<Answer> {
        let hidden = match &wanted.secret {
            HookSecret::Shared(secret) => Some(secret),
            _ => None,
        };
        let secret = shared(operation, &wanted.secret)?;
        let body = json!({
            "name": "web",
            "active": true,
            "events": events(operation, wanted.events)?,
            "config": {
                "url": wanted.url,
                "content_type": "json",
                "secret": secret.as_str(),
                "insecure_ssl": if wanted.verify_tls { "0" } else { "1" },
            },
        });
        let id = id.map(|id| id.to_string());
        let call = match &id {
            Some(id) => self.at(operation, Method::PATCH, repository, &["hooks", id])?.idempotent(),
            None => self.at(operation, Method::POST, repository, &["hooks"])?,
        };
        Ok(call.json(&body)?.send().await?.hiding(hidden))
    }

    async fn delete_hook(
        &self,
        operation: &'static str,
        repository: &Repository,
        hook: &HookObject,
    ) -> Result<()> {
        let id = hook.id.to_string();
        let answer = self.at(operation, Method::DELETE, repository, &["hooks", &id])?.send().await?;
        // It is gone already.
        if answer.status == 404 { Ok(()) } else { answer.good().map(drop) }
    }

    async fn only_hook(
        &self,
        operation: &'static str,
        repository: &Repository,
        url: &str,
    ) -> Result<HookObject> {
        let hooks = self.hooks_at(operation, repository, url).await?;
        hooks.into_iter().next().ok_or_else(|| {
            Error::not_found(operation, "the repository has no webhook with this address")
                .with_remedy("set the webhook up first")
        })
    }
}

/// Hooks of a repository. Needs an admin of it: scope `admin:repo_hook` (which `repo` includes), or the permission Webhooks: read and write.
///
/// Tags come with pushes and cannot be left out. GitHub switches no hook off by itself; a person can.
#[async_trait]
impl Hooks for GitHub {
    async fn ensure(&self, repository: &Repository, wanted: &WantedHook) -> Result<Ensured> {
        let operation = "set up webhook";
        events(operation, wanted.events)?;
        shared(operation, &wanted.secret)?;
        let mut hooks = self.hooks_at(operation, repository, &wanted.url).await?;
        if hooks.is_empty() {
            let answer = self.write_hook(operation, repository, None, wanted).await?;
            let said = answer.said();
            if answer.status != 422 || !said.contains("already exists") {
                let answer = answer.good().map_err(|error| full(error, &said))?;
                let hook = answer.read::<HookObject>()?.into_info();
                return Ok(Ensured { hook, change: HookChange::Created, removed: 0 });
            }
            // Somebody made it since the list was read.
            hooks = self.hooks_at(operation, repository, &wanted.url).await?;
        }
        let mut hooks = hooks.into_iter();
        let Some(first) = hooks.next() else {
            return Err(Error::conflict(
                operation,
                "GitHub says that the webhook exists, and does not list it",
            )
            .with_remedy("try again"));
        };
        let answer = self.write_hook(operation, repository, Some(first.id), wanted).await?;
        let said = answer.said();
        let hook = answer.good().map_err(|error| full(error, &said))?.read::<HookObject>()?.into_info();
        let mut removed = 0;
        for hook in hooks {
            self.delete_hook(operation, repository, &hook).await?;
            removed += 1;
        }
        let change = if first.active { HookChange::Updated } else { HookChange::Reenabled };
        Ok(Ensured { hook, change, removed })
    }

    /// GitHub remembers deliveries for some days. GitHub Enterprise Server before 3.3 does not tell them.
    async fn state(&self, repository: &Repository, url: &str) -> Result<Option<HookState>> {
        let operation = "read webhook";
        let Some(hook) = self.hooks_at(operation, repository, url).await?.into_iter().next() else {
            return Ok(None);
        };
        let id = hook.id.to_string();
        let call = self.get(operation, repository, &["hooks", &id, "deliveries"])?;
        let found: Option<Vec<DeliveryObject>> = call.query("per_page", DELIVERIES).find().await?;
        let delivery = |found: DeliveryObject| HookDelivery {
            id: found.guid,
            at: found.delivered_at,
            event: found.event,
            status: found.status_code.filter(|status| *status != 0),
        };
        let deliveries = found.map(|found| found.into_iter().map(delivery).collect());
        Ok(Some(HookState { hook: hook.into_info(), deliveries }))
    }

    /// Sends the last push again where the hook sends pushes, else a ping.
    async fn test(&self, repository: &Repository, url: &str) -> Result<()> {
        let operation = "test webhook";
        let hook = self.only_hook(operation, repository, url).await?;
        let (id, kind) = (hook.id.to_string(), if hook.sends("push") { "tests" } else { "pings" });
        let call = self.at(operation, Method::POST, repository, &["hooks", &id, kind])?;
        call.good().await.map(drop)
    }

    async fn remove(&self, repository: &Repository, url: &str) -> Result<bool> {
        let operation = "remove webhook";
        let hooks = self.hooks_at(operation, repository, url).await?;
        for hook in &hooks {
            self.delete_hook(operation, repository, hook).await?;
        }
        Ok(!hooks.is_empty())
    }
}

/// GitHub takes 20 hooks a repository and event (E75).
fn full(error: Error, said: &str) -> Error {
    if !said.contains("cannot have more than") {
        return error;
    }
    Error::new(ErrorKind::Full, error.operation().to_owned(), error.message().to_owned())
        .with_remedy("GitHub takes 20 webhooks for one event: remove one that nobody needs in the repository's Settings, Webhooks")
}
