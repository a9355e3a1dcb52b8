//! What a crash, a damaged file or a lost one leaves behind, and how it is mended.

use std::path::{Path, PathBuf};

use kiops_core::ErrorKind;
use kiops_core::release::{Deployer as _, Revision, RolloutStatus};

use crate::common::*;

fn records(dir: &Path) -> Vec<PathBuf> {
    let folder = dir.join("revisions/shop/site");
    files(&folder).into_iter().filter(|file| file.ends_with(".json")).map(|file| folder.join(file)).collect()
}

/// Two releases, of which the second's manifest was not written: the state between its two steps.
async fn cut_between_record_and_manifest(dir: &Path) {
    let deployer = open(dir).await;
    deployer.apply(&site(), &request("one")).await.unwrap();
    let path = deployer.manifest_path(&site());
    let first = std::fs::read(&path).unwrap();
    deployer.apply(&site(), &request("two")).await.unwrap();
    std::fs::write(&path, first).unwrap();
}

#[tokio::test]
async fn between_the_two_steps_the_first_revision_is_live() {
    let dir = tempfile::tempdir().unwrap();
    cut_between_record_and_manifest(dir.path()).await;
    let reader = open(tempfile::tempdir().unwrap().path()).await;
    drop(reader);
    // Opening would complete it, so an instance that was open all along looks.
    let fresh = tempfile::tempdir().unwrap();
    let deployer = open(fresh.path()).await;
    for folder in ["deploy", "revisions"] {
        std::fs::remove_dir(fresh.path().join(folder)).unwrap();
        std::fs::rename(dir.path().join(folder), fresh.path().join(folder)).unwrap();
    }
    assert_eq!(deployer.observed(&site()).await.unwrap().unwrap().release, release("one"));
    assert_eq!(deployer.status(&site(), Revision(1)).await.unwrap(), RolloutStatus::Complete);
    let status = deployer.status(&site(), Revision(2)).await.unwrap();
    assert!(matches!(status, RolloutStatus::Progressing(_)), "{status:?}");

    assert_eq!(deployer.apply(&site(), &request("two")).await.unwrap(), Revision(2));
    assert_eq!(deployer.status(&site(), Revision(2)).await.unwrap(), RolloutStatus::Complete);
    assert_eq!(deployer.observed(&site()).await.unwrap().unwrap().release, release("two"));
}

#[tokio::test]
async fn opening_completes_a_release_that_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    cut_between_record_and_manifest(dir.path()).await;
    let deployer = open(dir.path()).await;
    assert_eq!(deployer.status(&site(), Revision(2)).await.unwrap(), RolloutStatus::Complete);
    assert_eq!(deployer.observed(&site()).await.unwrap().unwrap().release, release("two"));
}

#[tokio::test]
async fn a_rollback_that_was_cut_is_completed_by_the_same_call() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    deployer.apply(&site(), &request("one")).await.unwrap();
    deployer.apply(&site(), &request("two")).await.unwrap();
    let path = deployer.manifest_path(&site());
    let second = std::fs::read(&path).unwrap();
    deployer.rollback(&site(), Revision(1), &release("three")).await.unwrap();
    let third = std::fs::read(&path).unwrap();
    std::fs::write(&path, second).unwrap();
    assert_eq!(deployer.rollback(&site(), Revision(1), &release("three")).await.unwrap(), Revision(3));
    assert_eq!(std::fs::read(&path).unwrap(), third);
}

#[tokio::test]
async fn leftovers_of_a_writer_that_died_are_cleared_away() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).await.apply(&site(), &request("one")).await.unwrap();
    let leftovers = [
        "deploy/shop/.site.yaml.tmp",
        "deploy/shop/.site.secrets.yaml.tmp",
        "revisions/shop/site/.0000000002-x.json.tmp",
    ];
    for leftover in leftovers {
        std::fs::write(dir.path().join(leftover), "half").unwrap();
    }
    let deployer = open(dir.path()).await;
    assert!(leftovers.iter().all(|leftover| !dir.path().join(leftover).exists()));
    assert_eq!(deployer.apply(&site(), &request("two")).await.unwrap(), Revision(2));
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_planted_in_place_of_a_temporary_file_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "mine").unwrap();
    std::fs::create_dir(dir.path().join("deploy/shop")).unwrap();
    std::os::unix::fs::symlink(&victim, dir.path().join("deploy/shop/.site.yaml.tmp")).unwrap();
    deployer.apply(&site(), &request("one")).await.unwrap();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "mine");
    assert!(deployer.manifest_path(&site()).symlink_metadata().unwrap().is_file());
}

#[tokio::test]
async fn a_manifest_that_somebody_deleted_comes_back_when_the_directory_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    deployer.apply(&site(), &request("one")).await.unwrap();
    std::fs::remove_dir_all(dir.path().join("deploy")).unwrap();
    assert_eq!(deployer.observed(&site()).await.unwrap(), None);
    let deployer = open(dir.path()).await;
    assert_eq!(deployer.observed(&site()).await.unwrap().unwrap().release, release("one"));
}

#[tokio::test]
async fn changes_by_hand_survive_opening_and_not_the_next_release() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    deployer.apply(&site(), &request("one")).await.unwrap();
    let path = deployer.manifest_path(&site());
    std::fs::write(&path, "mine\n").unwrap();
    let deployer = open(dir.path()).await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine\n");
    deployer.apply(&site(), &request("two")).await.unwrap();
    assert_eq!(deployer.status(&site(), Revision(2)).await.unwrap(), RolloutStatus::Complete);
}

#[tokio::test]
async fn a_damaged_revision_is_named_and_the_others_stay_usable() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    for id in ["one", "two", "three"] {
        deployer.apply(&site(), &request(id)).await.unwrap();
    }
    let damaged = records(dir.path())[1].clone();
    for content in ["", "{", "{\"format\":1}", "{\"format\":99}", "null", "\u{0}\u{0}\u{0}"] {
        std::fs::write(&damaged, content).unwrap();
        let error = deployer.rollback(&site(), Revision(2), &release("x")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{content}");
        assert!(error.to_string().contains(damaged.to_str().unwrap()) && error.remedy().is_some(), "{error}");
        let numbers: Vec<_> =
            deployer.history(&site()).await.unwrap().iter().map(|info| info.revision.0).collect();
        assert_eq!(numbers, [3, 1]);
    }
    // A record in another one's place is damage too.
    std::fs::copy(&records(dir.path())[0], &damaged).unwrap();
    let error = deployer.rollback(&site(), Revision(2), &release("x")).await.unwrap_err();
    assert!(error.to_string().contains("it holds revision 1"), "{error}");

    // Its release is still known as applied, by the file's name.
    assert_eq!(deployer.apply(&site(), &request("two")).await.unwrap(), Revision(2));
    assert_eq!(deployer.rollback(&site(), Revision(1), &release("four")).await.unwrap(), Revision(4));
}

#[tokio::test]
async fn a_damaged_newest_revision_is_mended_by_its_own_release_or_passed_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    deployer.apply(&site(), &request("one")).await.unwrap();
    deployer.apply(&site(), &request("two")).await.unwrap();
    let newest = records(dir.path())[1].clone();
    let whole = std::fs::read_to_string(&newest).unwrap();
    std::fs::write(&newest, &whole[..whole.len() / 2]).unwrap();

    let deployer = {
        drop(deployer);
        open(dir.path()).await
    };
    assert_eq!(deployer.observed(&site()).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(deployer.apply(&site(), &request("two")).await.unwrap(), Revision(2));
    assert_eq!(deployer.observed(&site()).await.unwrap().unwrap().release, release("two"));

    std::fs::write(&newest, "").unwrap();
    assert_eq!(deployer.apply(&site(), &request("three")).await.unwrap(), Revision(3));
    assert_eq!(deployer.observed(&site()).await.unwrap().unwrap().release, release("three"));
}

#[tokio::test]
async fn a_manifest_whose_record_is_gone_is_told_and_its_number_not_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    deployer.apply(&site(), &request("one")).await.unwrap();
    deployer.apply(&site(), &request("two")).await.unwrap();
    std::fs::remove_file(&records(dir.path())[1]).unwrap();
    let error = deployer.observed(&site()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("whose record is gone"), "{error}");
    assert_eq!(deployer.apply(&site(), &request("two")).await.unwrap(), Revision(3));
    assert_eq!(deployer.status(&site(), Revision(3)).await.unwrap(), RolloutStatus::Complete);
}

#[tokio::test]
async fn all_revisions_lost_is_a_fresh_start_that_goes_on_counting() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    deployer.apply(&site(), &request("one")).await.unwrap();
    std::fs::remove_dir_all(dir.path().join("revisions")).unwrap();
    let deployer = {
        drop(deployer);
        open(dir.path()).await
    };
    assert_eq!(deployer.observed(&site()).await.unwrap(), None);
    assert_eq!(deployer.apply(&site(), &request("two")).await.unwrap(), Revision(2));
    assert_eq!(deployer.observed(&site()).await.unwrap().unwrap().release, release("two"));
}

#[tokio::test]
async fn a_removal_that_was_cut_is_completed_at_any_point() {
    for cut in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let deployer = open(dir.path()).await;
        let images = request_of("one", &[("web", "nginx:alpine"), ("db", "mysql:8.0")]);
        deployer.apply(&shop(), &images).await.unwrap();
        let folder = dir.path().join("revisions/shop/shop");
        let record = files(&folder).remove(0);
        let (saved, manifest) = (
            std::fs::read(folder.join(&record)).unwrap(),
            std::fs::read(deployer.manifest_path(&shop())).unwrap(),
        );
        deployer.remove(&shop()).await.unwrap();
        let volumes = std::fs::read(deployer.manifest_path(&shop())).unwrap();
        match cut {
            // Decided, and nothing done yet.
            0 => {
                std::fs::write(folder.join(&record), saved).unwrap();
                std::fs::write(deployer.manifest_path(&shop()), manifest).unwrap();
                assert_eq!(deployer.observed(&shop()).await.unwrap(), None);
            }
            // The manifest is done, the record is still there.
            1 => std::fs::write(folder.join(&record), saved).unwrap(),
            _ => {}
        }
        let deployer = open(dir.path()).await;
        assert_eq!(std::fs::read(deployer.manifest_path(&shop())).unwrap(), volumes, "cut {cut}");
        assert_eq!(files(&folder), ["removed-1"], "cut {cut}");
        assert_eq!(deployer.history(&shop()).await.unwrap(), []);
        deployer.apply(&shop(), &images).await.unwrap();
        deployer.remove(&shop()).await.unwrap();
        assert_eq!(files(&folder), ["removed-2"], "cut {cut}");
    }
}

#[tokio::test]
async fn a_step_that_fails_leaves_what_ran_before_and_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    std::fs::write(dir.path().join("deploy/shop"), "in the way").unwrap();
    let error = deployer.apply(&site(), &request("one")).await.unwrap_err();
    assert!(error.to_string().contains("deploy/shop"), "{error}");
    assert_eq!(records(dir.path()), Vec::<PathBuf>::new());
    std::fs::remove_file(dir.path().join("deploy/shop")).unwrap();
    assert_eq!(deployer.apply(&site(), &request("one")).await.unwrap(), Revision(1));
}
