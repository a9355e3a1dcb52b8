//! Branches that go back to an older head, through HTTP and git.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Server, Stage, manifests};

impl Stage {
    /// Pushes a commit and waits until it is deployed.
    fn pushed(&self, content: &str) -> String {
        let commit = self.clone.push_change(content);
        self.goes_live(&commit);
        commit
    }

    /// Sets `main` to a commit, whatever it was at.
    fn set_to(&self, commit: &str) {
        self.clone.ok(&["push", "--quiet", "--force", "origin", &format!("{commit}:refs/heads/main")]);
    }

    /// Waits until the image of a commit is what is deployed.
    fn goes_live(&self, commit: &str) {
        let build = self.server.built(commit);
        assert_eq!(build["state"], "succeeded", "{build:#}");
        let digest = build["digest"].as_str().unwrap();
        self.server.until("/api/v1/services/site/deployments", |list| {
            let live = manifests(&self.state().join("deploy")).iter().any(|text| text.contains(digest));
            (list["items"][0]["state"] == "live" && live).then_some(())
        });
    }

    /// Sends what the hook sent of a change, under another id.
    fn deliver_again(&self, before: &str, after: &str) {
        let hook = self.state().join("repo.git/hooks/post-receive");
        let mut child = Command::new(hook).stdin(Stdio::piped()).spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{before} {after} refs/heads/main").unwrap();
        assert!(child.wait().unwrap().success());
    }

    fn deliveries(&self) -> Value {
        self.server.get("/api/v1/deliveries")["total"].clone()
    }
}

#[test]
fn a_branch_set_back_while_the_server_is_down_is_deployed_at_the_next_start_each_time() {
    let mut stage = Stage::new();
    let (older, newer) = (stage.pushed("older"), stage.pushed("newer"));
    for _ in 0..2 {
        for commit in [&older, &newer] {
            stage.server.kill();
            stage.set_to(commit);
            stage.server = Server::start(&stage.state());
            stage.goes_live(commit);
        }
    }
    assert_eq!([&older, &newer].map(|commit| stage.builds_of(commit)), [1, 1], "no content is built again");
    let before = stage.deliveries();
    stage.server.kill();
    stage.server = Server::start(&stage.state());
    std::thread::sleep(Duration::from_millis(1000));
    assert_eq!(stage.deliveries(), before, "a head that stayed where it was is no news");
}

#[test]
fn a_branch_pushed_to_and_fro_is_deployed_each_time_and_built_once() {
    let stage = Stage::new();
    let (older, newer) = (stage.pushed("older"), stage.pushed("newer"));
    for _ in 0..2 {
        for commit in [&older, &newer] {
            stage.set_to(commit);
            stage.goes_live(commit);
        }
    }
    assert_eq!([&older, &newer].map(|commit| stage.builds_of(commit)), [1, 1], "no content is built again");
    // The same body once more while the branch is where it says: that is meant, as the host's Test button means it.
    stage.deliver_again(&older, &newer);
    stage.server.until("/api/v1/builds", |_| (stage.builds_of(&newer) == 2).then_some(()));
    stage.goes_live(&newer);
    assert_eq!(stage.builds_of(&older), 1);
}
