//! What people ask for.

use std::collections::BTreeMap;

use super::decide::{facts, follow};
use super::draft::Draft;
use super::enqueue::{Asked, Source, fill};
use super::lanes::{NewRelease, releasable};
use super::reply::{Reply, missing};
use crate::access::{Action, Protection, Subject, Trust, may};
use crate::build::{BuildInput, Trigger};
use crate::error::{Error, ErrorKind, Result};
use crate::name::{
    BuildId, CommitId, ComponentName, ContainerName, DeliveryId, EnvironmentName, GitRef, MemberId,
    PinnedImage, ReleaseId,
};
use crate::policy::{Decision, HoldReason, Outcome, Planned, RefKey, Rules, Standing, decide};
use crate::provider::Commit;
use crate::release::{Lane, Origin, ReleaseInput, ReleaseState, Revision};
use crate::service::{Service, Target};
use crate::stage::Stage;

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Build this commit, whatever filters say (T12).
    Build {
        /// Only this component; `None`: all.
        component: Option<ComponentName>,
        /// Where the commit can be fetched from.
        git_ref: GitRef,
        /// The commit.
        commit: Box<Commit>,
        /// What asked: a person, the API, a schedule.
        trigger: Trigger,
        /// Tells this request from every other.
        nonce: String,
    },
    /// Stop a build, or its checks of what is live, or take back its release while that waits (T15).
    CancelBuild {
        /// Which.
        build: BuildId,
    },
    /// Bring a build's image to an environment (settled 16).
    DeployBuild {
        /// Which.
        build: BuildId,
        /// Where to; `None`: the service's own environment.
        environment: Option<EnvironmentName>,
        /// Tells this request from every other.
        nonce: String,
    },
    /// Bring images to an environment.
    DeployImages {
        /// The component; `None`: the only one.
        component: Option<ComponentName>,
        /// Image by container; containers that are not named keep what is live.
        images: BTreeMap<ContainerName, PinnedImage>,
        /// See above.
        environment: Option<EnvironmentName>,
        /// Tells this request from every other.
        nonce: String,
    },
    /// Go back to an older revision.
    Rollback {
        /// The component; `None`: the only one.
        component: Option<ComponentName>,
        /// See above.
        environment: Option<EnvironmentName>,
        /// Which revision, with what ran then.
        to: Revision,
        /// The images of that revision.
        images: BTreeMap<ContainerName, PinnedImage>,
        /// The commit of that revision, where it has one.
        commit: Option<CommitId>,
        /// Tells this request from every other.
        nonce: String,
    },
    /// Take a merge request's preview away.
    RemovePreview {
        /// The merge request.
        number: u64,
    },
    /// Say yes to a release that waits.
    Approve {
        /// Which.
        release: ReleaseId,
    },
    /// Say no to a release that waits.
    Reject {
        /// Which.
        release: ReleaseId,
    },
    /// Let a fork's commit be built. It is this commit that is approved, never the merge request.
    ApproveFork {
        /// The delivery that was held.
        delivery: DeliveryId,
        /// The full id of the commit that was looked at.
        commit: CommitId,
    },
}

/// Carries a command out, or says why not.
pub(super) fn carry_out(
    draft: &mut Draft<'_>,
    rules: &Rules,
    command: Command,
    by: &Subject,
) -> Result<Reply> {
    match command {
        Command::Build { component, git_ref, commit, trigger, nonce } => {
            allow(by, Action::Build)?;
            let names: Vec<ComponentName> =
                draft.service().settings.components.iter().map(|known| known.name.clone()).collect();
            if let Some(wanted) = component.as_ref().filter(|wanted| !names.contains(wanted)) {
                return Err(missing("component", wanted.as_str()));
            }
            let names =
                names.into_iter().filter(|name| component.as_ref().is_none_or(|wanted| wanted == name));
            let scope = RefKey::Manual(nonce.clone());
            let wanted = Wanted { scope, git_ref: &git_ref, commit: &commit, trigger, nonce: &nonce };
            build(draft, names.collect(), &wanted, by)
        }
        Command::CancelBuild { build } => {
            allow(by, Action::Build)?;
            cancel(draft, &build, by)
        }
        Command::DeployBuild { build, environment, nonce } => {
            let build = draft.build(&build).cloned().ok_or_else(|| missing("build", build.as_str()))?;
            let image = releasable(&build)?;
            let place = Place::find(draft.service(), Some(build.component()), environment.as_ref(), &nonce)?;
            // The same request finds its release again, whatever was found since.
            if draft.release(&place.release).is_none() {
                draft.may_promote(&build, &place.lane.environment)?;
            }
            let images = draft.images_for(&build, image, &place.lane)?;
            let origin = Origin::ByHand(build.id.clone());
            request(draft, place, origin, images, Some(build.commit().clone()), by)
        }
        Command::DeployImages { component, images, environment, nonce } => {
            if !Protection::may_request(by) {
                return Err(forbidden(NO_MEMBER));
            }
            let place = Place::find(draft.service(), component.as_ref(), environment.as_ref(), &nonce)?;
            let mut images = images;
            complete(draft, &place.lane, &mut images)?;
            request(draft, place, Origin::Images, images, None, by)
        }
        Command::Rollback { component, environment, to, images, commit, nonce } => {
            let place = Place::find(draft.service(), component.as_ref(), environment.as_ref(), &nonce)?;
            let name = &place.lane.environment;
            if draft.is_preview(name) && draft.is_going(name.preview().map(|(_, number)| number)) {
                return Err(Error::conflict("roll back", format!("preview `{name}` is being removed"))
                    .with_remedy("wait until it is gone, and deploy a build to it"));
            }
            request(draft, place, Origin::Rollback(to), images, commit, by)
        }
        Command::RemovePreview { number } => {
            if !Protection::may_request(by) {
                return Err(forbidden(NO_MEMBER));
            }
            draft.remove_preview(number, by.label())?;
            Ok(Reply::Done)
        }
        Command::Approve { release } => {
            let member = may_decide(draft, &release, by)?;
            still_may_go(draft, &release)?;
            settle(draft, release, ReleaseInput::Approve { by: member })
        }
        Command::Reject { release } => {
            let member = may_decide(draft, &release, by)?;
            settle(draft, release, ReleaseInput::Reject { by: member.to_string() })
        }
        Command::ApproveFork { delivery, commit } => {
            allow(by, Action::Approve)?;
            approve_fork(draft, rules, &delivery, &commit, by)
        }
    }
}

/// A commit that is to be built, whatever filters say.
pub(super) struct Wanted<'a> {
    pub(super) scope: RefKey,
    pub(super) git_ref: &'a GitRef,
    pub(super) commit: &'a Commit,
    pub(super) trigger: Trigger,
    /// Tells it from every other. Not empty: it is a build of its own.
    pub(super) nonce: &'a str,
}

pub(super) fn build(
    draft: &mut Draft<'_>,
    components: Vec<ComponentName>,
    wanted: &Wanted<'_>,
    by: &Subject,
) -> Result<Reply> {
    let mut builds = Vec::new();
    for component in components {
        let planned = Planned {
            component,
            commit: wanted.commit.id.clone(),
            git_ref: wanted.git_ref.clone(),
            scope: wanted.scope.clone(),
            branch: wanted.git_ref.branch().cloned(),
            tag: wanted.git_ref.tag().cloned(),
            merge_request: None,
            trust: Trust::Trusted,
            standing: Standing::Newest,
        };
        let mut metadata = draft.metadata_of(&planned);
        fill(&mut metadata, wanted.commit);
        let asked = Asked {
            trigger: wanted.trigger,
            delivery: None,
            subject: by,
            label: by.label().to_owned(),
            nonce: wanted.nonce.to_owned(),
            metadata,
        };
        builds.push(draft.enqueue_asked(&planned, asked)?);
    }
    Ok(Reply::Builds(builds))
}

fn cancel(draft: &mut Draft<'_>, id: &BuildId, by: &Subject) -> Result<Reply> {
    let build = draft.build(id).ok_or_else(|| missing("build", id.as_str()))?;
    let by = by.label().to_owned();
    if !build.is_at_rest() {
        draft.apply_build(id, BuildInput::Cancel { by })?;
        return Ok(Reply::Builds(vec![id.clone()]));
    }
    let release = build.release.as_ref().and_then(|release| draft.release(release));
    match release.map(|release| (release.id.clone(), &release.state)) {
        Some((release, ReleaseState::Pending | ReleaseState::AwaitingApproval | ReleaseState::Proposed)) => {
            draft.apply_release(&release, ReleaseInput::Cancel { by })?;
            Ok(Reply::Builds(vec![id.clone()]))
        }
        Some((_, state)) if state.is_under_way() => {
            Err(Error::conflict("cancel build", format!("build {id} is being deployed"))
                .with_remedy("wait for the rollout and roll back"))
        }
        _ => Err(Error::conflict("cancel build", format!("build {id} is over: {}", build.state.name()))
            .with_remedy("only a build that is queued, building or waiting for approval can be canceled")),
    }
}

/// Where a release by hand goes, and which one it is.
pub(super) struct Place {
    lane: Lane,
    pub(super) release: ReleaseId,
}

impl Place {
    /// `None` stands for the only component, and for the service's own environment.
    pub(super) fn find(
        service: &Service,
        component: Option<&ComponentName>,
        environment: Option<&EnvironmentName>,
        nonce: &str,
    ) -> Result<Self> {
        let component = match (component, service.settings.components.as_slice()) {
            (Some(component), _) => component.clone(),
            (None, [only]) => only.name.clone(),
            (None, _) => {
                return Err(Error::invalid("make release", "the service has several components: name one"));
            }
        };
        let environment = environment.or(service.settings.deploy.environment.as_ref()).ok_or_else(|| {
            Error::invalid("make release", "no environment is named")
                .with_remedy("name one, or set the service's own")
        })?;
        let release =
            ReleaseId::derive([service.name.as_str(), component.as_str(), environment.as_str(), nonce]);
        Ok(Self { lane: Lane { environment: environment.clone(), component }, release })
    }
}

/// Makes the release that somebody asks for. The same request finds its release again, however it stands by then.
fn request(
    draft: &mut Draft<'_>,
    place: Place,
    origin: Origin,
    images: BTreeMap<ContainerName, PinnedImage>,
    commit: Option<CommitId>,
    by: &Subject,
) -> Result<Reply> {
    if !Protection::may_request(by) {
        return Err(forbidden(NO_MEMBER));
    }
    let Place { lane, release: id } = place;
    if draft.release(&id).is_some() {
        return Ok(Reply::Release(id));
    }
    let order = draft.next_order();
    draft.add_release(NewRelease {
        id: id.clone(),
        environment: lane.environment,
        component: lane.component,
        origin,
        order,
        images,
        commit,
        told: draft.now,
        subject: by.clone(),
        requested_by: by.label().to_owned(),
    })?;
    Ok(Reply::Release(id))
}

/// Adds the images of containers that are not named: they keep what is live.
fn complete(draft: &Draft<'_>, lane: &Lane, images: &mut BTreeMap<ContainerName, PinnedImage>) -> Result<()> {
    let names = containers(draft, &lane.component)?;
    for (name, image) in draft.lane(lane).iter().flat_map(|live| &live.images) {
        if names.contains(name) {
            images.entry(name.clone()).or_insert_with(|| image.clone());
        }
    }
    check_containers(&names, images)
}

/// The containers of what a component runs.
fn containers(draft: &Draft<'_>, component: &ComponentName) -> Result<Vec<ContainerName>> {
    let Some(component) = draft.service().settings.component(component) else {
        return Err(missing("component", component.as_str()));
    };
    Ok(match &component.runs {
        Some(Target::Workload(workload)) => {
            workload.containers.iter().map(|container| container.name.clone()).collect()
        }
        Some(Target::Existing { container, .. }) => vec![container.clone()],
        Some(Target::GitFile(file)) => vec![file.container.clone()],
        None => vec![ContainerName::from(&component.name)],
    })
}

/// Every container of the workload has an image, and every image a container.
fn check_containers(names: &[ContainerName], images: &BTreeMap<ContainerName, PinnedImage>) -> Result<()> {
    if let Some(extra) = images.keys().find(|name| !names.contains(name)) {
        let known: Vec<&str> = names.iter().map(ContainerName::as_str).collect();
        let text = format!("there is no container `{extra}`; there are {}", known.join(", "));
        return Err(Error::invalid("make release", text));
    }
    if let Some(without) = names.iter().find(|name| !images.contains_key(*name)) {
        return Err(Error::invalid("make release", format!("container `{without}` has no image"))
            .with_remedy("name one with its digest"));
    }
    Ok(())
}

fn may_decide(draft: &Draft<'_>, id: &ReleaseId, by: &Subject) -> Result<MemberId> {
    let release = draft.release(id).ok_or_else(|| missing("release", id.as_str()))?;
    let environment = draft.environment(&release.target.environment).ok_or_else(|| {
        Error::not_found(
            "approve release",
            format!("environment `{}` is not registered any more", release.target.environment),
        )
    })?;
    match &by.id {
        Some(member) if environment.protection.may_approve(by) => Ok(member.clone()),
        _ => Err(forbidden("approving here needs an Admin or Owner; in a locked environment the Owner")),
    }
}

/// Its build may have been looked at elsewhere while it waited.
fn still_may_go(draft: &Draft<'_>, id: &ReleaseId) -> Result<()> {
    let waits = draft.release(id).filter(|release| release.state == ReleaseState::AwaitingApproval);
    let Some(release) = waits else { return Ok(()) };
    match release.origin.build().and_then(|build| draft.build(build)) {
        Some(build) => draft.may_promote(build, &release.target.environment),
        None => Ok(()),
    }
}

/// Says yes or no to a release that waits. To any other there is nothing to say any more.
fn settle(draft: &mut Draft<'_>, release: ReleaseId, answer: ReleaseInput) -> Result<Reply> {
    match draft.apply_release(&release, answer) {
        Ok(()) => Ok(Reply::Release(release)),
        Err(error) if error.kind() == ErrorKind::Conflict => Err(error.with_remedy(
            "only a release that awaits approval can be approved or rejected: look at the newest one, or deploy again; to one that is proposed people say yes where it is proposed",
        )),
        Err(error) => Err(error),
    }
}

fn approve_fork(
    draft: &mut Draft<'_>,
    rules: &Rules,
    id: &DeliveryId,
    commit: &CommitId,
    by: &Subject,
) -> Result<Reply> {
    let refuse =
        |why: String, remedy: &'static str| Err(Error::conflict("approve commit", why).with_remedy(remedy));
    let mut record = draft.delivery().cloned().ok_or_else(|| missing("delivery", id.as_str()))?;
    let held = record.events.iter_mut().find_map(|event| match &event.decision {
        Some(Decision { outcome: Outcome::Hold(HoldReason::Fork { commit, number }), .. }) => {
            let (commit, scope) = (commit.clone(), RefKey::MergeRequest(*number));
            Some((event, commit, scope))
        }
        _ => None,
    });
    let Some((event, held, scope)) = held else {
        return refuse(
            format!("delivery {id} holds nothing"),
            "approve the newest delivery of the merge request",
        );
    };
    if held != *commit {
        return refuse(
            format!("this delivery holds commit {held}, not {commit}"),
            "look at the commit that is held and approve that one",
        );
    }
    let mut state = draft.ref_state(&scope);
    if state.newest.as_ref() != Some(commit) {
        return refuse(
            format!("the merge request has a newer commit than {commit}"),
            "look at the newest commit and approve that one",
        );
    }
    if !state.approved.contains(commit) {
        state.approved.push(commit.clone());
    }
    draft.put_ref(scope.clone(), state);
    let facts = facts(draft, Some(&scope), event.answers.clone(), 2, record.signed);
    let decision = decide(rules, draft.service(), &event.event, &facts);
    if let Outcome::Skip(skip) = &decision.outcome {
        return refuse(
            format!("nothing would be built: {}", skip.text),
            "change the setting that stands in the way, then approve again",
        );
    }
    event.decision = Some(decision);
    let source = Source { delivery: id, repeat: false, trigger: record.trigger, subject: by };
    let builds = follow(draft, &source, event, Some(&scope))?;
    event.builds.clone_from(&builds);
    for build in &builds {
        let line = format!("Commit {} of a fork approved by {}", commit.short(), by.label());
        draft.log(build, Stage::Setup, line);
    }
    draft.put_delivery(record);
    Ok(Reply::Builds(builds))
}

fn allow(by: &Subject, action: Action) -> Result<()> {
    if may(by, action) { Ok(()) } else { Err(forbidden("this needs a stronger role in the project")) }
}

const NO_MEMBER: &str = "deploying needs a member of the project";

fn forbidden(why: &str) -> Error {
    Error::new(ErrorKind::Forbidden, "check access", why)
        .with_remedy("ask an Admin or the Owner of the service")
}
