//! What is registered, as plain data: a service, where its source is, what starts a build, where images and releases go.

mod auto_ci;
mod check;
mod environment;
mod previews;
pub mod readiness;
mod repo_config;
mod rules;
mod schedule;
mod source;
mod workload;

pub use auto_ci::{
    ApiCalls, AutoCi, BaseImages, Deliveries, Forks, ImagePushes, MergeRequests, Pipelines, Pushes, Report,
    Supersede, Tags,
};
pub use check::{CheckPhase, CheckSpec, Gate, SeverityLimits};
pub use environment::{Environment, NamespaceRule, is_previews_own};
pub use previews::Previews;
pub use repo_config::RepoConfig;
pub use rules::{Fractions, check_quantity, normal_path};
pub use schedule::Schedule;
pub use source::{Component, GitSource, ImageTarget, Source};
pub use workload::{
    Container, ContainerImage, EnvValue, ExistingKind, GitChange, GitFile, Target, VolumeMount, Workload,
};

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::name::{ComponentName, EnvironmentName, ImageRef, ServiceName};
use crate::stage::Stage;

/// A registered service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name, unique among all services; also the default namespace and image name.
    pub name: ServiceName,
    /// Where its source is. Fixed at registration: another repository is another service.
    pub source: Source,
    /// Everything that may be changed later.
    pub settings: Settings,
}

/// Everything of a service that may be changed after registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What starts a build by itself.
    #[serde(default)]
    pub auto_ci: AutoCi,
    /// What is built from the repository. At least one, names unique; an image service has one that builds nothing.
    #[serde(default = "default_components")]
    pub components: Vec<Component>,
    /// Where built images go; `None`: not set yet (readiness says so).
    #[serde(default)]
    pub image: Option<ImageTarget>,
    /// Where a success goes by itself.
    #[serde(default)]
    pub deploy: AutoDeploy,
    /// Checks in the order they run (G01).
    #[serde(default)]
    pub checks: Vec<CheckSpec>,
    /// Stall and total time.
    #[serde(default)]
    pub timers: Timers,
    /// How many builds of this service run at once, 1 to 100 (K19).
    #[serde(default = "default_builds_at_once")]
    pub builds_at_once: u32,
}

fn default_components() -> Vec<Component> {
    vec![Component::default()]
}

const fn default_builds_at_once() -> u32 {
    2
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            auto_ci: AutoCi::default(),
            components: default_components(),
            image: None,
            deploy: AutoDeploy::default(),
            checks: Vec::new(),
            timers: Timers::default(),
            builds_at_once: default_builds_at_once(),
        }
    }
}

/// The auto-deploy switch (K33).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoDeploy {
    /// Whether a successful build is released by itself.
    #[serde(default)]
    pub auto: bool,
    /// To which environment; also the default for a release by hand that names none.
    #[serde(default)]
    pub environment: Option<EnvironmentName>,
    /// Whether open merge requests are released too, each to an environment of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previews: Option<Previews>,
}

/// When a run that makes no progress is given up (settled 3). Seconds; 0 is off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timers {
    /// No sign of life for this long: failed. Half of it gives a warning in the log. 300 by default (K47).
    pub stall_seconds: u32,
    /// The whole build for this long: failed. 3600 by default.
    pub total_seconds: u32,
    /// Stages whose stall time differs.
    pub stall_by_stage: BTreeMap<Stage, u32>,
    /// A release that waits for approval this long expires. Seven days by default.
    pub approval_seconds: u32,
    /// A rollout that is not complete after this long has failed. 600 by default.
    pub rollout_seconds: u32,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            stall_seconds: 300,
            total_seconds: 3600,
            stall_by_stage: BTreeMap::new(),
            approval_seconds: 7 * 24 * 3600,
            rollout_seconds: 600,
        }
    }
}

impl Timers {
    /// The stall time of a stage in seconds; 0 is off.
    pub fn stall(&self, stage: Stage) -> u32 {
        self.stall_by_stage.get(&stage).copied().unwrap_or(self.stall_seconds)
    }
}

/// What whoever looks at the clock again is given to find out how things stand.
const MOMENT: SignedDuration = SignedDuration::from_mins(1);

/// By how much a deadline moves where nobody looked at the clock: a wake that was due at `armed` comes more than a minute
/// late, because the process was down, or the store. What went on meanwhile may have given every sign of life.
pub(crate) fn unwatched(armed: Option<Timestamp>, now: Timestamp) -> Option<SignedDuration> {
    let late = now.duration_since(armed?);
    (late > MOMENT).then(|| late.saturating_add(MOMENT))
}

impl Settings {
    /// Whether the settings hold together, or the first rule that they break: what names, and what to do.
    pub fn validate(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::invalid("check settings", message));
        if self.components.is_empty() {
            return refuse("components: at least one is needed".into());
        }
        for (i, component) in self.components.iter().enumerate() {
            if self.components[..i].iter().any(|other| other.name == component.name) {
                return refuse(format!("components: `{}` stands twice", component.name));
            }
            component.validate()?;
        }
        self.validate_images()?;
        for (i, check) in self.checks.iter().enumerate() {
            if self.checks[..i].iter().any(|other| other.name == check.name) {
                return refuse(format!("checks: `{}` stands twice", check.name));
            }
            check.validate()?;
        }
        if !(1..=100).contains(&self.builds_at_once) {
            return refuse(format!("builds_at_once: {} is not within 1 to 100", self.builds_at_once));
        }
        let AutoCi { deliveries, merge_request, pipeline, .. } = &self.auto_ci;
        if *deliveries == Deliveries::Polling && (merge_request.enabled || pipeline.enabled) {
            return Err(Error::invalid(
                "check settings",
                "auto_ci: merge requests and pipelines come by webhook only, and deliveries is `polling`",
            )
            .with_remedy("switch both triggers off, or set deliveries to `webhook` and create the webhook"));
        }
        if self.auto_ci.schedule.len() > AutoCi::SCHEDULES {
            let (found, most) = (self.auto_ci.schedule.len(), AutoCi::SCHEDULES);
            return Err(Error::invalid(
                "check settings",
                format!("auto_ci.schedule: {found} are more than {most}"),
            )
            .with_remedy("put several times into one: `0 6,18 * * *`"));
        }
        let (every, bounds) = (self.auto_ci.base_image.every, BaseImages::EVERY);
        if !bounds.contains(&every) {
            return refuse(format!(
                "auto_ci.base_image.every: {every} minutes are not within {} to {}",
                bounds.start(),
                bounds.end()
            ));
        }
        if self.deploy.auto && self.deploy.environment.is_none() {
            return refuse("deploy: auto is on and no environment is named".into());
        }
        if let Some(previews) = &self.deploy.previews {
            previews.validate(&self.auto_ci)?;
        }
        Ok(())
    }

    /// Every component has an image name of its own: two that push to one would take each other's tags.
    fn validate_images(&self) -> Result<()> {
        let Some(target) = &self.image else { return Ok(()) };
        let mut images = BTreeMap::new();
        for component in &self.components {
            let image = target.image_of(component)?;
            if let Some(other) = images.insert(image.clone(), &component.name) {
                let message =
                    format!("components: `{other}` and `{}` both push to `{image}`", component.name);
                return Err(Error::invalid("check settings", message)
                    .with_remedy("give one of them an image name of its own"));
            }
        }
        Ok(())
    }

    /// The ready images that its workloads run.
    pub fn ready_images(&self) -> impl Iterator<Item = &ImageRef> {
        let workloads = self.components.iter().filter_map(|component| match &component.runs {
            Some(Target::Workload(workload)) => Some(workload),
            _ => None,
        });
        workloads.flat_map(|workload| &workload.containers).filter_map(|container| match &container.image {
            ContainerImage::Ready(image) => Some(image),
            ContainerImage::Built => None,
        })
    }

    /// The component of this name.
    pub fn component(&self, name: &ComponentName) -> Option<&Component> {
        self.components.iter().find(|component| component.name == *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_defaults_for_everything() {
        let settings: Settings = serde_json::from_str("{}").unwrap();
        assert_eq!(settings, Settings::default());
        assert!(settings.validate().is_ok());
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings);
    }

    #[test]
    fn two_components_that_push_to_one_image_are_refused() {
        let text =
            r#"{"image":{"name":"h.io/team/app"},"components":[{},{"name":"api","image":"h.io/team/app"}]}"#;
        let settings: Settings = serde_json::from_str(text).unwrap();
        let error = settings.validate().unwrap_err().to_string();
        assert!(error.contains("`main` and `api` both push to `h.io/team/app`"), "{error}");
    }

    #[test]
    fn what_polling_never_finds_cannot_be_switched_on_with_it() {
        let settings = |trigger: &str| {
            let text = format!(r#"{{"auto_ci":{{"deliveries":"polling","{trigger}":{{"enabled":true}}}}}}"#);
            serde_json::from_str::<Settings>(&text).unwrap().validate()
        };
        for found in ["push", "tag"] {
            settings(found).unwrap();
        }
        for never in ["merge_request", "pipeline"] {
            let error = settings(never).unwrap_err();
            assert!(error.to_string().contains("come by webhook only"), "{error}");
            assert!(error.remedy().unwrap().contains("switch both triggers off"));
        }
    }

    #[test]
    fn a_service_has_ten_schedules_at_most() {
        let mut settings = Settings::default();
        settings.auto_ci.schedule = vec![Schedule::parse("0 2 * * *", "UTC").unwrap(); 10];
        settings.validate().unwrap();
        settings.auto_ci.schedule.push(Schedule::parse("0 3 * * *", "UTC").unwrap());
        let error = settings.validate().unwrap_err();
        assert!(error.to_string().contains("auto_ci.schedule: 11 are more than 10"), "{error}");
        assert!(error.remedy().is_some());
    }

    #[test]
    fn contradictions_are_named() {
        let mut settings = Settings::default();
        settings.deploy.auto = true;
        assert!(settings.validate().unwrap_err().to_string().contains("no environment"));
        let mut settings = Settings::default();
        settings.components.push(Component::default());
        assert!(settings.validate().unwrap_err().to_string().contains("`main` stands twice"));
        assert!(serde_json::from_str::<Settings>(r#"{"typo":1}"#).is_err());
    }
}
