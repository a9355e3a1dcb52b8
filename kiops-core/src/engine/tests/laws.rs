//! Whole lives of a service, drawn from a seed: what holds whatever is pushed, asked for, lost and late.

use std::collections::BTreeSet;

use super::*;
use crate::build::tests::Rng;
use crate::checks::Reported;
use crate::release::BuildView;

/// Steps in all, over all seeds.
const STEPS: usize = 12_000;

/// Seeds that once failed are played first.
const KEPT: [u64; 1] = [5002];

#[test]
fn no_step_breaks_a_law() {
    let mut left = STEPS;
    for seed in KEPT.into_iter().chain(5000..) {
        if left == 0 {
            break;
        }
        let length = left.min(150);
        Life::new(seed).play(length);
        left -= length;
    }
}

struct Life {
    world: World,
    rng: Rng,
    seed: u64,
    /// The head of `main`.
    head: u8,
    /// Pushes that were not delivered yet.
    late: Vec<Event>,
    /// The highest order that ever went live by itself.
    live_by_itself: u64,
    /// What was live last.
    live: Option<LaneState>,
    nonce: u64,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let supersede = *rng.pick(&["queued", "running", "never"]);
        let environment = *rng.pick(&[
            r#"{"name":"dev","runtime":"here"}"#,
            r#"{"name":"dev","runtime":"here","approval_required":true}"#,
            r#"{"name":"dev","runtime":"here","rollback_on_failure":false}"#,
        ]);
        let settings = format!(
            r#"{{"auto_ci":{{"supersede":"{supersede}","merge_request":{{"enabled":true}}}},
                "checks":[{{"name":"zap","phase":"deployed","image":"h.io/zap:1"}}],
                "deploy":{{"auto":true,"environment":"dev"}}}}"#
        );
        let mut world = World::new(&settings);
        world.environment(environment);
        world.limits = Limits { total: 3, ..Limits::default() };
        if rng.one_in(3) {
            world.subject = member("boss", Role::Admin);
        }
        Self { world, rng, seed, head: 1, late: Vec::new(), live_by_itself: 0, live: None, nonce: 0 }
    }

    fn play(&mut self, length: usize) {
        for step in 0..length {
            let (builds, releases) = (self.world.all_builds(), self.world.all_releases());
            let what = self.act();
            self.check(&builds, &releases)
                .unwrap_or_else(|why| panic!("{why}; seed {}, step {step}: {what}", self.seed));
        }
    }

    /// Something happens; refusals are as good as anything.
    fn act(&mut self) -> String {
        self.world.seconds += i64::try_from(self.rng.below(90)).unwrap();
        match self.rng.below(20) {
            0..4 => self.push(),
            4 => self.deliver_late(),
            5..9 => {
                self.world.start_all();
                "start".into()
            }
            9..13 => self.of_a_build(),
            13..17 => self.of_a_release(),
            17 => self.by_hand(),
            18 => {
                let Some(build) = self.some_build() else { return String::new() };
                let _ = self.world.input(&build, BuildInput::Tick);
                "tick".into()
            }
            _ => {
                let Some(release) = self.some_release() else { return String::new() };
                let _ = self.world.releases_input(&release, ReleaseInput::Tick);
                "tick of a release".into()
            }
        }
    }

    fn push(&mut self) -> String {
        let before = self.head;
        self.head = if self.rng.one_in(6) {
            1 + u8::try_from(self.rng.below(before.into())).unwrap()
        } else {
            before % 250 + 1
        };
        if self.head == before {
            return String::new();
        }
        let event = onto(before, self.head);
        let head = self.head;
        self.world.points_at("refs/heads/main", head);
        if self.rng.one_in(5) {
            self.late.push(event);
            return format!("a push of {head} that comes later");
        }
        self.world.deliver(event);
        format!("a push of {head}")
    }

    fn deliver_late(&mut self) -> String {
        if self.late.is_empty() {
            return String::new();
        }
        let at = self.rng.below(self.late.len());
        let event = self.late.swap_remove(at);
        self.world.deliver(event);
        "a late push".into()
    }

    fn some_build(&mut self) -> Option<BuildId> {
        let builds = self.world.all_builds();
        let live: Vec<_> = builds.iter().filter(|build| !build.is_at_rest()).collect();
        if live.is_empty() || self.rng.one_in(8) {
            return (!builds.is_empty()).then(|| self.rng.pick(&builds).id.clone());
        }
        Some(self.rng.pick(&live).id.clone())
    }

    fn some_release(&mut self) -> Option<ReleaseId> {
        let releases = self.world.all_releases();
        let live: Vec<_> = releases.iter().filter(|release| !release.is_over()).collect();
        if live.is_empty() || self.rng.one_in(8) {
            return (!releases.is_empty()).then(|| self.rng.pick(&releases).id.clone());
        }
        Some(self.rng.pick(&live).id.clone())
    }

    fn of_a_build(&mut self) -> String {
        let Some(id) = self.some_build() else { return String::new() };
        let build = self.world.build(&id);
        let result = RunResult { digest: Some(digest_of(build.commit())), ..RunResult::default() };
        let event = match self.rng.below(8) {
            0 => RunEvent::Stage(Stage::Build),
            1 => RunEvent::Finished(RunOutcome::Failed(build_failure())),
            2 => RunEvent::Finished(RunOutcome::Lost { reason: "gone".into() }),
            _ => RunEvent::Finished(RunOutcome::Succeeded(result)),
        };
        // Once the build is over, its check of what is live is what goes on.
        let check = build.live_check().map(|check| (check.spec.name.clone(), build.check_run(check)));
        let run = check.as_ref().map_or_else(|| build.run(), |(_, run)| run.clone());
        let input = if self.rng.one_in(10) {
            BuildInput::LostByUs { run }
        } else if self.rng.one_in(12) {
            BuildInput::Cancel { by: "ada".into() }
        } else if let Some((check, _)) = check {
            BuildInput::Check { run, check, event, reported: Reported::Nothing }
        } else {
            BuildInput::Report { run, event }
        };
        let said = format!("{input:?} of {id}");
        let _ = self.world.input(&id, input);
        said
    }

    fn of_a_release(&mut self) -> String {
        let Some(id) = self.some_release() else { return String::new() };
        let revision = Revision(self.rng.next() % 1000 + 1);
        let failure = Failure::new(Stage::Deploy, FailureKind::RolloutFailed, "0 of 1");
        let state = self.world.release(&id).state;
        let input = match (&state, self.rng.below(6)) {
            (ReleaseState::AwaitingApproval, 0..4) => {
                let command = Command::Approve { release: id.clone() };
                let _ = self.world.command(command, &member("root", Role::Owner));
                return format!("approval of {id}");
            }
            (ReleaseState::Deploying, 0..5) => ReleaseInput::Applied(Ok(revision)),
            (ReleaseState::Deploying, _) => ReleaseInput::Applied(Err(failure)),
            (ReleaseState::Verifying, 0..4) => ReleaseInput::Status(RolloutStatus::Complete),
            (ReleaseState::Verifying, _) => ReleaseInput::Status(RolloutStatus::Failed(failure)),
            (ReleaseState::RollingBack(_), 0..5) => ReleaseInput::WentBack(Ok(revision)),
            (ReleaseState::RollingBack(_), _) => ReleaseInput::WentBack(Err(failure)),
            (_, 0) => ReleaseInput::Cancel { by: "ada".into() },
            (_, 1) => ReleaseInput::Quarantine { reason: "corrupt".into() },
            _ => ReleaseInput::Status(RolloutStatus::Complete),
        };
        let said = format!("{input:?} of {id}");
        let _ = self.world.releases_input(&id, input);
        said
    }

    fn by_hand(&mut self) -> String {
        self.nonce += 1;
        let nonce = if self.rng.one_in(5) { "once".to_owned() } else { self.nonce.to_string() };
        let by = member("ada", Role::Owner);
        let Some(build) = self.some_build() else { return String::new() };
        let command = match self.rng.below(3) {
            0 => Command::DeployBuild { build, environment: None, nonce },
            1 => Command::CancelBuild { build },
            _ => Command::Build {
                component: None,
                git_ref: crate::name::GitRef::parse("refs/heads/main").unwrap(),
                commit: Box::new(the_commit(self.head)),
                trigger: Trigger::Manual,
                nonce,
            },
        };
        let said = format!("{command:?}");
        let _ = self.world.command(command, &by);
        said
    }

    fn check(&mut self, old_builds: &[Build], old_releases: &[Release]) -> Result<(), String> {
        let claim = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        let (builds, releases) = (self.world.all_builds(), self.world.all_releases());
        for old in old_builds {
            let new = self.world.build(&old.id);
            claim(new.progress >= old.progress, "a build's progress fell")?;
            claim(!old.is_over() || new.state == old.state, "a build that was over changed")?;
            let seen = |build: &Build, releases: &[Release]| {
                let release = build.release.as_ref().and_then(|id| releases.iter().find(|one| one.id == *id));
                BuildView::of(build, release).progress
            };
            claim(seen(&new, &releases) >= seen(old, old_releases), "the progress that people see fell")?;
        }
        for old in old_releases {
            let new = self.world.release(&old.id);
            claim(!old.is_over() || new == *old, "a release that was over changed")?;
        }
        let under_way = releases.iter().filter(|release| release.state.is_under_way()).count();
        claim(under_way <= 1, "two releases are under way in one lane")?;
        let waits = releases.iter().filter(|release| release.state == ReleaseState::Pending).count();
        claim(waits <= 1 && (waits == 0 || under_way == 1), "a release waits for nothing")?;
        self.check_live(&releases)?;
        self.check_looked_at(&builds, under_way)?;
        self.check_slots(&builds)?;
        let newest = self.world.ref_state(main_ref()).newest;
        let per_identity = builds.iter().filter(|build| build.state == BuildState::Succeeded);
        let automatic: Vec<_> = per_identity
            .filter(|build| !matches!(build.trigger, Trigger::Manual))
            .map(|build| build.commit())
            .collect();
        let distinct: BTreeSet<_> = automatic.iter().collect();
        claim(distinct.len() == automatic.len(), "two automatic builds of one commit succeeded")?;
        claim(newest.is_some() || builds.is_empty() || self.nonce > 0, "no head is the newest")
    }

    fn check_live(&mut self, releases: &[Release]) -> Result<(), String> {
        let live = self.world.lane();
        if live == self.live {
            return Ok(());
        }
        let (now, before) = (live.as_ref().expect("a lane is never emptied"), self.live.as_ref());
        let release =
            releases.iter().find(|release| release.id == now.release).expect("what is live is stored");
        if before.is_none_or(|before| before.release != now.release) {
            let newer = before.is_none_or(|before| before.order < now.order);
            if !newer {
                return Err("something older went over something newer".into());
            }
            if release.origin.is_automatic() {
                if release.order < self.live_by_itself {
                    return Err("an automatic release went live after a higher one".into());
                }
                self.live_by_itself = release.order;
            }
            let late = release.origin.build().is_some_and(|id| {
                let build = self.world.build(id);
                release.origin.is_automatic() && build.requesters.iter().all(|by| by.late)
            });
            if late {
                return Err("a late head went live".into());
            }
        }
        self.live = live;
        Ok(())
    }

    /// What is looked at is what is live, and nothing else is about to be.
    fn check_looked_at(&self, builds: &[Build], under_way: usize) -> Result<(), String> {
        let looked = builds.iter().filter(|build| build.live_check().is_some());
        let looked: Vec<_> = looked.filter_map(|build| build.live_checks.as_ref()).collect();
        let live = self.live.as_ref().map(|live| &live.release);
        match looked.as_slice() {
            [] => Ok(()),
            [one] if under_way == 0 && live == Some(&one.release) => Ok(()),
            _ => Err(format!("{looked:?} is looked at, and {live:?} is live")),
        }
    }

    fn check_slots(&self, builds: &[Build]) -> Result<(), String> {
        let (waiting, slots) = now(self.world.store.queue()).unwrap();
        let holders: BTreeSet<&BuildId> = slots.iter().map(|slot| &slot.build).collect();
        let running: BTreeSet<&BuildId> = builds
            .iter()
            .filter(|build| !build.is_over() && build.state != BuildState::Queued)
            .map(|build| &build.id)
            .collect();
        if holders != running {
            return Err(format!("slots and running builds differ: {holders:?} and {running:?}"));
        }
        if running.len() > 2 {
            return Err("more builds than the service's limit run".into());
        }
        let queued = builds.iter().filter(|build| build.state == BuildState::Queued).count();
        if waiting.len() != queued {
            return Err("the queue has lost somebody".into());
        }
        Ok(())
    }
}
