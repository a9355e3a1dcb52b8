//! What base images that moved ask for.

use super::*;
use crate::engine::bases::{KnownRefs, Standing, bases_of};
use crate::engine::{FoundBases, FoundComponent};
use crate::name::{BranchName, ComponentName, ImageRef};
use crate::policy::SeenBases;

const ON: &str =
    r#"{"auto_ci":{"base_image":{"enabled":true,"every":30}},"deploy":{"auto":true,"environment":"dev"}}"#;

const MINUTE: i64 = 60;

fn image(text: &str) -> ImageRef {
    ImageRef::parse(text).unwrap()
}

fn content(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// What was found of `main`'s commit `n`: base `h.io/base:1` with this content; an empty one could not be told.
fn found(n: u8, base: &str) -> FoundBases {
    found_of(n, &[("main", &[("h.io/base:1", base)])])
}

fn found_of(n: u8, components: &[(&str, &[(&str, &str)])]) -> FoundBases {
    let digest = |text: &str| (!text.is_empty()).then(|| content(text));
    let images =
        |bases: &[(&str, &str)]| bases.iter().map(|(name, text)| (image(name), digest(text))).collect();
    let found = |(name, bases): &(&str, &[(&str, &str)])| {
        let found = FoundComponent { commit: the_commit(n), bases: images(bases) };
        (ComponentName::parse(*name).unwrap(), found)
    };
    FoundBases {
        branch: BranchName::parse("main").unwrap(),
        newest: Default::default(),
        since: None,
        components: components.iter().map(found).collect(),
        unfollowed: Vec::new(),
    }
}

impl World {
    /// A world in which commit 2 of `main` was pushed, built and is live.
    fn with_a_push(settings: &str) -> Self {
        let mut world = Self::new(settings);
        world.live(onto(1, 2));
        world
    }

    /// Base images were looked at. Says what was built.
    #[track_caller]
    fn finds(&mut self, found: FoundBases) -> Vec<BuildId> {
        let found = self.seen_with(found);
        self.finds_late(found)
    }

    /// What was found, by the builds that there are now.
    fn seen_with(&self, found: FoundBases) -> FoundBases {
        let known = self.known_refs();
        let newest = found.components.keys().flat_map(|component| known.newest(component)).cloned();
        let since = known.bases.bases.as_ref().map(|seen| seen.at);
        FoundBases { newest: newest.collect(), since, ..found }
    }

    fn known_refs(&self) -> KnownRefs {
        KnownRefs::of(&BranchName::parse("main").unwrap(), |key| self.ref_state(key.clone()))
    }

    #[track_caller]
    fn finds_late(&mut self, found: FoundBases) -> Vec<BuildId> {
        match self.step(Input::Bases(Box::new(found))).unwrap().reply {
            Reply::Builds(builds) => builds,
            Reply::Done => Vec::new(),
            Reply::Release(release) => panic!("a release {release}"),
        }
    }

    fn seen(&self) -> Option<SeenBases> {
        self.ref_state(RefKey::BaseImages).bases
    }

    fn standing(&self) -> Standing {
        let service = now(self.store.service(&self.service)).unwrap().unwrap().value;
        Standing::of(&service, &self.known_refs(), self.time())
    }
}

#[test]
fn a_base_that_moved_builds_once_and_one_that_did_not_builds_nothing() {
    let mut world = World::with_a_push(ON);
    assert!(world.finds(found(2, "a")).is_empty(), "the first sight only notes");
    assert!(world.finds(found(2, "a")).is_empty());
    let builds = world.finds(found(2, "b"));
    let build = world.build(&builds[0]);
    assert_eq!((build.trigger, build.branch.as_deref()), (Trigger::BaseImage, Some("main")));
    assert_eq!((build.commit(), build.spec.metadata.git_commit_message.as_str()), (&commit(2), "work"));
    let moved = format!("[setup] Base image h.io/base:1 moved from {} to {}", content("a"), content("b"));
    assert_eq!(world.log_of(&builds[0]), ["[setup] Triggered by Base Image", &moved]);
    assert!(world.finds(found(2, "b")).is_empty());
    assert_eq!(world.all_builds().len(), 2);
}

#[test]
fn a_success_is_released_as_one_of_a_push() {
    let mut world = World::with_a_push(ON);
    world.finds(found(2, "a"));
    let builds = world.finds(found(2, "b"));
    world.succeed(&builds[0]);
    let release = world.release_of(&builds[0]);
    assert_eq!((release.requested_by.as_str(), &release.state), ("base-image", &ReleaseState::Deploying));
    // Where a push of nobody known waits for an approval, it waits, too.
    world.environment(r#"{"name":"dev","runtime":"here","approval_required":true}"#);
    let builds = world.finds(found(2, "c"));
    world.succeed(&builds[0]);
    assert_eq!(world.release_of(&builds[0]).state, ReleaseState::AwaitingApproval);
}

#[test]
fn a_tag_that_flips_back_builds_again_each_time_that_it_is_seen_elsewhere() {
    let mut world = World::with_a_push(ON);
    world.finds(found(2, "a"));
    for (n, base) in ["b", "a", "b"].into_iter().enumerate() {
        let builds = world.finds(found(2, base));
        assert_eq!((builds.len(), world.all_builds().len()), (1, n + 2), "{base}");
        world.succeed(&builds[0]);
    }
    // Away and back between two looks is no move.
    assert!(world.finds(found(2, "b")).is_empty());
}

#[test]
fn of_two_who_see_the_same_move_one_builds() {
    let mut world = World::with_a_push(ON);
    world.finds(found(2, "a"));
    let input = Input::Bases(Box::new(world.seen_with(found(2, "b"))));
    let service = now(world.store.service(&world.service)).unwrap().map(|stored| stored.value);
    let primary = Primary { service, ..Primary::default() };
    let view = now(world.store.view(&wants(&world.service, &input, &primary))).unwrap();
    let changes = [1, 7].map(|after| {
        match step(&world.rules, &view, input.clone(), world.time() + later(after)).unwrap() {
            Next::Save(stepped) => stepped.changes,
            Next::Ask(questions) => panic!("{questions:?}"),
        }
    });
    assert_eq!(changes[0].builds[0].id, changes[1].builds[0].id, "the move names the build, not the clock");
    now(world.store.save(&changes[0], None)).unwrap();
    refused(now(world.store.save(&changes[1], None)), ErrorKind::Conflict, "");
    assert!(world.finds(found(2, "b")).is_empty(), "who was late looks again and finds nothing new");
    assert_eq!(world.all_builds().len(), 2);
}

#[test]
fn what_was_asked_before_somebody_else_looked_says_nothing() {
    let mut world = World::with_a_push(ON);
    world.finds(found(2, "a"));
    let early = world.seen_with(found(2, "a"));
    assert_eq!(world.finds(found(2, "b")).len(), 1);
    assert!(world.finds_late(early).is_empty(), "it did not move back");
    assert!(world.finds(found(2, "b")).is_empty());
}

#[test]
fn while_a_registry_says_nothing_what_is_known_stays() {
    let mut world = World::with_a_push(ON);
    world.finds(found(2, "a"));
    assert!(world.finds(found(2, "")).is_empty());
    assert!(world.finds(found_of(2, &[])).is_empty(), "nor where the Dockerfile could not be read");
    assert_eq!(world.finds(found(2, "b")).len(), 1);
    // Where it never said anything, the first answer is the first sight.
    let mut world = World::with_a_push(ON);
    assert!(world.finds(found(2, "")).is_empty() && world.finds(found(2, "a")).is_empty());
    assert_eq!(world.finds(found(2, "b")).len(), 1);
}

#[test]
fn only_components_whose_base_moved_are_built() {
    let settings = ON.replacen('{', r#"{"components":[{"name":"api"},{"name":"web"},{"name":"job"}],"#, 1);
    let mut world = World::new(&settings);
    world.deliver(onto(1, 2));
    let bases = |shared: &str, own: &str| {
        found_of(
            2,
            &[
                ("api", &[("h.io/base:1", shared), ("h.io/own:1", own)]),
                ("web", &[("h.io/base:1", shared)]),
                ("job", &[]),
            ],
        )
    };
    world.finds(bases("a", "a"));
    let components = |world: &World, builds: &[BuildId]| {
        builds.iter().map(|id| world.build(id).component().to_string()).collect::<Vec<_>>()
    };
    let builds = world.finds(bases("a", "b"));
    assert_eq!(components(&world, &builds), ["api"]);
    let builds = world.finds(bases("b", "c"));
    assert_eq!(components(&world, &builds), ["api", "web"]);
    assert_eq!(world.log_of(&builds[0]).len(), 3, "each base that moved is named");
}

#[test]
fn a_base_that_the_dockerfile_names_anew_is_only_noted() {
    let mut world = World::with_a_push(ON);
    world.finds(found(2, "a"));
    let build = world.pushed(onto(2, 3));
    world.succeed(&build);
    assert!(world.finds(found_of(3, &[("main", &[("h.io/other:1", "x")])])).is_empty());
    // The first one was let go of: it is new again.
    assert!(world.finds(found(3, "b")).is_empty());
}

#[test]
fn what_was_read_of_another_commit_or_branch_than_was_built_last_says_nothing() {
    let mut world = World::with_a_push(ON);
    world.finds(found(2, "a"));
    let before = world.seen();
    let late = world.seen_with(found(2, "b"));
    world.pushed(onto(2, 3));
    assert!(world.finds_late(late).is_empty() && world.finds(found(2, "b")).is_empty());
    let other = FoundBases { branch: BranchName::parse("other").unwrap(), ..world.seen_with(found(3, "b")) };
    assert!(world.finds_late(other).is_empty());
    assert_eq!(world.seen(), before, "nothing is noted, nothing lost");
    let builds = world.finds(found(3, "b"));
    assert_eq!(world.build(&builds[0]).commit(), &commit(3));
}

#[test]
fn what_was_skipped_is_not_built_for_a_base_and_what_was_built_last_is() {
    let settings = ON.replace(r#""base_image""#, r#""keyword":"deploy","base_image""#);
    let mut world = World::new(&settings);
    world.deliver(onto(1, 2));
    assert_eq!(world.all_builds().len(), 0, "its message lacks the word");
    assert_eq!(world.standing(), Standing::Off, "there is nothing to build again");
    assert!(world.finds(found(2, "a")).is_empty() && world.finds(found(2, "b")).is_empty());
    world.settings(ON);
    world.pushed(onto(2, 3));
    world.settings(&settings);
    world.deliver(onto(3, 4));
    world.finds(found(3, "a"));
    assert!(world.finds(found(4, "b")).is_empty());
    assert_eq!(world.finds(found(3, "b")).len(), 1);
}

#[test]
fn what_a_schedule_built_last_is_built_for_a_base() {
    let settings = ON.replace(r#""base_image""#, r#""schedule":[{"cron":"0 * * * *"}],"base_image""#);
    let mut world = World::new(&settings);
    world.pushed(onto(1, 2));
    let scheduled = |n| {
        let head = crate::engine::ScheduledHead {
            branch: BranchName::parse("main").unwrap(),
            commit: the_commit(n),
        };
        Input::Scheduled { head: Some(Box::new(head)) }
    };
    world.step(scheduled(3)).unwrap();
    world.seconds += 3600;
    world.step(scheduled(3)).unwrap();
    world.finds(found(3, "a"));
    assert!(world.finds(found(2, "b")).is_empty(), "the push is older");
    assert_eq!(world.finds(found(3, "b")).len(), 1);
}

#[test]
fn a_build_for_a_base_that_waits_gives_way_to_the_next_and_to_no_push() {
    let mut world = World::with_a_push(ON);
    world.finds(found(2, "a"));
    let first = world.finds(found(2, "b"));
    world.pushed(onto(2, 3));
    assert_eq!(world.state(&first[0]), BuildState::Queued);
    let second = world.finds(found(3, "c"));
    assert!(matches!(world.state(&first[0]), BuildState::Superseded { .. }), "{:?}", world.state(&first[0]));
    assert_eq!(world.state(&second[0]), BuildState::Queued);
}

#[test]
fn an_older_head_for_a_base_never_goes_live_over_a_newer_push() {
    let mut world = World::with_a_push(ON);
    world.finds(found(2, "a"));
    let rebuilt = world.finds(found(2, "b"));
    world.start_all();
    let pushed = world.live(onto(2, 3));
    world.succeed(&rebuilt[0]);
    let live = world.lane().unwrap();
    assert_eq!(Some(live.release), world.build(&pushed).release);
    assert_eq!(world.build(&rebuilt[0]).release, None);
}

/// Somebody went back: a moved base is no reason to go on again, and to nothing that did not go live.
#[test]
fn a_base_that_moves_never_deploys_over_another_commit_that_somebody_chose() {
    let mut world = World::with_a_push(ON);
    let older = world.lane().unwrap();
    world.live(onto(2, 3));
    world.finds(found(3, "a"));
    let first = world.all_builds().into_iter().find(|build| *build.commit() == the_commit(2).id).unwrap();
    let back = Command::DeployBuild { build: first.id, environment: None, nonce: "back".into() };
    let back = world.released_by(back, &member("ada", Role::Owner));
    world.goes_live(&back);
    assert_eq!(world.lane().unwrap().images, older.images);
    let builds = world.finds(found(3, "b"));
    world.succeed(&builds[0]);
    assert_eq!(world.build(&builds[0]).release, None);
    let log = world.log_of(&builds[0]);
    assert!(log.iter().any(|line| line.contains("Not released: what is live")), "{log:?}");
}

#[test]
fn what_somebody_canceled_or_what_cannot_be_built_is_not_built_for_a_base() {
    for fails in [true, false] {
        let mut world = World::with_a_push(ON);
        let last = world.pushed(onto(2, 3));
        world.start_all();
        if fails {
            world.fail(&last);
        } else {
            world.command(Command::CancelBuild { build: last.clone() }, &member("ada", Role::Owner)).unwrap();
        }
        world.finds(found(3, "a"));
        assert!(world.finds(found(3, "b")).is_empty(), "{fails}");
    }
}

#[test]
fn while_it_is_off_nothing_is_looked_at_and_what_moved_meanwhile_is_built_afterwards() {
    let mut world = World::new(ON);
    assert_eq!(world.standing(), Standing::Off, "nothing was pushed yet");
    world.live(onto(1, 2));
    assert_eq!(world.standing(), Standing::Due);
    world.finds(found(2, "a"));
    for off in [
        ON.replace("true,\"every", "false,\"every"),
        ON.replace(r#""base_image""#, r#""enabled":false,"base_image""#),
    ] {
        world.settings(&off);
        assert_eq!(world.standing(), Standing::Off, "{off}");
        assert!(world.finds(found(2, "b")).is_empty(), "{off}");
    }
    world.settings(ON);
    assert_eq!(world.finds(found(2, "b")).len(), 1);
}

#[test]
fn they_are_looked_at_in_the_interval_whatever_the_clock_did() {
    let mut world = World::with_a_push(ON);
    world.finds(found(2, "a"));
    let at = world.time();
    assert_eq!(world.standing(), Standing::Waits(at + later(30 * MINUTE)));
    world.seconds += 30 * MINUTE - 1;
    assert!(matches!(world.standing(), Standing::Waits(_)));
    world.seconds += 1;
    assert_eq!(world.standing(), Standing::Due);
    world.seconds -= 400 * 24 * 60 * MINUTE;
    assert_eq!(world.standing(), Standing::Due, "a mark from a clock that was wrong keeps nothing waiting");
}

#[test]
fn what_cannot_be_built_is_not_noted_as_built() {
    let mut world = World::with_a_push(ON);
    world.finds(found(2, "a"));
    let complete = now(world.store.service(&world.service)).unwrap().unwrap();
    let mut bare = complete.value.clone();
    bare.settings.image = None;
    now(world.store.put_service(&bare, Some(complete.version), at(0))).unwrap();
    let input = Input::Bases(Box::new(world.seen_with(found(2, "b"))));
    refused(world.step(input), ErrorKind::Invalid, "has no registry settings");
    world.settings(ON);
    assert_eq!(world.finds(found(2, "b")).len(), 1);
}

#[test]
fn the_services_own_images_and_those_that_nobody_wants_are_no_bases() {
    let dockerfile = "FROM h.io/base:1 AS a\nFROM g.io/tools:2 AS b\nFROM scratch\nCOPY --from=a / /\nCOPY --from=b / /\nCOPY --from=OWN / /";
    let bases = |settings: &str| {
        let service = service(settings);
        let own = service.settings.image.as_ref().unwrap().name.to_string();
        let found = bases_of(&service, &service.settings.components[0], &dockerfile.replace("OWN", &own));
        assert_eq!(found.unknown, []);
        found.images.into_iter().map(|image| image.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(bases(ON), ["g.io/tools:2", "h.io/base:1"]);
    assert_eq!(bases(&ON.replace(r#""every":30"#, r#""images":["h.io/*"]"#)), ["h.io/base:1"]);
}
