//! What is missing is said by its name.

use std::sync::Arc;

use kiops_core::error::Retry;
use kiops_core::http::{HttpService, Reply, ReqwestConfig, ReqwestService, ScriptedHttp, SystemTimer};
use kiops_core::image::{Registry as _, TagPage};
use kiops_core::{Error, ErrorKind};
use kiops_registry::harbor::{Harbor, HarborConfig};

use super::host::{ADMIN, HOST, Host, PASSWORD, Role, Who};
use crate::fixtures::{image, tag};
use crate::oci::daemon::{Auth, Daemon};

async fn check(host: &Host, name: &str) -> kiops_core::Result<()> {
    host.client_as(name, PASSWORD).check(&image("harbor.example.com/team/sub/app")).await
}

fn rights(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(resource, action)| ((*resource).into(), (*action).into())).collect()
}

fn pusher() -> Vec<(String, String)> {
    rights(&[("repository", "pull"), ("repository", "push")])
}

#[tokio::test(start_paused = true)]
async fn whoever_may_push_passes() {
    let host = Host::new();
    host.account("dev", Who::Member(7, Role::Developer));
    host.account("robot$team+ci", Who::Robot(7, pusher()));
    for name in [ADMIN, "dev", "robot$team+ci"] {
        check(&host, name).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_login_is_told_from_a_missing_right_and_both_from_a_missing_project() {
    let host = Host::new();
    host.account("guest", Who::Member(7, Role::Guest));
    host.account("other", Who::Member(1, Role::ProjectAdmin));
    host.account("robot$team+reader", Who::Robot(7, rights(&[("repository", "pull")])));
    host.account("robot$other+ci", Who::Robot(1, pusher()));
    for (name, kind, operation, remedy) in [
        ("nobody", ErrorKind::Unauthorized, "log in to Harbor", "CLI secret"),
        ("robot$team+gone", ErrorKind::Unauthorized, "log in to Harbor", "Refresh Secret"),
        ("guest", ErrorKind::Forbidden, "check push right", "Developer"),
        ("other", ErrorKind::Forbidden, "check push right", "Members"),
        ("robot$team+reader", ErrorKind::Forbidden, "check push right", "Robot Accounts"),
        ("robot$other+ci", ErrorKind::Forbidden, "check push right", "Robot Accounts"),
    ] {
        let error = check(&host, name).await.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (kind, operation), "{name}: {error}");
        assert!(error.remedy().unwrap().contains(remedy), "{name}: {error}");
    }
    let error = host.client_of(None).check(&image("harbor.example.com/team/app")).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unauthorized, "log in to Harbor"));
    let error = host.client().check(&image("harbor.example.com/missing/app")).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::NotFound, "check push right"));
    assert!(error.remedy().unwrap().contains("New Project"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_takes_no_push_at_all_says_why() {
    let host = Host::new();
    host.team(|team| team.registry_id = Some(3));
    let error = check(&host, ADMIN).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("proxy cache"), "{error}");
    host.state().read_only = true;
    let error = check(&host, ADMIN).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Maybe));
    assert!(error.remedy().unwrap().contains("Repository Read Only"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_no_harbor_is_told_from_one_that_is_away() {
    let client = |reply: fn() -> Reply| {
        let service: Arc<dyn HttpService> = Arc::new(ScriptedHttp::answering(move |_| reply()));
        Harbor::new(HarborConfig::new(HOST), None, service, Arc::new(SystemTimer)).unwrap()
    };
    let other: [fn() -> Reply; 5] = [
        || Reply::status(404),
        || Reply::json("{}"),
        || Reply::json("[1]"),
        || Reply::status(200).body("<html>hello</html>"),
        || Reply::redirect(302, "https://harbor.example.com/login"),
    ];
    for reply in other {
        let error = client(reply).check(&image("harbor.example.com/team/app")).await.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Invalid, "reach Harbor"), "{error}");
        assert!(error.message().contains("not as a Harbor does"), "{error}");
    }
    let away: [fn() -> Reply; 2] =
        [|| Reply::error(Error::unavailable("connect", "connection refused")), || Reply::status(502)];
    for reply in away {
        let error = client(reply).check(&image("harbor.example.com/team/app")).await.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Unavailable, "reach Harbor"), "{error}");
        assert_eq!(error.retry(), Retry::Maybe);
    }
}

#[tokio::test]
async fn a_real_registry_that_is_no_harbor_is_told_apart() {
    let Some(daemon) = Daemon::start(Auth::Nobody) else { return };
    let mut config = HarborConfig::new(format!("127.0.0.1:{}", daemon.port));
    config.registry.url = Some(format!("http://127.0.0.1:{}", daemon.port));
    config.registry.private = true;
    let service = ReqwestService::new(&ReqwestConfig::default(), config.egress().unwrap()).unwrap();
    let harbor = Harbor::new(config, None, Arc::new(service), Arc::new(SystemTimer)).unwrap();
    let name = format!("127.0.0.1:{}/team/app", daemon.port);
    let error = harbor.check(&image(&name)).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Invalid, "reach Harbor"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_image_of_another_host_or_without_a_project_is_refused_before_anything_is_asked() {
    let host = Host::new();
    for name in ["other.example.com/team/app", "harbor.example.com/app"] {
        let error = host.client().check(&image(name)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    assert!(host.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn tags_and_what_they_stand_for_come_by_the_distribution_protocol() {
    let host = Host::new();
    let digest = format!("sha256:{}", "a".repeat(64));
    host.artifact("sub/app", &digest, &["1.0", "latest"]);
    let (harbor, app) = (host.client(), image("harbor.example.com/team/sub/app"));
    let tags = harbor.tags(&app, &TagPage::default()).await.unwrap();
    assert_eq!(tags, [tag("1.0"), tag("latest")]);
    assert_eq!(harbor.resolve(&app.tagged(tag("latest"))).await.unwrap().unwrap().as_str(), digest);
    assert_eq!(harbor.resolve(&app.tagged(tag("other"))).await.unwrap(), None);
    assert!(host.asked().is_empty(), "{:?}", host.asked());
}
