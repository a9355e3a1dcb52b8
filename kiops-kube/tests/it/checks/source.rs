//! Checks of the source: fetched by a real Git from a real repository, in containers of their own.

use std::path::Path;

use kiops_core::name::ImageRef;
use kiops_core::run::RunOutcome;
use kiops_core::service::CheckPhase;
use kiops_core::stage::{FailureKind, Stage};
use kiops_core::testing::conformance::check_runner::RunnerJob;
use kiops_kube::ChecksConfig;
use kiops_kube::render::PodSecurity;

use super::git::{Repository, TOKEN, image};
use super::{Place, check, outcome, small};
use crate::node_image::{load_with, scripts};

async fn opened() -> Option<(Place, ChecksConfig, Repository)> {
    let place = Place::open().await?;
    let mut config = small();
    config.git_image = tokio::task::spawn_blocking(image).await.unwrap()?;
    let repository = Repository::served().await;
    config.insecure_git_hosts.push(repository.host());
    Some((place, config, repository))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_of_the_source_works_in_its_commit_and_never_has_the_credential() {
    let Some((place, config, repository)) = opened().await else { return };
    let script = "cat page; ls -A; env; cat .git/config .git/FETCH_HEAD";
    let job = RunnerJob::new(repository, check("sast", CheckPhase::Source, script));
    let (text, outcome) = outcome(&place.runner("kiops", config), &job).await;
    assert!(matches!(outcome, RunOutcome::Succeeded(_)), "{outcome:?} after {text}");
    assert!(text.starts_with("first\n.git\npage\n"), "{text}");
    // Not even masked: it is not there.
    assert!(!text.contains(TOKEN) && !text.contains("***") && !text.contains("Authorization"), "{text}");
}

/// An image that names its user by number.
fn nobodys_image() -> Option<String> {
    let scripts = scripts()?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists())?;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("bin")).unwrap();
    std::fs::copy(busybox, folder.path().join("bin/busybox")).unwrap();
    let name = "registry.local/kiops-tests/nobody:1".to_owned();
    load_with(&scripts, &name, folder.path(), &["--user", "1234"]);
    Some(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_of_the_source_works_where_nothing_may_be_root() {
    let Some((place, mut config, repository)) = opened().await else { return };
    let Some(image) = tokio::task::spawn_blocking(nobodys_image).await.unwrap() else { return };
    config.security = PodSecurity::Restricted;
    let script = "/bin/busybox id -u; /bin/busybox cat page; echo mine >new && /bin/busybox cat new; (echo x >>page) 2>/dev/null || echo theirs";
    let mut job = RunnerJob::new(repository, check("sast", CheckPhase::Source, script));
    job.job.check.image = Some(ImageRef::parse(&image).unwrap());
    let (text, ended) = outcome(&place.runner("kiops", config.clone()), &job).await;
    assert!(matches!(ended, RunOutcome::Succeeded(_)), "{ended:?} after {text}");
    assert_eq!(text, "1234\nfirst\nmine\ntheirs\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_whose_commit_is_gone_is_named_by_it() {
    let Some((place, config, mut repository)) = opened().await else { return };
    repository.commit = Repository::nowhere().commit;
    let job = RunnerJob::new(repository, check("sast", CheckPhase::Source, "true"));
    let (_, outcome) = outcome(&place.runner("kiops", config), &job).await;
    let RunOutcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!((failure.kind, failure.stage), (FailureKind::CommitNotFound, Stage::Setup));
    assert!(failure.message.contains("abc123def0"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_http_is_fetched_from_named_hosts_only() {
    let Some((place, mut config, repository)) = opened().await else { return };
    config.insecure_git_hosts.clear();
    let job = RunnerJob::new(repository.clone(), check("sast", CheckPhase::Source, "true"));
    use kiops_core::checks::CheckRunner as _;
    let runner = place.runner("kiops", config);
    let error = runner.start(&super::fresh_run(), &job.job, job.inputs).await.unwrap_err();
    assert!(error.message().contains(&repository.host()), "{error}");
}
