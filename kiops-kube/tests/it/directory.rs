//! What the directory promises while nothing goes wrong.

use kiops_core::name::{DnsLabel, EnvironmentName};
use kiops_core::release::{Deployer as _, Revision, RolloutStatus};
use kiops_core::service::{ExistingKind, Target};
use kiops_core::{ErrorKind, Retry};
use kiops_kube::ManifestDirectory;

use crate::common::*;

fn current(deployer: &ManifestDirectory) -> String {
    std::fs::read_to_string(deployer.manifest_path(&site())).unwrap()
}

#[tokio::test]
async fn the_current_directory_holds_the_current_manifests_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    for id in ["one", "two", "three"] {
        deployer.apply(&site(), &request(id)).await.unwrap();
    }
    assert_eq!(files(&dir.path().join("deploy")), ["shop/site.yaml"]);
    assert!(current(&deployer).contains(&image("quickstart.local/site:three").to_string()));
    assert!(!current(&deployer).contains("site:two"));
}

#[tokio::test]
async fn a_release_is_applied_once_however_often_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    assert_eq!(deployer.apply(&site(), &request("one")).await.unwrap(), Revision(1));
    assert_eq!(deployer.apply(&site(), &request("two")).await.unwrap(), Revision(2));
    let before = current(&deployer);
    assert_eq!(deployer.apply(&site(), &request("one")).await.unwrap(), Revision(1));
    assert_eq!(deployer.apply(&site(), &request("two")).await.unwrap(), Revision(2));
    assert_eq!(deployer.rollback(&site(), Revision(1), &release("two")).await.unwrap(), Revision(2));
    assert_eq!(current(&deployer), before);
    assert_eq!(deployer.history(&site()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_known_release_is_found_even_where_its_settings_would_not_render_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    deployer.apply(&site(), &request("one")).await.unwrap();
    let mut broken = site();
    workload(&mut broken).containers.clear();
    assert_eq!(deployer.apply(&broken, &request("one")).await.unwrap(), Revision(1));
    assert_eq!(deployer.apply(&broken, &request("two")).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_rollback_brings_a_revision_back_whole_as_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    deployer.apply(&site(), &request("one")).await.unwrap();
    let first = current(&deployer);
    let mut changed = site();
    workload(&mut changed).replicas = 3;
    workload(&mut changed).containers[0].port = Some(9090);
    deployer.apply(&changed, &request("two")).await.unwrap();

    assert_eq!(deployer.rollback(&changed, Revision(1), &release("three")).await.unwrap(), Revision(3));
    let third = current(&deployer);
    let without_release = |text: &str| -> Vec<String> {
        let stable = |line: &&str| !line.contains("kiops.dev/re") && !line.starts_with('#');
        text.lines().filter(stable).map(str::to_owned).collect()
    };
    assert_eq!(without_release(&third), without_release(&first));
    assert!(third.contains(&format!("kiops.dev/release: {}\n", release("three"))));

    let history = deployer.history(&site()).await.unwrap();
    let numbers: Vec<_> = history.iter().map(|info| info.revision.0).collect();
    assert_eq!(numbers, [3, 2, 1]);
    assert_eq!(history[0].images, history[2].images);
    assert_eq!(history[0].commit, history[2].commit);
    assert_eq!(history[0].requested_by, "rollback to revision 1");
    assert_eq!(history[2].requested_by, "ann");
    assert!(history[0].applied_at >= history[2].applied_at);
}

#[tokio::test]
async fn a_rollback_to_nothing_is_refused_and_says_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    let error = deployer.rollback(&site(), Revision(1), &release("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    deployer.apply(&site(), &request("one")).await.unwrap();
    let error = deployer.rollback(&site(), Revision(7), &release("x")).await.unwrap_err();
    assert!(error.to_string().contains("no revision 7"), "{error}");
    assert!(error.remedy().unwrap().contains("revisions 1 to 1 are kept"), "{error}");
}

#[tokio::test]
async fn status_follows_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    deployer.apply(&site(), &request("one")).await.unwrap();
    assert_eq!(deployer.status(&site(), Revision(1)).await.unwrap(), RolloutStatus::Complete);
    deployer.apply(&site(), &request("two")).await.unwrap();
    assert_eq!(deployer.status(&site(), Revision(1)).await.unwrap(), RolloutStatus::Replaced(Revision(2)));
    assert_eq!(deployer.status(&site(), Revision(2)).await.unwrap(), RolloutStatus::Complete);
    for unknown in [0, 3, u64::MAX] {
        let error = deployer.status(&site(), Revision(unknown)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    std::fs::write(deployer.manifest_path(&site()), current(&deployer) + "# mine\n").unwrap();
    let status = deployer.status(&site(), Revision(2)).await.unwrap();
    assert!(
        matches!(&status, RolloutStatus::Progressing(why) if why.contains("changed by hand")),
        "{status:?}"
    );
    deployer.apply(&site(), &request("two")).await.unwrap();
    assert_eq!(deployer.status(&site(), Revision(2)).await.unwrap(), RolloutStatus::Complete);
}

#[tokio::test]
async fn observed_is_what_the_file_holds() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    assert_eq!(deployer.observed(&site()).await.unwrap(), None);
    deployer.apply(&site(), &request("one")).await.unwrap();
    deployer.apply(&site(), &request("two")).await.unwrap();
    let live = deployer.observed(&site()).await.unwrap().unwrap();
    assert_eq!(
        (live.revision, live.release, live.images),
        (Revision(2), release("two"), request("two").images)
    );
}

#[tokio::test]
async fn a_removal_leaves_the_volumes_and_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    let images = request_of("one", &[("web", "nginx:alpine"), ("db", "mysql:8.0")]);
    deployer.apply(&shop(), &images).await.unwrap();
    deployer.apply(&site(), &request("one")).await.unwrap();
    for _ in 0..2 {
        deployer.remove(&shop()).await.unwrap();
        deployer.remove(&site()).await.unwrap();
        deployer.remove(&target("never", vec![container("web", None)])).await.unwrap();
    }
    assert_eq!(files(&dir.path().join("deploy")), ["shop/shop.yaml"]);
    let left = std::fs::read_to_string(deployer.manifest_path(&shop())).unwrap();
    assert_eq!(left.matches("kind: ").count(), 1, "{left}");
    assert!(left.contains("kind: PersistentVolumeClaim\n") && left.contains("prune: disabled\n"), "{left}");
    assert_eq!(deployer.observed(&shop()).await.unwrap(), None);
    assert_eq!(deployer.history(&shop()).await.unwrap(), []);
    assert_eq!(deployer.status(&shop(), Revision(1)).await.unwrap_err().kind(), ErrorKind::NotFound);
    let error = deployer.rollback(&shop(), Revision(1), &release("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // A number is never given twice.
    assert_eq!(deployer.apply(&shop(), &images).await.unwrap(), Revision(2));
    assert_eq!(deployer.status(&shop(), Revision(2)).await.unwrap(), RolloutStatus::Complete);
    assert_eq!(deployer.status(&shop(), Revision(1)).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn old_revisions_go_and_at_least_ten_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut few = config(dir.path());
    few.keep = 9;
    let error = ManifestDirectory::open(few.clone()).await.unwrap_err();
    assert!(error.to_string().contains("keep: 9 revisions are too few"), "{error}");
    few.keep = 10;
    let deployer = ManifestDirectory::open(few).await.unwrap();
    for n in 1..=13 {
        assert_eq!(deployer.apply(&site(), &request(&n.to_string())).await.unwrap(), Revision(n));
    }
    let numbers: Vec<_> =
        deployer.history(&site()).await.unwrap().iter().map(|info| info.revision.0).collect();
    assert_eq!(numbers, (4..=13).rev().collect::<Vec<_>>());
    assert_eq!(deployer.status(&site(), Revision(2)).await.unwrap(), RolloutStatus::Replaced(Revision(13)));
    let error = deployer.rollback(&site(), Revision(2), &release("x")).await.unwrap_err();
    assert!(error.remedy().unwrap().contains("revisions 4 to 13 are kept"), "{error}");
}

#[tokio::test]
async fn two_environments_in_one_namespace_do_not_overwrite_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    deployer.apply(&site(), &request("one")).await.unwrap();
    let mut staging = site();
    staging.environment = EnvironmentName::parse("staging").unwrap();
    let error = deployer.apply(&staging, &request("two")).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Conflict, Retry::Never));
    assert!(error.to_string().contains("environment `dev`") && error.remedy().is_some(), "{error}");
    assert_eq!(deployer.observed(&staging).await.unwrap(), None);
    assert_eq!(deployer.history(&staging).await.unwrap(), []);
    deployer.remove(&staging).await.unwrap();
    assert_eq!(deployer.observed(&site()).await.unwrap().unwrap().revision, Revision(1));

    staging.namespace = DnsLabel::parse("staging").unwrap();
    assert_eq!(deployer.apply(&staging, &request("two")).await.unwrap(), Revision(1));
}

#[tokio::test]
async fn a_file_that_kiops_did_not_write_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    let path = deployer.manifest_path(&site());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "apiVersion: v1\n").unwrap();
    let error = deployer.apply(&site(), &request("one")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("kiops did not write it"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "apiVersion: v1\n");
}

#[tokio::test]
async fn only_workloads_are_taken_and_the_refusal_has_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    let mut target = site();
    target.target = Target::Existing {
        kind: ExistingKind::StatefulSet,
        namespace: None,
        name: DnsLabel::parse("db").unwrap(),
        container: kiops_core::name::ContainerName::parse("db").unwrap(),
    };
    let error = deployer.apply(&target, &request("one")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.remedy().is_some());
    assert_eq!(deployer.remove(&target).await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn names_of_any_length_get_files_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let deployer = open(dir.path()).await;
    let long = "x".repeat(63);
    let targets = [
        target(&long, vec![container("web", None)]),
        target_of(&long, &long, vec![container("web", None)]),
        target("a-b", vec![container("web", None)]),
        target_of("a", "b", vec![container("web", None)]),
        target("0", vec![container("web", Some(1))]),
    ];
    for target in &targets {
        deployer.apply(target, &request("one")).await.unwrap();
    }
    assert_eq!(files(&dir.path().join("deploy")).len(), targets.len());
    for target in &targets {
        assert_eq!(deployer.observed(target).await.unwrap().unwrap().revision, Revision(1));
    }
}

#[tokio::test]
async fn the_two_directories_may_not_lie_in_each_other() {
    let dir = tempfile::tempdir().unwrap();
    for (current, revisions) in [("a", "a"), ("a", "a/b"), ("c/d", "c"), ("a/../e", "e/f")] {
        std::fs::create_dir_all(dir.path().join("a")).unwrap();
        let config =
            kiops_kube::ManifestDirectoryConfig::new(dir.path().join(current), dir.path().join(revisions));
        let error = ManifestDirectory::open(config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{current} {revisions}");
    }
}

#[test]
fn the_configuration_is_read_with_its_defaults() {
    let config: kiops_kube::ManifestDirectoryConfig =
        serde_json::from_str(r#"{"current":"deploy","revisions":"rev","render":{"ingress_class":"nginx"}}"#)
            .unwrap();
    assert_eq!((config.name.as_str(), config.keep, config.write_secrets), ("manifests", 50, false));
    assert_eq!(config.render.ingress_class.as_deref(), Some("nginx"));
    assert_eq!(config.render.resources.memory_limit.as_deref(), Some("1Gi"));
    assert!(
        serde_json::from_str::<kiops_kube::ManifestDirectoryConfig>(
            r#"{"current":"a","revisions":"b","kep":1}"#
        )
        .is_err()
    );
}
