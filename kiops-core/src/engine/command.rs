//! What people ask for.

use std::collections::BTreeMap;

use super::decide::{Source, follow};
use super::draft::Draft;
use super::enqueue::{Asked, fill};
use super::lanes::{NewRelease, releasable};
use super::step::{Reply, missing};
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
    /// Stop a build, or take back its release while that waits (T15).
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
pub(super) fn carry_out(draft: &mut Draft<'_>, command: Command, by: &Subject) -> Result<Reply> {
    match command {
        Command::Build { component, git_ref, commit, trigger, nonce } => {
            allow(by, Action::Build)?;
            build(draft, component.as_ref(), &git_ref, &commit, trigger, &nonce, by)
        }
        Command::CancelBuild { build } => {
            allow(by, Action::Build)?;
            cancel(draft, &build, by)
        }
        Command::DeployBuild { build, environment, nonce } => {
            let build = draft.build(&build).cloned().ok_or_else(|| missing("build", build.as_str()))?;
            let image = releasable(&build)?;
            let images = draft.images_for(&build, image)?;
            let origin = Origin::ByHand(build.id.clone());
            let commit = Some(build.commit().clone());
            request(draft, Some(build.component().clone()), environment, origin, images, commit, &nonce, by)
        }
        Command::DeployImages { component, images, environment, nonce } => {
            request(draft, component, environment, Origin::Images, images, None, &nonce, by)
        }
        Command::Rollback { component, environment, to, images, commit, nonce } => {
            request(draft, component, environment, Origin::Rollback(to), images, commit, &nonce, by)
        }
        Command::Approve { release } => {
            let member = may_decide(draft, &release, by)?;
            draft.apply_release(&release, ReleaseInput::Approve { by: member })?;
            Ok(Reply::Release(release))
        }
        Command::Reject { release } => {
            let member = may_decide(draft, &release, by)?;
            draft.apply_release(&release, ReleaseInput::Reject { by: member.to_string() })?;
            Ok(Reply::Release(release))
        }
        Command::ApproveFork { delivery, commit } => {
            allow(by, Action::Approve)?;
            approve_fork(draft, &delivery, &commit, by)
        }
    }
}

fn build(
    draft: &mut Draft<'_>,
    component: Option<&ComponentName>,
    git_ref: &GitRef,
    commit: &Commit,
    trigger: Trigger,
    nonce: &str,
    by: &Subject,
) -> Result<Reply> {
    let names: Vec<ComponentName> =
        draft.service().settings.components.iter().map(|known| known.name.clone()).collect();
    if let Some(wanted) = component.filter(|wanted| !names.contains(wanted)) {
        return Err(missing("component", wanted.as_str()));
    }
    let mut builds = Vec::new();
    for name in names.into_iter().filter(|name| component.is_none_or(|wanted| wanted == name)) {
        let planned = Planned {
            component: name,
            commit: commit.id.clone(),
            git_ref: git_ref.clone(),
            scope: RefKey::Manual(nonce.to_owned()),
            branch: git_ref.branch().cloned(),
            tag: git_ref.tag().cloned(),
            merge_request: None,
            trust: Trust::Trusted,
            standing: Standing::Newest,
        };
        let mut metadata = draft.metadata_of(&planned);
        fill(&mut metadata, commit);
        let asked = Asked {
            trigger,
            delivery: None,
            subject: by,
            label: by.label().to_owned(),
            nonce: nonce.to_owned(),
            metadata,
        };
        builds.push(draft.enqueue_asked(&planned, asked)?);
    }
    Ok(Reply::Builds(builds))
}

fn cancel(draft: &mut Draft<'_>, id: &BuildId, by: &Subject) -> Result<Reply> {
    let build = draft.build(id).ok_or_else(|| missing("build", id.as_str()))?;
    let by = by.label().to_owned();
    if !build.is_over() {
        draft.apply_build(id, BuildInput::Cancel { by })?;
        return Ok(Reply::Builds(vec![id.clone()]));
    }
    let release = build.release.as_ref().and_then(|release| draft.release(release));
    match release.map(|release| (release.id.clone(), &release.state)) {
        Some((release, ReleaseState::Pending | ReleaseState::AwaitingApproval)) => {
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

#[allow(clippy::too_many_arguments)]
fn request(
    draft: &mut Draft<'_>,
    component: Option<ComponentName>,
    environment: Option<EnvironmentName>,
    origin: Origin,
    mut images: BTreeMap<ContainerName, PinnedImage>,
    commit: Option<CommitId>,
    nonce: &str,
    by: &Subject,
) -> Result<Reply> {
    if !Protection::may_request(by) {
        return Err(forbidden("deploying needs a member of the project"));
    }
    let component = match (component, draft.service().settings.components.as_slice()) {
        (Some(component), _) => component,
        (None, [only]) => only.name.clone(),
        (None, _) => {
            return Err(Error::invalid("make release", "the service has several components: name one"));
        }
    };
    let environment =
        environment.or_else(|| draft.service().settings.deploy.environment.clone()).ok_or_else(|| {
            Error::invalid("make release", "no environment is named")
                .with_remedy("name one, or set the service's own")
        })?;
    let lane = Lane { environment: environment.clone(), component: component.clone() };
    // Containers that did not change keep their pin.
    if let Some(live) = draft.lane(&lane) {
        for (name, image) in &live.images {
            images.entry(name.clone()).or_insert_with(|| image.clone());
        }
    }
    check_containers(draft, &component, &images)?;
    let id = ReleaseId::derive([draft.name().as_str(), component.as_str(), environment.as_str(), nonce]);
    let order = draft.next_order();
    draft.add_release(NewRelease {
        id: id.clone(),
        environment,
        component,
        origin,
        order,
        images,
        commit,
        subject: by.clone(),
        requested_by: by.label().to_owned(),
    })?;
    Ok(Reply::Release(id))
}

/// Every container of the workload has an image, and every image a container.
fn check_containers(
    draft: &Draft<'_>,
    component: &ComponentName,
    images: &BTreeMap<ContainerName, PinnedImage>,
) -> Result<()> {
    use crate::service::Target;
    let Some(component) = draft.service().settings.component(component) else {
        return Err(missing("component", component.as_str()));
    };
    let names: Vec<String> = match &component.runs {
        Some(Target::Workload(workload)) => {
            workload.containers.iter().map(|container| container.name.to_string()).collect()
        }
        Some(Target::Existing { container, .. }) => vec![container.to_string()],
        Some(Target::GitFile(file)) => vec![file.container.to_string()],
        None => vec![component.name.to_string()],
    };
    if let Some(extra) = images.keys().find(|name| !names.iter().any(|known| known == name.as_str())) {
        let text = format!("there is no container `{extra}`; there are {}", names.join(", "));
        return Err(Error::invalid("make release", text));
    }
    if let Some(without) =
        names.iter().find(|name| !images.keys().any(|known| known.as_str() == name.as_str()))
    {
        return Err(Error::invalid(
            "make release",
            format!("container `{without}` has no image: name one with its digest"),
        ));
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

fn approve_fork(draft: &mut Draft<'_>, id: &DeliveryId, commit: &CommitId, by: &Subject) -> Result<Reply> {
    let mut record = draft.delivery().cloned().ok_or_else(|| missing("delivery", id.as_str()))?;
    let held = record.events.iter().position(|event| {
        matches!(&event.decision, Some(Decision { outcome: Outcome::Hold(HoldReason::Fork { .. }), .. }))
    });
    let Some(event) = held.and_then(|at| record.events.get_mut(at)) else {
        return Err(Error::conflict("approve commit", format!("delivery {id} holds nothing"))
            .with_remedy("approve the newest delivery of the merge request"));
    };
    let Some(Decision { outcome: Outcome::Hold(HoldReason::Fork { commit: held, number }), .. }) =
        &event.decision
    else {
        return Err(Error::internal("approve commit", "the held event is gone"));
    };
    let scope = RefKey::MergeRequest(*number);
    let mut state = draft.ref_state(&scope);
    if held != commit {
        return Err(Error::conflict(
            "approve commit",
            format!("this delivery holds commit {held}, not {commit}"),
        )
        .with_remedy("look at the commit that is held and approve that one"));
    }
    if state.newest.as_ref() != Some(commit) {
        return Err(Error::conflict(
            "approve commit",
            format!("the merge request has a newer commit than {commit}"),
        )
        .with_remedy("look at the newest commit and approve that one"));
    }
    state.approved.push(commit.clone());
    draft.put_ref(scope.clone(), state.clone());
    let facts = crate::policy::Facts {
        state,
        answers: event.answers.clone(),
        rounds: 2,
        unsigned: !record.signed,
        ..Default::default()
    };
    // A host's rules judged it when it was held; what they blocked was never held.
    let decision = decide(&Rules::none(), draft.service(), &event.event, &facts);
    event.decision = Some(decision);
    let source = Source { delivery: id, repeat: false, trigger: record.trigger, subject: by };
    let decided = event.clone();
    let builds = follow(draft, &source, &decided, Some(&scope))?;
    event.builds.clone_from(&builds);
    for build in &builds {
        draft.log(
            build,
            Stage::Setup,
            format!("Commit {} of a fork approved by {}", commit.short(), by.label()),
        );
    }
    draft.put_delivery(record);
    Ok(Reply::Builds(builds))
}

fn allow(by: &Subject, action: Action) -> Result<()> {
    if may(by, action) { Ok(()) } else { Err(forbidden("this needs a stronger role in the project")) }
}

fn forbidden(why: &str) -> Error {
    Error::new(ErrorKind::Forbidden, "check access", why)
        .with_remedy("ask an Admin or the Owner of the service")
}
