//! What schedules ask for.

use super::*;
use crate::engine::ScheduledHead;
use crate::name::BranchName;

/// Every full hour; the first one is 800 s after the world began.
const HOURLY: &str =
    r#"{"auto_ci":{"schedule":[{"cron":"0 * * * *"}]},"deploy":{"auto":true,"environment":"dev"}}"#;

const FIRST: i64 = 800;

const HOUR: i64 = 3600;

fn head(branch: &str, n: u8) -> Option<Box<ScheduledHead>> {
    Some(Box::new(ScheduledHead { branch: BranchName::parse(branch).unwrap(), commit: the_commit(n) }))
}

impl World {
    /// Looks at the schedules at this time, with commit `n` as the branch's head. Says what was built.
    #[track_caller]
    fn looks(&mut self, seconds: i64, n: u8) -> Vec<BuildId> {
        self.looks_with(seconds, head("main", n)).unwrap()
    }

    fn looks_with(&mut self, seconds: i64, head: Option<Box<ScheduledHead>>) -> Result<Vec<BuildId>> {
        self.seconds = seconds - 1;
        match self.step(Input::Scheduled { head })?.reply {
            Reply::Builds(builds) => Ok(builds),
            Reply::Done => Ok(Vec::new()),
            Reply::Release(release) => panic!("a release {release}"),
        }
    }

    fn looked_at(&self) -> Option<Timestamp> {
        self.ref_state(RefKey::Schedule).looked.map(|looked| looked.at)
    }
}

#[test]
fn what_is_due_is_built_once() {
    let mut world = World::new(HOURLY);
    assert!(world.looks(1, 2).is_empty());
    assert_eq!(world.looked_at(), Some(at(1)), "the first look only marks");
    assert!(world.looks(FIRST - 1, 2).is_empty());
    assert_eq!(world.looked_at(), Some(at(1)));
    let builds = world.looks(FIRST, 2);
    let build = world.build(&builds[0]);
    assert_eq!((build.trigger, build.branch.as_deref()), (Trigger::Schedule, Some("main")));
    assert_eq!(build.spec.metadata.git_commit_message, "work");
    assert_eq!(world.log_of(&builds[0]), ["[setup] Triggered by Schedule"]);
    for seconds in [FIRST, FIRST + 1, FIRST + HOUR - 1] {
        assert!(world.looks(seconds, 2).is_empty());
    }
    assert_eq!(world.all_builds().len(), 1);
    world.succeed(&builds[0]);
    assert_eq!(world.release_of(&builds[0]).requested_by, "schedule");
}

#[test]
fn what_was_missed_is_built_once_and_the_same_commit_again_the_next_time() {
    let mut world = World::new(HOURLY);
    world.looks(1, 2);
    let missed = world.looks(FIRST + 5 * HOUR + 7, 2);
    assert_eq!(missed.len(), 1);
    assert!(world.looks(FIRST + 5 * HOUR + 8, 2).is_empty());
    world.succeed(&missed[0]);
    let next = world.looks(FIRST + 6 * HOUR, 2);
    assert_eq!((next.len(), world.all_builds().len()), (1, 2), "a schedule is meant to build again");
}

#[test]
fn a_scheduled_build_that_still_waits_gives_way_to_the_next_and_to_nothing_else() {
    let mut world = World::new(HOURLY);
    world.looks(1, 2);
    let first = world.looks(FIRST, 2);
    world.pushed(onto(2, 3));
    assert_eq!(world.state(&first[0]), BuildState::Queued);
    let second = world.looks(FIRST + HOUR, 3);
    assert!(matches!(world.state(&first[0]), BuildState::Superseded { .. }), "{:?}", world.state(&first[0]));
    assert_eq!(world.state(&second[0]), BuildState::Queued);
}

#[test]
fn every_component_is_built() {
    let mut world = World::new(
        r#"{"auto_ci":{"schedule":[{"cron":"0 * * * *"}]},"components":[{"name":"api"},{"name":"web"}]}"#,
    );
    world.looks(1, 2);
    assert_eq!(world.looks(FIRST, 2).len(), 2);
}

#[test]
fn of_two_who_look_at_a_time_one_builds() {
    let mut world = World::new(HOURLY);
    world.looks(1, 2);
    world.seconds = FIRST;
    let looked = |n| Input::Scheduled { head: head("main", n) };
    let service = now(world.store.service(&world.service)).unwrap().map(|stored| stored.value);
    let primary = Primary { service, ..Primary::default() };
    let view = now(world.store.view(&wants(&world.service, &looked(2), &primary))).unwrap();
    let changes = [2, 3].map(|n| match step(&world.rules, &view, looked(n), world.time()).unwrap() {
        Next::Save(stepped) => stepped.changes,
        Next::Ask(questions) => panic!("{questions:?}"),
    });
    now(world.store.save(&changes[0], None)).unwrap();
    refused(now(world.store.save(&changes[1], None)), ErrorKind::Conflict, "");
    assert!(world.looks(FIRST, 3).is_empty(), "who was late looks again and finds nothing due");
    assert_eq!(world.all_builds().len(), 1);
}

#[test]
fn while_auto_ci_is_off_the_moment_passes_and_nothing_is_built() {
    let mut world = World::new(HOURLY);
    world.looks(1, 2);
    let off = HOURLY.replace(r#""schedule""#, r#""enabled":false,"schedule""#);
    world.settings(&off);
    assert!(world.looks_with(FIRST + 3, None).unwrap().is_empty());
    assert_eq!(world.looked_at(), Some(at(FIRST + 3)));
    world.settings(HOURLY);
    assert!(world.looks(FIRST + 4, 2).is_empty());
    assert_eq!(world.looks(FIRST + HOUR, 2).len(), 1);
}

#[test]
fn of_schedules_that_are_new_nothing_was_missed() {
    let mut world = World::new(HOURLY);
    world.looks(1, 2);
    let other = HOURLY.replace("0 *", "*/5 *");
    world.settings(&other);
    assert!(world.looks(FIRST + HOUR, 2).is_empty());
    assert_eq!(world.looks(FIRST + HOUR + 300, 2).len(), 1);
    // Without schedules there is no mark, and the same ones are new again.
    world.settings("{}");
    assert!(world.looks(FIRST + HOUR + 301, 2).is_empty());
    assert_eq!(world.looked_at(), None);
    world.settings(&other);
    assert!(world.looks(FIRST + 9 * HOUR, 2).is_empty());
    assert_eq!(world.looks(FIRST + 9 * HOUR + 300, 2).len(), 1);
}

#[test]
fn of_several_schedules_that_are_due_together_one_build_comes() {
    let both = HOURLY.replace(r#"{"cron""#, r#"{"cron":"30 19 * * *","time_zone":"Europe/Berlin"},{"cron""#);
    let mut world = World::new(&both);
    world.looks(1, 2);
    assert_eq!(world.looks(FIRST + HOUR, 2).len(), 1);
    assert!(world.looks(FIRST + HOUR + 1, 2).is_empty());
}

#[test]
fn what_cannot_be_built_stays_due() {
    let mut world = World::new(HOURLY);
    world.looks(1, 2);
    for head in [None, head("other", 2)] {
        assert!(world.looks_with(FIRST, head).unwrap().is_empty());
        assert_eq!(world.looked_at(), Some(at(1)));
    }
    let complete = now(world.store.service(&world.service)).unwrap().unwrap();
    let mut bare = complete.value.clone();
    bare.settings.image = None;
    now(world.store.put_service(&bare, Some(complete.version), at(0))).unwrap();
    refused(world.looks_with(FIRST, head("main", 2)), ErrorKind::Invalid, "has no registry settings");
    assert_eq!(world.looked_at(), Some(at(1)));
    world.settings(HOURLY);
    assert_eq!(world.looks(FIRST + 9 * HOUR, 2).len(), 1);
}

#[test]
fn a_mark_from_a_clock_that_was_wrong_keeps_nothing_waiting() {
    let mut world = World::new(HOURLY);
    world.looks(400 * 24 * HOUR, 2);
    assert!(world.looks(1, 2).is_empty());
    assert_eq!(world.looked_at(), Some(at(1)));
    assert_eq!(world.looks(FIRST, 2).len(), 1);
    // Another machine's clock may be some seconds behind: nothing is built twice.
    assert!(world.looks(FIRST - 5, 2).is_empty());
    assert!(world.looks(FIRST + 1, 2).is_empty());
}

#[test]
fn an_image_service_has_nothing_to_build() {
    let mut world = World::new("{}");
    let known = now(world.store.service(&world.service)).unwrap().unwrap();
    let mut service = crate::policy::tests::image_service();
    service.name = world.service.clone();
    service.settings.auto_ci.schedule = vec![crate::service::Schedule::parse("0 * * * *", "UTC").unwrap()];
    now(world.store.put_service(&service, Some(known.version), at(0))).unwrap();
    assert!(world.looks(1, 2).is_empty() && world.looks(FIRST, 2).is_empty());
    assert_eq!(world.looked_at(), None);
}
