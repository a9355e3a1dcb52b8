//! Webhook policies of a Harbor project, for our own endpoint.

use async_trait::async_trait;
use http::Method;
use kiops_core::image::{
    EnsuredPushHook, PushHook, PushHookChange, PushHookDelivery, PushHookFormat, PushHookOutcome,
    PushHookState, RegistryHooks, WantedPushHook,
};
use kiops_core::secret::Secret;
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::{Harbor, project_name};
use crate::interface::moment;

const ENSURE: &str = "set up webhook";
const READ: &str = "read webhook";
const REMOVE: &str = "remove webhook";
const NEEDS: &str =
    "the role Project Admin, or for a robot List, Read, Create, Update and Delete of Notification Policy";
const PUSHED: &str = "PUSH_ARTIFACT";

/// A policy as Harbor shows it. The secret that it shows with it is not read.
#[derive(Deserialize)]
struct Policy {
    id: u64,
    #[serde(default)]
    name: String,
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    event_types: Option<Vec<String>>,
    #[serde(default)]
    targets: Option<Vec<Target>>,
}

#[derive(Deserialize)]
struct Target {
    #[serde(default)]
    address: String,
    #[serde(default)]
    payload_format: Option<String>,
}

/// What a policy is set to.
#[derive(Serialize)]
struct Wanted<'a> {
    /// Some versions take it from here, and not from the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    name: &'a str,
    description: &'static str,
    enabled: bool,
    event_types: [&'static str; 1],
    targets: [WantedTarget<'a>; 1],
}

#[derive(Clone, Copy, Serialize)]
struct WantedTarget<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    address: &'a str,
    auth_header: &'a str,
    skip_cert_verify: bool,
    /// Left away where Harbor knows but one.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_format: Option<&'static str>,
}

impl<'a> Wanted<'a> {
    const fn new(id: Option<u64>, name: &'a str, target: WantedTarget<'a>) -> Self {
        let description = "Tells kiops of pushed images.";
        Self { id, name, description, enabled: true, event_types: [PUSHED], targets: [target] }
    }
}

/// What Harbor can send.
#[derive(Deserialize)]
struct Supported {
    /// Since version 2.8.
    #[serde(default)]
    payload_formats: Option<Vec<Formats>>,
}

#[derive(Deserialize)]
struct Formats {
    #[serde(default)]
    notify_type: String,
    #[serde(default)]
    formats: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Execution {
    id: u64,
    #[serde(default)]
    status: String,
    #[serde(default)]
    start_time: Option<String>,
}

impl Policy {
    /// One with further targets is somebody else's, who sends to us, too.
    fn is_at(&self, url: &str) -> bool {
        matches!(self.targets.as_deref(), Some([target]) if target.address.trim_end_matches('/') == url)
    }

    fn into_hook(self) -> PushHook {
        let sends_pushes = self.event_types.is_some_and(|types| types.iter().any(|one| one == PUSHED));
        let target = self.targets.into_iter().flatten().next();
        let (url, format) = target.map(|target| (target.address, target.payload_format)).unwrap_or_default();
        let format = match format.as_deref() {
            Some("CloudEvents") => PushHookFormat::CloudEvents,
            _ => PushHookFormat::Native,
        };
        PushHook { id: self.id.to_string(), url, sends_pushes, format, enabled: self.enabled }
    }
}

/// An address as Harbor keeps it: it leaves the query and a final slash away.
fn kept_address<'u>(operation: &'static str, url: &'u str) -> Result<&'u str> {
    let refuse = |reason: &str| {
        Err(Error::invalid(operation, format!("the webhook's address {reason}"))
            .with_remedy("give it like `https://ci.example.com/api/v1/webhook/harbor/HOOK`"))
    };
    match Url::parse(url) {
        Ok(parsed) if !matches!(parsed.scheme(), "https" | "http") => refuse("is neither https nor http"),
        Ok(parsed) if parsed.query().is_some() || parsed.fragment().is_some() => {
            refuse("has a query or fragment, which Harbor does not keep")
        }
        Ok(parsed) if !parsed.username().is_empty() || parsed.password().is_some() => {
            refuse("has user information")
        }
        Ok(_) => Ok(url.trim_end_matches('/')),
        Err(_) => refuse("is no URL"),
    }
}

/// The secret as a header can carry it.
fn header_text(secret: &Secret) -> Result<&str> {
    let is_kept = |text: &&str| text.trim() == *text && text.bytes().all(|b| (b' '..=b'~').contains(&b));
    let text = secret.expose_str().filter(is_kept);
    text.ok_or_else(|| {
        Error::invalid(ENSURE, "the secret has characters that Harbor's Auth Header cannot carry")
            .with_remedy("make one of letters and digits")
    })
}

/// The name of our policy for an address: Harbor keeps names apart, so that two that make it at once make one.
fn policy_name(url: &str) -> String {
    let digest = Sha256::digest(url.as_bytes());
    let hex: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("kiops-{hex}")
}

impl Harbor {
    /// Every policy with this address alone, oldest first.
    async fn policies_at(&self, operation: &'static str, project: &str, url: &str) -> Result<Vec<Policy>> {
        let path = ["projects", project, "webhook", "policies"];
        let list = || self.api.get(operation, &path).by_name().needs(NEEDS);
        let mut policies: Vec<Policy> = self.api.every("the project's list of webhooks", list).await?;
        policies.retain(|policy| policy.is_at(url));
        policies.sort_unstable_by_key(|policy| policy.id);
        Ok(policies)
    }

    async fn remove_policy(&self, operation: &'static str, project: &str, id: u64) -> Result<()> {
        let id = id.to_string();
        let path = ["projects", project, "webhook", "policies", &id];
        let answer = self.api.call(operation, Method::DELETE, &path).by_name().needs(NEEDS).send().await?;
        // Somebody else was faster.
        if answer.status == 404 { Ok(()) } else { answer.good().map(drop) }
    }

    /// How deliveries are to be written: `None` where Harbor knows but its own form.
    async fn format(&self, project: &str, wanted: Option<PushHookFormat>) -> Result<Option<PushHookFormat>> {
        let path = ["projects", project, "webhook", "events"];
        let supported: Supported = self.api.get(ENSURE, &path).by_name().needs(NEEDS).read().await?;
        let Some(all) = supported.payload_formats else {
            return match wanted {
                None | Some(PushHookFormat::Native) => Ok(None),
                Some(_) => Err(unknown_format()),
            };
        };
        let mut http = all.into_iter().filter(|one| one.notify_type == "http").flat_map(|one| one.formats);
        let has_events = http.any(|formats| formats.iter().any(|one| one == "CloudEvents"));
        match wanted {
            Some(PushHookFormat::Native) => Ok(wanted),
            _ if has_events => Ok(Some(PushHookFormat::CloudEvents)),
            None => Ok(Some(PushHookFormat::Native)),
            Some(_) => Err(unknown_format()),
        }
    }

    async fn last_deliveries(&self, project: &str, id: u64) -> Result<Option<Vec<PushHookDelivery>>> {
        let id = id.to_string();
        let path = ["projects", project, "webhook", "policies", &id, "executions"];
        let call = self.api.get(READ, &path).by_name().needs(NEEDS);
        let call = call.query("page", "1").query("page_size", "10").query("sort", "-start_time");
        let answer = call.send().await?;
        if answer.status == 404 {
            // Before version 2.8.
            return Ok(None);
        }
        let executions: Vec<Execution> = answer.good()?.read::<Option<_>>()?.unwrap_or_default();
        let delivery = |execution: Execution| PushHookDelivery {
            id: execution.id.to_string(),
            at: moment(execution.start_time.as_deref()),
            outcome: match execution.status.as_str() {
                "Success" => PushHookOutcome::Delivered,
                "Error" | "Stopped" => PushHookOutcome::Failed,
                _ => PushHookOutcome::UnderWay,
            },
        };
        Ok(Some(executions.into_iter().map(delivery).collect()))
    }
}

fn unknown_format() -> Error {
    Error::unsupported(ENSURE, "this Harbor writes no CloudEvents")
        .with_remedy("use its own form, or update Harbor to 2.8")
}

#[async_trait]
impl RegistryHooks for Harbor {
    /// A policy that sends to further addresses, too, is not touched.
    async fn ensure(&self, project: &str, wanted: &WantedPushHook) -> Result<EnsuredPushHook> {
        let (project, url) = (project_name(project)?, kept_address(ENSURE, &wanted.url)?);
        let auth_header = header_text(&wanted.secret)?;
        let format = self.format(project, wanted.format).await?;
        let target = WantedTarget {
            kind: "http",
            address: url,
            auth_header,
            skip_cert_verify: !wanted.verify_tls,
            payload_format: format.map(|format| match format {
                PushHookFormat::CloudEvents => "CloudEvents",
                _ => "Default",
            }),
        };
        let path = ["projects", project, "webhook", "policies"];

        let mut found = self.policies_at(ENSURE, project, url).await?;
        let mut change = PushHookChange::Updated;
        if found.is_empty() {
            let name = policy_name(url);
            let call = self
                .api
                .call(ENSURE, Method::POST, &path)
                .by_name()
                .json(&Wanted::new(None, &name, target))?;
            let answer = call.needs(NEEDS).hiding(&wanted.secret).send().await?;
            let missing = match answer.status {
                409 => answer.error().with_remedy(format!(
                    "look at the project's Webhooks: one that is named `{name}` and leads elsewhere stands in the way"
                )),
                _ => {
                    change = PushHookChange::Created;
                    answer.good()?.broken("Harbor made the webhook and does not show it")
                }
            };
            found = self.policies_at(ENSURE, project, url).await?;
            if found.is_empty() {
                return Err(missing);
            }
        }
        let is_fresh = change == PushHookChange::Created && found.len() == 1;
        let mut found = found.into_iter();
        let Some(first) = found.next() else { return Err(Error::internal(ENSURE, "there is no policy")) };
        if !is_fresh {
            if change == PushHookChange::Updated && !first.enabled {
                change = PushHookChange::Reenabled;
            }
            let id = first.id.to_string();
            let path = [&path[..], &[&id]].concat();
            let call = self.api.call(ENSURE, Method::PUT, &path).by_name();
            let call = call
                .json(&Wanted::new(Some(first.id), &first.name, target))?
                .needs(NEEDS)
                .hiding(&wanted.secret);
            call.good().await?;
        }
        let mut removed = 0;
        for other in found {
            self.remove_policy(ENSURE, project, other.id).await?;
            removed += 1;
        }
        let format = format.unwrap_or(PushHookFormat::Native);
        let (id, url) = (first.id.to_string(), url.to_owned());
        let hook = PushHook { id, url, sends_pushes: true, format, enabled: true };
        Ok(EnsuredPushHook { hook, change, removed })
    }

    async fn state(&self, project: &str, url: &str) -> Result<Option<PushHookState>> {
        let (project, url) = (project_name(project)?, kept_address(READ, url)?);
        let Some(policy) = self.policies_at(READ, project, url).await?.into_iter().next() else {
            return Ok(None);
        };
        let deliveries = self.last_deliveries(project, policy.id).await?;
        Ok(Some(PushHookState { hook: policy.into_hook(), deliveries }))
    }

    async fn remove(&self, project: &str, url: &str) -> Result<bool> {
        let (project, url) = (project_name(project)?, kept_address(REMOVE, url)?);
        let policies = self.policies_at(REMOVE, project, url).await?;
        for policy in &policies {
            self.remove_policy(REMOVE, project, policy.id).await?;
        }
        Ok(!policies.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_that_harbor_keeps_as_it_is() {
        let kept = |url| kept_address("test", url);
        assert_eq!(kept("https://ci.example.com/hook/").unwrap(), "https://ci.example.com/hook");
        for bad in ["", "ci.example.com", "ftp://h/x", "https://h/x?a=b", "https://h/x#a", "https://u:p@h/x"]
        {
            kept(bad).unwrap_err();
        }
    }

    #[test]
    fn a_secret_is_one_that_a_header_carries_as_it_is() {
        let text = |secret: &[u8]| header_text(&Secret::new(secret).unwrap()).is_ok();
        assert!(text(b"Bearer abc") && text(b"x"));
        for bad in [&b"a\nb"[..], b" a", b"a ", b"\xff", "caf\u{e9}".as_bytes()] {
            assert!(!text(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_same_address_always_has_the_same_name() {
        assert_eq!(policy_name("https://a/x"), policy_name("https://a/x"));
        assert_ne!(policy_name("https://a/x"), policy_name("https://a/y"));
    }
}
