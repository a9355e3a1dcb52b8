//! Webhooks of a GitLab project. They need the Maintainer role and the scope `api`.

use async_trait::async_trait;
use http::Method;
use jiff::Timestamp;
use kiops_core::event::Repository;
use kiops_core::provider::{
    Ensured, HookActivity, HookChange, HookDelivery, HookEvents, HookInfo, HookSecret, HookState, Hooks,
    WantedHook,
};
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::GitLab;
use crate::rest::Answer;

const ENSURE: &str = "set up webhook";

#[derive(Deserialize)]
struct HookBody {
    id: u64,
    url: String,
    #[serde(default)]
    push_events: bool,
    #[serde(default)]
    tag_push_events: bool,
    #[serde(default)]
    merge_requests_events: bool,
    #[serde(default)]
    pipeline_events: bool,
    alert_status: Option<String>,
    disabled_until: Option<Timestamp>,
    /// Missing where signing tokens are unknown.
    signing_token_present: Option<bool>,
}

impl HookBody {
    fn is_disabled(&self) -> bool {
        self.alert_status.as_deref().is_some_and(|status| status != "executable")
    }

    fn into_info(self) -> HookInfo {
        let activity = if self.is_disabled() {
            HookActivity::Disabled { until: self.disabled_until }
        } else {
            HookActivity::Active
        };
        HookInfo {
            id: self.id.to_string(),
            url: self.url,
            events: HookEvents {
                push: self.push_events,
                tags: self.tag_push_events,
                merge_requests: self.merge_requests_events,
                pipelines: self.pipeline_events,
            },
            activity,
        }
    }
}

/// What a hook is set to. Whatever we have no use for is switched off.
#[derive(Serialize)]
struct Wanted<'a> {
    url: &'a str,
    name: &'static str,
    push_events: bool,
    tag_push_events: bool,
    merge_requests_events: bool,
    pipeline_events: bool,
    issues_events: bool,
    note_events: bool,
    job_events: bool,
    wiki_page_events: bool,
    deployment_events: bool,
    releases_events: bool,
    enable_ssl_verification: bool,
    /// Every branch: which one builds is decided, and explained, by us.
    push_events_branch_filter: &'static str,
    /// Empty takes an older one away, so that it cannot speak beside a signature.
    token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_token: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    fn new(wanted: &'a WantedHook) -> Result<Self> {
        let text = |secret: &'a kiops_core::secret::Secret| {
            secret.expose_str().ok_or_else(|| {
                Error::invalid(ENSURE, "the secret is not text").with_remedy("make one of letters and digits")
            })
        };
        let (token, signing_token) = match &wanted.secret {
            HookSecret::Shared(secret) => (text(secret)?, None),
            HookSecret::Signing(secret) => ("", Some(text(secret)?)),
            _ => return Err(Error::unsupported(ENSURE, "GitLab has no hooks with such a secret")),
        };
        Ok(Self {
            url: &wanted.url,
            name: "kiops",
            push_events: wanted.events.push,
            tag_push_events: wanted.events.tags,
            merge_requests_events: wanted.events.merge_requests,
            pipeline_events: wanted.events.pipelines,
            issues_events: false,
            note_events: false,
            job_events: false,
            wiki_page_events: false,
            deployment_events: false,
            releases_events: false,
            enable_ssl_verification: wanted.verify_tls,
            push_events_branch_filter: "",
            token,
            signing_token,
        })
    }
}

impl GitLab {
    /// Every hook with this address, oldest first.
    async fn hooks_at(
        &self,
        operation: &'static str,
        repository: &Repository,
        url: &str,
    ) -> Result<Vec<HookBody>> {
        let mut hooks: Vec<HookBody> = self.every(operation, repository, &["hooks"], &[]).await?;
        hooks.retain(|hook| hook.url == url);
        hooks.sort_unstable_by_key(|hook| hook.id);
        Ok(hooks)
    }

    async fn delete_hook(&self, operation: &'static str, repository: &Repository, id: u64) -> Result<()> {
        let id = id.to_string();
        let answer = self.project(operation, Method::DELETE, repository, &["hooks", &id])?.send().await?;
        // Somebody else was faster.
        if answer.status == 404 { Ok(()) } else { answer.good().map(drop) }
    }

    async fn trigger(&self, operation: &'static str, repository: &Repository, id: u64) -> Result<()> {
        let id = id.to_string();
        let path = ["hooks", &id, "test", "push_events"];
        let answer = self.project(operation, Method::POST, repository, &path)?.send().await?;
        // 422: GitLab reached nobody, or was answered with an error.
        if answer.status == 422 {
            let message = format!("GitLab could not deliver: {}", answer.said());
            return Err(Error::unavailable(operation, message).with_remedy(
                "check that the address can be reached from GitLab, and that the project has a commit to send",
            ));
        }
        answer.good().map(drop)
    }
}

#[async_trait]
impl Hooks for GitLab {
    /// A hook that GitLab has switched off is switched on by a test delivery, which it must be able to make.
    async fn ensure(&self, repository: &Repository, wanted: &WantedHook) -> Result<Ensured> {
        let body = Wanted::new(wanted)?;
        let unknown = || {
            Error::unsupported(ENSURE, "this GitLab knows no signing tokens")
                .with_remedy("use a secret token, or update GitLab to 19.0")
        };
        let hidden = |answer: Answer| match &wanted.secret {
            HookSecret::Shared(secret) | HookSecret::Signing(secret) => answer.hiding(Some(secret)).good(),
            _ => answer.good(),
        };
        let mut found = self.hooks_at(ENSURE, repository, &wanted.url).await?.into_iter();
        let (mut hook, change): (HookBody, _) = match found.next() {
            None => {
                let call = self.project(ENSURE, Method::POST, repository, &["hooks"])?;
                (hidden(call.json(&body)?.send().await?)?.read()?, HookChange::Created)
            }
            // A hook that works is not taken apart for what this GitLab does not know.
            Some(hook) if body.signing_token.is_some() && hook.signing_token_present.is_none() => {
                return Err(unknown());
            }
            Some(hook) => {
                let (id, was_disabled) = (hook.id.to_string(), hook.is_disabled());
                let call = self.project(ENSURE, Method::PUT, repository, &["hooks", &id])?;
                let hook = hidden(call.json(&body)?.send().await?)?.read()?;
                (hook, if was_disabled { HookChange::Reenabled } else { HookChange::Updated })
            }
        };
        if body.signing_token.is_some() && hook.signing_token_present != Some(true) {
            // It would send without any signature.
            self.delete_hook(ENSURE, repository, hook.id).await?;
            return Err(unknown());
        }
        let mut removed = 0;
        for other in found {
            self.delete_hook(ENSURE, repository, other.id).await?;
            removed += 1;
        }
        if hook.is_disabled() {
            self.trigger(ENSURE, repository, hook.id).await?;
            (hook.alert_status, hook.disabled_until) = (None, None);
        }
        Ok(Ensured { hook: hook.into_info(), change, removed })
    }

    /// Deliveries of the last seven days, since GitLab 17.3.
    async fn state(&self, repository: &Repository, url: &str) -> Result<Option<HookState>> {
        #[derive(Deserialize)]
        struct EventBody {
            id: u64,
            trigger: Option<String>,
            response_status: Option<String>,
            created_at: Option<Timestamp>,
            #[serde(default)]
            request_headers: std::collections::BTreeMap<String, serde_json::Value>,
        }
        let operation = "read webhook";
        let Some(hook) = self.hooks_at(operation, repository, url).await?.into_iter().next() else {
            return Ok(None);
        };
        let id = hook.id.to_string();
        // Each event comes with the whole body that was sent: few of them, and what is too large to read is not told.
        let call = self.get(operation, repository, &["hooks", &id, "events"])?.query("per_page", "5");
        let answer = call.send().await;
        let events: Option<Vec<EventBody>> = match answer {
            Ok(answer) if answer.status == 404 => None,
            Ok(answer) => Some(answer.good()?.read()?),
            Err(error) if error.kind() == kiops_core::ErrorKind::TooLarge => None,
            Err(error) => return Err(error),
        };
        let deliveries = events.map(|events| {
            let delivery = |event: EventBody| {
                let key = event.request_headers.get("Idempotency-Key").and_then(|key| key.as_str());
                HookDelivery {
                    id: key.map_or_else(|| event.id.to_string(), str::to_owned),
                    at: event.created_at,
                    event: event.trigger,
                    // "internal error" where there was no answer.
                    status: event.response_status.and_then(|status| status.parse().ok()),
                }
            };
            events.into_iter().map(delivery).collect()
        });
        Ok(Some(HookState { hook: hook.into_info(), deliveries }))
    }

    async fn test(&self, repository: &Repository, url: &str) -> Result<()> {
        let operation = "test webhook";
        let hook = self.hooks_at(operation, repository, url).await?.into_iter().next().ok_or_else(|| {
            Error::not_found(operation, "there is no hook with this address").with_remedy("set it up first")
        })?;
        self.trigger(operation, repository, hook.id).await
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
