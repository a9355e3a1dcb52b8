//! Previews of merge requests: made by their builds, gone with their requests.

use super::*;
use crate::engine::{PreviewInput, report};
use crate::event::{EventKind, MergeRequest, MergeRequestChange as Change};
use crate::name::ComponentName;
use crate::policy::tests::merge_request;
use crate::policy::{Preview, PreviewState};
use crate::release::BuildView;
use crate::service::Target;

const PREVIEWS: &str = r#"{"auto_ci":{"merge_request":{"enabled":true}},
    "deploy":{"auto":true,"environment":"dev","previews":{"environment":"review","at_once":2,"hours":10}}}"#;

fn world() -> World {
    world_of(PREVIEWS)
}

fn world_of(settings: &str) -> World {
    let world = World::new(settings);
    world.environment(
        r#"{"name":"review","runtime":"there","url":"https://{environment}.{service}.example.com"}"#,
    );
    world
}

/// A world in which what is live is looked at.
fn checked() -> World {
    let check = r#"{"checks":[{"name":"zap","phase":"deployed","stage":"scan","image":"h.io/zap:1"}],"#;
    world_of(&PREVIEWS.replacen('{', check, 1))
}

/// News of a merge request from the repository's own branch.
fn request(number: u64, head: u8, change: Change) -> Event {
    merge_request(|request: &mut MergeRequest| {
        request.number = Some(number);
        request.head = Some(commit(head));
        request.change = change;
        request.source_branch = format!("feature-{number}");
    })
}

fn review(number: u64) -> EnvironmentName {
    EnvironmentName::parse(format!("review-mr-{number}")).unwrap()
}

fn lane_of(world: &World, number: u64) -> Option<LaneState> {
    let lane = Lane { environment: review(number), component: ComponentName::default() };
    now(world.store.lane(&world.service, &lane)).unwrap()
}

fn previews(world: &World) -> BTreeMap<u64, Preview> {
    world.ref_state(RefKey::Previews).previews
}

fn state(world: &World, number: u64) -> Option<PreviewState> {
    previews(world).remove(&number).map(|preview| preview.state)
}

/// A request with a build whose release is on its way.
fn released(world: &mut World, number: u64, head: u8) -> (BuildId, ReleaseId) {
    let build = world.pushed(request(number, head, Change::Opened));
    world.succeed(&build);
    let release = world.release_of(&build).id;
    (build, release)
}

/// The same, live.
fn live(world: &mut World, number: u64, head: u8) -> (BuildId, ReleaseId) {
    let (build, release) = released(world, number, head);
    applied(world, &release);
    (build, release)
}

fn applied(world: &mut World, release: &ReleaseId) {
    world.releases_input(release, ReleaseInput::Applied(Ok(Revision(1)))).unwrap();
    world.releases_input(release, ReleaseInput::Status(RolloutStatus::Complete)).unwrap();
    assert_eq!(world.release(release).state, ReleaseState::Live);
}

fn preview_input(world: &mut World, number: u64, input: PreviewInput) -> Stepped {
    world.step(Input::Preview { number, input }).unwrap()
}

fn gone(world: &mut World, number: u64) -> Stepped {
    preview_input(world, number, PreviewInput::Removed)
}

fn deploy(build: &BuildId, number: u64) -> Command {
    Command::DeployBuild { build: build.clone(), environment: Some(review(number)), nonce: "by hand".into() }
}

fn ada() -> Subject {
    member("ada", Role::Member)
}

#[test]
fn an_open_request_is_released_to_an_environment_of_its_own() {
    let mut world = world();
    let (build, release) = live(&mut world, 7, 2);
    let target = world.release(&release).target;
    assert_eq!((target.environment, target.preview), (review(7), Some(7)));
    assert!(target.namespace.as_str().starts_with("app-review-mr-7-"), "{}", target.namespace);
    assert_eq!(lane_of(&world, 7).unwrap().release, release);
    assert_eq!(world.lane(), None, "what is not merged goes nowhere else");
    let preview = previews(&world).remove(&7).unwrap();
    assert_eq!((preview.runtime.as_str(), preview.state), ("there", PreviewState::Open));
    assert!(
        world.log_of(&build).iter().any(|line| line.contains("in review-mr-7")),
        "{:?}",
        world.log_of(&build)
    );
}

#[test]
fn the_comment_on_a_request_says_where_its_preview_is_reached_once_it_is() {
    let mut world = world();
    let (build, release) = released(&mut world, 7, 2);
    let url = |world: &World| {
        let environments = now(world.store.environments()).unwrap();
        report::preview(&environments, &world.release(&release))
    };
    assert_eq!(url(&world), None, "it is on its way");
    applied(&mut world, &release);
    let (build, release) = (world.build(&build), world.release(&release));
    let view = BuildView::of(&build, Some(&release));
    let status = report::status(&build, &view, None);
    let text = report::comment(&build, &view, &status, url(&world).map(|(_, url)| url).as_deref());
    assert!(text.ends_with("\n\n[Preview](https://review-mr-7.app.example.com)"), "{text}");
}

#[test]
fn without_the_setting_nothing_is_released_for_a_request() {
    let mut world = World::new(
        r#"{"auto_ci":{"merge_request":{"enabled":true}},"deploy":{"auto":true,"environment":"dev"}}"#,
    );
    let build = world.pushed(request(7, 2, Change::Opened));
    world.succeed(&build);
    assert_eq!((world.build(&build).release, world.all_releases()), (None, vec![]));
}

#[test]
fn the_next_commit_goes_to_the_same_preview_and_keeps_it_longer() {
    let mut world = world();
    live(&mut world, 7, 2);
    let until = previews(&world)[&7].until;
    let build = world.pushed(request(7, 3, Change::Code));
    world.succeed(&build);
    let release = world.release_of(&build).id;
    applied(&mut world, &release);
    assert_eq!((previews(&world).len(), lane_of(&world, 7).unwrap().release), (1, release));
    assert!(previews(&world)[&7].until > until);
}

#[test]
fn a_preview_goes_with_its_request_and_leaves_nothing() {
    for (change, why) in
        [(Change::Closed, "the merge request was closed"), (Change::Merged, "the merge request was merged")]
    {
        let mut world = world();
        live(&mut world, 7, 2);
        world.deliver(request(7, 2, change));
        assert_eq!(state(&world, 7), Some(PreviewState::Removing(why.into())));
        assert!(world.due(&Effect::RemovePreview { environment: review(7), number: 7 }).is_some());
        gone(&mut world, 7);
        assert_eq!((previews(&world), lane_of(&world, 7)), (BTreeMap::new(), None));
    }
}

#[test]
fn what_is_being_rolled_out_comes_to_its_end_before_it_is_removed() {
    let mut world = world();
    let (_, release) = released(&mut world, 7, 2);
    world.deliver(request(7, 2, Change::Closed));
    assert!(matches!(state(&world, 7), Some(PreviewState::Ending(_))));
    assert_eq!(world.due(&Effect::RemovePreview { environment: review(7), number: 7 }), None);
    applied(&mut world, &release);
    assert!(matches!(state(&world, 7), Some(PreviewState::Removing(_))));
    assert!(world.due(&Effect::RemovePreview { environment: review(7), number: 7 }).is_some());
}

#[test]
fn what_waits_for_a_yes_is_taken_back_when_the_request_is_closed() {
    let mut world = world();
    world.environment(r#"{"name":"review","runtime":"there","approval_required":true}"#);
    let (build, release) = released(&mut world, 7, 2);
    assert_eq!(world.release(&release).state, ReleaseState::AwaitingApproval);
    world.deliver(request(7, 2, Change::Closed));
    assert!(matches!(world.release(&release).state, ReleaseState::Canceled { .. }));
    assert!(world.log_of(&build).contains(&"[deploy] Canceled by kiops: the merge request was closed"));
}

#[test]
fn a_build_that_ends_after_its_request_was_closed_is_not_released() {
    let mut world = world();
    let build = world.pushed(request(7, 2, Change::Opened));
    world.deliver(request(7, 2, Change::Closed));
    world.succeed(&build);
    assert_eq!((world.build(&build).release, previews(&world)), (None, BTreeMap::new()));
}

#[test]
fn deliveries_are_decided_in_any_order() {
    let mut world = world();
    let opened = world.accept(request(7, 2, Change::Opened), "opened", Trigger::Webhook);
    world.seconds += 1;
    let closed = world.accept(request(7, 2, Change::Closed), "closed", Trigger::Webhook);
    let decide = |delivery| Input::Decide { delivery, answers: Vec::new(), rounds: 0, subject: ada() };
    world.step(decide(closed)).unwrap();
    world.step(decide(opened.clone())).unwrap();
    let build = world.builds_of(&opened).remove(0);
    world.succeed(&build);
    assert_eq!(world.build(&build).release, None, "the request was closed after it was opened");
}

#[test]
fn a_request_that_is_opened_again_keeps_its_preview_or_gets_it_back() {
    let mut world = world();
    let (_, release) = released(&mut world, 7, 2);
    world.deliver(request(7, 2, Change::Closed));
    world.deliver(request(7, 2, Change::Reopened));
    assert_eq!(state(&world, 7), Some(PreviewState::Open), "its removal had not begun");
    applied(&mut world, &release);
    world.deliver(request(7, 2, Change::Closed));
    gone(&mut world, 7);
    let build = world.pushed(request(7, 2, Change::Reopened));
    let again = world.release_of(&build);
    assert_ne!(again.id, release);
    assert_eq!((again.state, state(&world, 7)), (ReleaseState::Deploying, Some(PreviewState::Open)));
}

#[test]
fn what_is_released_while_a_preview_is_removed_waits_until_it_is_gone() {
    let mut world = world();
    live(&mut world, 7, 2);
    world.deliver(request(7, 2, Change::Closed));
    let build = world.pushed(request(7, 3, Change::Reopened));
    world.succeed(&build);
    let release = world.release_of(&build).id;
    assert_eq!(world.release(&release).state, ReleaseState::Pending);
    gone(&mut world, 7);
    let release = world.release(&release);
    assert_eq!(
        (release.state, release.previous),
        (ReleaseState::Deploying, None),
        "nothing is left to go back to"
    );
    assert_eq!(state(&world, 7), Some(PreviewState::Open));
}

#[test]
fn no_more_are_made_than_the_service_may_have_and_the_log_says_so() {
    let mut world = world();
    live(&mut world, 7, 2);
    live(&mut world, 8, 3);
    let third = world.pushed(request(9, 4, Change::Opened));
    world.succeed(&third);
    let log = world.log_of(&third);
    assert!(
        log.iter().any(|line| line.contains("Not released")
            && line.contains("2 previews at once")
            && line.contains("7, 8")),
        "{log:?}"
    );
    assert_eq!(world.build(&third).release, None);
    refused(world.command(deploy(&third, 9), &ada()), ErrorKind::Conflict, "2 previews at once");
    world.deliver(request(8, 3, Change::Merged));
    gone(&mut world, 8);
    let release = world.released_by(deploy(&third, 9), &ada());
    assert_eq!(world.release(&release).target.preview, Some(9));
}

#[test]
fn one_goes_when_nothing_was_released_to_it_for_long() {
    let mut world = world();
    live(&mut world, 7, 2);
    let until = previews(&world)[&7].until;
    preview_input(&mut world, 7, PreviewInput::Wake);
    assert_eq!(state(&world, 7), Some(PreviewState::Open), "a wake that comes too early looks again");
    let wake = Effect::WakePreview { environment: review(7), number: 7 };
    assert_eq!(world.due(&wake), Some(until));
    world.seconds += 10 * 3600;
    preview_input(&mut world, 7, PreviewInput::Wake);
    assert_eq!(state(&world, 7), Some(PreviewState::Removing("10 hours without a release".into())));
    gone(&mut world, 7);
    let build = world.pushed(request(7, 3, Change::Code));
    world.succeed(&build);
    assert_eq!(world.release_of(&build).target.preview, Some(7), "the next commit brings it back");
}

#[test]
fn a_members_word_removes_one_and_a_strangers_does_not() {
    let mut world = world();
    live(&mut world, 7, 2);
    refused(
        world.command(Command::RemovePreview { number: 7 }, &Subject::unknown()),
        ErrorKind::Forbidden,
        "member",
    );
    refused(world.command(Command::RemovePreview { number: 8 }, &ada()), ErrorKind::NotFound, "8");
    world.command(Command::RemovePreview { number: 7 }, &ada()).unwrap();
    assert_eq!(state(&world, 7), Some(PreviewState::Removing("removed by ada".into())));
}

#[test]
fn a_fork_has_no_preview() {
    let mut world = world_of(
        r#"{"auto_ci":{"merge_request":{"enabled":true}},"deploy":{"previews":{"environment":"review"}}}"#,
    );
    let delivery = world.deliver(crate::policy::tests::fork());
    let EventKind::MergeRequest(held) = world.record(&delivery).events.remove(0).event.kind else {
        unreachable!()
    };
    let approve = Command::ApproveFork { delivery, commit: held.head.unwrap() };
    let build = world.built_by(approve, &member("boss", Role::Admin)).remove(0);
    world.succeed(&build);
    assert_eq!((world.all_releases(), previews(&world)), (vec![], BTreeMap::new()));
}

#[test]
fn nobody_makes_a_preview_of_what_is_no_open_request() {
    let mut world = world();
    let (build, _) = live(&mut world, 7, 2);
    refused(
        world.command(deploy(&build, 99), &ada()),
        ErrorKind::Conflict,
        "nothing is known of merge request 99",
    );
    world.deliver(request(7, 2, Change::Merged));
    gone(&mut world, 7);
    refused(
        world.command(deploy(&build, 7), &ada()),
        ErrorKind::Conflict,
        "merge request 7 is closed or merged",
    );
    let other = Some(EnvironmentName::parse("dev-mr-7").unwrap());
    let elsewhere = Command::DeployBuild { build, environment: other, nonce: "n".into() };
    refused(world.command(elsewhere, &ada()), ErrorKind::NotFound, "`dev-mr-7` is not registered");
}

#[test]
fn what_is_merged_fast_forward_goes_on_to_the_services_own_environment() {
    let mut world = world();
    let (build, preview) = live(&mut world, 7, 2);
    assert_eq!(world.pushed(onto(1, 2)), build, "it is not built again");
    let release = world.release_of(&build);
    assert_ne!(release.id, preview);
    assert_eq!((release.target.environment, release.target.preview), (dev(), None));
    assert_eq!(lane_of(&world, 7).unwrap().release, preview);
}

#[test]
fn nothing_secret_is_in_a_preview_unless_the_settings_say_so() {
    let env = r#"{"TOKEN":{"secret":"shop/token"},"MODE":"fast"}"#;
    for (given, names) in [("false", &["MODE"][..]), ("true", &["MODE", "TOKEN"])] {
        let settings = format!(
            r#"{{"auto_ci":{{"merge_request":{{"enabled":true}}}},
            "deploy":{{"auto":true,"environment":"dev","previews":{{"environment":"review","secrets":{given}}}}},
            "components":[{{"runs":{{"type":"workload","containers":[{{"name":"web","env":{env}}}]}}}}]}}"#
        );
        let mut world = world_of(&settings);
        let variables = |release: Release| {
            let Target::Workload(mut workload) = release.target.target else { panic!("it is a workload") };
            workload.containers.remove(0).env.into_keys().collect::<Vec<_>>()
        };
        let (build, release) = live(&mut world, 7, 2);
        assert_eq!(variables(world.release(&release)), names);
        world.pushed(onto(1, 2));
        assert_eq!(variables(world.release_of(&build)), ["MODE", "TOKEN"], "what is merged has them");
    }
}

#[test]
fn only_a_workload_can_be_there_twice() {
    let mut world = world_of(
        r#"{"auto_ci":{"merge_request":{"enabled":true}},"deploy":{"previews":{"environment":"review"}},
        "components":[{"runs":{"type":"existing","kind":"Deployment","name":"web","container":"web"}}]}"#,
    );
    let build = world.pushed(request(7, 2, Change::Opened));
    world.succeed(&build);
    let log = world.log_of(&build);
    assert!(
        log.iter().any(|line| line.contains("Not released") && line.contains("is no workload")),
        "{log:?}"
    );
    assert_eq!((world.all_releases(), previews(&world)), (vec![], BTreeMap::new()));
}

#[test]
fn nothing_of_a_request_goes_to_what_is_registered_under_its_previews_name() {
    let mut world = world();
    world.environment(r#"{"name":"review-mr-7","runtime":"here"}"#);
    let build = world.pushed(request(7, 2, Change::Opened));
    world.succeed(&build);
    let log = world.log_of(&build);
    assert!(log.iter().any(|line| line.contains("is registered under the name of a preview")), "{log:?}");
    assert_eq!((world.all_releases(), previews(&world)), (vec![], BTreeMap::new()));
}

#[test]
fn what_is_registered_under_a_previews_name_later_is_left_alone_when_that_goes() {
    let mut world = world();
    let (build, _) = live(&mut world, 7, 2);
    world.environment(r#"{"name":"review-mr-7","runtime":"here","approval_required":true}"#);
    let waiting = world.released_by(deploy(&build, 7), &ada());
    world.deliver(request(7, 2, Change::Closed));
    assert_eq!(world.release(&waiting).state, ReleaseState::AwaitingApproval, "it is no preview's");
    world.command(Command::Approve { release: waiting.clone() }, &member("boss", Role::Admin)).unwrap();
    assert_eq!(world.release(&waiting).state, ReleaseState::Deploying, "nor does it wait for one");
    gone(&mut world, 7);
    assert_eq!(previews(&world), BTreeMap::new());
    assert!(lane_of(&world, 7).is_some());
}

#[test]
fn a_request_that_is_opened_again_at_the_same_commit_gets_back_what_is_being_removed() {
    let mut world = world();
    live(&mut world, 7, 2);
    world.deliver(request(7, 2, Change::Closed));
    let build = world.pushed(request(7, 2, Change::Reopened));
    let release = world.release_of(&build).id;
    assert_eq!(world.release(&release).state, ReleaseState::Pending, "what is there goes");
    gone(&mut world, 7);
    assert_eq!(world.release(&release).state, ReleaseState::Deploying);
}

#[test]
fn a_closing_that_its_host_sends_once_more_closes_nothing_anew() {
    let mut world = world();
    live(&mut world, 7, 2);
    world.deliver_as(request(7, 2, Change::Closed), "closed", Trigger::Webhook);
    gone(&mut world, 7);
    let build = world.pushed(request(7, 2, Change::Reopened));
    let release = world.release_of(&build).id;
    applied(&mut world, &release);
    world.deliver_as(request(7, 2, Change::Closed), "closed", Trigger::Webhook);
    assert_eq!(state(&world, 7), Some(PreviewState::Open));
}

#[test]
fn somebody_may_have_a_removal_tried_again_at_once() {
    let mut world = world();
    live(&mut world, 7, 2);
    world.deliver(request(7, 2, Change::Closed));
    preview_input(&mut world, 7, PreviewInput::Stuck("the cluster is away".into()));
    let stepped =
        world.step(Input::Command { command: Command::RemovePreview { number: 7 }, by: ada() }).unwrap();
    let removal = Effect::RemovePreview { environment: review(7), number: 7 };
    assert!(stepped.changes.work.iter().any(|work| work.effect == removal));
}

#[test]
fn its_time_begins_anew_when_what_waited_is_rolled_out() {
    let mut world = world();
    world.environment(r#"{"name":"review","runtime":"there","approval_required":true}"#);
    let (_, release) = released(&mut world, 7, 2);
    let until = previews(&world)[&7].until;
    world.seconds += 9 * 3600;
    world.command(Command::Approve { release }, &member("boss", Role::Admin)).unwrap();
    assert!(previews(&world)[&7].until >= until + later(9 * 3600));
}

#[test]
fn what_is_judged_elsewhere_keeps_no_build_from_its_preview() {
    let mut world = checked();
    let build = world.live(onto(1, 2));
    assert!(world.build(&build).live_check().is_some(), "it is being looked at");
    assert_eq!(world.pushed(request(7, 2, Change::Opened)), build);
    assert_eq!(world.release_of(&build).target.preview, Some(7));
}

#[test]
fn what_stands_beside_the_build_is_in_a_new_preview_what_it_is_where_the_service_lives() {
    let settings = PREVIEWS.replacen(
        '{',
        r#"{"components":[{"runs":{"type":"workload","containers":[{"name":"web"},{"name":"cache","image":{"ready":"redis:7"}}]}}],"#,
        1,
    );
    let mut world = world_of(&settings);
    let image =
        |text: &str| crate::name::PinnedImage::try_from(crate::name::ImageRef::parse(text).unwrap()).unwrap();
    let cache = image(&format!("docker.io/library/redis:7@{}", digest_of(&commit(9))));
    let web = image(&format!("h.io/app:1@{}", digest_of(&commit(8))));
    let name = |text: &str| crate::name::ContainerName::parse(text).unwrap();
    let images = [(name("web"), web), (name("cache"), cache.clone())].into();
    let by_hand = Command::DeployImages { component: None, images, environment: None, nonce: "n".into() };
    let first = world.released_by(by_hand, &ada());
    world.goes_live(&first);
    let (_, release) = released(&mut world, 7, 2);
    assert_eq!(world.release(&release).images[&name("cache")], cache);
}

#[test]
fn nothing_goes_back_in_a_preview_that_is_being_removed() {
    let mut world = world();
    let (_, release) = live(&mut world, 7, 2);
    world.deliver(request(7, 2, Change::Closed));
    world.deliver(request(7, 3, Change::Reopened));
    let images = world.release(&release).images;
    let back = Command::Rollback {
        component: None,
        environment: Some(review(7)),
        to: Revision(1),
        images,
        commit: None,
        nonce: "n".into(),
    };
    refused(world.command(back, &ada()), ErrorKind::Conflict, "is being removed");
}

#[test]
fn what_waits_for_a_preview_whose_name_is_somebody_elses_by_then_is_taken_back() {
    let mut world = world();
    live(&mut world, 7, 2);
    world.deliver(request(7, 2, Change::Closed));
    let build = world.pushed(request(7, 3, Change::Reopened));
    world.succeed(&build);
    let release = world.release_of(&build).id;
    world.environment(r#"{"name":"review-mr-7","runtime":"here"}"#);
    preview_input(&mut world, 7, PreviewInput::Stuck("it takes its time".into()));
    assert_eq!(world.release(&release).state, ReleaseState::Pending, "not in the middle of a removal");
    gone(&mut world, 7);
    assert!(matches!(world.release(&release).state, ReleaseState::Canceled { .. }));
    assert_eq!(previews(&world), BTreeMap::new());
}

#[test]
fn a_preview_that_goes_live_late_takes_nothing_back_of_what_counts() {
    let mut world = checked();
    let (build, preview) = released(&mut world, 7, 2);
    assert_eq!(world.pushed(onto(1, 2)), build);
    let release = world.release_of(&build).id;
    world.goes_live(&release);
    applied(&mut world, &preview);
    let live = world.build(&build).live_checks.unwrap();
    assert_eq!(live.environment, dev(), "its checks go on");
}

#[test]
fn what_keeps_a_preview_is_said_once() {
    let mut world = world();
    live(&mut world, 7, 2);
    world.deliver(request(7, 2, Change::Closed));
    let stuck = || PreviewInput::Stuck("a finalizer holds the namespace".into());
    preview_input(&mut world, 7, stuck());
    assert_eq!(previews(&world)[&7].problem.as_deref(), Some("a finalizer holds the namespace"));
    assert!(preview_input(&mut world, 7, stuck()).changes.is_empty());
}

#[test]
fn another_pattern_makes_another_preview_once_the_first_is_gone() {
    let mut world = world();
    live(&mut world, 7, 2);
    world.environment(r#"{"name":"trial","runtime":"there"}"#);
    world.settings(&PREVIEWS.replace(r#""review""#, r#""trial""#));
    let build = world.pushed(request(7, 3, Change::Code));
    world.succeed(&build);
    let log = world.log_of(&build);
    assert!(log.iter().any(|line| line.contains("has the preview `review-mr-7`")), "{log:?}");
    world.deliver(request(7, 3, Change::Closed));
    assert!(matches!(state(&world, 7), Some(PreviewState::Removing(_))), "the old one goes all the same");
}

#[test]
fn checks_of_a_preview_end_with_it_and_gate_nothing_after_the_merge() {
    let mut world = checked();
    world.environment(r#"{"name":"prod","runtime":"there"}"#);
    let (build, _) = live(&mut world, 7, 2);
    assert!(world.build(&build).live_check().is_some(), "what is live is looked at");
    assert_eq!(world.pushed(onto(1, 2)), build);
    let release = world.release_of(&build);
    assert_eq!(release.target.environment, dev());
    let prod = Some(EnvironmentName::parse("prod").unwrap());
    let on = Command::DeployBuild { build: build.clone(), environment: prod, nonce: "on".into() };
    refused(world.command(on, &ada()), ErrorKind::Conflict, "it is on its way to `dev`");
    world.deliver(request(7, 2, Change::Merged));
    assert!(world.build(&build).live_check().is_none(), "nothing looks at what is removed");
}
