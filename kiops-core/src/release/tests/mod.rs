//! The release's state machine, and what people see of it.

mod laws;
mod states;
mod views;

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::*;
use crate::access::Subject;
use crate::build::tests::at;
use crate::name::{
    BuildId, ComponentName, ContainerName, Digest, EnvironmentName, ImageRef, MemberId, PinnedImage,
    ReleaseId, ServiceName,
};
use crate::service::{Target, Timers, Workload};
use crate::stage::{Failure, FailureKind, Stage};

pub(crate) fn image(content: &str) -> PinnedImage {
    let digest = Digest::of(content.as_bytes());
    ImageRef::parse(&format!("h.io/team/app:1@{digest}")).unwrap().pinned().unwrap()
}

pub(crate) fn images(content: &str) -> BTreeMap<ContainerName, PinnedImage> {
    [(ContainerName::parse("main").unwrap(), image(content))].into()
}

/// A release that a build made by itself, waiting for its lane.
pub(crate) fn pending() -> Release {
    let service = ServiceName::parse("app").unwrap();
    Release {
        id: ReleaseId::derive(["r"]),
        target: DeployTarget {
            namespace: crate::name::dns_label([service.as_str()]),
            service,
            component: ComponentName::default(),
            environment: EnvironmentName::parse("dev").unwrap(),
            target: Target::Workload(Workload::single(ContainerName::parse("main").unwrap(), None)),
            preview: None,
        },
        origin: Origin::Build(BuildId::derive(["b"])),
        order: 1,
        told: BTreeMap::new(),
        images: images("new"),
        commit: None,
        state: ReleaseState::Pending,
        proposal: None,
        revision: None,
        previous: None,
        rollback_on_failure: true,
        subject: Subject::unknown(),
        requested_by: "ada".into(),
        approval: None,
        timers: Timers::default(),
        created_at: at(0),
        deploy_started_at: None,
        finished_at: None,
        armed: None,
    }
}

pub(crate) fn awaiting() -> Release {
    Release { state: ReleaseState::AwaitingApproval, ..pending() }
}

/// One to a file that changes by merge request.
pub(crate) fn by_merge_request() -> Release {
    let mut release = pending();
    release.target.target = serde_json::from_str(
        r#"{"type":"git_file","provider":"gitlab","repository":{"path":"team/deploy"},"branch":"main",
            "path":"dev.yaml","container":"main","by":"merge_request"}"#,
    )
    .unwrap();
    release
}

fn ada() -> MemberId {
    MemberId::parse("ada").unwrap()
}

#[track_caller]
fn apply(release: &mut Release, input: ReleaseInput, seconds: i64) -> Vec<ReleaseAsk> {
    release.apply(input, at(seconds)).unwrap()
}

/// One whose rollout is being watched, over revision 3.
fn verifying(previous: Option<u64>) -> Release {
    let mut release = pending();
    apply(&mut release, ReleaseInput::Start { previous: previous.map(Revision) }, 0);
    apply(&mut release, ReleaseInput::Applied(Ok(Revision(4))), 1);
    release
}

fn unhealthy() -> Failure {
    Failure::new(Stage::Deploy, FailureKind::RolloutFailed, "0 of 1 ready")
}

fn lines(asks: &[ReleaseAsk]) -> String {
    let line =
        |ask: &ReleaseAsk| if let ReleaseAsk::Log(text) = ask { Some(format!("{text}\n")) } else { None };
    asks.iter().filter_map(line).collect()
}

fn deeds(asks: &[ReleaseAsk]) -> Vec<ReleaseAsk> {
    asks.iter().filter(|ask| !matches!(ask, ReleaseAsk::Log(_))).cloned().collect()
}

fn time(second: i64) -> Timestamp {
    at(second)
}
