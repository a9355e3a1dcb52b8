//! What a Git host is told of a commit that was not built: a pure function of the decision.

use crate::name::{ComponentName, ServiceName};
use crate::policy::{Finding, HoldReason, Outcome, Saw, Skip, SkipReason};
use crate::provider::{CommitStatus, StatusState};
use crate::service::Service;
use crate::store::EventRecord;

/// Why an event built nothing of some components, for those of which a host is told. A component of which no watched path changed is left out
/// on purpose, which lets a merge go on; a fork's commit that waits for a yes holds it up. Whatever else was skipped (a marker in the message,
/// a rule of the host's) says nothing, so that no check which a merge needs can be passed by asking for no build.
pub(crate) fn unbuilt(service: &Service, record: &EventRecord) -> Vec<(ComponentName, CommitStatus)> {
    let Some(decision) = &record.decision else { return Vec::new() };
    let held = match &decision.outcome {
        Outcome::Hold(HoldReason::Fork { .. }) => true,
        Outcome::Build(_) | Outcome::Skip(Skip { reason: SkipReason::PathsNotTouched, .. }) => false,
        _ => return Vec::new(),
    };
    let untouched = |component: &ComponentName| {
        let of = |finding: &Finding| matches!(&finding.saw, Saw::PathsNotTouched { component: of, .. } if of == component);
        decision.findings.iter().any(of)
    };
    let judged = service.settings.components.iter().filter_map(|component| {
        let (state, description) = match untouched(&component.name) {
            true => (StatusState::Skipped, "skipped: no watched path changed"),
            false if held => (StatusState::Pending, "held: a fork's commit waits for an approval"),
            false => return None,
        };
        let context = context(&service.name, &component.name);
        let status = CommitStatus { state, context, description: description.into(), target_url: None };
        Some((component.name.clone(), status))
    });
    judged.collect()
}

/// The context of a status: `kiops/SERVICE`, and `kiops/SERVICE/COMPONENT` for every component that is not called `main`. It follows
/// from the names alone, so that a status ends under the name that it began with, whatever the settings are by then.
pub(super) fn context(service: &ServiceName, component: &ComponentName) -> String {
    if *component == ComponentName::default() {
        format!("kiops/{service}")
    } else {
        format!("kiops/{service}/{component}")
    }
}
