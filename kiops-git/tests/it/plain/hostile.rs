//! Inputs that were made to break out: each reaches git as data or not at all.

use kiops_core::ErrorKind;
use kiops_core::name::{BranchName, CommitId, GitRef};
use kiops_core::provider::{GitProvider as _, Search, TreeQuery};
use kiops_core::testing::skipped;
use kiops_git::plain::{LocalGit, Plain, PlainConfig, PlainCredential};

use super::{Fixture, full_ref, named};

#[tokio::test]
async fn hostile_addresses_run_nothing_and_are_refused_as_invalid() {
    let fixture = Fixture::new();
    fixture.commit(&[("a", "1")], "one");
    let pwned = fixture.path().join("pwned");
    let touch = format!("touch {}", pwned.display());
    let config = PlainConfig { work_dir: Some(fixture.path().join("cache")), ..fixture.config() };
    let plain = Plain::new(config).unwrap();
    let bare = fixture.bare();
    let bare = bare.to_str().unwrap();
    for address in [
        format!("--upload-pack={touch}"),
        format!("-u{touch}"),
        format!("-oProxyCommand={touch}"),
        format!("ext::sh -c \"{touch}\""),
        format!("EXT::sh -c \"{touch}\""),
        format!("eXt::{touch}"),
        format!("ssh://-oProxyCommand={touch}/y"),
        "ssh://-x/y".to_owned(),
        "http://user@evil@good/".to_owned(),
        "https://user:pass@host/x".to_owned(),
        format!("{bare}\n"),
        format!("{bare}\r\n"),
        format!("{bare}\0"),
        format!("{bare}/../site.git"),
        format!("../{bare}"),
        "site.git".to_owned(),
        String::new(),
    ] {
        let error = plain.heads(&named(&address)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{address:?}: {error}");
        assert!(!error.to_string().contains("user:pass"), "{error}");
    }
    assert!(!pwned.exists());
}

#[tokio::test]
async fn folders_outside_the_roots_are_forbidden_however_they_are_reached() {
    let fixture = Fixture::new();
    let commit = fixture.commit(&[("a", "1")], "one");
    fixture.git(fixture.path(), &["clone", "-q", "--bare", "srv/site.git", "secret.git"]);
    let secret = fixture.path().join("secret.git");
    std::os::unix::fs::symlink(&secret, fixture.path().join("srv/link.git")).unwrap();
    std::fs::create_dir(fixture.path().join("srv-2")).unwrap();
    std::fs::rename(&secret, fixture.path().join("srv-2/secret.git")).unwrap();
    std::os::unix::fs::symlink(fixture.path().join("srv-2/secret.git"), &secret).unwrap();
    let plain = fixture.plain();
    let root = fixture.path().to_str().unwrap().to_owned();
    for path in [
        format!("{root}/secret.git"),
        format!("{root}/srv-2/secret.git"),
        format!("{root}/srv/link.git"),
        format!("file://{root}/secret.git"),
        "file:///etc".to_owned(),
        "/etc".to_owned(),
        "/".to_owned(),
    ] {
        let error = plain.heads(&named(&path)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden, "{path}: {error}");
        assert_eq!(plain.commit(&named(&path), &commit).await.unwrap_err().kind(), ErrorKind::Forbidden);
    }
    let absent = named(&format!("{root}/srv/none.git"));
    assert_eq!(plain.heads(&absent).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(plain.commit(&absent, &commit).await.unwrap(), None);
    // The folder of repositories is none itself, and nothing above it is searched for one.
    assert_eq!(plain.heads(&named(&format!("{root}/srv"))).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(
        plain.heads(&named(&format!("{root}/srv/site.git/refs"))).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[tokio::test]
async fn refs_that_look_like_options_are_neither_parsed_nor_listed() {
    for bad in [
        "refs/heads/--upload-pack=touch pwned",
        "refs/heads/-h",
        "refs/heads/../../x",
        "refs/heads/a..b",
        "refs/heads/a.lock",
        "refs/heads/@{",
    ] {
        assert!(GitRef::parse(bad).is_err(), "{bad}");
    }
    assert!(BranchName::parse("a".repeat(2000)).is_err());
    let fixture = Fixture::new();
    let commit = fixture.commit(&[("a", "1")], "one");
    let long = "l".repeat(200);
    let (rtl, homoglyph) = ("a\u{202e}b", "m\u{0430}in");
    for branch in ["-h", "--upload-pack=x", &long, rtl, homoglyph] {
        fixture.git(&fixture.bare(), &["update-ref", &format!("refs/heads/{branch}"), commit.as_str()]);
    }
    let plain = fixture.plain();
    let mut names: Vec<String> = plain
        .branches(&fixture.repository(), &Search::all())
        .await
        .unwrap()
        .items
        .iter()
        .map(|head| head.git_ref.branch().unwrap().to_string())
        .collect();
    names.sort_unstable();
    let mut expected = vec![rtl.to_owned(), long.clone(), "main".to_owned(), homoglyph.to_owned()];
    expected.sort_unstable();
    assert_eq!(names, expected);
    for branch in [long.as_str(), rtl, homoglyph] {
        let head =
            plain.head(&fixture.repository(), &full_ref(&format!("refs/heads/{branch}"))).await.unwrap();
        assert_eq!(head.as_ref(), Some(&commit));
    }
}

#[tokio::test]
async fn a_branch_and_a_tag_of_one_name_are_told_apart() {
    let fixture = Fixture::new();
    let first = fixture.commit(&[("a", "1")], "one");
    fixture.run(&["tag", "v1.0"]);
    fixture.run(&["push", "-q", "origin", "refs/tags/v1.0"]);
    let second = fixture.commit(&[("a", "2")], "two");
    fixture.run(&["push", "-q", "origin", "HEAD:refs/heads/v1.0"]);
    let (plain, repository) = (fixture.plain(), fixture.repository());
    assert_eq!(plain.head(&repository, &full_ref("refs/tags/v1.0")).await.unwrap(), Some(first));
    assert_eq!(plain.head(&repository, &full_ref("refs/heads/v1.0")).await.unwrap(), Some(second));
}

#[tokio::test]
async fn paths_that_leave_the_tree_are_refused() {
    let fixture = Fixture::new();
    let commit = fixture.commit(&[("a/b", "1"), ("-x", "option"), ("--textconv", "t")], "one");
    let (plain, repository) = (fixture.plain(), fixture.repository());
    for bad in ["", "/a", "a/", "../x", "a/../a/b", "./a/b", "a//b", "a\0b"] {
        let error = plain.file(&repository, &commit, bad, 10).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad:?}");
        let query = TreeQuery { folder: format!("{bad}/.."), recursive: false, limit: 10 };
        assert_eq!(plain.tree(&repository, &commit, &query).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(plain.file(&repository, &commit, "-x", 10).await.unwrap().unwrap(), "option");
    assert_eq!(plain.file(&repository, &commit, "--textconv", 10).await.unwrap().unwrap(), "t");
}

#[tokio::test]
async fn the_configuration_of_user_machine_and_environment_has_no_effect() {
    // The whole environment of a process cannot be changed under a running test, so this one runs itself again in a bad one.
    const INSIDE: &str = "KIOPS_TEST_HOSTILE_ENVIRONMENT";
    if std::env::var_os(INSIDE).is_none() {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join(".gitconfig");
        std::fs::write(&config, "[user\n this is no configuration").unwrap();
        let hooks = home.path().join("hooks");
        std::fs::create_dir(&hooks).unwrap();
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "plain::hostile::the_configuration_of_user_machine_and_environment_has_no_effect",
                "--exact",
                "--nocapture",
            ])
            .env(INSIDE, "1")
            .env("HOME", home.path())
            .env("GIT_CONFIG_GLOBAL", &config)
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "core.hooksPath")
            .env("GIT_CONFIG_VALUE_0", &hooks)
            .env("GIT_DIR", "/nonexistent")
            .env("GIT_WORK_TREE", "/nonexistent")
            .env("GIT_INDEX_FILE", "/nonexistent/index")
            .env("GIT_AUTHOR_NAME", "Somebody Else")
            .env("GIT_SSH_COMMAND", "false")
            .env("GIT_TRACE", "2")
            .env("LC_ALL", "de_DE.UTF-8")
            .env("LANG", "de_DE.UTF-8")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let fixture = Fixture::new();
    let commit = fixture.commit(&[("a", "1")], "one");
    let plain = fixture.plain();
    assert_eq!(plain.heads(&fixture.repository()).await.unwrap()[0].commit, commit);
    assert_eq!(plain.commit(&fixture.repository(), &commit).await.unwrap().unwrap().message, "one\n");
    let local = LocalGit::default();
    let workspace = local.clone_to(&fixture.bare(), &fixture.path().join("copy")).await.unwrap();
    std::fs::write(workspace.folder().join("b"), "2").unwrap();
    let made = workspace.commit_all("two", jiff::Timestamp::UNIX_EPOCH).await.unwrap().unwrap();
    workspace.push(&["HEAD:refs/heads/main"]).await.unwrap();
    let read = plain.commit(&fixture.repository(), &made).await.unwrap().unwrap();
    assert_eq!((read.author.as_str(), read.timestamp), ("kiops", jiff::Timestamp::UNIX_EPOCH));
}

#[tokio::test]
async fn a_repository_of_another_user_is_read_without_asking_git_whether_it_is_safe() {
    let fixture = Fixture::new();
    let commit = fixture.commit(&[("a", "1")], "one");
    // Only root can give files away.
    let mut chown = std::process::Command::new("chown");
    let chown =
        chown.args(["-R", "12345:12345"]).arg(fixture.bare()).stderr(std::process::Stdio::null()).status();
    if !chown.is_ok_and(|status| status.success()) {
        skipped("files cannot be given to another user");
        return;
    }
    assert_eq!(fixture.plain().heads(&fixture.repository()).await.unwrap()[0].commit, commit);
    let archive = fixture.plain().archive(&fixture.repository(), &commit).await.unwrap();
    assert!(kiops_core::stream::collect(archive, 1024 * 1024).await.is_ok());
}

#[tokio::test]
async fn hooks_filters_and_commands_in_a_repositorys_configuration_do_not_run() {
    let fixture = Fixture::new();
    let pwned = fixture.path().join("pwned");
    let touch = format!("touch {}", pwned.display());
    let first = fixture.commit(&[(".gitattributes", "* diff=evil filter=evil\n"), ("a", "1")], "one");
    let second = fixture.commit(&[("a", "2")], "two");
    for key in [
        "diff.external",
        "diff.evil.textconv",
        "diff.evil.command",
        "filter.evil.smudge",
        "core.fsmonitor",
        "core.pager",
        "tar.tar.command",
    ] {
        fixture.git(&fixture.bare(), &["config", key, &touch]);
    }
    let (plain, repository) = (fixture.plain(), fixture.repository());
    plain.compare(&repository, &first, &second).await.unwrap();
    plain.file(&repository, &first, "a", 10).await.unwrap().unwrap();
    let archive = plain.archive(&repository, &second).await.unwrap();
    kiops_core::stream::collect(archive, 1024 * 1024).await.unwrap();
    assert!(!pwned.exists());
}

#[test]
fn settings_that_could_not_be_meant_are_refused() {
    let relative = PlainConfig::on_disk("srv/git");
    let work_dir = PlainConfig { work_dir: Some("cache".into()), ..PlainConfig::default() };
    let credential = |url: &str, username: &str| PlainConfig {
        credentials: vec![PlainCredential {
            url: url.into(),
            username: username.into(),
            password: kiops_core::name::SecretName::parse("git/token").unwrap(),
        }],
        ..PlainConfig::default()
    };
    for bad in [
        relative,
        work_dir,
        credential("https://user@host/", "x"),
        credential("ext::sh", "x"),
        credential("https://host/", "a:b"),
        credential("https://host/", "a\nb"),
    ] {
        assert_eq!(Plain::new(bad.clone()).unwrap_err().kind(), ErrorKind::Invalid, "{bad:?}");
    }
    assert!(Plain::new(credential("https://host/", "oauth2")).is_ok());
}

#[test]
fn commit_ids_are_parsed_before_git_sees_them() {
    for bad in ["HEAD", "--all", "main", "deadbeef", "@{u}", ":/message"] {
        assert!(CommitId::parse(bad).is_err(), "{bad}");
    }
}
