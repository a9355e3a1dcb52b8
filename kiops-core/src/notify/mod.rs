//! What the outside may know: one stream of events for UIs, metrics and notifications. Nothing in them is secret.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::build::Trigger;
use crate::checks::FindingCounts;
use crate::error::Result;
use crate::name::{
    BuildId, CheckName, CommitId, ComponentName, DeliveryId, EnvironmentName, PinnedImage, ReleaseId,
    ServiceName,
};
use crate::release::BuildView;
use crate::stage::Failure;

/// Something that happened, after it was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
#[non_exhaustive]
pub enum DomainEvent {
    /// One event of a delivery was decided.
    Decided {
        /// The delivery.
        delivery: DeliveryId,
        /// The service.
        service: ServiceName,
        /// What asked.
        trigger: Trigger,
        /// The event's kind.
        event: String,
        /// `built`, `held`, `skipped` or `ignored`.
        outcome: String,
        /// Why, in a sentence.
        reason: String,
        /// Every finding, rendered.
        findings: Vec<String>,
        /// The builds that it led to.
        builds: Vec<BuildId>,
    },
    /// A build changed.
    Build {
        /// The build.
        build: BuildId,
        /// Its service.
        service: ServiceName,
        /// Its component.
        component: ComponentName,
        /// Its commit.
        commit: CommitId,
        /// What people see of it.
        view: BuildView,
        /// What it made, once it has.
        image: Option<PinnedImage>,
    },
    /// A release changed.
    Release {
        /// The release.
        release: ReleaseId,
        /// Its service.
        service: ServiceName,
        /// Its component.
        component: ComponentName,
        /// Where it goes.
        environment: EnvironmentName,
        /// Its state's name.
        state: String,
        /// Its images, `container=name:tag@digest`.
        images: Vec<String>,
        /// Where people are asked about it, once they are.
        proposal: Option<String>,
    },
    /// A check of what is live began, or ended.
    Check {
        /// The build that it judges.
        build: BuildId,
        /// Its service.
        service: ServiceName,
        /// Its component.
        component: ComponentName,
        /// Its commit.
        commit: CommitId,
        /// The check.
        check: CheckName,
        /// Which team it belongs to.
        owner: Option<String>,
        /// The release that it looks at.
        release: ReleaseId,
        /// Where that is live.
        environment: EnvironmentName,
        /// `running`, `passed`, `failed` or `skipped`.
        state: String,
        /// Why it failed.
        failure: Option<Failure>,
        /// Its findings by level, where it reported any.
        findings: Option<FindingCounts>,
    },
    /// A record could not be handled and was set aside.
    Quarantined {
        /// Which record.
        record: String,
        /// Why.
        reason: String,
    },
}

/// Tells somebody outside: mail, chat, a metrics system.
///
/// Called after the change is stored, in order, at most once for each event; a failure is logged and forgotten. Who needs
/// every event reads the store.
#[async_trait]
pub trait Notifier: Send + Sync + std::fmt::Debug {
    /// Tells of one event.
    async fn notify(&self, event: &DomainEvent, at: Timestamp) -> Result<()>;
}
