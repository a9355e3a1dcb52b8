//! What a service still needs before Auto CI can be switched on (K07): a pure function of given facts.

use std::time::Duration;

use serde::Serialize;

use super::{Deliveries, Service, Source};

/// What the host knows about a service's surroundings.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ReadinessFacts {
    /// Whose Git credential would be used; `None`: there is none. A service's own wins over the organisation's (settled 13).
    pub git_credential: Option<CredentialOwner>,
    /// Whose registry credential would be used.
    pub registry_credential: Option<CredentialOwner>,
    /// Whether the tracked branch has the Dockerfile; `None`: not looked at.
    pub dockerfile: Option<bool>,
    /// Whether the runtime of the auto-deploy environment is registered; `None`: no environment is set.
    pub runtime: Option<bool>,
    /// Whether a webhook secret is set.
    pub webhook: bool,
    /// Whether a delivery has come in by the webhook.
    pub delivered: bool,
    /// How often heads are listed; `None`: they are not.
    pub heads: Option<Duration>,
    /// Whether heads could be listed the last time; `None`: not tried yet.
    pub listed: Option<bool>,
    /// How many base images could not be looked at the last time.
    pub unfollowed_bases: usize,
}

impl ReadinessFacts {
    /// The facts of a service that needs no credential anywhere: a plain repository, a layout on disk.
    pub const fn local() -> Self {
        Self {
            git_credential: Some(CredentialOwner::NotNeeded),
            registry_credential: Some(CredentialOwner::NotNeeded),
            dockerfile: None,
            runtime: None,
            webhook: true,
            delivered: false,
            heads: None,
            listed: None,
            unfollowed_bases: 0,
        }
    }

    /// The same knowing about the Dockerfile.
    #[must_use]
    pub const fn with_dockerfile(mut self, found: Option<bool>) -> Self {
        self.dockerfile = found;
        self
    }

    /// The same knowing about the runtime.
    #[must_use]
    pub const fn with_runtime(mut self, registered: Option<bool>) -> Self {
        self.runtime = registered;
        self
    }

    /// The same knowing about the webhook secret.
    #[must_use]
    pub const fn with_webhook(mut self, set: bool) -> Self {
        self.webhook = set;
        self
    }

    /// The same knowing whether a delivery has come in.
    #[must_use]
    pub const fn with_delivered(mut self, delivered: bool) -> Self {
        self.delivered = delivered;
        self
    }

    /// The same knowing how often heads are listed, and whether that worked the last time.
    #[must_use]
    pub const fn with_heads(mut self, every: Option<Duration>, listed: Option<bool>) -> Self {
        self.heads = every;
        self.listed = listed;
        self
    }

    /// The same knowing how many base images could not be looked at the last time.
    #[must_use]
    pub const fn with_unfollowed_bases(mut self, count: usize) -> Self {
        self.unfollowed_bases = count;
        self
    }
}

/// Whose credential it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialOwner {
    /// The service's own.
    Service,
    /// The organisation's.
    Organisation,
    /// None is needed here.
    NotNeeded,
}

/// The report: Auto CI can be on when every required item is met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether every required item is met.
    pub ready: bool,
    /// Every item, required ones first.
    pub items: Vec<ReadinessItem>,
}

/// One prerequisite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadinessItem {
    /// What it is: `service`, `git_credential`, `registry`, `registry_credential`, `runtime`, `webhook` or `polling`, `dockerfile`,
    /// `schedule`, `base_image`.
    pub name: &'static str,
    /// Whether Auto CI needs it, or it is only advised.
    pub required: bool,
    /// Whether it is there.
    pub met: bool,
    /// What is there, or what to do.
    pub message: String,
}

/// Judges a service by the facts (K07).
pub fn readiness(service: &Service, facts: &ReadinessFacts) -> Readiness {
    let mut items = vec![item("service", true, Ok("registered".into()))];
    if let Source::Git(_) = service.source {
        items.push(item(
            "git_credential",
            true,
            owner(facts.git_credential, "complete the Git settings, or give the service a token"),
        ));
        items.push(item(
            "registry",
            true,
            service.settings.image.as_ref().map_or_else(
                || Err("complete the registry settings of the service".into()),
                |image| Ok(format!("images go to {}", image.name)),
            ),
        ));
        items.push(item(
            "registry_credential",
            true,
            owner(
                facts.registry_credential,
                "complete the registry settings, or give the service a credential",
            ),
        ));
    }
    if service.settings.deploy.auto {
        items.push(item(
            "runtime",
            true,
            met(
                facts.runtime == Some(true),
                "the environment's runtime is registered",
                "register the runtime of the auto-deploy environment",
            ),
        ));
    }
    match (&service.source, service.settings.auto_ci.deliveries) {
        (Source::Git(_), Deliveries::Webhook) => items.push(item("webhook", false, webhook(facts))),
        // Nothing else would tell of a push.
        (Source::Git(_), Deliveries::Polling) => items.push(item("polling", true, polling(facts))),
        // Nobody lists images.
        (Source::Image, _) => items.push(item("webhook", false, webhook(&facts.with_heads(None, None)))),
    }
    if let (Source::Git(_), Some(found)) = (&service.source, facts.dockerfile) {
        items.push(item(
            "dockerfile",
            false,
            met(found, "found", "add a Dockerfile, or let the Build Wizard write one"),
        ));
    }
    if !service.settings.auto_ci.schedule.is_empty() {
        items.push(item("schedule", false, scheduled(service)));
    }
    if service.settings.auto_ci.base_image.enabled {
        items.push(item("base_image", false, base_images(service, facts)));
    }
    Readiness { ready: items.iter().all(|item| item.met || !item.required), items }
}

fn item(name: &'static str, required: bool, state: Result<String, String>) -> ReadinessItem {
    let met = state.is_ok();
    let (Ok(message) | Err(message)) = state;
    ReadinessItem { name, required, met, message }
}

fn met(is: bool, yes: &str, no: &str) -> Result<String, String> {
    if is { Ok(yes.to_owned()) } else { Err(no.to_owned()) }
}

/// Only advised: where heads are listed too, pushes are found without it.
fn webhook(facts: &ReadinessFacts) -> Result<String, String> {
    let no = match facts.heads {
        Some(_) => "create the webhook with its secret; until then pushes are found when heads are listed",
        None => "create the webhook with its secret",
    };
    let yes = match facts.delivered {
        true => "a secret is set, and deliveries come in",
        false => "a secret is set; no delivery has come in yet",
    };
    met(facts.webhook, yes, no)
}

fn polling(facts: &ReadinessFacts) -> Result<String, String> {
    let Some(every) = facts.heads else {
        return Err("heads are not listed: let the driver list them, or take deliveries by webhook".into());
    };
    if facts.listed == Some(false) {
        return Err(
            "heads could not be listed the last time: look at the log, the Git settings and the host".into(),
        );
    }
    Ok(format!(
        "heads are listed every {} s: pushes and tags are found, merge requests and pipelines are not",
        every.as_secs_f64()
    ))
}

fn scheduled(service: &Service) -> Result<String, String> {
    let schedules: Vec<String> = service.settings.auto_ci.schedule.iter().map(ToString::to_string).collect();
    match &service.source {
        Source::Image => Err("an image service has nothing to build: take the schedules away".into()),
        Source::Git(_) if !service.settings.auto_ci.enabled => {
            Err("nothing is built while Auto CI is off, and nothing made up for: switch it on".into())
        }
        Source::Git(git) => {
            Ok(format!("the newest commit of {} is built at {}", git.branch, schedules.join(", ")))
        }
    }
}

fn base_images(service: &Service, facts: &ReadinessFacts) -> Result<String, String> {
    match &service.source {
        Source::Image => Err("an image service has nothing to build: switch base images off".into()),
        Source::Git(_) if !service.settings.auto_ci.enabled => {
            Err("nothing is built while Auto CI is off: switch it on".into())
        }
        Source::Git(_) if facts.unfollowed_bases > 0 => Err(format!(
            "{} base images could not be looked at the last time: what was seen of them says which, and why",
            facts.unfollowed_bases
        )),
        Source::Git(git) => Ok(format!(
            "{} is built when a base image moves: registries are asked every {} min",
            git.branch, service.settings.auto_ci.base_image.every
        )),
    }
}

fn owner(owner: Option<CredentialOwner>, no: &str) -> Result<String, String> {
    match owner {
        Some(CredentialOwner::Service) => Ok("the service's own is used".into()),
        Some(CredentialOwner::Organisation) => Ok("the organisation's is used".into()),
        Some(CredentialOwner::NotNeeded) => Ok("none is needed".into()),
        None => Err(no.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Settings;

    fn service(settings: &str) -> Service {
        let source = serde_json::json!({
            "type": "git", "provider": "gitlab", "repository": {"id": "7", "path": "team/app"}, "branch": "main",
        });
        let settings: Settings = serde_json::from_str(settings).unwrap();
        serde_json::from_value(serde_json::json!({"name": "app", "source": source, "settings": settings}))
            .unwrap()
    }

    const WHOLE: &str = r#"{"image":{"name":"h.io/team/app"},"deploy":{"auto":true,"environment":"dev"}}"#;

    fn missing(service: &Service, facts: &ReadinessFacts) -> Vec<&'static str> {
        readiness(service, facts).items.iter().filter(|item| !item.met).map(|item| item.name).collect()
    }

    #[test]
    fn a_service_with_everything_is_ready() {
        let facts = ReadinessFacts::local().with_runtime(Some(true)).with_dockerfile(Some(true));
        let report = readiness(&service(WHOLE), &facts);
        assert!(report.ready);
        assert!(report.items.iter().all(|item| item.met));
    }

    #[test]
    fn token_registry_and_runtime_are_required() {
        let facts = ReadinessFacts::default();
        let report = readiness(&service(r#"{"deploy":{"auto":true,"environment":"dev"}}"#), &facts);
        assert!(!report.ready);
        let required: Vec<_> =
            report.items.iter().filter(|item| item.required && !item.met).map(|item| item.name).collect();
        assert_eq!(required, ["git_credential", "registry", "registry_credential", "runtime"]);
    }

    #[test]
    fn webhook_and_dockerfile_are_only_advised() {
        let facts =
            ReadinessFacts::local().with_runtime(Some(true)).with_webhook(false).with_dockerfile(Some(false));
        assert!(readiness(&service(WHOLE), &facts).ready);
        assert_eq!(missing(&service(WHOLE), &facts), ["webhook", "dockerfile"]);
    }

    #[test]
    fn where_polling_was_chosen_no_webhook_is_asked_for_and_heads_must_be_listed() {
        let service = service(r#"{"image":{"name":"h.io/team/app"},"auto_ci":{"deliveries":"polling"}}"#);
        let every = Some(Duration::from_secs(30));
        let facts = ReadinessFacts::local().with_webhook(false);
        for listed in [None, Some(true)] {
            let report = readiness(&service, &facts.with_heads(every, listed));
            assert!(report.ready && report.items.iter().all(|item| item.met), "{report:?}");
            let item = report.items.iter().find(|item| item.name == "polling").unwrap();
            assert!(item.required && item.message.contains("every 30 s"), "{item:?}");
            assert!(item.message.contains("merge requests and pipelines are not"), "{item:?}");
            assert!(report.items.iter().all(|item| item.name != "webhook"));
        }
        for (facts, says) in [
            (facts, "heads are not listed"),
            (facts.with_heads(None, Some(true)), "heads are not listed"),
            (facts.with_heads(every, Some(false)), "could not be listed the last time"),
            (facts.with_webhook(true), "heads are not listed"),
        ] {
            let report = readiness(&service, &facts);
            assert!(!report.ready);
            assert_eq!(missing(&service, &facts), ["polling"]);
            let item = report.items.iter().find(|item| item.name == "polling").unwrap();
            assert!(item.message.contains(says), "{item:?}");
        }
    }

    #[test]
    fn a_missing_webhook_promises_that_heads_are_listed_only_where_they_are() {
        let message = |heads: Option<Duration>| {
            let facts = ReadinessFacts::local().with_webhook(false).with_heads(heads, None);
            let report = readiness(&service(WHOLE), &facts);
            report.items.into_iter().find(|item| item.name == "webhook").unwrap().message
        };
        assert!(message(Some(Duration::from_secs(30))).contains("found when heads are listed"));
        assert_eq!(message(None), "create the webhook with its secret");
    }

    #[test]
    fn schedules_say_when_they_build_or_why_they_do_not() {
        let settings = |more: &str| {
            format!(
                r#"{{"image":{{"name":"h.io/app"}},"auto_ci":{{{more}"schedule":[{{"cron":"0 2 * * *"}}]}}}}"#
            )
        };
        let message = |service: &Service| {
            let report = readiness(service, &ReadinessFacts::local());
            assert!(report.ready, "it is only advised");
            let item = report.items.into_iter().find(|item| item.name == "schedule").unwrap();
            (item.met, item.message)
        };
        let mut one = service(&settings(""));
        assert_eq!(message(&one), (true, "the newest commit of main is built at 0 2 * * * (UTC)".into()));
        let (met, off) = message(&service(&settings(r#""enabled":false,"#)));
        assert!(!met && off.contains("switch it on"), "{off}");
        one.source = Source::Image;
        let (met, image) = message(&one);
        assert!(!met && image.contains("take the schedules away"), "{image}");
        assert!(!missing(&service(WHOLE), &ReadinessFacts::local()).contains(&"schedule"));
    }

    #[test]
    fn base_images_say_how_often_they_are_looked_at_or_why_they_are_not() {
        let settings = |more: &str| {
            format!(
                r#"{{"image":{{"name":"h.io/app"}},"auto_ci":{{{more}"base_image":{{"enabled":true}}}}}}"#
            )
        };
        let message = |service: &Service, facts: &ReadinessFacts| {
            let report = readiness(service, facts);
            assert!(report.ready, "it is only advised");
            let item = report.items.into_iter().find(|item| item.name == "base_image").unwrap();
            (item.met, item.message)
        };
        let facts = ReadinessFacts::local();
        let mut one = service(&settings(""));
        let (met, says) = message(&one, &facts);
        assert!(
            met && says.contains("main is built when a base image moves") && says.contains("every 60 min"),
            "{says}"
        );
        let (met, says) = message(&one, &facts.with_unfollowed_bases(2));
        assert!(!met && says.starts_with("2 base images"), "{says}");
        let (met, says) = message(&service(&settings(r#""enabled":false,"#)), &facts);
        assert!(!met && says.contains("switch it on"), "{says}");
        one.source = Source::Image;
        let (met, says) = message(&one, &facts);
        assert!(!met && says.contains("nothing to build"), "{says}");
        assert!(!missing(&service(WHOLE), &facts).contains(&"base_image"));
    }

    #[test]
    fn without_auto_deploy_no_runtime_is_needed() {
        assert!(readiness(&service(r#"{"image":{"name":"h.io/app"}}"#), &ReadinessFacts::local()).ready);
    }

    #[test]
    fn required_items_stand_first() {
        let facts = ReadinessFacts::local().with_dockerfile(Some(true));
        let report = readiness(&service(WHOLE), &facts);
        assert!(report.items.is_sorted_by_key(|item| !item.required), "{report:?}");
    }

    #[test]
    fn an_image_service_needs_no_git() {
        let mut service = service("{}");
        service.source = Source::Image;
        assert!(readiness(&service, &ReadinessFacts::default()).ready);
        let every = Some(Duration::from_secs(30));
        let facts = ReadinessFacts::default().with_heads(every, Some(true));
        let report = readiness(&service, &facts);
        let webhook = report.items.iter().find(|item| item.name == "webhook").unwrap();
        assert_eq!((webhook.met, webhook.message.as_str()), (false, "create the webhook with its secret"));
        assert_eq!(missing(&service, &facts.with_webhook(true)), Vec::<&str>::new());
    }
}
