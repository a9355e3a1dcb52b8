//! Making repositories, committing and pushing.

use jiff::Timestamp;
use kiops_core::ErrorKind;
use kiops_core::provider::GitProvider as _;
use kiops_git::plain::{LocalGit, ObjectFormat, Plain, PlainConfig};

use super::{fake_git, full_ref, git, named};

fn printed(folder: &std::path::Path, args: &[&str]) -> String {
    let output = git(folder).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[tokio::test]
async fn a_site_is_committed_and_pushed_to_a_new_bare_repository() {
    let folder = tempfile::tempdir().unwrap();
    let bare = folder.path().join("deep/er/site.git");
    let local = LocalGit::default();
    local.init_bare(&bare).await.unwrap();
    assert_eq!(printed(&bare, &["symbolic-ref", "HEAD"]), "refs/heads/main");
    let workspace = local.clone_to(&bare, &folder.path().join("work")).await.unwrap();
    assert_eq!(workspace.head().await.unwrap_err().kind(), ErrorKind::NotFound);
    std::fs::write(workspace.folder().join("index.html"), "<h1>it works</h1>\n").unwrap();
    let when = Timestamp::from_second(1_700_000_000).unwrap();
    let commit = workspace.commit_all("A site\n\nwith # signs", when).await.unwrap().unwrap();
    assert_eq!(workspace.commit_all("nothing", when).await.unwrap(), None);
    workspace.push(&["HEAD:refs/heads/main", "HEAD:refs/tags/v1"]).await.unwrap();

    let plain = Plain::new(PlainConfig::on_disk(folder.path())).unwrap();
    let repository = named(bare.to_str().unwrap());
    assert_eq!(plain.head(&repository, &full_ref("refs/heads/main")).await.unwrap(), Some(commit.clone()));
    let read = plain.commit(&repository, &commit).await.unwrap().unwrap();
    assert_eq!((read.message.as_str(), read.timestamp), ("A site\n\nwith # signs\n", when));

    workspace.push(&[":refs/tags/v1"]).await.unwrap();
    assert_eq!(plain.head(&repository, &full_ref("refs/tags/v1")).await.unwrap(), None);
    let again = local.clone_to(&bare, &folder.path().join("again")).await.unwrap();
    assert_eq!(again.head().await.unwrap(), commit);
}

#[tokio::test]
async fn the_same_files_at_the_same_time_make_the_same_commit() {
    let folder = tempfile::tempdir().unwrap();
    let local = LocalGit::default();
    let mut ids = Vec::new();
    for name in ["one", "two"] {
        let bare = folder.path().join(format!("{name}.git"));
        local.init_bare(&bare).await.unwrap();
        let workspace = local.clone_to(&bare, &folder.path().join(name)).await.unwrap();
        std::fs::write(workspace.folder().join("a"), "a").unwrap();
        ids.push(workspace.commit_all("a", Timestamp::UNIX_EPOCH).await.unwrap());
    }
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_repository_that_is_whole_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let bare = folder.path().join("site.git");
    let local = LocalGit::default();
    local.init_bare(&bare).await.unwrap();
    printed(&bare, &["symbolic-ref", "HEAD", "refs/heads/trunk"]);
    printed(&bare, &["config", "my.own", "setting"]);
    local.init_bare(&bare).await.unwrap();
    assert_eq!(printed(&bare, &["symbolic-ref", "HEAD"]), "refs/heads/trunk");
    assert_eq!(printed(&bare, &["config", "my.own"]), "setting");
}

#[tokio::test]
async fn a_half_made_repository_is_completed_and_a_foreign_folder_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let local = LocalGit::default();
    for (name, damage) in ["HEAD", "config", "objects", "refs"].into_iter().enumerate() {
        let bare = folder.path().join(format!("{name}.git"));
        local.init_bare(&bare).await.unwrap();
        let part = bare.join(damage);
        if part.is_dir() {
            std::fs::remove_dir_all(part).unwrap()
        } else {
            std::fs::write(part, "").unwrap()
        }
        std::fs::write(bare.join("config.lock"), "left behind").unwrap();
        local.init_bare(&bare).await.unwrap();
        assert_eq!(printed(&bare, &["symbolic-ref", "HEAD"]), "refs/heads/main", "without {damage}");
        assert_eq!(printed(&bare, &["rev-parse", "--is-bare-repository"]), "true", "without {damage}");
    }
    // What a crash left beside the place.
    let bare = folder.path().join("new.git");
    std::fs::create_dir_all(folder.path().join(".new.git.new/objects")).unwrap();
    local.init_bare(&bare).await.unwrap();
    assert!(!folder.path().join(".new.git.new").exists());

    let foreign = folder.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.txt"), "years of work").unwrap();
    assert_eq!(local.init_bare(&foreign).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(std::fs::read_dir(&foreign).unwrap().count(), 1);
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    local.init_bare(&empty).await.unwrap();
    assert_eq!(printed(&empty, &["rev-parse", "--is-bare-repository"]), "true");
}

#[tokio::test]
async fn a_repository_with_sha256_ids_can_be_made() {
    let folder = tempfile::tempdir().unwrap();
    let local = LocalGit::default();
    let bare = folder.path().join("site.git");
    local.init_bare_as(&bare, ObjectFormat::Sha256).await.unwrap();
    let workspace = local.clone_to(&bare, &folder.path().join("work")).await.unwrap();
    std::fs::write(workspace.folder().join("a"), "a").unwrap();
    let commit = workspace.commit_all("a", Timestamp::UNIX_EPOCH).await.unwrap().unwrap();
    assert_eq!(commit.as_str().len(), 64);
    workspace.push(&["HEAD:refs/heads/main"]).await.unwrap();
}

#[tokio::test]
async fn a_push_that_is_refused_is_an_error_with_gits_reason() {
    let folder = tempfile::tempdir().unwrap();
    let local = LocalGit::default();
    let bare = folder.path().join("site.git");
    local.init_bare(&bare).await.unwrap();
    let commit = async |name: &str| {
        let workspace = local.clone_to(&bare, &folder.path().join(name)).await.unwrap();
        std::fs::write(workspace.folder().join(name), name).unwrap();
        workspace.commit_all(name, Timestamp::UNIX_EPOCH).await.unwrap();
        workspace
    };
    let (one, two) = (commit("one").await, commit("two").await);
    one.push(&["HEAD:refs/heads/main"]).await.unwrap();
    let error = two.push(&["HEAD:refs/heads/main"]).await.unwrap_err();
    assert!(error.message().contains("failed to push"), "{error}");
    two.push(&["+HEAD:refs/heads/main"]).await.unwrap();
    assert_eq!(two.push(&["--mirror"]).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_clone_follows_no_links_and_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let program = fake_git(folder.path(), "echo \"$@\" >> \"${0%/*}/calls\"; exec git \"$@\"");
    let local = LocalGit::new(program);
    let bare = folder.path().join("site.git");
    local.init_bare(&bare).await.unwrap();
    local.clone_to(&bare, &folder.path().join("work")).await.unwrap();
    let absent = local.clone_to(&folder.path().join("absent"), &folder.path().join("x")).await.unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::NotFound);
    let calls = std::fs::read_to_string(folder.path().join("calls")).unwrap();
    let clone = calls.lines().find(|line| line.starts_with("clone")).unwrap();
    assert!(
        clone.contains("--no-local") && clone.contains("--no-recurse-submodules") && clone.contains(" -- ")
    );
}
