//! What a step must see of the store, told from its input and the record that it is about.

use super::bases::KnownRefs;
use super::command::{Command, Place};
use super::step::Input;
use crate::build::Build;
use crate::name::{BuildId, DeliveryId, EnvironmentName, ReleaseId, ServiceName};
use crate::policy::{Answer, RefKey};
use crate::release::Release;
use crate::service::Service;
#[cfg(feature = "runtime")]
use crate::store::View;
use crate::store::{DeliveryRecord, Wants};

/// The record that an input is about, read before the view.
#[derive(Debug, Clone, Default)]
pub struct Primary {
    /// The service.
    pub service: Option<Service>,
    /// The delivery, for what is about one.
    pub delivery: Option<DeliveryRecord>,
    /// The build, for what is about one.
    pub build: Option<Build>,
    /// The release, for what is about one.
    pub release: Option<Release>,
}

impl Input {
    /// The build that it is about.
    pub const fn build(&self) -> Option<&BuildId> {
        match self {
            Self::Start(pick) => Some(&pick.build),
            Self::Build { build, .. } => Some(build),
            Self::Command {
                command: Command::CancelBuild { build } | Command::DeployBuild { build, .. },
                ..
            } => Some(build),
            _ => None,
        }
    }

    /// The release that it is about.
    pub const fn release(&self) -> Option<&ReleaseId> {
        match self {
            Self::Release { release, .. } => Some(release),
            Self::Command { command: Command::Approve { release } | Command::Reject { release }, .. } => {
                Some(release)
            }
            _ => None,
        }
    }

    /// The environment that it names.
    const fn environment(&self) -> Option<&EnvironmentName> {
        match self {
            Self::Command {
                command:
                    Command::DeployBuild { environment, .. }
                    | Command::DeployImages { environment, .. }
                    | Command::Rollback { environment, .. },
                ..
            } => environment.as_ref(),
            _ => None,
        }
    }

    /// The delivery that it is about.
    pub const fn delivery(&self) -> Option<&DeliveryId> {
        match self {
            Self::Decide { delivery, .. }
            | Self::Command { command: Command::ApproveFork { delivery, .. }, .. } => Some(delivery),
            _ => None,
        }
    }
}

/// What `step` must be shown of `service` for this input. Pure.
pub fn wants(service: &ServiceName, input: &Input, primary: &Primary) -> Wants {
    let mut wants = Wants::of(service.clone());
    wants.delivery = input.delivery().cloned();
    wants.builds.extend(input.build().cloned());
    wants.releases.extend(input.release().cloned());
    if let Some(build) = &primary.build {
        wants.releases.extend(build.release.clone());
        wants.refs.extend(build.requesters.iter().map(|by| by.scope.clone()));
        wants.commits.insert(build.commit().clone());
    }
    if let Some(release) = &primary.release {
        wants.builds.extend(release.origin.build().cloned());
    }
    for record in primary.delivery.iter().flat_map(|delivery| &delivery.events) {
        let (scope, commits) = super::decide::touched(record);
        wants.refs.extend(scope);
        wants.commits.extend(commits);
    }
    if let Input::Decide { answers, .. } = input {
        // The commit behind a tag object, or behind the first digits of one, is known from its answer only.
        wants.commits.extend(answers.iter().filter_map(|answered| match &answered.answer {
            Some(Answer::Commit(Some(commit))) => Some(commit.id.clone()),
            Some(Answer::Head(Some(head))) => Some(head.clone()),
            _ => None,
        }));
    }
    if let Input::Scheduled { head } = input {
        wants.refs.insert(RefKey::Schedule);
        wants.commits.extend(head.iter().map(|head| head.commit.id.clone()));
    }
    if let Input::Bases(found) = input {
        wants.refs.extend(KnownRefs::keys(&found.branch));
        wants.builds.extend(found.newest.iter().cloned());
        wants.commits.extend(found.components.values().map(|of| of.commit.id.clone()));
    }
    if let Input::Command { command, .. } = input {
        if let Command::Build { commit, .. } = command {
            wants.commits.insert(commit.id.clone());
        }
        // The same request may have been carried out before.
        wants.releases.extend(requested(command, primary));
    }
    wants.refs.insert(RefKey::Previews);
    wants.refs.extend(input.environment().and_then(|name| Some(RefKey::MergeRequest(name.preview()?.1))));
    if let Some(git) = primary.service.as_ref().and_then(|service| service.source.git()) {
        wants.refs.insert(RefKey::Branch(git.branch.clone()));
    }
    wants
}

/// Adds the refs of those who ask for the build that an input is about, as the view has it. Says whether any of them was missing.
#[cfg(feature = "runtime")]
pub(super) fn wants_more(wants: &mut Wants, input: &Input, view: &View) -> bool {
    let before = wants.refs.len();
    let build = input.build().and_then(|build| view.builds.get(build));
    wants.refs.extend(build.iter().flat_map(|build| &build.requesters).map(|by| by.scope.clone()));
    wants.refs.len() > before
}

/// The release that a command by hand makes.
fn requested(command: &Command, primary: &Primary) -> Option<ReleaseId> {
    let (component, environment, nonce) = match command {
        Command::DeployBuild { environment, nonce, .. } => {
            (primary.build.as_ref().map(Build::component), environment, nonce)
        }
        Command::DeployImages { component, environment, nonce, .. }
        | Command::Rollback { component, environment, nonce, .. } => (component.as_ref(), environment, nonce),
        _ => return None,
    };
    let place = Place::find(primary.service.as_ref()?, component, environment.as_ref(), nonce);
    place.ok().map(|place| place.release)
}
