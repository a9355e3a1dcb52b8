//! From a build to a release, and releases along their lanes: one under way at a time, nothing older over anything newer.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::draft::Draft;
use crate::access::{Permission, Subject};
use crate::build::{Build, BuildState, Requester};
use crate::error::{Error, Result};
use crate::name::{BuildId, CommitId, ContainerName, EnvironmentName, PinnedImage, ReleaseId, ServiceName};
use crate::policy::RefKey;
use crate::release::{DeployTarget, Lane, LaneState, Origin, Release, ReleaseInput, ReleaseState, Revision};
use crate::service::{Component, Container, ContainerImage, Environment, Target, Workload};
use crate::stage::{Progress, Stage};

/// What a release is made of.
pub(super) struct NewRelease {
    pub(super) id: ReleaseId,
    pub(super) environment: EnvironmentName,
    pub(super) component: crate::name::ComponentName,
    pub(super) origin: Origin,
    pub(super) order: u64,
    pub(super) images: BTreeMap<ContainerName, PinnedImage>,
    pub(super) commit: Option<CommitId>,
    /// When the images that change were told of or asked for.
    pub(super) told: Timestamp,
    pub(super) subject: Subject,
    pub(super) requested_by: String,
}

impl Draft<'_> {
    /// A build succeeded: its commit is covered, and it is released by itself where the settings say so.
    pub(super) fn build_succeeded(&mut self, id: &BuildId) -> Result<()> {
        let Some(build) = self.build(id).cloned() else { return Ok(()) };
        for requester in build.requesters.iter().filter(|by| !by.late) {
            let Some(scope) = build.ref_of(requester) else { continue };
            let mut state = self.ref_state(&scope);
            // An older build that ends late must not take back what a newer one covers; what was built by hand, by the clock
            // or for a base image counts where its place is known.
            let by_ref = requester.scope.is_of_ref();
            let known = by_ref || state.has_decided(build.commit());
            if known && !state.is_covered_past(build.component(), build.commit()) {
                state.covered.insert(build.component().clone(), build.commit().clone());
                self.put_ref(scope, state);
            }
        }
        self.release_by_itself(&build);
        Ok(())
    }

    /// What was built before is wanted again: released only where something else is, or is going to be, live.
    pub(super) fn release_again(&mut self, id: &BuildId, by: &Requester) {
        let Some(build) = self.build(id).filter(|_| !by.late).cloned() else { return };
        let Some(lane) = self.own_lane(&build, by) else { return };
        if self.must_be_preview(by, &lane).is_err() {
            return;
        }
        let number = lane.environment.preview().map(|(_, number)| number);
        let goes = self.is_preview(&lane.environment) && self.is_going(number);
        let coming = self.coming(&lane).max_by_key(|release| release.order);
        let is_there = |images: &BTreeMap<ContainerName, PinnedImage>| {
            images.values().any(|image| Some(&image.digest) == build.digest.as_ref())
        };
        // What is there takes the place of what asked for it again: a build that was asked for in between and is still running
        // must not go over it.
        match (coming.cloned(), self.lane(&lane).cloned()) {
            (Some(coming), _) if is_there(&coming.images) => {
                let order = coming.order.max(by.order);
                self.put_release(Release { order, ..coming });
            }
            (None, Some(live)) if !live.unsure && is_there(&live.images) && !goes => {
                let order = live.order.max(by.order);
                self.put_lane(LaneState { order, ..live });
            }
            _ => {
                // It was shown as all done: progress never falls.
                self.put_build(Build { progress: Progress::DONE, ..build });
                self.release_for(id, by);
            }
        }
    }

    /// The releases whose images are on their way to a lane, or wait for an approval.
    pub(super) fn coming(&self, lane: &Lane) -> impl Iterator<Item = &Release> {
        self.releases().filter(move |release| release.lane() == *lane && !release.is_over()).filter(
            |release| !matches!(release.state, ReleaseState::RollingBack(_) | ReleaseState::Withdrawing(_)),
        )
    }

    /// Where a success goes by itself for one of those who asked for it: for a merge request to its preview.
    fn own_lane(&self, build: &Build, by: &Requester) -> Option<Lane> {
        let deploy = &self.service().settings.deploy;
        let environment = match by.scope {
            RefKey::MergeRequest(number) => self.preview_for(build, number)?,
            _ => deploy.environment.clone().filter(|_| deploy.auto)?,
        };
        Some(Lane { environment, component: build.component().clone() })
    }

    fn release_by_itself(&mut self, build: &Build) {
        // The release that is made last is the one that people see with the build.
        for by in build.requesters.iter().filter(|by| !by.late && !by.wants_release()) {
            self.release_for(&build.id, by);
        }
        let Some(by) = build.wants_release() else { return };
        if by.scope == RefKey::BaseImages && self.is_elsewhere(build, by) {
            let text = "Not released: what is live is of another commit, and a moved base image is no reason to go there";
            return self.log(&build.id, Stage::Deploy, text);
        }
        self.release_for(&build.id, by);
    }

    /// Whether its lane is, or is about to be, at another commit: somebody went back, or on by hand.
    fn is_elsewhere(&self, build: &Build, by: &Requester) -> bool {
        let Some(lane) = self.own_lane(build, by) else { return false };
        let coming = self.coming(&lane).max_by_key(|release| release.order);
        let commit = match coming {
            Some(coming) => coming.commit.as_ref(),
            None => self.lane(&lane).and_then(|live| live.commit.as_ref()),
        };
        commit.is_some_and(|commit| commit != build.commit())
    }

    /// What stands in the way of a release is said in the build's log: the build itself is what it is.
    fn release_for(&mut self, build: &BuildId, requester: &Requester) {
        let Some(build) = self.build(build).cloned() else { return };
        let (Some(lane), Some(image)) = (self.own_lane(&build, requester), build.image()) else { return };
        // One release for each request: the same request finds its release again.
        let id =
            ReleaseId::derive([build.id.as_str(), lane.environment.as_str(), &requester.order.to_string()]);
        if self.release(&id).is_some() {
            return;
        }
        let may =
            self.must_be_preview(requester, &lane).and_then(|()| self.may_promote(&build, &lane.environment));
        let made = may.and_then(|()| self.images_for(&build, image, &lane)).and_then(|images| {
            self.add_release(NewRelease {
                id: id.clone(),
                environment: lane.environment,
                component: lane.component,
                origin: Origin::Build(build.id.clone()),
                order: requester.order,
                images,
                commit: Some(build.commit().clone()),
                told: self.now,
                subject: requester.subject.clone(),
                requested_by: requester.label.clone(),
            })
        });
        if let Err(error) = made {
            self.log(&build.id, Stage::Deploy, format!("Not released: {error}"));
            return;
        }
        self.put_build(Build { release: Some(id), ..build });
    }

    /// The image that the build made for its container, and for the others what the workload says, or the same pinned as it is live.
    pub(super) fn images_for(
        &self,
        build: &Build,
        image: PinnedImage,
        lane: &Lane,
    ) -> Result<BTreeMap<ContainerName, PinnedImage>> {
        let component = self.component(build)?;
        // A preview that is new has beside the build what runs where the service lives.
        let own =
            self.service().settings.deploy.environment.clone().filter(|_| self.is_preview(&lane.environment));
        let own = own.map(|environment| Lane { environment, component: lane.component.clone() });
        let live = self.lane(lane).or_else(|| self.lane(own.as_ref()?)).map(|live| &live.images);
        let mut images = BTreeMap::new();
        match workload_of(component) {
            Target::Workload(workload) => {
                for container in &workload.containers {
                    let live = live.and_then(|live| live.get(&container.name));
                    images.insert(container.name.clone(), pin(container, &image, live)?);
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
        let target = self.without_secrets(target_of(self.name(), &environment, component));
        self.enter_preview(&environment, &target)?;
        let state = match environment.protection.deploy(environment.approval_required, &new.subject) {
            Permission::Granted => ReleaseState::Pending,
            Permission::NeedsApproval => ReleaseState::AwaitingApproval,
        };
        if let (ReleaseState::AwaitingApproval, Origin::Build(build)) = (&state, &new.origin) {
            let line = format!("Awaiting approval for environment {}", new.environment);
            self.log(build, Stage::Deploy, line);
        }
        let lane = Lane { environment: new.environment, component: new.component };
        let before = self.lane_images(&lane).unwrap_or_default();
        let told_of = |container: &ContainerName, image: &PinnedImage| match before.images.get(container) {
            Some(same) if same == image => before.told.get(container).copied(),
            _ => Some(new.told),
        };
        let told = new
            .images
            .iter()
            .filter_map(|(container, image)| Some((container.clone(), told_of(container, image)?)));
        let release = Release {
            id: new.id,
            target,
            origin: new.origin,
            order: new.order,
            told: told.collect(),
            images: new.images,
            commit: new.commit,
            state,
            proposal: None,
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
        release_images: (&BTreeMap<ContainerName, PinnedImage>, &BTreeMap<ContainerName, Timestamp>),
    ) {
        let (images, told) = release_images;
        let before = self.lane(lane).cloned();
        // After a rollback by itself the images are again those of what was live before.
        let rolled_back =
            self.release(release).is_some_and(|release| matches!(release.state, ReleaseState::RolledBack(_)));
        let state = match before {
            Some(before) if rolled_back => LaneState { revision, unsure: false, ..before },
            _ => LaneState {
                lane: lane.clone(),
                release: release.clone(),
                revision,
                order,
                commit: self.release(release).and_then(|release| release.commit.clone()),
                images: images.clone(),
                told: told.clone(),
                unsure: false,
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
        let (mut pending, mut awaiting): (Vec<(u64, ReleaseId)>, Vec<_>) = (Vec::new(), Vec::new());
        let mut proposed = None;
        let mut under_way = false;
        // The newest that is on its way or live: nothing older goes over it.
        let mut newest = self.lane(lane).map(|live| (live.order, live.release.clone()));
        for release in self.releases().filter(|release| release.lane() == *lane && !release.is_over()) {
            let place = (release.order, release.id.clone());
            if release.state == ReleaseState::AwaitingApproval {
                awaiting.push(place);
                continue;
            }
            // What is being taken back is newer than nothing, unless somebody has accepted it.
            if matches!(release.state, ReleaseState::Withdrawing(_)) {
                under_way = true;
                continue;
            }
            newest = newest.max(Some(place.clone()));
            match release.state {
                ReleaseState::Pending => pending.push(place),
                // Nothing has changed yet: something newer takes its place.
                ReleaseState::Proposed => proposed = Some(place),
                _ => under_way = true,
            }
        }
        // One that waits for a yes replaces only what waits for one, too: it may yet get a no.
        let newest_asked = newest.clone().max(awaiting.iter().max().cloned());
        let all = pending
            .iter()
            .chain(&proposed)
            .map(|place| (place, &newest))
            .chain(awaiting.iter().map(|place| (place, &newest_asked)));
        for ((order, id), newest) in all {
            if let Some((_, by)) = newest.as_ref().filter(|(other, _)| other > order) {
                self.apply_release(id, ReleaseInput::Supersede { by: by.clone() })?;
            }
        }
        let stays = |(_, id): (u64, ReleaseId)| self.release(&id).is_some_and(|release| !release.is_over());
        if under_way || proposed.is_some_and(stays) {
            return Ok(());
        }
        let next = self
            .releases()
            .filter(|release| release.lane() == *lane && release.state == ReleaseState::Pending)
            .filter(|release| !self.is_going(release.target.preview))
            .max_by_key(|release| release.order)
            .map(|release| release.id.clone());
        if let Some(id) = next {
            let previous = self.lane(lane).map(|live| live.revision);
            self.apply_release(&id, ReleaseInput::Start { previous })?;
            self.prolong_preview(&id);
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
        preview: environment.preview,
    }
}

/// What a release of this component changes.
fn workload_of(component: &Component) -> Target {
    component
        .runs
        .clone()
        .unwrap_or_else(|| Target::Workload(Workload::single(ContainerName::from(&component.name), None)))
}

fn pin(container: &Container, built: &PinnedImage, live: Option<&PinnedImage>) -> Result<PinnedImage> {
    let ContainerImage::Ready(image) = &container.image else { return Ok(built.clone()) };
    let same = |live: &&PinnedImage| live.name == image.name && live.tag == image.tag;
    image.pinned().or_else(|| live.filter(same).cloned()).ok_or_else(|| {
        Error::invalid(
            "make release",
            format!("container `{}`: image `{image}` has no digest", container.name),
        )
        .with_remedy("deploy it by hand once, with its digest")
    })
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
