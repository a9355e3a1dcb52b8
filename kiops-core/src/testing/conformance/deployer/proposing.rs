//! Releases that people say yes or no to. Of a bench without people nothing is asked here.

use std::sync::Arc;

use super::fixtures::fresh_release;
use super::{DeployBench, People};
use crate::name::ReleaseId;
use crate::release::{DeployRequest, DeployTarget, Proposal, Proposals, Revision, RolloutStatus};
use crate::testing::conformance::Subject;

/// A target that people are asked about.
struct Asked {
    bench: Arc<DeployBench>,
    target: DeployTarget,
}

impl Asked {
    async fn open(subject: &dyn Subject<DeployBench>) -> Option<Self> {
        let bench = subject.open().await;
        let target = bench.people.as_ref()?.target();
        assert!(target.target.is_proposed(), "the bench's people are asked about its target");
        Some(Self { bench, target })
    }

    fn proposals(&self) -> &dyn Proposals {
        self.bench.deployer.proposals().expect("a deployer with people proposes")
    }

    fn people(&self) -> &People {
        self.bench.people.as_ref().expect("a bench with people")
    }

    async fn propose(&self, request: &DeployRequest) -> Proposal {
        self.proposals().propose(&self.target, request).await.expect("a release is proposed")
    }

    async fn withdraw(&self, release: &ReleaseId) -> Option<Revision> {
        self.proposals().withdraw(&self.target, release).await.expect("a proposal is taken back")
    }

    /// Proposes a new release, which people are asked about.
    async fn proposed(&self) -> DeployRequest {
        let request = self.bench.request(&self.target);
        self.is_open(&request).await;
        request
    }

    async fn is_open(&self, request: &DeployRequest) {
        match self.propose(request).await {
            Proposal::Open(text) => assert!(!text.trim().is_empty(), "it says where people are asked"),
            other => panic!("it is open: {other:?}"),
        }
    }

    async fn say(&self, request: &DeployRequest, yes: bool) {
        (self.people().answer)(request.release.clone(), yes).await;
    }

    /// Somebody says yes: it is a revision.
    async fn accepted(&self, request: &DeployRequest) -> Revision {
        self.say(request, true).await;
        match self.propose(request).await {
            Proposal::Accepted(revision) => revision,
            other => panic!("it was accepted: {other:?}"),
        }
    }

    async fn live(&self) -> Option<ReleaseId> {
        self.bench.observed(&self.target).await.map(|live| live.release)
    }
}

/// Nothing runs that nobody said yes to, and nothing is applied past them.
pub async fn what_is_proposed_changes_nothing_until_it_is_accepted(subject: &dyn Subject<DeployBench>) {
    let Some(asked) = Asked::open(subject).await else { return };
    let request = asked.proposed().await;
    assert_eq!((asked.live().await, asked.bench.numbers(&asked.target).await), (None, vec![]));
    let past = asked.bench.deployer.apply(&asked.target, &request).await;
    assert!(past.is_err(), "it was applied, and nobody said yes");
    assert_eq!(asked.live().await, None);
    let revision = asked.accepted(&request).await;
    assert_eq!(revision, Revision(1));
    asked.bench.assert_live(&asked.target, &request, revision).await;
    assert_eq!(asked.bench.ended(&asked.target, revision).await, RolloutStatus::Complete);
    assert_eq!(asked.propose(&request).await, Proposal::Accepted(revision), "it stays accepted");
}

/// People are asked once, however often and by how many it is proposed.
pub async fn a_release_is_proposed_once_however_often_it_is_asked_for(subject: &dyn Subject<DeployBench>) {
    let Some(asked) = Asked::open(subject).await else { return };
    let request = asked.bench.request(&asked.target);
    let many = futures_util::future::join_all((0..4).map(|_| asked.propose(&request))).await;
    let again = asked.propose(&request).await;
    assert!(many.iter().all(|one| *one == again), "it is proposed as {many:?} and {again:?}");
    asked.accepted(&request).await;
    assert_eq!(asked.bench.numbers(&asked.target).await, [1]);
}

/// A no is a no, also to whoever asks again.
pub async fn what_was_rejected_stays_so_and_changes_nothing(subject: &dyn Subject<DeployBench>) {
    let Some(asked) = Asked::open(subject).await else { return };
    let request = asked.proposed().await;
    asked.say(&request, false).await;
    for _ in 0..2 {
        let Proposal::Rejected(text) = asked.propose(&request).await else { panic!("it was rejected") };
        assert!(!text.trim().is_empty(), "it says what happened");
    }
    assert_eq!(asked.withdraw(&request.release).await, None);
    assert_eq!(asked.live().await, None);
    let next = asked.proposed().await;
    assert_eq!(asked.accepted(&next).await, Revision(1), "what was rejected is no revision");
}

/// What was taken back is nobody's to accept, twice as once.
pub async fn what_was_taken_back_is_not_accepted_any_more(subject: &dyn Subject<DeployBench>) {
    let Some(asked) = Asked::open(subject).await else { return };
    let request = asked.proposed().await;
    for _ in 0..2 {
        assert_eq!(asked.withdraw(&request.release).await, None);
    }
    asked.say(&request, true).await;
    assert_eq!(asked.live().await, None);
    assert_eq!(asked.withdraw(&fresh_release()).await, None, "nobody proposed it");
}

/// A yes that came first counts.
pub async fn what_was_accepted_is_not_taken_back(subject: &dyn Subject<DeployBench>) {
    let Some(asked) = Asked::open(subject).await else { return };
    let request = asked.proposed().await;
    asked.say(&request, true).await;
    assert_eq!(asked.withdraw(&request.release).await, Some(Revision(1)));
    assert_eq!(asked.live().await, Some(request.release));
}

/// Two releases are two questions; what another came before can still be accepted, as the next revision, once it was proposed again.
pub async fn a_release_that_another_came_before_is_proposed_again(subject: &dyn Subject<DeployBench>) {
    let Some(asked) = Asked::open(subject).await else { return };
    let (first, second) = (asked.proposed().await, asked.proposed().await);
    assert_eq!(asked.accepted(&first).await, Revision(1));
    assert_eq!(asked.live().await.as_ref(), Some(&first.release), "the yes was to the first alone");
    asked.is_open(&second).await;
    assert_eq!(asked.accepted(&second).await, Revision(2));
    asked.bench.assert_live(&asked.target, &second, Revision(2)).await;
    let third = asked.proposed().await;
    asked.withdraw(&third.release).await;
    assert_eq!(asked.live().await, Some(second.release), "what was taken back took nothing along");
}

/// What an error interrupts, the same call does.
pub async fn a_proposal_that_failed_is_made_by_the_same_call(subject: &dyn Subject<DeployBench>) {
    let Some(asked) = Asked::open(subject).await else { return };
    let Some(fault) = &asked.bench.fault else { return };
    let request = asked.bench.request(&asked.target);
    fault(true);
    let failed = asked.proposals().propose(&asked.target, &request).await;
    fault(false);
    assert!(failed.is_err(), "the runtime had a fault: {failed:?}");
    asked.is_open(&request).await;
    asked.accepted(&request).await;
}

/// A rollback is a release like any other.
pub async fn a_rollback_is_proposed_too(subject: &dyn Subject<DeployBench>) {
    let Some(asked) = Asked::open(subject).await else { return };
    let (deployer, first) = (&asked.bench.deployer, asked.proposed().await);
    asked.accepted(&first).await;
    let second = asked.proposed().await;
    asked.accepted(&second).await;
    let back = DeployRequest { release: fresh_release(), ..first.clone() };
    let past = deployer.rollback(&asked.target, Revision(1), &back.release).await;
    assert!(past.is_err(), "it went back, and nobody said yes");
    asked.is_open(&back).await;
    assert_eq!(asked.accepted(&back).await, Revision(3));
    let live = asked.bench.observed(&asked.target).await.expect("something is live");
    assert_eq!((live.release, live.images), (back.release, first.images));
}
