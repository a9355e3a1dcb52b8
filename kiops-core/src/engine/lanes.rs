//! From a build to a release, and releases along their lanes: one under way at a time, nothing older over anything newer.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::Draft;
use crate::access::{Permission, Subject};
use crate::build::{Build, BuildState, Requester};
use crate::error::{Error, Result};
use crate::name::{BuildId, CommitId, ContainerName, EnvironmentName, PinnedImage, ReleaseId, ServiceName};
use crate::policy::RefKey;
use crate::release::{DeployTarget, Lane, LaneState, Origin, Release, ReleaseInput, ReleaseState, Revision};
use crate::service::{Component, Container, ContainerImage, Environment, Target, Workload};
use crate::stage::Stage;

/// What a release is made of.
pub(super) struct NewRelease {
    pub(super) id: ReleaseId,
    pub(super) environment: EnvironmentName,
    pub(super) component: crate::name::ComponentName,
    pub(super) origin: Origin,
    pub(super) order: u64,
    pub(super) images: BTreeMap<ContainerName, PinnedImage>,
    pub(super) commit: Option<CommitId>,
    pub(super) subject: Subject,
    pub(super) requested_by: String,
}

impl Draft<'_> {
    /// A build succeeded: its commit is covered, and it is released by itself where the settings say so.
    pub(super) fn build_succeeded(&mut self, id: &BuildId) -> Result<()> {
        let Some(build) = self.build(id).cloned() else { return Ok(()) };
        for requester in
            build.requesters.iter().filter(|by| !by.late && !matches!(by.scope, RefKey::Manual(_)))
        {
            let mut state = self.ref_state(&requester.scope);
            let newest = state.newest_build.get(build.component()) == Some(id);
            // An older build that ends late must not take back what a newer one covers.
            let known = state.covered.get(build.component());
            if newest || known.is_none() || !self.covered_by_newer(&build, known) {
                state.covered.insert(build.component().clone(), build.commit().clone());
                self.put_ref(requester.scope.clone(), state);
            }
        }
        self.release_by_itself(&build)
    }

    fn covered_by_newer(&self, build: &Build, covered: Option<&CommitId>) -> bool {
        covered.is_some_and(|commit| {
            self.builds().any(|other| {
                other.commit() == commit
                    && other.component() == build.component()
                    && other.order > build.order
            })
        })
    }

    /// What was built before is wanted again: released only where something else is live and it is not on its way already.
    pub(super) fn release_again(&mut self, id: &BuildId, by: &Requester) -> Result<()> {
        let Some(build) = self.build(id).cloned() else { return Ok(()) };
        let Some(lane) = self.auto_lane(&build) else { return Ok(()) };
        let digest = build.digest.as_ref();
        let is_live = self
            .lane(&lane)
            .is_some_and(|live| live.images.values().any(|image| Some(&image.digest) == digest));
        let on_its_way =
            self.releases().any(|release| !release.is_over() && release.origin == Origin::Build(id.clone()));
        if is_live || on_its_way || !by.wants_release() { Ok(()) } else { self.release_for(&build, by) }
    }

    fn auto_lane(&self, build: &Build) -> Option<Lane> {
        let deploy = &self.service().settings.deploy;
        let environment = deploy.environment.clone().filter(|_| deploy.auto)?;
        Some(Lane { environment, component: build.component().clone() })
    }

    fn release_by_itself(&mut self, build: &Build) -> Result<()> {
        match build.wants_release() {
            Some(by) => self.release_for(build, by),
            None => Ok(()),
        }
    }

    fn release_for(&mut self, build: &Build, requester: &Requester) -> Result<()> {
        let (Some(lane), Some(image)) = (self.auto_lane(build), build.image()) else {
            return Ok(());
        };
        if self.environment(&lane.environment).is_none() {
            let text = format!("Not released: environment `{}` is not registered", lane.environment);
            self.log(&build.id, Stage::Deploy, text);
            return Ok(());
        }
        // One release for each request: the same request finds its release again.
        let id =
            ReleaseId::derive([build.id.as_str(), lane.environment.as_str(), &requester.order.to_string()]);
        if self.release(&id).is_some() {
            return Ok(());
        }
        let images = self.images_for(build, image)?;
        let release = NewRelease {
            id: id.clone(),
            environment: lane.environment,
            component: lane.component,
            origin: Origin::Build(build.id.clone()),
            order: requester.order,
            images,
            commit: Some(build.commit().clone()),
            subject: requester.subject.clone(),
            requested_by: requester.label.clone(),
        };
        let mut build = build.clone();
        build.release = Some(id);
        self.put_build(build);
        self.add_release(release)
    }

    /// The image that the build made for its container, and for the others what is live there or what the workload says.
    pub(super) fn images_for(
        &self,
        build: &Build,
        image: PinnedImage,
    ) -> Result<BTreeMap<ContainerName, PinnedImage>> {
        let component = self.component(build)?;
        let mut images = BTreeMap::new();
        match workload_of(component) {
            Target::Workload(workload) => {
                for container in &workload.containers {
                    images.insert(container.name.clone(), pin(container, &image)?);
                }
            }
            Target::Existing { container, .. } => {
                images.insert(container, image);
            }
            Target::GitFile(file) => {
                images.insert(file.container, image);
            }
        }
        Ok(images)
    }

    fn component(&self, build: &Build) -> Result<&Component> {
        self.service().settings.component(build.component()).ok_or_else(|| {
            Error::conflict(
                "make release",
                format!("component `{}` is not in the settings any more", build.component()),
            )
            .with_remedy("bring the component back, or build another")
        })
    }

    /// Adds a release: waiting for its lane, or for an approval where the environment asks for one.
    pub(super) fn add_release(&mut self, new: NewRelease) -> Result<()> {
        let environment = self.environment(&new.environment).ok_or_else(|| {
            Error::not_found("make release", format!("environment `{}` is not registered", new.environment))
        })?;
        let component = self.service().settings.component(&new.component).ok_or_else(|| {
            Error::not_found("make release", format!("there is no component `{}`", new.component))
        })?;
        let state = match environment.protection.deploy(environment.approval_required, &new.subject) {
            Permission::Granted => ReleaseState::Pending,
            Permission::NeedsApproval => ReleaseState::AwaitingApproval,
        };
        if let (ReleaseState::AwaitingApproval, Origin::Build(build)) = (&state, &new.origin) {
            let line = format!("Awaiting approval for environment {}", new.environment);
            self.log(build, Stage::Deploy, line);
        }
        let release = Release {
            id: new.id,
            target: target_of(self.name(), environment, component),
            origin: new.origin,
            order: new.order,
            images: new.images,
            commit: new.commit,
            state,
            revision: None,
            previous: None,
            rollback_on_failure: environment.rollback_on_failure,
            subject: new.subject,
            requested_by: new.requested_by,
            approval: None,
            timers: self.service().settings.timers.clone(),
            created_at: self.now,
            deploy_started_at: None,
            finished_at: None,
            armed: None,
        };
        self.put_release(release);
        Ok(())
    }

    pub(super) fn note_live(
        &mut self,
        lane: &Lane,
        release: &ReleaseId,
        revision: Revision,
        order: u64,
        images: &BTreeMap<ContainerName, PinnedImage>,
    ) {
        let before = self.lane(lane).cloned();
        // After a rollback by itself the images are again those of what was live before.
        let rolled_back =
            self.release(release).is_some_and(|release| matches!(release.state, ReleaseState::RolledBack(_)));
        let state = match before {
            Some(before) if rolled_back => LaneState { revision, ..before },
            _ => LaneState {
                lane: lane.clone(),
                release: release.clone(),
                revision,
                order,
                images: images.clone(),
            },
        };
        self.put_lane(state);
    }

    /// Along every lane: what is older than something newer is superseded, and the next one starts when nothing is under way.
    pub(super) fn advance_lanes(&mut self) -> Result<()> {
        let lanes: BTreeSet<Lane> =
            self.releases().filter(|release| !release.is_over()).map(Release::lane).collect();
        for lane in lanes {
            self.advance_lane(&lane)?;
        }
        Ok(())
    }

    fn advance_lane(&mut self, lane: &Lane) -> Result<()> {
        let mut waiting: Vec<(u64, ReleaseId)> = Vec::new();
        let mut under_way = None;
        // The newest that is on its way or live: nothing older goes over it.
        let mut newest = self.lane(lane).map(|live| (live.order, live.release.clone()));
        for release in self.releases().filter(|release| release.lane() == *lane && !release.is_over()) {
            let place = (release.order, release.id.clone());
            if release.state.is_under_way() {
                under_way = Some(place.clone());
            }
            if release.state != ReleaseState::AwaitingApproval {
                newest = newest.max(Some(place.clone()));
            }
            if !release.state.is_under_way() {
                waiting.push(place);
            }
        }
        waiting.sort();
        // Of two that wait for approval the older gives way too.
        let newest_waiting = waiting.last().cloned();
        for (order, id) in &waiting {
            let newer =
                [&newest, &newest_waiting].into_iter().flatten().filter(|(other, _)| other > order).max();
            if let Some((_, by)) = newer.cloned() {
                self.apply_release(id, ReleaseInput::Supersede { by })?;
            }
        }
        if under_way.is_some() {
            return Ok(());
        }
        let next = self
            .releases()
            .filter(|release| release.lane() == *lane && release.state == ReleaseState::Pending)
            .max_by_key(|release| release.order)
            .map(|release| release.id.clone());
        if let Some(id) = next {
            let previous = self.lane(lane).map(|live| live.revision);
            self.apply_release(&id, ReleaseInput::Start { previous })?;
        }
        Ok(())
    }
}

/// Where a release of this component to this environment goes.
pub(super) fn target_of(
    service: &ServiceName,
    environment: &Environment,
    component: &Component,
) -> DeployTarget {
    DeployTarget {
        service: service.clone(),
        component: component.name.clone(),
        environment: environment.name.clone(),
        namespace: environment.namespace.namespace(service),
        target: workload_of(component),
    }
}

/// What a release of this component changes.
fn workload_of(component: &Component) -> Target {
    component
        .runs
        .clone()
        .unwrap_or_else(|| Target::Workload(Workload::single(ContainerName::from(&component.name), None)))
}

fn pin(container: &Container, built: &PinnedImage) -> Result<PinnedImage> {
    match &container.image {
        ContainerImage::Built => Ok(built.clone()),
        ContainerImage::Ready(image) => image.pinned().ok_or_else(|| {
            Error::invalid(
                "make release",
                format!("container `{}`: image `{image}` has no digest", container.name),
            )
            .with_remedy("deploy it by hand once, with its digest")
        }),
    }
}

/// Whether a build can be released by hand, or why not.
pub(super) fn releasable(build: &Build) -> Result<PinnedImage> {
    let refuse =
        |why: String| Err(Error::conflict("make release", why).with_remedy("choose a build that succeeded"));
    match (&build.state, build.image()) {
        (BuildState::Succeeded, Some(image)) => Ok(image),
        (BuildState::Succeeded, None) => {
            refuse(format!("build {} made no image: a fork's build is thrown away", build.id))
        }
        (state, _) => refuse(format!("build {} is {}", build.id, state.name())),
    }
}

/// Whether a newer build of the same ref and component has succeeded: then its tags are where they belong.
#[cfg(feature = "runtime")]
pub(super) fn newer_has_tags(view: &crate::store::View, build: &Build) -> bool {
    build.requesters.iter().filter_map(|by| view.refs.get(&by.scope)).any(|state| {
        let newest = state.newest_build.get(build.component()).filter(|newest| **newest != build.id);
        let covered = state.covered.get(build.component()).filter(|covered| *covered != build.commit());
        newest.is_some() && covered.is_some_and(|covered| state.newest.as_ref() == Some(covered))
    })
}
