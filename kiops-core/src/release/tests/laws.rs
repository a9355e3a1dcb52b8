//! Hundreds of thousands of random transitions, legal and illegal: what holds for all of them.

use super::*;
use crate::build::tests::{Rng, queued};
use crate::build::{Build, BuildState};

const TRANSITIONS: usize = 300_000;

/// Seeds that once failed are played first.
const KEPT: [u64; 1] = [1497];

#[test]
fn no_transition_breaks_a_law() {
    let mut left = TRANSITIONS;
    for seed in KEPT.into_iter().chain(1000..) {
        if left == 0 {
            break;
        }
        let length = left.min(30);
        life(seed, length);
        left -= length;
    }
}

fn life(seed: u64, length: usize) {
    let mut rng = Rng(seed);
    let mut release = if rng.one_in(2) { pending() } else { awaiting() };
    if rng.one_in(2) {
        release.target = by_merge_request().target;
    }
    release.rollback_on_failure = !rng.one_in(4);
    if rng.one_in(4) {
        release.timers.rollout_seconds = 0;
    }
    let build = Build {
        state: BuildState::Succeeded,
        progress: crate::stage::Progress::at(Stage::Promote, 1, 1),
        ..queued()
    };
    let mut now = 0;
    for step in 0..length {
        now += i64::try_from(rng.below(300)).unwrap();
        release.armed = release.wake_at().filter(|_| !rng.one_in(3));
        let input = input(&mut rng, &release);
        let before = release.clone();
        let result = release.apply(input.clone(), at(now));
        let context = || format!("seed {seed}, step {step}: {input:?} in {:?}", before.state);
        let Ok(asks) = result else {
            assert!(release == before, "an error changed the release; {}", context());
            continue;
        };
        legal(&before, &release, &asks).unwrap_or_else(|why| panic!("{why}; {}", context()));
        let due = release.wake_at().filter(|due| input == ReleaseInput::Tick && *due <= at(now));
        assert_eq!(due, None, "it is woken again at once; {}", context());
        let (old, new) = (BuildView::of(&build, Some(&before)), BuildView::of(&build, Some(&release)));
        assert!(new.progress >= old.progress, "progress fell; {}", context());
    }
}

fn legal(before: &Release, after: &Release, asks: &[ReleaseAsk]) -> Result<(), String> {
    use ReleaseState as S;
    let claim = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
    if before.is_over() {
        claim(after == before && asks.is_empty(), "something happened after the end")?;
    }
    let same = std::mem::discriminant(&before.state) == std::mem::discriminant(&after.state);
    let follows = matches!(
        (&before.state, &after.state),
        (S::Pending, S::Deploying | S::Proposed | S::Canceled { .. } | S::Superseded { .. } | S::Failed(_))
            | (
                S::AwaitingApproval,
                S::Pending
                    | S::Rejected { .. }
                    | S::Expired
                    | S::Canceled { .. }
                    | S::Superseded { .. }
                    | S::Failed(_)
            )
            | (S::Proposed, S::Verifying | S::Withdrawing(_) | S::Rejected { .. })
            | (
                S::Withdrawing(_),
                S::Verifying
                    | S::Rejected { .. }
                    | S::Expired
                    | S::Canceled { .. }
                    | S::Superseded { .. }
                    | S::Failed(_)
            )
            | (S::Deploying, S::Verifying | S::Failed(_))
            | (S::Verifying, S::Live | S::Failed(_) | S::RollingBack(_))
            | (S::RollingBack(_), S::RolledBack(_) | S::Failed(_))
    );
    claim(same || follows, "there is no such transition")?;
    let proposes = after.target.target.is_proposed();
    let asked = matches!(after.state, S::Proposed | S::Withdrawing(_));
    claim(!(proposes && after.state == S::Deploying), "it was applied without being proposed")?;
    claim(proposes || !asked, "it was proposed where nobody is asked")?;
    let taken_back = asks.contains(&ReleaseAsk::Withdraw);
    let leaves = before.state == S::Proposed && matches!(after.state, S::Withdrawing(_));
    claim(taken_back == leaves, "a proposal was left open, or one taken back that is wanted")?;
    if let (S::Withdrawing(then), true) = (&before.state, after.is_over()) {
        let quarantined = matches!(after.state, S::Failed(_));
        claim(after.state == **then || quarantined, "it ended as something else")?;
    }
    claim(after.is_over() == after.finished_at.is_some(), "the end has no time, or a time and no end")?;
    claim(!after.is_over() || after.wake_at().is_none(), "a release that is over is woken")?;
    let live = after.state == S::Live && before.state != S::Live;
    let back = matches!(after.state, S::RolledBack(_)) && !before.is_over();
    let noted = asks.iter().any(|ask| matches!(ask, ReleaseAsk::NoteLive(_)));
    claim(noted == (live || back), "what is live was noted wrongly")?;
    claim(!live || after.revision.is_some(), "it is live without a revision")?;
    let approved = before.state == S::AwaitingApproval && after.state == S::Pending;
    claim(!approved || after.approval.is_some(), "it went on without a yes")?;
    let going_back = matches!(after.state, S::RollingBack(_)) && !matches!(before.state, S::RollingBack(_));
    claim(!(going_back && proposes), "what people accepted goes back by itself")?;
    claim(!going_back || (after.previous.is_some() && after.rollback_on_failure), "it goes back to nothing")
}

fn input(rng: &mut Rng, release: &Release) -> ReleaseInput {
    let revision = Revision(rng.next() % 9 + 1);
    if rng.one_in(2) {
        match release.state {
            ReleaseState::Pending => {
                return ReleaseInput::Start { previous: rng.one_in(2).then_some(revision) };
            }
            ReleaseState::AwaitingApproval => return ReleaseInput::Approve { by: ada() },
            ReleaseState::Proposed if rng.one_in(3) => {
                return ReleaseInput::Proposed(Ok(Proposal::Accepted(revision)));
            }
            ReleaseState::Withdrawing(_) if rng.one_in(3) => {
                return ReleaseInput::Withdrawn(Ok(rng.one_in(3).then_some(revision)));
            }
            ReleaseState::Deploying => return ReleaseInput::Applied(Ok(revision)),
            ReleaseState::Verifying if rng.one_in(3) => {
                return ReleaseInput::Status(RolloutStatus::Complete);
            }
            _ => {}
        }
    }
    let by = || "ada".to_owned();
    match rng.below(20) {
        16 => ReleaseInput::Proposed(Ok(Proposal::Open("merge request 7".into()))),
        17 => ReleaseInput::Proposed(Ok(Proposal::Rejected("merge request 7 was closed".into()))),
        18 => ReleaseInput::Proposed(Err(unhealthy())),
        19 => ReleaseInput::Withdrawn(Err(unhealthy())),
        0 => ReleaseInput::Start { previous: None },
        1 => ReleaseInput::Approve { by: ada() },
        2 => ReleaseInput::Reject { by: by() },
        3 => ReleaseInput::Cancel { by: by() },
        4 => ReleaseInput::Supersede { by: ReleaseId::derive(["newer"]) },
        5 => ReleaseInput::Applied(Ok(revision)),
        6 => ReleaseInput::Applied(Err(unhealthy())),
        7 => ReleaseInput::Status(RolloutStatus::Progressing(String::new())),
        8 => ReleaseInput::Status(RolloutStatus::Complete),
        9 | 10 => ReleaseInput::Status(RolloutStatus::Failed(unhealthy())),
        11 => ReleaseInput::Status(RolloutStatus::Replaced(revision)),
        12 => ReleaseInput::WentBack(Ok(revision)),
        13 => ReleaseInput::WentBack(Err(unhealthy())),
        14 if rng.one_in(6) => ReleaseInput::Quarantine { reason: "corrupt".into() },
        _ => ReleaseInput::Tick,
    }
}
