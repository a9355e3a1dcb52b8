//! Checks of what is live, along a lane: what goes live is looked at, until something else is applied there.

use super::draft::Draft;
use crate::build::{Build, BuildInput, CheckState};
use crate::error::{Error, Result};
use crate::name::{BuildId, EnvironmentName, ReleaseId};
use crate::notify::DomainEvent;
use crate::release::{Lane, Release, ReleaseState};

impl Draft<'_> {
    /// What looks at what is live in a lane stops: something else is applied there.
    pub(super) fn end_live_checks(&mut self, lane: &Lane, by: &ReleaseId) -> Result<()> {
        let looks_there = |build: &&Build| {
            let live = build.live_checks.as_ref().filter(|_| build.live_check().is_some());
            *build.component() == lane.component
                && live.is_some_and(|live| live.environment == lane.environment)
        };
        let builds: Vec<BuildId> = self.builds().filter(looks_there).map(|build| build.id.clone()).collect();
        for build in builds {
            let why = format!("release {by} takes its place");
            self.apply_build(&build, BuildInput::NotLive { why })?;
        }
        Ok(())
    }

    pub(super) fn begin_live_checks(
        &mut self,
        build: &BuildId,
        release: &ReleaseId,
        environment: EnvironmentName,
    ) -> Result<()> {
        let Some(of_build) = self.build(build).filter(|build| build.has_live_checks()) else { return Ok(()) };
        // What is said of where it counts is not taken back for a preview.
        let elsewhere = of_build.live_checks.as_ref().is_some_and(|live| !self.is_preview(&live.environment));
        if elsewhere && self.is_preview(&environment) {
            return Ok(());
        }
        self.apply_build(build, BuildInput::WentLive { release: release.clone(), environment })
    }

    /// Tells outside of the checks of what is live that began or ended.
    pub(super) fn tell_live_checks(&mut self, before: &Build, after: &Build) {
        let Some(live) = &after.live_checks else { return };
        let changed =
            before.checks.iter().zip(&after.checks).filter(|(old, new)| {
                new.is_of_live() && (old.state != new.state || old.attempt != new.attempt)
            });
        for (_, check) in changed.filter(|(_, new)| new.state != CheckState::Waiting) {
            self.tell(DomainEvent::Check {
                build: after.id.clone(),
                service: after.service().clone(),
                component: after.component().clone(),
                commit: after.commit().clone(),
                check: check.spec.name.clone(),
                owner: check.spec.owner.clone(),
                release: live.release.clone(),
                environment: live.environment.clone(),
                state: check.state.name().to_owned(),
                failure: match &check.state {
                    CheckState::Failed(failure) => Some(failure.clone()),
                    _ => None,
                },
                findings: check.findings.clone(),
            });
        }
    }

    /// Whether a build may go to an environment, as far as its checks of what is live say: what is on its way to another one is looked
    /// at there first.
    pub(super) fn may_promote(&self, build: &Build, environment: &EnvironmentName) -> Result<()> {
        // Nothing that is judged elsewhere keeps a build from being looked at in its preview.
        if self.is_preview(environment) {
            return Ok(());
        }
        // What a preview was looked at for says nothing of where it goes after the merge: there it is looked at anew.
        let looked = build.live_checks.as_ref().filter(|live| !self.is_preview(&live.environment));
        if looked.is_some() {
            build.may_go_to(environment)?;
        }
        if looked.is_some_and(|live| live.environment == *environment) || !build.gates_promotion() {
            return Ok(());
        }
        let comes = |release: &&Release| {
            release.origin.build() == Some(&build.id)
                && release.target.environment != *environment
                && release.target.preview.is_none()
                && matches!(
                    release.state,
                    ReleaseState::Pending | ReleaseState::Deploying | ReleaseState::Verifying
                )
        };
        let Some(first) = self.releases().find(comes) else { return Ok(()) };
        let message = format!(
            "build {} may not go to environment `{environment}`: it is on its way to `{}`, where its checks look at it first",
            build.id, first.target.environment
        );
        Err(Error::conflict("make release", message).with_remedy("wait until they have passed"))
    }
}
