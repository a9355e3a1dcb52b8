//! Accounts for programs.

use std::num::NonZeroU32;

use kiops_core::ErrorKind;
use kiops_core::image::{ImageAccess, NewRobot, Registry as _, Robot, docker_config_json};
use kiops_registry::harbor::Harbor;
use serde_json::{Value, json};

use super::host::{HOST, Host, NOW, PASSWORD, Role, Who};

fn wanted(access: ImageAccess, days: u32) -> NewRobot {
    NewRobot { name: "kiops".into(), access, days: NonZeroU32::new(days) }
}

async fn ensure(harbor: &Harbor, wanted: &NewRobot) -> kiops_core::Result<Robot> {
    harbor.projects().unwrap().ensure_robot("team", wanted).await
}

fn robots(host: &Host) -> Vec<Value> {
    host.team(|team| team.robots.clone())
}

fn days(robot: &Robot) -> i64 {
    (robot.expires_at.unwrap().as_second() - NOW) / (24 * 3600)
}

#[tokio::test(start_paused = true)]
async fn a_robot_gets_this_right_in_this_project_and_no_other() {
    let host = Host::new();
    let robot = ensure(&host.client(), &wanted(ImageAccess::Push, 30)).await.unwrap();
    assert!(robot.created);
    assert_eq!(
        (robot.credential.host.as_str(), robot.credential.username.as_str()),
        (HOST, "robot$team+kiops")
    );
    assert!(robot.credential.password.expose().starts_with(b"Secret"));
    assert_eq!(days(&robot), 30);
    let made = robots(&host);
    let pull = json!({"resource": "repository", "action": "pull"});
    let push = json!({"resource": "repository", "action": "push"});
    assert_eq!(
        made[0]["permissions"],
        json!([{"kind": "project", "namespace": "team", "access": [pull, push]}])
    );
    assert_eq!((made.len(), &made[0]["level"], &made[0]["disable"]), (1, &json!("project"), &json!(false)));
    let config = docker_config_json([&robot.credential]);
    let config: Value = serde_json::from_slice(config.expose()).unwrap();
    assert_eq!(config["auths"][HOST]["username"], "robot$team+kiops");
}

#[tokio::test(start_paused = true)]
async fn a_robot_that_is_there_gets_a_new_secret_and_loses_what_it_had_too_much() {
    let host = Host::new();
    let first = ensure(&host.client(), &wanted(ImageAccess::Push, 30)).await.unwrap();
    host.team(|team| team.robots[0]["disable"] = json!(true));
    let second = ensure(&host.client_after(0), &wanted(ImageAccess::Pull, 30)).await.unwrap();
    assert!(!second.created);
    assert_eq!(second.credential.username, first.credential.username);
    assert_ne!(second.credential.password, first.credential.password);
    let made = robots(&host);
    assert_eq!((made.len(), &made[0]["disable"]), (1, &json!(false)));
    assert_eq!(made[0]["permissions"][0]["access"], json!([{"resource": "repository", "action": "pull"}]));
    let last = host.asked().pop().unwrap();
    assert!(last.starts_with("PATCH robots/"), "nothing that may fail comes after the secret: {last}");
}

#[tokio::test(start_paused = true)]
async fn a_robot_that_is_over_is_good_again_for_the_days_that_are_asked_for() {
    let host = Host::new();
    ensure(&host.client(), &wanted(ImageAccess::Push, 30)).await.unwrap();
    // Harbor counts days from when it was made.
    let renewed = ensure(&host.client_after(40), &wanted(ImageAccess::Push, 30)).await.unwrap();
    assert_eq!(days(&renewed), 70);
    let forever = NewRobot { days: None, ..wanted(ImageAccess::Push, 1) };
    let renewed = ensure(&host.client_after(40), &forever).await.unwrap();
    assert_eq!(renewed.expires_at, None);
    let huge = ensure(&host.client_after(40), &wanted(ImageAccess::Push, u32::MAX)).await.unwrap();
    assert!(huge.expires_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_robot_is_found_among_many_by_its_whole_name() {
    let host = Host::new();
    for number in 0..150 {
        let other = NewRobot { name: format!("kiops-{number}"), ..wanted(ImageAccess::Pull, 1) };
        ensure(&host.client(), &other).await.unwrap();
    }
    assert!(ensure(&host.client(), &wanted(ImageAccess::Push, 1)).await.unwrap().created);
    assert!(!ensure(&host.client_after(0), &wanted(ImageAccess::Push, 1)).await.unwrap().created);
    assert_eq!(robots(&host).len(), 151);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_lost_makes_no_second_robot() {
    let host = Host::new();
    let lost = std::sync::atomic::AtomicBool::new(false);
    host.fault(move |seen| {
        let makes = seen.method == "POST" && seen.path() == "/api/v2.0/robots";
        if !makes || lost.swap(true, std::sync::atomic::Ordering::Relaxed) {
            return None;
        }
        Some(kiops_core::http::Reply::status(502))
    });
    let robot = ensure(&host.client(), &wanted(ImageAccess::Push, 1)).await.unwrap();
    assert!(robot.created);
    // The same with a robot that somebody makes between our look and our call.
    host.team(|team| team.robots.clear());
    let raced = std::sync::atomic::AtomicBool::new(false);
    host.fault(move |seen| {
        let looks = seen.method == "GET" && seen.path() == "/api/v2.0/robots";
        (looks && !raced.swap(true, std::sync::atomic::Ordering::Relaxed))
            .then(|| kiops_core::http::Reply::json("[]"))
    });
    host.team(|team| {
        team.robots.push(json!({
            "id": 500, "name": "robot$team+kiops", "level": "project", "duration": -1, "expires_at": -1,
            "creation_time": "2024-05-01T12:00:00Z",
        }));
    });
    let robot = ensure(&host.client_after(0), &wanted(ImageAccess::Push, 1)).await.unwrap();
    assert!(!robot.created && robot.credential.password.expose().starts_with(b"Fresh"));
    assert_eq!(robots(&host).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_may_not_and_names_that_cannot_be_are_told() {
    let host = Host::new();
    host.account("dev", Who::Member(7, Role::Developer));
    let error = ensure(&host.client_as("dev", PASSWORD), &wanted(ImageAccess::Push, 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(error.remedy().unwrap().contains("Project Admin"), "{error}");
    let odd = NewRobot { name: "Not+A Name".into(), ..wanted(ImageAccess::Push, 1) };
    let error = ensure(&host.client(), &odd).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("illegal characters"), "{error}");
    let missing = host.client();
    let missing = missing.projects().unwrap().ensure_robot("missing", &wanted(ImageAccess::Push, 1)).await;
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
    let all = host.client();
    let all = all.projects().unwrap().ensure_robot("*", &wanted(ImageAccess::Push, 1)).await;
    assert_eq!(all.unwrap_err().kind(), ErrorKind::Invalid, "it would be every project");
}
