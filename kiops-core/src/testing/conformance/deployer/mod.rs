//! What [`Deployer`] promises, as checks.
//!
//! An adapter's test opens a [`DeployBench`] and calls [`all`]. Every target that a check deploys to has a name that nobody used
//! before, so that a runtime which others use as well can be put through it; what the checks leave there, the test removes. The
//! checks need a tokio runtime with time; one of several threads tells more.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a check fails by panicking, as a test does"
)]

mod applying;
mod contention;
mod durability;
mod fixtures;
mod proposing;
mod removal;
mod rolling_back;
mod standing;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::fresh::word;
use super::runs::Pace;
use super::suite::checks;
use crate::name::{ContainerName, Digest, ImageName, PinnedImage, ReleaseId};
use crate::release::{DeployRequest, DeployTarget, Deployer};
use crate::service::Target;

checks! { DeployBench:
    applying {
        the_deployer_has_a_name,
        nothing_is_live_before_the_first_release,
        revisions_are_numbered_from_one_without_gaps,
        what_is_live_is_the_newest_release_by_its_digests,
        history_says_what_every_release_was_newest_first,
        a_release_is_applied_once_however_often_it_is_asked_for,
        an_older_release_that_is_asked_for_late_changes_nothing,
        targets_are_apart,
        at_least_the_newest_ten_revisions_are_kept,
        a_release_that_cannot_be_applied_changes_nothing_and_says_why,
    }
    standing {
        a_rollout_comes_to_an_end,
        an_older_revision_was_replaced_by_the_one_that_is_live,
        a_revision_that_is_not_there_stands_nowhere,
        asking_changes_nothing,
    }
    rolling_back {
        a_rollback_brings_a_revision_back_whole_as_a_new_one,
        a_rollback_is_done_once_however_often_it_is_asked_for,
        a_rollback_goes_to_any_revision_also_to_the_live_one,
        a_rollback_to_what_is_not_there_is_refused_and_changes_nothing,
    }
    proposing {
        what_is_proposed_changes_nothing_until_it_is_accepted,
        a_release_is_proposed_once_however_often_it_is_asked_for,
        what_was_rejected_stays_so_and_changes_nothing,
        what_was_taken_back_is_not_accepted_any_more,
        what_was_accepted_is_not_taken_back,
        a_release_that_another_came_before_is_proposed_again,
        a_proposal_that_failed_is_made_by_the_same_call,
        a_rollback_is_proposed_too,
    }
    removal {
        a_removed_target_runs_nothing,
        what_is_not_there_is_removed_without_an_error,
        a_removed_target_is_deployed_to_again,
        a_removal_takes_no_other_target_along,
    }
    contention {
        one_release_applied_by_many_at_once_is_one_revision,
        releases_applied_at_once_end_with_one_of_them_whole,
        releases_and_rollbacks_at_once_are_all_there,
        readers_see_a_release_whole_while_others_replace_it,
    }
    durability {
        what_was_applied_is_there_after_a_kill,
        an_apply_that_was_cut_off_is_completed_by_the_same_call,
        after_an_error_what_ran_before_runs_on_and_the_same_call_completes_it,
    }
}

/// A deployer to be put to the proof, and what the checks need with it.
pub struct DeployBench {
    deployer: Arc<dyn Deployer>,
    target: Box<dyn Fn(&str) -> DeployTarget + Send + Sync>,
    images: Images,
    refused: Option<Refused>,
    fault: Option<Box<dyn Fn(bool) + Send + Sync>>,
    people: Option<People>,
    pace: Pace,
}

/// Who says yes or no to what is proposed, and of which targets.
struct People {
    target: Box<dyn Fn(&str) -> DeployTarget + Send + Sync>,
    answer: Box<dyn Fn(ReleaseId, bool) -> BoxFuture<'static, ()> + Send + Sync>,
}

impl People {
    fn target(&self) -> DeployTarget {
        (self.target)(&word())
    }
}

type Images = Box<dyn Fn(&ContainerName, &str) -> PinnedImage + Send + Sync>;
type Refused = Box<dyn Fn(&mut DeployTarget, &mut DeployRequest) + Send + Sync>;

impl DeployBench {
    /// A deployer, and a target for it that has this word in its service's name: 16 hexadecimal digits that were drawn. Two words
    /// are two targets. Its images are made up, see [`with_images`](Self::with_images).
    pub fn new(
        deployer: Arc<dyn Deployer>,
        target: impl Fn(&str) -> DeployTarget + Send + Sync + 'static,
    ) -> Self {
        let images: Images = Box::new(|container, word| PinnedImage {
            name: ImageName::parse(format!("registry.invalid/conformance/{container}"))
                .expect("an image's name"),
            tag: None,
            digest: Digest::of(format!("{container} {word}").as_bytes()),
        });
        let target = Box::new(target);
        Self { deployer, target, images, refused: None, fault: None, people: None, pace: Pace::default() }
    }

    /// The same with images that the runtime can run, another one for each word: for a runtime that pulls them.
    #[must_use]
    pub fn with_images(
        mut self,
        images: impl Fn(&ContainerName, &str) -> PinnedImage + Send + Sync + 'static,
    ) -> Self {
        self.images = Box::new(images);
        self
    }

    /// The same with a way to make a release that it must refuse out of one that it takes. Without one, refusals go unproved.
    #[must_use]
    pub fn with_refused(
        mut self,
        refused: impl Fn(&mut DeployTarget, &mut DeployRequest) + Send + Sync + 'static,
    ) -> Self {
        self.refused = Some(Box::new(refused));
        self
    }

    /// The same with a fault of its runtime that can be turned on and off: while it is on, `apply` and `rollback` fail. Without
    /// one, what an error leaves behind goes unproved.
    #[must_use]
    pub fn with_fault(mut self, fault: impl Fn(bool) + Send + Sync + 'static) -> Self {
        self.fault = Some(Box::new(fault));
        self
    }

    /// The same with targets that [are proposed](Target::is_proposed), each with the word as above, and with people who say yes (`true`) or no to a
    /// release as soon as they are told to, if they can. Without them, proposals go unproved.
    #[must_use]
    pub fn with_people<A: Future<Output = ()> + Send + 'static>(
        mut self,
        target: impl Fn(&str) -> DeployTarget + Send + Sync + 'static,
        answer: impl Fn(ReleaseId, bool) -> A + Send + Sync + 'static,
    ) -> Self {
        let answer = Box::new(move |release, yes| answer(release, yes).boxed());
        self.people = Some(People { target: Box::new(target), answer });
        self
    }

    /// The same with other times to wait: [`Pace::patience`] for a rollout to end.
    #[must_use]
    pub const fn with_pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// A target that nobody deployed to.
    fn target(&self) -> DeployTarget {
        (self.target)(&word())
    }

    /// A release of this target whose images nobody had before.
    fn request(&self, target: &DeployTarget) -> DeployRequest {
        let word = word();
        let containers = match &target.target {
            Target::Workload(workload) => {
                workload.containers.iter().map(|container| container.name.clone()).collect()
            }
            Target::Existing { container, .. } => vec![container.clone()],
            Target::GitFile(file) => vec![file.container.clone()],
        };
        let images: BTreeMap<_, _> = containers
            .into_iter()
            .map(|container| {
                let image = (self.images)(&container, &word);
                (container, image)
            })
            .collect();
        DeployRequest {
            release: ReleaseId::derive([word.as_str()]),
            images,
            commit: Some(crate::testing::fakes::commit_id(&word)),
            requested_by: format!("Ada Größe {word}"),
        }
    }
}

impl fmt::Debug for DeployBench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeployBench").field("deployer", &self.deployer).finish_non_exhaustive()
    }
}
