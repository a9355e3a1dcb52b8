//! Deployers that break one promise each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use kiops_core::Result;
use kiops_core::name::ReleaseId;
use kiops_core::release::{
    DeployRequest, DeployTarget, Deployer, Live, Proposal, Proposals, Revision, RevisionInfo, RolloutStatus,
};
use kiops_core::testing::Chaos;
use kiops_core::testing::conformance::Subject;
use kiops_core::testing::conformance::deployer::{CHECKS, DeployBench};
use kiops_core::testing::fakes::FakeDeployer;

use super::finds;
use crate::fakes::{proposed, target};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    None,
    /// Every call is a new revision.
    AppliesAgain,
    /// A release that is repeated late takes the newer one's place.
    BringsTheOldBack,
    /// All targets are one.
    MixesTargets,
    /// One container of several is updated.
    AppliesAPart,
    RollsBackToTheNewest,
    /// Whatever it is asked about, something newer took its place.
    ReplacedByDefault,
    OldestFirst,
    KeepsFive,
    RemovesNothing,
    ForgetsTheCommit,
    /// An error for what was never applied.
    NothingIsAnError,
    /// Nobody need say yes.
    AppliesUnasked,
    /// Every call asks people anew.
    AsksAgain,
    TakesNothingBack,
}

#[derive(Debug)]
struct Liar {
    deployer: FakeDeployer,
    lie: Lie,
    calls: AtomicU64,
}

impl Liar {
    fn is(&self, lie: Lie) -> bool {
        self.lie == lie
    }

    fn at(&self, asked: &DeployTarget) -> DeployTarget {
        if self.is(Lie::MixesTargets) { target("one") } else { asked.clone() }
    }

    fn other(&self) -> ReleaseId {
        let n = self.calls.fetch_add(1, Ordering::Relaxed).to_string();
        ReleaseId::derive(["other", &n])
    }
}

#[async_trait]
impl Deployer for Liar {
    fn name(&self) -> &str {
        "liar"
    }

    async fn apply(&self, target: &DeployTarget, request: &DeployRequest) -> Result<Revision> {
        let (mut target, mut request) = (self.at(target), request.clone());
        if self.is(Lie::AppliesUnasked) {
            target.target = crate::fakes::target("one").target;
        }
        let known = self.deployer.history(&target).await?;
        let is_late = known.iter().skip(1).any(|info| info.release == request.release);
        if self.is(Lie::AppliesAgain) || (self.is(Lie::BringsTheOldBack) && is_late) {
            request.release = self.other();
        }
        if self.is(Lie::AppliesAPart)
            && let Some(live) = self.deployer.observed(&target).await?
        {
            request.images.extend(live.images.into_iter().take(1));
        }
        if self.is(Lie::ForgetsTheCommit) {
            request.commit = None;
        }
        self.deployer.apply(&target, &request).await
    }

    async fn status(&self, target: &DeployTarget, revision: Revision) -> Result<RolloutStatus> {
        let status = self.deployer.status(&self.at(target), revision).await;
        if self.is(Lie::ReplacedByDefault) {
            return status.or(Ok(RolloutStatus::Replaced(Revision(1))));
        }
        status
    }

    async fn rollback(&self, target: &DeployTarget, to: Revision, release: &ReleaseId) -> Result<Revision> {
        let target = self.at(target);
        let newest = self.deployer.observed(&target).await?.map(|live| live.revision);
        let to = newest.filter(|_| self.is(Lie::RollsBackToTheNewest)).unwrap_or(to);
        self.deployer.rollback(&target, to, release).await
    }

    async fn history(&self, target: &DeployTarget) -> Result<Vec<RevisionInfo>> {
        let mut history = self.deployer.history(&self.at(target)).await?;
        match self.lie {
            Lie::OldestFirst => history.reverse(),
            Lie::KeepsFive => history.truncate(5),
            _ => {}
        }
        Ok(history)
    }

    async fn observed(&self, target: &DeployTarget) -> Result<Option<Live>> {
        let live = self.deployer.observed(&self.at(target)).await?;
        if self.is(Lie::NothingIsAnError) && live.is_none() {
            return Err(kiops_core::Error::not_found("observe", "nothing is there"));
        }
        Ok(live)
    }

    async fn remove(&self, target: &DeployTarget) -> Result<()> {
        if self.is(Lie::RemovesNothing) { Ok(()) } else { self.deployer.remove(&self.at(target)).await }
    }

    fn proposals(&self) -> Option<&dyn Proposals> {
        Some(self)
    }
}

#[async_trait]
impl Proposals for Liar {
    async fn propose(&self, target: &DeployTarget, request: &DeployRequest) -> Result<Proposal> {
        let mut request = request.clone();
        if self.is(Lie::AsksAgain) {
            request.release = self.other();
        }
        self.deployer.propose(target, &request).await
    }

    async fn withdraw(&self, target: &DeployTarget, release: &ReleaseId) -> Result<Option<Revision>> {
        if self.is(Lie::TakesNothingBack) {
            return Ok(None);
        }
        self.deployer.withdraw(target, release).await
    }
}

#[async_trait]
impl Subject<DeployBench> for Lie {
    async fn open(&self) -> Arc<DeployBench> {
        let deployer = FakeDeployer::new("fake", Chaos::none());
        let people = deployer.clone();
        let liar = Liar { deployer, lie: *self, calls: AtomicU64::default() };
        Arc::new(DeployBench::new(Arc::new(liar), target).with_people(proposed, move |release, yes| {
            people.answer(&release, yes);
            std::future::ready(())
        }))
    }

    async fn reopen(&self) -> Option<Arc<DeployBench>> {
        None
    }
}

#[tokio::test(start_paused = true)]
async fn a_deployer_that_breaks_a_promise_is_found_out() {
    let cases = [
        (Lie::AppliesAgain, "a_release_is_applied_once_however_often_it_is_asked_for"),
        (Lie::AppliesAgain, "one_release_applied_by_many_at_once_is_one_revision"),
        (Lie::BringsTheOldBack, "an_older_release_that_is_asked_for_late_changes_nothing"),
        (Lie::MixesTargets, "targets_are_apart"),
        (Lie::MixesTargets, "a_removal_takes_no_other_target_along"),
        (Lie::AppliesAPart, "what_is_live_is_the_newest_release_by_its_digests"),
        (Lie::AppliesAPart, "releases_applied_at_once_end_with_one_of_them_whole"),
        (Lie::AppliesAPart, "readers_see_a_release_whole_while_others_replace_it"),
        (Lie::AppliesAPart, "an_apply_that_was_cut_off_is_completed_by_the_same_call"),
        (Lie::RollsBackToTheNewest, "a_rollback_brings_a_revision_back_whole_as_a_new_one"),
        (Lie::RollsBackToTheNewest, "a_rollback_to_what_is_not_there_is_refused_and_changes_nothing"),
        (Lie::ReplacedByDefault, "a_revision_that_is_not_there_stands_nowhere"),
        (Lie::OldestFirst, "history_says_what_every_release_was_newest_first"),
        (Lie::KeepsFive, "at_least_the_newest_ten_revisions_are_kept"),
        (Lie::RemovesNothing, "a_removed_target_runs_nothing"),
        (Lie::ForgetsTheCommit, "history_says_what_every_release_was_newest_first"),
        (Lie::NothingIsAnError, "nothing_is_live_before_the_first_release"),
        (Lie::AppliesUnasked, "what_is_proposed_changes_nothing_until_it_is_accepted"),
        (Lie::AsksAgain, "a_release_is_proposed_once_however_often_it_is_asked_for"),
        (Lie::TakesNothingBack, "what_was_taken_back_is_not_accepted_any_more"),
        (Lie::TakesNothingBack, "what_was_accepted_is_not_taken_back"),
    ];
    for (lie, check) in cases {
        assert!(!finds(CHECKS, check, &Lie::None).await, "{check} finds something where nothing is wrong");
        assert!(finds(CHECKS, check, &lie).await, "{check} does not find {lie:?}");
    }
}
