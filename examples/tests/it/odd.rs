//! Commits that are odd: what is in them comes from whoever may push.

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
