//! Repositories that are named by an address: real smart HTTP, through `git http-backend` behind a small server of these tests.

pub(crate) mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kiops_core::event::Repository;
use kiops_core::name::{CommitId, SecretName};
use kiops_core::provider::{GitProvider as _, Relation, Search, TreeQuery};
use kiops_core::secret::{Secret, SecretSource};
use kiops_core::{ErrorKind, Result, stream};
use kiops_git::plain::{Plain, PlainConfig, PlainCredential};

use self::server::{Mode, Server};
use super::{Fixture, fake_git, full_ref, id, named};

pub(super) const PASSWORD: &str = "correct-horse-battery";

pub(super) struct Secrets(pub(super) Option<&'static str>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

#[async_trait]
impl SecretSource for Secrets {
    async fn secret(&self, _: &SecretName) -> Result<Option<Secret>> {
        Ok(self.0.and_then(Secret::new))
    }
}

/// A fixture whose repositories are served over HTTP to whoever knows the password.
struct Remote {
    fixture: Fixture,
    server: Server,
}

impl Remote {
    fn new(fixture: Fixture) -> Self {
        let server = Server::start(fixture.path().join("srv"), "kiops", PASSWORD);
        Self { fixture, server }
    }

    fn repository(&self) -> Repository {
        named(&self.server.url("site.git"))
    }

    fn mirrors(&self) -> PathBuf {
        self.fixture.path().join("cache/mirrors")
    }

    /// Writes every call of git to a file, arguments only.
    fn config(&self) -> PlainConfig {
        let program = fake_git(self.fixture.path(), "echo \"$@\" >> \"${0%/*}/calls\"; exec git \"$@\"");
        let host = vec![self.server.host()];
        PlainConfig {
            program,
            work_dir: Some(self.fixture.path().join("cache")),
            allow_http_hosts: host.clone(),
            allow_private_hosts: host,
            credentials: vec![PlainCredential {
                url: self.server.url(""),
                username: "kiops".into(),
                password: SecretName::parse("git/password").unwrap(),
            }],
            fetch_seconds: 20,
            ..PlainConfig::default()
        }
    }

    fn plain(&self) -> Plain {
        Plain::new(self.config()).unwrap().with_secrets(Arc::new(Secrets(Some(PASSWORD))))
    }

    fn calls(&self, of: &str) -> usize {
        let calls = std::fs::read_to_string(self.fixture.path().join("calls")).unwrap_or_default();
        calls.lines().filter(|line| line.starts_with(of)).count()
    }
}

#[tokio::test]
async fn everything_works_over_http_and_a_commit_is_fetched_once() {
    for format in ["sha1", "sha256"] {
        let remote = Remote::new(Fixture::with_format(format));
        let first = remote.fixture.commit(&[("a", "1")], "one");
        let second = remote.fixture.commit(&[("b/c", "2")], "two");
        remote.fixture.run(&["tag", "-a", "-m", "x", "v1"]);
        remote.fixture.run(&["push", "-q", "origin", "v1", "HEAD:refs/heads/feature/a/b"]);
        let tag = id(&remote.fixture.run(&["rev-parse", "v1"]));
        let (plain, repository) = (remote.plain(), remote.repository());

        let heads = plain.heads(&repository).await.unwrap();
        assert_eq!(heads.len(), 3);
        assert!(heads.iter().all(|head| head.commit == second));
        assert_eq!(plain.head(&repository, &full_ref("refs/tags/v1")).await.unwrap(), Some(second.clone()));
        assert_eq!(plain.head(&repository, &full_ref("refs/heads/b")).await.unwrap(), None);
        let branches = plain.branches(&repository, &Search::text("A/B")).await.unwrap();
        assert_eq!(branches.items.len(), 1);
        assert_eq!(remote.calls("fetch"), 0);

        let commit = plain.commit(&repository, &tag).await.unwrap().unwrap();
        assert_eq!((commit.id.clone(), commit.message.as_str()), (second.clone(), "two\n"));
        let comparison = plain.compare(&repository, &first, &second).await.unwrap();
        assert_eq!(comparison.relation, Relation::Ahead);
        assert_eq!(comparison.files.list().unwrap().added.sorted(), ["b/c"]);
        let query = TreeQuery { folder: "b".into(), recursive: true, limit: 10 };
        assert_eq!(plain.tree(&repository, &second, &query).await.unwrap()[0].path, "b/c");
        assert_eq!(plain.file(&repository, &second, "b/c", 10).await.unwrap().unwrap(), "2");
        let archive = plain.archive(&repository, &second).await.unwrap();
        assert!(!stream::collect(archive, 1024 * 1024).await.unwrap().is_empty());
        assert_eq!(remote.calls("fetch"), 1);

        let third = remote.fixture.commit(&[("a", "3")], "three");
        assert_eq!(plain.commit(&repository, &third).await.unwrap().unwrap().parents, [second]);
        assert_eq!(remote.calls("fetch"), 2);
        let absent = id(&third.as_str().chars().rev().collect::<String>());
        assert_eq!(plain.commit(&repository, &absent).await.unwrap(), None);
    }
}

#[tokio::test]
async fn the_password_is_in_no_argument_no_file_and_no_error() {
    let remote = Remote::new(Fixture::new());
    let commit = remote.fixture.commit(&[("a", "1")], "one");
    let plain = remote.plain();
    plain.commit(&remote.repository(), &commit).await.unwrap().unwrap();
    let access = plain.clone_access(&remote.repository(), &commit).await.unwrap();
    assert!(!access.url.contains(PASSWORD));
    assert_eq!(access.credential.as_ref().unwrap().username, "kiops");
    assert!(!format!("{access:?} {plain:?}").contains(PASSWORD));
    let basic = remote.server.basic();
    let mut files = vec![remote.fixture.path().to_owned()];
    let mut seen = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        seen += 1;
        let content = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        assert!(!content.contains(PASSWORD) && !content.contains(&basic), "{}", path.display());
    }
    assert!(seen > 10 && remote.calls("fetch") == 1);
}

#[tokio::test]
async fn wrong_and_missing_credentials_are_told_from_a_missing_repository() {
    let remote = Remote::new(Fixture::new());
    let commit = remote.fixture.commit(&[("a", "1")], "one");
    let repository = remote.repository();
    let kind = async |plain: &Plain, repository: &Repository| {
        let heads = plain.heads(repository).await.unwrap_err();
        assert!(!heads.to_string().contains("wrong-password"), "{heads}");
        assert!(heads.remedy().is_some());
        assert_eq!(
            plain.commit(repository, &commit).await.map_err(|error| error.kind()).unwrap_or(None),
            None
        );
        heads.kind()
    };
    let wrong = Plain::new(remote.config()).unwrap().with_secrets(Arc::new(Secrets(Some("wrong-password"))));
    assert_eq!(kind(&wrong, &repository).await, ErrorKind::Unauthorized);
    let none = Plain::new(PlainConfig { credentials: vec![], ..remote.config() }).unwrap();
    assert_eq!(kind(&none, &repository).await, ErrorKind::Unauthorized);
    let not_stored = Plain::new(remote.config()).unwrap().with_secrets(Arc::new(Secrets(None)));
    assert_eq!(kind(&not_stored, &repository).await, ErrorKind::Unauthorized);
    let absent = named(&remote.server.url("absent.git"));
    assert_eq!(kind(&remote.plain(), &absent).await, ErrorKind::NotFound);
    assert_eq!(remote.plain().commit(&absent, &commit).await.unwrap(), None);
}

#[tokio::test]
async fn a_credential_for_one_path_is_not_sent_to_another() {
    let remote = Remote::new(Fixture::new());
    remote.fixture.commit(&[("a", "1")], "one");
    let mut config = remote.config();
    config.credentials[0].url = remote.server.url("team/");
    let plain = Plain::new(config).unwrap().with_secrets(Arc::new(Secrets(Some(PASSWORD))));
    assert_eq!(plain.heads(&remote.repository()).await.unwrap_err().kind(), ErrorKind::Unauthorized);
    assert_eq!(remote.server.authorized(), 0);
}

#[tokio::test]
async fn what_the_configuration_does_not_allow_is_never_connected_to() {
    let remote = Remote::new(Fixture::new());
    remote.fixture.commit(&[("a", "1")], "one");
    let refused = async |config: PlainConfig, address: &str| {
        let plain = Plain::new(config).unwrap().with_secrets(Arc::new(Secrets(Some(PASSWORD))));
        plain.heads(&named(address)).await.unwrap_err().kind()
    };
    let url = remote.server.url("site.git");
    let no_http = PlainConfig { allow_http_hosts: vec![], ..remote.config() };
    assert_eq!(refused(no_http, &url).await, ErrorKind::Forbidden);
    let no_private = PlainConfig { allow_private_hosts: vec![], ..remote.config() };
    assert_eq!(refused(no_private.clone(), &url).await, ErrorKind::Forbidden);
    for address in [
        "https://169.254.169.254/latest",
        "https://[::ffff:127.0.0.1]/x",
        "https://localhost/x",
        "https://0x7f000001/x",
    ] {
        assert_eq!(refused(no_private.clone(), address).await, ErrorKind::Forbidden, "{address}");
    }
    assert_eq!(remote.server.requests(), 0);
    let unknown = refused(no_private, "https://does-not-exist.invalid/x").await;
    assert!(matches!(unknown, ErrorKind::Unavailable | ErrorKind::Timeout), "{unknown:?}");
    let no_folder = PlainConfig { work_dir: None, ..remote.config() };
    let plain = Plain::new(no_folder).unwrap().with_secrets(Arc::new(Secrets(Some(PASSWORD))));
    let error = plain.commit(&remote.repository(), &id(&"1".repeat(40))).await.unwrap_err();
    assert!(error.remedy().unwrap().contains("work_dir"), "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_gets_no_credential() {
    let remote = Remote::new(Fixture::new());
    remote.fixture.commit(&[("a", "1")], "one");
    let other = Server::start(remote.fixture.path().join("srv"), "kiops", PASSWORD);
    remote.server.set(Mode::Redirect(other.url("")));
    let error = remote.plain().heads(&remote.repository()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::Unavailable), "{error}");
    assert_eq!(other.requests(), 0);
}

#[tokio::test]
async fn faults_of_the_host_are_worth_another_try() {
    let remote = Remote::new(Fixture::new());
    let commit = remote.fixture.commit(&[("a", "1")], "one");
    let plain = remote.plain();
    remote.server.set(Mode::Fault);
    let error = plain.commit(&remote.repository(), &commit).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, kiops_core::Retry::Maybe), "{error}");
    remote.server.set(Mode::Serve);
    assert!(plain.commit(&remote.repository(), &commit).await.unwrap().is_some());
    // What was fetched once needs no host any more.
    remote.server.set(Mode::Fault);
    assert_eq!(plain.file(&remote.repository(), &commit, "a", 10).await.unwrap().unwrap(), "1");
    let nobody = vec!["127.0.0.1:1".to_owned()];
    let config =
        PlainConfig { allow_http_hosts: nobody.clone(), allow_private_hosts: nobody, ..remote.config() };
    let error = Plain::new(config).unwrap().heads(&named("http://127.0.0.1:1/site.git")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_host_that_hangs_ends_at_the_deadline() {
    let remote = Remote::new(Fixture::new());
    let commit = remote.fixture.commit(&[("a", "1")], "one");
    let config = PlainConfig { fetch_seconds: 1, ..remote.config() };
    let plain = Plain::new(config).unwrap().with_secrets(Arc::new(Secrets(Some(PASSWORD))));
    remote.server.set(Mode::Hang);
    let start = Instant::now();
    assert_eq!(plain.heads(&remote.repository()).await.unwrap_err().kind(), ErrorKind::Timeout);
    let error = plain.commit(&remote.repository(), &commit).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
    remote.server.set(Mode::Serve);
    assert!(remote.plain().commit(&remote.repository(), &commit).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_at_one_time_share_their_fetches() {
    let remote = Remote::new(Fixture::new());
    let commit = remote.fixture.commit(&[("a", "1")], "one");
    let plain = Arc::new(remote.plain());
    let absent = id(&"1".repeat(40));
    let ask = |commit: &CommitId| {
        let (plain, repository, commit) = (Arc::clone(&plain), remote.repository(), commit.clone());
        tokio::spawn(async move { plain.commit(&repository, &commit).await.unwrap() })
    };
    let found: Vec<_> = (0..20).map(|_| ask(&commit)).collect();
    for answer in found {
        assert!(answer.await.unwrap().is_some());
    }
    let heads = |calls: usize| calls <= 2;
    assert!(heads(remote.calls("fetch")), "{} fetches", remote.calls("fetch"));
    assert_eq!(ask(&absent).await.unwrap(), None);
}

#[tokio::test]
async fn a_fetch_goes_on_when_its_asker_goes_away() {
    let remote = Remote::new(Fixture::new());
    let commit = remote.fixture.commit(&[("a", "1")], "one");
    let plain = Arc::new(remote.plain());
    let (asker, repository) = (Arc::clone(&plain), remote.repository());
    let asked = commit.clone();
    let task = tokio::spawn(async move { asker.commit(&repository, &asked).await });
    while remote.calls("fetch") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    task.abort();
    assert!(plain.commit(&remote.repository(), &commit).await.unwrap().is_some());
    assert_eq!(remote.calls("fetch"), 1);
}

#[tokio::test]
async fn commits_that_were_pushed_over_stay_comparable_and_refs_follow() {
    let remote = Remote::new(Fixture::new());
    let base = remote.fixture.commit(&[("a", "1")], "base");
    let lost = remote.fixture.commit(&[("lost", "1")], "lost");
    remote.fixture.run(&["push", "-q", "origin", "HEAD:refs/heads/a"]);
    let (plain, repository) = (remote.plain(), remote.repository());
    assert!(plain.commit(&repository, &lost).await.unwrap().is_some());
    remote.fixture.run(&["reset", "-q", "--hard", base.as_str()]);
    let kept = remote.fixture.commit(&[("kept", "1")], "kept");
    // A branch that became a folder of branches.
    remote.fixture.run(&["push", "-q", "origin", ":refs/heads/a"]);
    remote.fixture.run(&["push", "-q", "origin", "HEAD:refs/heads/a/b"]);
    let comparison = plain.compare(&repository, &lost, &kept).await.unwrap();
    assert_eq!(comparison.relation, Relation::Diverged);
    assert_eq!(plain.heads(&repository).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_commit_that_only_a_merge_request_reaches_is_fetched_by_its_id() {
    let remote = Remote::new(Fixture::new());
    remote.fixture.commit(&[("a", "1")], "one");
    remote.fixture.run(&["commit", "-q", "--allow-empty", "-m", "merge me"]);
    remote.fixture.run(&["push", "-q", "origin", "HEAD:refs/merge-requests/7/head"]);
    let commit = id(&remote.fixture.run(&["rev-parse", "HEAD"]));
    let (plain, repository) = (remote.plain(), remote.repository());
    let head = plain.head(&repository, &full_ref("refs/merge-requests/7/head")).await.unwrap();
    assert_eq!(head, Some(commit.clone()));
    assert_eq!(plain.commit(&repository, &commit).await.unwrap().unwrap().message, "merge me\n");
}

#[tokio::test]
async fn a_mirror_that_a_crash_left_broken_is_made_anew() {
    let remote = Remote::new(Fixture::new());
    let (plain, repository) = (remote.plain(), remote.repository());
    let first = remote.fixture.commit(&[("a", "0")], "zero");
    assert!(plain.commit(&repository, &first).await.unwrap().is_some());
    let mirror = std::fs::read_dir(remote.mirrors()).unwrap().next().unwrap().unwrap().path();
    for (n, damage) in ["lock", "head", "objects", "garbage"].into_iter().enumerate() {
        match damage {
            "lock" => std::fs::write(mirror.join("refs/heads/main.lock"), "").unwrap(),
            "head" => std::fs::write(mirror.join("HEAD"), "").unwrap(),
            "objects" => std::fs::remove_dir_all(mirror.join("objects")).unwrap(),
            _ => {
                let head = std::fs::read_to_string(mirror.join("refs/heads/main")).unwrap();
                std::fs::write(mirror.join("refs/heads/main"), &head.trim()[1..]).unwrap();
            }
        }
        let commit = remote.fixture.commit(&[("a", damage)], damage);
        let found =
            plain.commit(&repository, &commit).await.unwrap_or_else(|error| panic!("{damage}: {error}"));
        assert!(found.is_some(), "{n} {damage}");
    }
}
