//! Previews: where open merge requests are released to, how many there may be, and how they go.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::draft::Draft;
use super::reply::missing;
use crate::access::Trust;
use crate::build::{Build, BuildInput, Requester};
use crate::effect::{Effect, Work};
use crate::error::{Error, Result};
use crate::event::{EventKind, MergeRequestChange};
use crate::name::{BuildId, EnvironmentName, ReleaseId};
use crate::policy::{Preview, PreviewState, RefKey};
use crate::release::{DeployTarget, Lane, Release, ReleaseInput, ReleaseState};
use crate::service::{EnvValue, Environment, Previews, Target};
use crate::store::{DeliveryRecord, EventRecord};

/// What happens to a preview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreviewInput {
    /// Its time may be over.
    Wake,
    /// Nothing is left of it.
    Removed,
    /// It could not be removed yet; the words say why.
    Stuck(String),
}

impl Draft<'_> {
    /// The environment that a build goes to for a merge request, where it goes anywhere.
    pub(super) fn preview_for(&self, build: &Build, number: u64) -> Option<EnvironmentName> {
        let previews = self.service().settings.deploy.previews.as_ref()?;
        let open = || self.ref_state(&RefKey::MergeRequest(number)).request.is_none_or(|told| told.open);
        let goes = build.identity.trust == Trust::Trusted && open();
        goes.then(|| previews.environment.preview_of(number)).flatten()
    }

    /// Makes room for a release in the preview that it goes to, or says why it cannot go there.
    pub(super) fn enter_preview(&mut self, environment: &Environment, target: &DeployTarget) -> Result<()> {
        let Some(number) = environment.preview else { return Ok(()) };
        let wanted = self.service().settings.deploy.previews.as_ref();
        let previews = wanted
            .filter(|previews| previews.environment.preview_of(number).as_ref() == Some(&environment.name))
            .ok_or_else(|| {
                let text = format!("environment `{}` is not registered", environment.name);
                Error::not_found("make release", text).with_remedy(
                    "register it, or name it in the service's setting deploy.previews to have previews",
                )
            })?;
        self.must_be_open(number)?;
        if !matches!(target.target, Target::Workload(_)) {
            let text = format!(
                "component `{}` is no workload, and nothing else can be there twice",
                target.component
            );
            return Err(Error::unsupported("make release", text)
                .with_remedy("make it a workload, or deploy it where it is without a preview"));
        }
        let (mut all, until) = (self.previews(), self.kept_until());
        let fresh = || Preview {
            environment: environment.name.clone(),
            runtime: environment.runtime.clone(),
            namespace: target.namespace.clone(),
            targets: BTreeMap::new(),
            state: PreviewState::Open,
            until,
            problem: None,
        };
        let mut preview = match all.get(&number) {
            Some(there) if there.environment == environment.name => there.clone(),
            Some(other) => {
                let text = format!("merge request {number} has the preview `{}`", other.environment);
                return Err(Error::conflict("make release", text)
                    .with_remedy("remove that one first: DELETE it, or wait until its time is over"));
            }
            None if all.len() >= previews.at_once as usize => return Err(too_many(previews, &all)),
            None => fresh(),
        };
        if matches!(preview.state, PreviewState::Ending(_)) {
            preview.state = PreviewState::Open;
        }
        preview.until = until;
        preview.targets.insert(target.component.clone(), target.target.clone());
        self.wake_preview(&preview, number);
        all.insert(number, preview);
        self.put_previews(all);
        Ok(())
    }

    /// What runs in a preview: it has no secret variable, unless the settings say so.
    pub(super) fn without_secrets(&self, mut target: DeployTarget) -> DeployTarget {
        let given = self.service().settings.deploy.previews.as_ref().is_some_and(|previews| previews.secrets);
        if let (Some(_), false, Target::Workload(workload)) = (target.preview, given, &mut target.target) {
            for container in &mut workload.containers {
                container.env.retain(|_, value| matches!(value, EnvValue::Plain(_)));
            }
        }
        target
    }

    fn must_be_open(&self, number: u64) -> Result<()> {
        let state = self.ref_state(&RefKey::MergeRequest(number));
        let refuse = |text: String, remedy: &'static str| {
            Err(Error::conflict("make release", text).with_remedy(remedy))
        };
        match state.request {
            None if state.newest.is_none() => {
                refuse(format!("nothing is known of merge request {number}"), "name one that has a build")
            }
            Some(told) if !told.open => refuse(
                format!("merge request {number} is closed or merged"),
                "open it again, or release to another environment",
            ),
            _ => Ok(()),
        }
    }

    /// What an event says of whether its merge request is open. What is told again, or late, says nothing new.
    pub(super) fn note_request(&mut self, record: &DeliveryRecord, event: &EventRecord) -> Result<()> {
        use MergeRequestChange as M;
        let EventKind::MergeRequest(request) = &event.event.kind else { return Ok(()) };
        let Some(number) = request.number else { return Ok(()) };
        let late = event.decision.as_ref().is_some_and(crate::policy::Decision::is_late);
        let open = match request.change {
            _ if record.repeat => return Ok(()),
            M::Closed | M::Merged => false,
            M::Opened | M::Code | M::ReadyForReview | M::Reopened | M::Retargeted if !late => true,
            _ => return Ok(()),
        };
        let scope = RefKey::MergeRequest(number);
        let mut state = self.ref_state(&scope);
        if !state.note_request(open, record.received_at) {
            return Ok(());
        }
        self.put_ref(scope, state);
        let merged = request.change == M::Merged;
        let why = if merged { "the merge request was merged" } else { "the merge request was closed" };
        if open {
            self.keep_preview(number)
        } else {
            self.end_preview(number, why)?
        }
        Ok(())
    }

    /// A preview that was to go and is still whole stays: its request is open again.
    fn keep_preview(&mut self, number: u64) {
        let mut all = self.previews();
        if let Some(preview) =
            all.get_mut(&number).filter(|preview| matches!(preview.state, PreviewState::Ending(_)))
        {
            preview.state = PreviewState::Open;
            let preview = preview.clone();
            self.wake_preview(&preview, number);
            self.put_previews(all);
        }
    }

    /// A preview is to go: what waits for it is taken back, what is being rolled out comes to its end first.
    fn end_preview(&mut self, number: u64, why: &str) -> Result<()> {
        let mut all = self.previews();
        let Some(preview) = all.get_mut(&number) else { return Ok(()) };
        let waiting = self.waiting_in(number);
        if preview.state == PreviewState::Open {
            preview.state = PreviewState::Ending(why.to_owned());
            self.put_previews(all);
        }
        for id in waiting {
            self.apply_release(&id, ReleaseInput::Cancel { by: format!("kiops: {why}") })?;
        }
        Ok(())
    }

    /// Takes a preview away, because somebody wants that. One that is being removed is tried again at once.
    pub(super) fn remove_preview(&mut self, number: u64, by: &str) -> Result<()> {
        let all = self.previews();
        let preview =
            all.get(&number).ok_or_else(|| missing("preview of merge request", &number.to_string()))?;
        match preview.state {
            // Whoever removes it now is not disturbed.
            PreviewState::Removing(_) if preview.problem.is_none() => Ok(()),
            PreviewState::Removing(_) => {
                self.ask_for_removal(preview, number);
                Ok(())
            }
            PreviewState::Open | PreviewState::Ending(_) => {
                self.end_preview(number, &format!("removed by {by}"))
            }
        }
    }

    pub(super) fn preview_input(&mut self, number: u64, input: PreviewInput) -> Result<()> {
        let mut all = self.previews();
        let Some(preview) = all.get_mut(&number) else { return Ok(()) };
        let removing = matches!(preview.state, PreviewState::Removing(_));
        match input {
            PreviewInput::Wake if preview.state == PreviewState::Open && self.now >= preview.until => {
                let kept = self.service().settings.deploy.previews.as_ref().map(|previews| previews.hours);
                let why = kept.map_or_else(
                    || "its time is over".to_owned(),
                    |hours| format!("{hours} hours without a release"),
                );
                self.end_preview(number, &why)
            }
            PreviewInput::Wake if preview.state == PreviewState::Open => {
                let preview = preview.clone();
                self.wake_preview(&preview, number);
                Ok(())
            }
            PreviewInput::Removed if removing => self.preview_is_gone(number, all),
            PreviewInput::Stuck(why) if removing && preview.problem.as_ref() != Some(&why) => {
                preview.problem = Some(why);
                self.put_previews(all);
                Ok(())
            }
            PreviewInput::Wake | PreviewInput::Removed | PreviewInput::Stuck(_) => Ok(()),
        }
    }

    /// Nothing runs there any more; what was released there meanwhile begins anew.
    fn preview_is_gone(&mut self, number: u64, mut all: BTreeMap<u64, Preview>) -> Result<()> {
        let Some(preview) = all.remove(&number) else { return Ok(()) };
        // Somebody may have registered an environment of that name: what is noted there is its own.
        if self.is_preview(&preview.environment) {
            for component in preview.targets.keys() {
                let lane = Lane { environment: preview.environment.clone(), component: component.clone() };
                self.drop_lane(lane);
            }
        }
        let waiting = self.waiting_in(number);
        let Some(found) = self.environment(&preview.environment).filter(|found| found.preview.is_some())
        else {
            self.put_previews(all);
            for id in waiting {
                self.apply_release(&id, ReleaseInput::Cancel { by: "kiops: the preview is gone".into() })?;
            }
            return Ok(());
        };
        let released = waiting.iter().filter_map(|id| self.release(id)).map(|release| &release.target);
        let targets: BTreeMap<_, _> =
            released.map(|target| (target.component.clone(), target.target.clone())).collect();
        if !targets.is_empty() {
            let preview = Preview {
                targets,
                runtime: found.runtime,
                state: PreviewState::Open,
                until: self.kept_until().max(preview.until),
                problem: None,
                ..preview
            };
            self.wake_preview(&preview, number);
            all.insert(number, preview);
        }
        self.put_previews(all);
        Ok(())
    }

    /// Lets those previews go that are to go and in which nothing is being rolled out any more.
    pub(super) fn advance_previews(&mut self) -> Result<()> {
        let all = self.previews();
        for (number, preview) in &all {
            let PreviewState::Ending(why) = &preview.state else { continue };
            let busy =
                |release: &Release| release.target.preview == Some(*number) && release.state.is_under_way();
            if self.releases().any(busy) {
                continue;
            }
            let looks_there = |build: &&Build| {
                let live = build.live_checks.as_ref().filter(|_| build.live_check().is_some());
                live.is_some_and(|live| {
                    live.environment == preview.environment && self.is_preview(&live.environment)
                })
            };
            let looking: Vec<BuildId> =
                self.builds().filter(looks_there).map(|build| build.id.clone()).collect();
            for build in looking {
                self.apply_build(&build, BuildInput::NotLive { why: why.clone() })?;
            }
            let mut all = self.previews();
            if let Some(preview) = all.get_mut(number) {
                preview.state = PreviewState::Removing(why.clone());
            }
            self.put_previews(all);
            self.ask_for_removal(preview, *number);
        }
        Ok(())
    }

    /// Whether nothing may be rolled out for a merge request: its preview goes. `None` is of no preview.
    pub(super) fn is_going(&self, number: Option<u64>) -> bool {
        let preview = number.and_then(|number| self.previews().remove(&number));
        preview.is_some_and(|preview| preview.state != PreviewState::Open)
    }

    /// Whether this is the environment of a preview, and not one that is registered. It stays one where what it was made after is not
    /// registered any more.
    pub(super) fn is_preview(&self, name: &EnvironmentName) -> bool {
        name.preview().is_some() && self.environment(name).is_none_or(|found| found.preview.is_some())
    }

    /// What is registered under a preview's name is nobody's preview: nothing goes there because of a merge request.
    pub(super) fn must_be_preview(&self, by: &Requester, lane: &Lane) -> Result<()> {
        let of_request = matches!(by.scope, RefKey::MergeRequest(_));
        if !of_request || self.is_preview(&lane.environment) {
            return Ok(());
        }
        let text = format!("environment `{}` is registered under the name of a preview", lane.environment);
        Err(Error::conflict("make release", text).with_remedy("register it under another name"))
    }

    /// The time of a preview begins anew with each release that is rolled out there.
    pub(super) fn prolong_preview(&mut self, release: &ReleaseId) {
        let Some(number) = self.release(release).and_then(|release| release.target.preview) else { return };
        let (mut all, until) = (self.previews(), self.kept_until());
        if let Some(preview) = all.get_mut(&number).filter(|preview| preview.until < until) {
            preview.until = until;
            let preview = preview.clone();
            self.wake_preview(&preview, number);
            self.put_previews(all);
        }
    }

    /// When what is released now is removed by itself; at once where previews are switched off.
    fn kept_until(&self) -> Timestamp {
        let kept = self.service().settings.deploy.previews.as_ref().map(Previews::kept);
        self.now.saturating_add(kept.unwrap_or_default()).unwrap_or(self.now)
    }

    fn waiting_in(&self, number: u64) -> Vec<ReleaseId> {
        let waits = |release: &&Release| {
            release.target.preview == Some(number)
                && matches!(release.state, ReleaseState::Pending | ReleaseState::AwaitingApproval)
        };
        self.releases().filter(waits).map(|release| release.id.clone()).collect()
    }

    fn previews(&self) -> BTreeMap<u64, Preview> {
        self.ref_state(&RefKey::Previews).previews
    }

    fn put_previews(&mut self, previews: BTreeMap<u64, Preview>) {
        let state = self.ref_state(&RefKey::Previews);
        self.put_ref(RefKey::Previews, crate::policy::RefState { previews, ..state });
    }

    fn ask_for_removal(&mut self, preview: &Preview, number: u64) {
        let effect = Effect::RemovePreview { environment: preview.environment.clone(), number };
        self.ask_for_previews(self.now, effect);
    }

    fn wake_preview(&mut self, preview: &Preview, number: u64) {
        let effect = Effect::WakePreview { environment: preview.environment.clone(), number };
        self.ask_for_previews(preview.until, effect);
    }

    /// Two services may have previews of the same name.
    fn ask_for_previews(&mut self, due: Timestamp, effect: Effect) {
        let work = Work::new(self.name(), due, effect, self.name().as_str());
        self.add_work(work);
    }
}

fn too_many(previews: &Previews, all: &BTreeMap<u64, Preview>) -> Error {
    let numbers: Vec<String> = all.keys().map(u64::to_string).collect();
    let text = format!(
        "the service may have {} previews at once, and has those of the merge requests {}",
        previews.at_once,
        numbers.join(", ")
    );
    Error::conflict("make release", text).with_remedy(
        "close one of these or remove its preview, or raise deploy.previews.at_once; then deploy the build to its preview by hand, or push again",
    )
}
