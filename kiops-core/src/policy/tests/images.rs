//! Image services: which pushes redeploy what (S18-S22, R03, R11).

use super::*;
use crate::name::ContainerName;
use crate::service::{ContainerImage, Target};

fn containers(service: &mut Service) -> &mut Vec<crate::service::Container> {
    match service.settings.components[0].runs.as_mut() {
        Some(Target::Workload(workload)) => &mut workload.containers,
        other => panic!("{other:?}"),
    }
}

/// The service of S20, whose `web` follows these tags.
fn following(tags: &[&str]) -> Service {
    let mut service = image_service();
    containers(&mut service)[0].tags = crate::filter::TagFilter::parse(tags.iter().copied()).unwrap();
    service
}

/// `nginx:alpine` and `mysql:8.0` run, as pushed first.
fn running() -> Facts {
    live(&[("web", pinned("nginx:alpine", 1)), ("db", pinned("mysql:8.0", 1))])
}

fn live(images: &[(&str, PinnedImage)]) -> Facts {
    let images = images.iter().map(|(name, image)| (ContainerName::parse(name).unwrap(), image.clone()));
    let mut facts = Facts::default();
    let live = LiveImages { images: images.collect(), ..LiveImages::default() };
    facts.live.insert(ComponentName::default(), live);
    facts
}

/// The image of each container, in the order of their names.
#[track_caller]
fn images(decision: &Decision) -> Vec<String> {
    let [planned] = deploys(decision) else { panic!("{:?}", decision.outcome) };
    planned.images.values().map(ToString::to_string).collect()
}

#[test]
fn a_push_of_its_tag_redeploys_a_container_at_the_digest_that_the_registry_names_and_keeps_the_others() {
    let (service, push) = (image_service(), image_push("library/nginx", "alpine"));
    let asked = judged(&service, &push, &running());
    assert_eq!(asks(&asked), [digest_now("nginx:alpine")]);
    let facts = answered(running(), digest_now("nginx:alpine"), is_digest(2));
    let decision = judged(&service, &push, &facts);
    let expected = [pinned("mysql:8.0", 1), pinned("nginx:alpine", 2)].map(|image| image.to_string());
    assert_eq!(images(&decision), expected);
    assert!(
        said(&decision).contains("tag of container `web`, `alpine` matches `alpine`"),
        "{}",
        said(&decision)
    );
}

#[test]
fn what_the_sender_says_of_the_digest_is_noted_and_never_deployed() {
    let mut push = image_push("library/nginx", "alpine");
    let EventKind::ImagePush(image) = &mut push.kind else { unreachable!() };
    image.digest = Some(Digest::of(b"evil"));
    let facts = answered(running(), digest_now("nginx:alpine"), is_digest(2));
    let decision = judged(&image_service(), &push, &facts);
    assert!(images(&decision)[1].ends_with(Digest::of(&[2]).as_str()));
    assert!(said(&decision).contains("which the sender names"), "{}", said(&decision));
}

#[test]
fn an_unchanged_digest_deploys_nothing() {
    let facts = answered(running(), digest_now("nginx:alpine"), is_digest(1));
    let decision = judged(&image_service(), &image_push("library/nginx", "alpine"), &facts);
    assert_eq!(skips(&decision), SkipReason::Unchanged);
    // Another tag at the same digest is the same content.
    let facts = answered(running(), digest_now("nginx:1.29"), is_digest(1));
    let decision = judged(&following(&["*"]), &image_push("library/nginx", "1.29"), &facts);
    assert_eq!(skips(&decision), SkipReason::Unchanged);
}

#[test]
fn a_service_that_never_ran_finds_the_digests_of_its_other_containers_too() {
    let (service, push) = (image_service(), image_push("library/nginx", "alpine"));
    let facts = answered(nothing(), digest_now("nginx:alpine"), is_digest(2));
    assert_eq!(asks(&judged(&service, &push, &facts)), [digest_now("mysql:8.0")]);
    let decision = judged(&service, &push, &answered(facts.clone(), digest_now("mysql:8.0"), is_digest(3)));
    let expected = [pinned("mysql:8.0", 3), pinned("nginx:alpine", 2)].map(|image| image.to_string());
    assert_eq!(images(&decision), expected);
    let gone = answered(facts, digest_now("mysql:8.0"), Some(Answer::Image(None)));
    let decision = judged(&service, &push, &gone);
    assert_eq!(skips(&decision), SkipReason::NoImage);
    assert!(said(&decision).contains("`docker.io/library/mysql:8.0` is not in its registry"));
}

#[test]
fn other_images_and_other_tags_ask_nothing_and_deploy_nothing() {
    let service = image_service();
    for (image, tag, says) in [
        ("library/redis", "alpine", "no container runs the image `library/redis`"),
        ("nginx", "alpine", "no container runs"),
        ("library/nginx", "latest", "tag `latest` matches none of `alpine`"),
        ("library/nginx", "Alpine", "matches none of"),
    ] {
        let decision = judged(&service, &image_push(image, tag), &running());
        assert_eq!(skips(&decision), SkipReason::RefNotMatched, "{image}:{tag}");
        assert!(said(&decision).contains(says), "{}", said(&decision));
    }
    let mut by_digest = image_push("library/nginx", "alpine");
    let EventKind::ImagePush(image) = &mut by_digest.kind else { unreachable!() };
    image.tag = None;
    assert_eq!(skips(&judged(&service, &by_digest, &running())), SkipReason::RefNotMatched);
}

#[test]
fn tags_are_followed_by_name_glob_expression_and_range_of_versions() {
    for (patterns, tag, follows) in [
        (&["1.27-*"][..], "1.27-alpine", true),
        (&["1.27-*"], "1.28-alpine", false),
        (&["regex:[0-9.]+-alpine"], "1.28-alpine", true),
        (&["regex:[0-9.]+-alpine"], "1.28-alpine-slim", false),
        (&["semver:>=1.27, <2", "!semver:~1.28"], "1.29.1", true),
        (&["semver:>=1.27, <2", "!semver:~1.28"], "1.28.3", false),
        (&["semver:>=1.27, <2"], "2.0.0", false),
        (&["*", "!alpine"], "alpine", false),
    ] {
        let decision = judged(&following(patterns), &image_push("library/nginx", tag), &running());
        let asked = matches!(&decision.outcome, Outcome::Ask(asked) if asked[..] == [digest_now(&format!("nginx:{tag}"))]);
        assert_eq!(asked, follows, "{patterns:?} {tag}: {decision:?}");
    }
}

#[test]
fn an_older_version_never_goes_over_a_newer_one_of_the_range_that_is_followed() {
    let service = following(&["semver:1"]);
    let facts = live(&[("web", pinned("nginx:1.29.0", 1)), ("db", pinned("mysql:8.0", 1))]);
    let decision = judged(&service, &image_push("library/nginx", "1.28.9"), &facts);
    assert_eq!(skips(&decision), SkipReason::Late);
    assert!(said(&decision).contains("container `web` runs `1.29.0`"), "{}", said(&decision));
    for newer in ["1.29.0", "1.29.1", "v1.30.0"] {
        asks(&judged(&service, &image_push("library/nginx", newer), &facts));
    }
    // Globs have no order: what comes is meant.
    asks(&judged(&following(&["1.*"]), &image_push("library/nginx", "1.28.9"), &facts));
    // What ran before another image took its place says nothing.
    let other = live(&[("web", pinned("caddy:9.0.0", 1)), ("db", pinned("mysql:8.0", 1))]);
    asks(&judged(&service, &image_push("library/nginx", "1.28.9"), &other));
}

#[test]
fn the_host_tells_images_of_one_path_apart_and_one_that_nobody_knows_tells_nothing() {
    let mut service = image_service();
    let own = ImageRef::parse("h.io/library/nginx:alpine").unwrap();
    containers(&mut service)[1].image = ContainerImage::Ready(own);
    let ask = |host: Option<&str>| {
        let mut push = image_push("library/nginx", "alpine");
        let EventKind::ImagePush(image) = &mut push.kind else { unreachable!() };
        image.host = host.map(str::to_owned);
        asks(&judged(&service, &push, &nothing())).to_vec()
    };
    assert_eq!(ask(Some("h.io")), [digest_now("h.io/library/nginx:alpine")]);
    assert_eq!(ask(Some("docker.io")), [digest_now("nginx:alpine")]);
    for unknown in [None, Some("registry.internal:5000")] {
        assert_eq!(ask(unknown).len(), 2, "{unknown:?}");
    }
}

#[test]
fn switches_stop_an_image_push_before_a_registry_is_asked() {
    for (change, reason) in [
        (r#"{"auto_ci":{"enabled":false}}"#, SkipReason::AutoCiOff),
        (r#"{"auto_ci":{"image":{"enabled":false}}}"#, SkipReason::TriggerOff),
        (r#"{"deploy":{"auto":false,"environment":"dev"}}"#, SkipReason::AutoDeployOff),
    ] {
        let mut service = image_service();
        let settings: Settings = serde_json::from_str(change).unwrap();
        service.settings.auto_ci = settings.auto_ci;
        if reason == SkipReason::AutoDeployOff {
            service.settings.deploy = settings.deploy;
        }
        assert_eq!(skips(&judged(&service, &image_push("library/nginx", "alpine"), &running())), reason);
    }
}

#[test]
fn a_registry_that_cannot_say_a_digest_keeps_everything_as_it_is() {
    let facts = answered(running(), digest_now("nginx:alpine"), None);
    let decision = judged(&image_service(), &image_push("library/nginx", "alpine"), &facts);
    assert_eq!(skips(&decision), SkipReason::NoImage);
    assert!(said(&decision).contains("the registry did not say"), "{}", said(&decision));
}

#[test]
fn an_image_that_is_pinned_in_the_settings_follows_nothing() {
    let mut service = following(&["*"]);
    containers(&mut service)[0].image = ContainerImage::Ready(pinned("nginx:alpine", 1).into());
    let decision = judged(&service, &image_push("library/nginx", "alpine"), &running());
    assert_eq!(skips(&decision), SkipReason::RefNotMatched);
}

#[test]
fn git_and_image_services_ignore_each_others_events() {
    for event in [push("main"), tag("v1"), merge_request(|_| {}), pipeline(|_| {})] {
        assert_eq!(skips(&judged(&image_service(), &event, &running())), SkipReason::NotRelevant);
    }
    let decision = judged(&plain(), &image_push("library/nginx", "alpine"), &nothing());
    assert_eq!(skips(&decision), SkipReason::NotRelevant);
}

#[test]
fn a_host_rule_may_stop_a_redeployment() {
    #[derive(Debug)]
    struct Freeze;
    impl Rule for Freeze {
        fn judge(&self, _: &Service, _: &Event, _: &Facts) -> Finding {
            Finding::block("freeze", Saw::text("no changes today"))
        }
    }
    let rules = Rules::new([std::sync::Arc::new(Freeze) as std::sync::Arc<dyn Rule>]);
    let facts = answered(running(), digest_now("nginx:alpine"), is_digest(2));
    let decision = decide(&rules, &image_service(), &image_push("library/nginx", "alpine"), &facts);
    assert_eq!(skips(&decision), SkipReason::HostRule);
}

#[test]
fn a_version_that_is_no_longer_followed_stands_in_the_way_of_none() {
    // 9.0.0 was live when somebody went back to the line of 8.
    let service = following(&["semver:<9"]);
    let facts = live(&[("web", pinned("nginx:9.0.0", 1)), ("db", pinned("mysql:8.0", 1))]);
    let facts = answered(facts, digest_now("nginx:8.4.1"), is_digest(2));
    let decision = judged(&service, &image_push("library/nginx", "8.4.1"), &facts);
    assert!(matches!(decision.outcome, Outcome::Deploy(_)), "{}", said(&decision));
}

#[test]
fn official_images_are_followed_however_docker_hub_is_named() {
    for name in ["docker.io/nginx:alpine", "index.docker.io/library/nginx:alpine"] {
        let mut service = image_service();
        containers(&mut service)[0].image =
            serde_json::from_value(serde_json::json!({"ready": name})).unwrap();
        let decision = judged(&service, &image_push("library/nginx", "alpine"), &running());
        assert!(matches!(decision.outcome, Outcome::Ask(_)), "{name}: {}", said(&decision));
    }
}
