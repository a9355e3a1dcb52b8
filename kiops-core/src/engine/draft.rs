//! A step's working copy: what changed so far, and what it asks for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::reply::missing;
use crate::build::{Ask, Build, BuildInput, BuildState, Step};
use crate::effect::{Effect, Work};
use crate::error::{Error, Result};
use crate::log::NewLine;
use crate::name::{BuildId, ContainerName, DeliveryId, EnvironmentName, ReleaseId, ServiceName, WorkId};
use crate::notify::DomainEvent;
use crate::policy::{RefKey, RefState};
use crate::queue::Slot;
use crate::release::{
    BuildView, Lane, LaneState, Origin, Release, ReleaseAsk, ReleaseInput, ReleaseState, VisibleState,
};
use crate::service::{Environment, Report, Service};
use crate::stage::Stage;
use crate::store::{Changes, DeliveryRecord, View};

pub(super) struct Draft<'a> {
    view: &'a View,
    service: &'a Service,
    pub(super) now: Timestamp,
    order: u64,
    builds: BTreeMap<BuildId, Build>,
    releases: BTreeMap<ReleaseId, Release>,
    refs: BTreeMap<RefKey, RefState>,
    lanes: BTreeMap<Lane, LaneState>,
    gone_lanes: BTreeSet<Lane>,
    delivery: Option<DeliveryRecord>,
    free_slots: BTreeSet<BuildId>,
    take_slots: Vec<Slot>,
    cancel_work: Vec<WorkId>,
    work: Vec<Work>,
    logs: Vec<(BuildId, Vec<NewLine>)>,
    events: Vec<DomainEvent>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(view: &'a View, now: Timestamp) -> Result<Self> {
        let service =
            view.service.as_ref().ok_or_else(|| Error::not_found("step", "the service is not registered"))?;
        Ok(Self {
            view,
            service,
            now,
            order: view.ledger.order,
            builds: BTreeMap::new(),
            releases: BTreeMap::new(),
            refs: BTreeMap::new(),
            lanes: BTreeMap::new(),
            gone_lanes: BTreeSet::new(),
            delivery: None,
            free_slots: BTreeSet::new(),
            take_slots: Vec::new(),
            cancel_work: Vec::new(),
            work: Vec::new(),
            logs: Vec::new(),
            events: Vec::new(),
        })
    }

    // Reading: what changed shadows what was stored.

    pub(super) const fn service(&self) -> &'a Service {
        self.service
    }

    pub(super) const fn name(&self) -> &'a ServiceName {
        &self.service.name
    }

    /// One that is registered, or a preview that is made after one.
    pub(super) fn environment(&self, name: &EnvironmentName) -> Option<Environment> {
        Environment::find(&self.view.environments, self.name(), name)
    }

    pub(super) fn build(&self, id: &BuildId) -> Option<&Build> {
        self.builds.get(id).or_else(|| self.view.builds.get(id))
    }

    pub(super) fn builds(&self) -> impl Iterator<Item = &Build> {
        let stored = self.view.builds.values().filter(|build| !self.builds.contains_key(&build.id));
        self.builds.values().chain(stored)
    }

    pub(super) fn release(&self, id: &ReleaseId) -> Option<&Release> {
        self.releases.get(id).or_else(|| self.view.releases.get(id))
    }

    pub(super) fn releases(&self) -> impl Iterator<Item = &Release> {
        let stored = self.view.releases.values().filter(|release| !self.releases.contains_key(&release.id));
        self.releases.values().chain(stored)
    }

    pub(super) fn lane(&self, lane: &Lane) -> Option<&LaneState> {
        if self.gone_lanes.contains(lane) {
            return None;
        }
        self.lanes.get(lane).or_else(|| self.view.lanes.iter().find(|state| state.lane == *lane))
    }

    pub(super) fn ref_state(&self, key: &RefKey) -> RefState {
        self.refs.get(key).or_else(|| self.view.refs.get(key)).cloned().unwrap_or_default()
    }

    pub(super) fn delivery(&self) -> Option<&DeliveryRecord> {
        self.delivery.as_ref().or(self.view.delivery.as_ref())
    }

    // Writing.

    pub(super) const fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    pub(super) fn put_build(&mut self, build: Build) {
        self.builds.insert(build.id.clone(), build);
    }

    pub(super) fn put_release(&mut self, release: Release) {
        self.releases.insert(release.id.clone(), release);
    }

    pub(super) fn put_ref(&mut self, key: RefKey, state: RefState) {
        self.refs.insert(key, state);
    }

    pub(super) fn put_lane(&mut self, state: LaneState) {
        self.gone_lanes.remove(&state.lane);
        self.lanes.insert(state.lane.clone(), state);
    }

    /// Nothing is live there any more.
    pub(super) fn drop_lane(&mut self, lane: Lane) {
        self.lanes.remove(&lane);
        self.gone_lanes.insert(lane);
    }

    pub(super) fn put_delivery(&mut self, delivery: DeliveryRecord) {
        self.delivery = Some(delivery);
    }

    pub(super) fn take_slots(&mut self, slots: Vec<Slot>) {
        self.take_slots.extend(slots);
    }

    pub(super) fn tell(&mut self, event: DomainEvent) {
        self.events.push(event);
    }

    pub(super) fn ask_for(&mut self, effect: Effect) {
        self.add_work(Work::new(self.name(), self.now, effect, ""));
    }

    pub(super) fn add_work(&mut self, work: Work) {
        self.work.push(work);
    }

    pub(super) fn log(&mut self, build: &BuildId, stage: Stage, text: impl Into<String>) {
        let line = |n| NewLine { n, at: self.now, stage, text: text.into() };
        match self.logs.iter_mut().find(|(id, _)| id == build) {
            Some((_, lines)) => lines.push(line(lines.len() as u64 + 1)),
            None => self.logs.push((build.clone(), vec![line(1)])),
        }
    }

    /// Applies an input to a build and takes over what it asks for.
    pub(super) fn apply_build(&mut self, id: &BuildId, input: BuildInput) -> Result<()> {
        let mut build = self.build(id).cloned().ok_or_else(|| missing("build", id.as_str()))?;
        let executor = build.executor.clone().unwrap_or_default();
        let (was_over, waited) = (build.is_over(), build.state == BuildState::Queued);
        let promoting = build.state == BuildState::Running(Step::Promote);
        let woken = input == BuildInput::Tick;
        let stood = build.has_live_checks().then(|| build.clone());
        let asks = build
            .apply(input, self.now)
            .map_err(|illegal| Error::conflict("change build", illegal.to_string()).with_source(illegal))?;
        if woken {
            wake_came(&mut build.armed);
        }
        let executor = build.executor.clone().unwrap_or(executor);
        let ended = !was_over && build.is_over();
        let succeeded = ended && build.state == BuildState::Succeeded;
        let waits_again = !waited && build.state == BuildState::Queued;
        if let Some(stood) = stood {
            self.tell_live_checks(&stood, &build);
        }
        self.put_build(build);
        if ended && promoting {
            self.drop_work(Effect::Promote { build: id.clone() });
        }
        for ask in asks {
            self.take_over(id, ask, &executor);
        }
        if succeeded {
            self.build_succeeded(id)?;
        }
        if waits_again {
            self.give_way(id)?;
        }
        Ok(())
    }

    /// Work of this id is not wanted any more.
    fn drop_work(&mut self, effect: Effect) {
        self.cancel_work.push(Work::new(self.name(), self.now, effect, "").id);
    }

    fn take_over(&mut self, build: &BuildId, ask: Ask, executor: &str) {
        let executor = executor.to_owned();
        let build = build.clone();
        match ask {
            Ask::Run(run) => self.ask_for(Effect::Run { build, run, executor }),
            Ask::CancelRun(run) => {
                self.drop_work(Effect::Run { build, run: run.clone(), executor: executor.clone() });
                self.ask_for(Effect::CancelRun { run, executor });
            }
            Ask::ForgetRun(run) => self.ask_for(Effect::ForgetRun { run, executor }),
            Ask::Check(run, check) => self.ask_for(Effect::Check { build, check, run }),
            Ask::CancelCheck(run) => self.ask_for(Effect::CancelCheck { run }),
            Ask::Promote => self.ask_for(Effect::Promote { build }),
            Ask::Log(stage, text) => self.log(&build, stage, text),
            Ask::FreeSlots => {
                self.free_slots.insert(build);
            }
        }
    }

    /// Applies an input to a release and takes over what it asks for.
    pub(super) fn apply_release(&mut self, id: &ReleaseId, input: ReleaseInput) -> Result<()> {
        let mut release = self.release(id).cloned().ok_or_else(|| missing("release", id.as_str()))?;
        let woken = input == ReleaseInput::Tick;
        let withdrawn = matches!(input, ReleaseInput::Withdrawn(Ok(_)));
        let work = match &release.state {
            ReleaseState::Proposed => Some(Effect::Propose { release: id.clone() }),
            ReleaseState::Withdrawing(_) => Some(Effect::Withdraw { release: id.clone() }),
            ReleaseState::Deploying => Some(Effect::Deploy { release: id.clone() }),
            ReleaseState::Verifying => Some(Effect::Verify { release: id.clone() }),
            ReleaseState::RollingBack(_) => {
                release.previous.map(|to| Effect::GoBack { release: id.clone(), to })
            }
            _ => None,
        };
        let before = release.state.clone();
        let asks = release
            .apply(input, self.now)
            .map_err(|illegal| Error::conflict("change release", illegal.to_string()).with_source(illegal))?;
        if woken {
            wake_came(&mut release.armed);
        }
        // Only the build that released itself shows its release in its log.
        let build = release.origin.build().filter(|_| release.origin.is_automatic()).cloned();
        let lane = release.lane();
        let (order, images, told) = (release.order, release.images.clone(), release.told.clone());
        let failed = matches!(release.state, ReleaseState::Failed(_)) && release.state != before;
        let applied = release.revision.is_some() || before == ReleaseState::Deploying;
        // Nobody knows whether somebody says yes to what could not be taken back.
        let left_open = matches!(before, ReleaseState::Withdrawing(_)) && release.is_over() && !withdrawn;
        let became = |state: ReleaseState| release.state == state && before != state;
        let starts = release.state.is_under_way() && !before.is_under_way();
        let goes_live = became(ReleaseState::Live);
        let of_build = release.origin.build().cloned();
        if let Some(work) = work.filter(|_| release.state != before) {
            self.drop_work(work);
        }
        self.put_release(release);
        for ask in asks {
            match ask {
                ReleaseAsk::Propose => self.ask_for(Effect::Propose { release: id.clone() }),
                ReleaseAsk::Withdraw => self.ask_for(Effect::Withdraw { release: id.clone() }),
                ReleaseAsk::Deploy => self.ask_for(Effect::Deploy { release: id.clone() }),
                ReleaseAsk::Verify => self.ask_for(Effect::Verify { release: id.clone() }),
                ReleaseAsk::GoBack(to) => self.ask_for(Effect::GoBack { release: id.clone(), to }),
                ReleaseAsk::Log(text) => {
                    if let Some(build) = &build {
                        self.log(build, Stage::Deploy, text);
                    }
                }
                ReleaseAsk::NoteLive(revision) => {
                    self.note_live(&lane, id, revision, order, (&images, &told))
                }
            }
        }
        // What was applied and failed may be what runs now, also where nobody heard that it was.
        if let Some(live) = self.lane(&lane).filter(|_| (failed && applied) || left_open).cloned() {
            self.put_lane(LaneState { unsure: true, ..live });
        }
        if starts {
            self.end_live_checks(&lane, id)?;
        }
        if goes_live && let Some(build) = of_build {
            self.begin_live_checks(&build, id, lane.environment)?;
        }
        Ok(())
    }

    /// Everything that changed, as one.
    pub(super) fn finish(mut self) -> Changes {
        self.schedule_wakes();
        let over = self.tell_views();
        let version = self.view.ledger.version;
        let service = self.service.name.clone();
        for build in &over {
            if !self.logs.iter().any(|(id, _)| id == build) {
                self.logs.push((build.clone(), Vec::new()));
            }
        }
        for (build, lines) in std::mem::take(&mut self.logs) {
            let close = over.contains(&build);
            let effect = Effect::Log { build, lines, close };
            // Log lines come first, so that a run's own lines never overtake them; the version tells repeats apart.
            self.work.insert(0, Work::new(&service, self.now, effect, &version.to_string()));
        }
        Changes {
            service,
            expect: version,
            order: self.order,
            builds: self.builds.into_values().collect(),
            releases: self.releases.into_values().collect(),
            refs: self.refs.into_iter().collect(),
            lanes: self.lanes.into_values().collect(),
            gone_lanes: self.gone_lanes.into_iter().collect(),
            delivery: self.delivery,
            free_slots: self.free_slots.into_iter().collect(),
            take_slots: self.take_slots,
            cancel_work: self.cancel_work,
            work: self.work,
            events: self.events,
        }
    }

    /// Stores when the changed ones must look at the clock next. A wake that comes too early looks again, so only an
    /// earlier one than stored is stored anew.
    fn schedule_wakes(&mut self) {
        let (service, now) = (self.service.name.clone(), self.now);
        let builds = self.builds.values_mut().map(|build| {
            let at = build.wake_at();
            (Effect::WakeBuild { build: build.id.clone() }, at, &mut build.armed)
        });
        let releases = self.releases.values_mut().map(|release| {
            let at = release.wake_at();
            (Effect::WakeRelease { release: release.id.clone() }, at, &mut release.armed)
        });
        for (effect, at, armed) in builds.chain(releases) {
            match at {
                Some(at) if armed.is_none_or(|armed| at < armed || armed <= now) => {
                    *armed = Some(at);
                    self.work.push(Work::new(&service, at, effect, ""));
                }
                None if armed.is_some() => {
                    *armed = None;
                    self.cancel_work.push(Work::new(&service, now, effect, "").id);
                }
                _ => {}
            }
        }
    }

    /// Lets the Git host be told why a delivery's commits were not built.
    pub(super) fn report_decision(&mut self, delivery: &DeliveryId) {
        if self.service.settings.auto_ci.report.status {
            let (delivery, version) = (delivery.clone(), self.view.ledger.version);
            self.ask_for(Effect::ReportDecision { delivery, version });
        }
    }

    /// Lets the Git host be told of those builds of which it shows something else now. Each change is work of its own: one that is being
    /// performed may have looked before this one was stored.
    fn reports(&self, ids: &BTreeSet<&BuildId>) -> Vec<Work> {
        let Report { status, comment } = self.service.settings.auto_ci.report;
        if !(status || comment) || self.service.source.git().is_none() {
            return Vec::new();
        }
        let version = self.view.ledger.version;
        let changed = ids.iter().filter(|id| {
            let before =
                shown(id, self.view.builds.get(**id), &self.view.releases.values().collect::<Vec<_>>());
            before != shown(id, self.build(id), &self.releases().collect::<Vec<_>>())
        });
        let work = |id: &&BuildId| {
            let effect = Effect::Report { build: (*id).clone(), version };
            Work::new(&self.service.name, self.now, effect, &version.to_string())
        };
        changed.map(work).collect()
    }

    /// Tells outside what people see of every build and release whose view may have changed. Returns the builds that
    /// nothing more will happen to.
    fn tell_views(&mut self) -> BTreeSet<BuildId> {
        let mut ids: BTreeSet<&BuildId> = self.builds.keys().collect();
        for release in self.releases.values().filter(|release| release.origin.is_automatic()) {
            ids.extend(release.origin.build());
        }
        let (mut events, mut over) = (Vec::new(), BTreeSet::new());
        let reports = self.reports(&ids);
        for id in ids {
            let Some(build) = self.build(id) else {
                // It was over before, and only its release still goes on.
                let own = Origin::Build(id.clone());
                let release =
                    self.releases().filter(|release| release.origin == own).max_by_key(|one| one.order);
                if let Some(release) = release {
                    let view = BuildView::through(release);
                    if view.state.is_over() {
                        over.insert(id.clone());
                    }
                    events.extend(seen_through(id, release, view));
                }
                continue;
            };
            let release = build.release.as_ref().map(|id| self.release(id));
            // Its release is over and was not loaded: nothing that people see has changed.
            let Some(release) = release.map_or(Some(None), |found| found.map(Some)) else {
                // But its checks of what is live may have ended.
                let stood = self.view.builds.get(id);
                if build.is_at_rest() && stood.is_some_and(|stood| !stood.is_at_rest()) {
                    over.insert(id.clone());
                }
                continue;
            };
            let view = BuildView::of(build, release);
            if view.state.is_over() && build.is_at_rest() {
                over.insert(id.clone());
            }
            // A check of what is live gives signs of life, and nobody is to hear each time that the build succeeded.
            if self.was_over_and_looked_so(id, &view) {
                continue;
            }
            events.push(DomainEvent::Build {
                build: id.clone(),
                service: build.service().clone(),
                component: build.component().clone(),
                commit: build.commit().clone(),
                view,
                image: build.image(),
            });
        }
        self.events.extend(events);
        self.work.extend(reports);
        for release in self.releases.values() {
            self.events.push(DomainEvent::Release {
                release: release.id.clone(),
                service: release.service().clone(),
                component: release.target.component.clone(),
                environment: release.target.environment.clone(),
                state: release.state.name().to_owned(),
                images: release.images.iter().map(|(name, image)| format!("{name}={image}")).collect(),
                proposal: release.proposal.clone(),
            });
        }
        over
    }
}

impl Draft<'_> {
    /// Whether a build was over before, and people saw of it what they see now.
    fn was_over_and_looked_so(&self, id: &BuildId, now: &BuildView) -> bool {
        let Some(before) = self.view.builds.get(id).filter(|before| before.is_over()) else { return false };
        let release = before.release.as_ref().map(|id| self.view.releases.get(id));
        match release {
            None => BuildView::of(before, None) == *now,
            Some(release) => release.is_some_and(|release| BuildView::of(before, Some(release)) == *now),
        }
    }
}

/// What a Git host shows of a build.
#[derive(PartialEq)]
struct Shown {
    /// Its state, as far as build and release are loaded.
    state: Option<(VisibleState, Option<Stage>)>,
    /// The merge requests that it stands at.
    requests: Vec<u64>,
    /// What its checks of what is live came to.
    live_checks: Option<String>,
}

fn shown(id: &BuildId, build: Option<&Build>, releases: &[&Release]) -> Shown {
    let view = match build {
        Some(build) => match &build.release {
            None => Some(BuildView::of(build, None)),
            Some(own) => {
                let release = releases.iter().find(|release| release.id == *own);
                release.map(|release| BuildView::of(build, Some(release)))
            }
        },
        None => {
            let own = Origin::Build(id.clone());
            let of_build = releases.iter().filter(|release| release.origin == own);
            of_build.max_by_key(|release| release.order).map(|release| BuildView::through(release))
        }
    };
    Shown {
        state: view.map(|view| (view.state, view.stage)),
        requests: build.map(Build::merge_requests).unwrap_or_default(),
        live_checks: build.and_then(Build::live_checks_said),
    }
}

/// What is told of a build that was not loaded, by its release.
fn seen_through(build: &BuildId, release: &Release, view: BuildView) -> Option<DomainEvent> {
    let named = ContainerName::from(&release.target.component);
    let image = release.images.get(&named).or_else(|| release.images.values().next()).cloned();
    Some(DomainEvent::Build {
        build: build.clone(),
        service: release.service().clone(),
        component: release.target.component.clone(),
        commit: release.commit.clone()?,
        view,
        image,
    })
}

/// The wake that it was armed for has come, by whosever clock: from now on any other counts as later.
const fn wake_came(armed: &mut Option<Timestamp>) {
    if let Some(armed) = armed {
        *armed = Timestamp::MIN;
    }
}
