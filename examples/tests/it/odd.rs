//! Commits that are odd: what is in them comes from whoever may push.

use serde_json::json;

use crate::support::{Clone, Server};

/// A quickstart, a clone of its repository, and the folder that both are in.
fn stage() -> (Server, Clone, tempfile::TempDir) {
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(&place.path().join("state"));
    let clone = Clone::of(&server.value("repo").unwrap(), place.path().join("clone"));
    (server, clone, place)
}

#[test]
fn a_dockerfile_that_is_a_link_is_followed_within_the_repository_only() {
    let (server, clone, _place) = stage();
    let link = |target: &str| {
        let dockerfile = clone.folder.join("Dockerfile");
        std::fs::remove_file(&dockerfile).unwrap();
        std::os::unix::fs::symlink(target, dockerfile).unwrap();
        let commit = clone.commit(target);
        clone.ok(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
        server.built(&commit)
    };
    clone.write("docker/first", "FROM scratch\nCOPY index.html /\n");
    std::os::unix::fs::symlink("../docker/first", clone.folder.join("docker/second")).unwrap();
    assert_eq!(link("docker/second")["state"], "succeeded");
    for outside in ["/etc/passwd", "../../../../etc/passwd", "Dockerfile"] {
        let build = link(outside);
        assert_eq!(build["failure"]["kind"], "dockerfile_not_found", "{outside}: {build:#}");
    }
}

#[test]
fn of_a_huge_commit_message_the_start_is_kept() {
    let (server, clone, place) = stage();
    let message = place.path().join("message");
    std::fs::write(&message, "ä".repeat(600_000)).unwrap();
    clone.ok(&["commit", "--quiet", "--allow-empty", "--file", message.to_str().unwrap()]);
    clone.ok(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
    let build = server.built(&clone.ok(&["rev-parse", "HEAD"]));
    assert_eq!(build["state"], "succeeded");
    let kept = build["message"].as_str().unwrap();
    assert!(kept.starts_with("ää") && kept.ends_with("ä... [cut]") && kept.len() < 17_000, "{}", kept.len());
    assert_eq!(build["metadata"]["GIT_COMMIT_MESSAGE"], kept);
}

#[test]
fn a_file_whose_name_is_not_utf_8_is_built_like_any_other() {
    use std::os::unix::ffi::OsStrExt as _;
    let (server, clone, _place) = stage();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.txt");
    std::fs::write(clone.folder.join(name), "soup").unwrap();
    let built = |dockerfile: &str| {
        clone.write("Dockerfile", dockerfile);
        let commit = clone.commit(dockerfile);
        clone.ok(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
        let build = server.built(&commit);
        assert_eq!(build["state"], "succeeded", "{build:#}");
    };
    // Whether a COPY reaches it or not.
    built("FROM scratch\nCOPY index.html /\n");
    built("FROM scratch\nCOPY . /site\n");
    built("FROM scratch\nCOPY caf?.txt /site\n");
}

#[test]
fn a_repository_that_was_removed_is_told_from_a_branch_that_is_not_there() {
    let (server, _clone, place) = stage();
    let refused = || {
        let answer = server.send("POST", "/api/v1/services/site/builds", &json!({}));
        assert_eq!(answer.status, 409, "{}", answer.text());
        let problem = answer.json();
        ["detail", "remedy"].map(|key| problem[key].as_str().unwrap().to_owned())
    };
    let repository = place.path().join("state/repo.git");
    for folder in ["refs/heads/main", "packed-refs"] {
        let _ = std::fs::remove_file(repository.join(folder));
    }
    let [detail, remedy] = refused();
    assert!(
        detail.contains("branch `main` does not exist") && remedy.contains("push to"),
        "{detail}; {remedy}"
    );
    std::fs::remove_dir_all(&repository).unwrap();
    let [detail, remedy] = refused();
    let expected = format!("the repository `{}` is not there any more", repository.display());
    assert!(detail.contains(&expected) && remedy.contains("bring the repository back"), "{detail}; {remedy}");
}
