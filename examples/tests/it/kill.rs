//! `kill -9` at any point, also in the middle of a push: nothing that was answered 2xx is lost, nothing is built twice, and what is
//! live at the end is the newest.
//!
//! `KIOPS_KILL_POINTS` is how many times it is killed (200 where CI=true, else 10), `KIOPS_KILL_SEED` repeats a run's choices.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Clone, Server, is_over, manifests};

/// A small generator of its own: the same seed makes the same choices on every machine.
struct Choices(u64);

impl Choices {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// A head that was pushed.
struct Pushed {
    commit: String,
    /// Whether its content builds.
    builds: bool,
    /// Whether the hook was answered 2xx.
    answered: bool,
}

#[test]
fn a_kill_at_any_point_loses_nothing_and_builds_nothing_twice() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let points = number("KIOPS_KILL_POINTS").unwrap_or(if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        200
    } else {
        10
    });
    let seed = number("KIOPS_KILL_SEED").unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
    });
    println!("killing {points} times; repeat with KIOPS_KILL_SEED={seed} KIOPS_KILL_POINTS={points}");
    let mut choices = Choices(seed);
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("state");
    let mut pushed: Vec<Pushed> = Vec::new();
    let mut clone = None;
    for point in 0..points {
        let mut server = Server::spawn(&folder, &[]);
        // Sometimes it is killed while it starts; the first time it may be half-made afterwards.
        if choices.below(4) == 0 {
            std::thread::sleep(Duration::from_millis(choices.below(400)));
            server.kill();
            continue;
        }
        server.wait_ready();
        let clone = clone
            .get_or_insert_with(|| Clone::of(&server.value("repo").unwrap(), place.path().join("clone")));
        for n in 0..choices.below(3) {
            push(clone, &mut choices, &format!("{point}.{n}"), &mut pushed);
        }
        if choices.below(3) == 0 {
            // In the middle of a push: the killer waits while git runs.
            let delay = Duration::from_millis(choices.below(150));
            let killer = std::thread::spawn(move || {
                std::thread::sleep(delay);
                server.kill();
            });
            push(clone, &mut choices, &format!("{point}.k"), &mut pushed);
            killer.join().unwrap();
        } else {
            std::thread::sleep(Duration::from_millis(choices.below(300)));
            server.kill();
        }
    }
    let server = Server::start(&folder);
    check(&server, &folder, &pushed, seed);
}

fn push(clone: &Clone, choices: &mut Choices, text: &str, pushed: &mut Vec<Pushed>) {
    let builds = choices.below(5) != 0;
    clone.write("index.html", text);
    clone.write(
        "Dockerfile",
        if builds { "FROM scratch\nCOPY . /site\n" } else { "FROM scratch\nCOPY missing /site\n" },
    );
    let commit = clone.commit(text);
    let output = clone.git(&["push", "origin", "HEAD:refs/heads/main"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "a push must not fail because the server is gone: {said}");
    pushed.push(Pushed { commit, builds, answered: said.contains("the push was received") });
}

fn check(server: &Server, folder: &Path, pushed: &[Pushed], seed: u64) {
    let builds = settle(server);
    let deliveries = all(server, "deliveries");
    let releases = all(server, "services/site/deployments");
    let context = || format!("seed {seed}\n{}", server.output());
    for head in pushed.iter().filter(|head| head.answered) {
        let there = deliveries
            .iter()
            .any(|delivery| delivery["commit"] == *head.commit && delivery["trigger"] == "webhook");
        assert!(there, "the delivery of {} was answered 2xx and is not there; {}", head.commit, context());
    }
    let mut by_commit: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for build in &builds {
        by_commit.entry(build["commit"].as_str().unwrap()).or_default().push(build);
    }
    for delivery in &deliveries {
        assert!(!delivery["outcome"].is_null(), "a delivery was never decided: {delivery:#}; {}", context());
        if delivery["outcome"] != "built" {
            continue;
        }
        let commit = delivery["commit"].as_str().unwrap();
        let Some(of_commit) = by_commit.get(commit) else {
            let ids: Vec<&Value> = builds.iter().map(|build| &build["id"]).collect();
            panic!("nothing was built of {delivery:#}; {} builds: {ids:?}; {}", builds.len(), context());
        };
        let ends: Vec<[&Value; 2]> =
            of_commit.iter().map(|build| [&build["state"], &build["failure"]]).collect();
        let count = |state| ends.iter().filter(|end| end[0] == state).count();
        let content_builds = pushed.iter().find(|head| head.commit == commit).is_none_or(|head| head.builds);
        assert!(count("succeeded") <= 1, "{commit} succeeded twice; {}", context());
        let expected = if content_builds { count("succeeded") == 1 } else { count("failed") >= 1 };
        assert!(expected || count("superseded") >= 1, "{commit} ended {ends:?}; {}", context());
        assert_eq!(count("error"), 0, "{commit} ended {ends:?}; {}", context());
    }
    for (commit, builds) in &by_commit {
        let ids: Vec<&Value> = builds.iter().map(|build| &build["id"]).collect();
        let count = releases.iter().filter(|release| ids.contains(&&release["build"])).count();
        assert!(count <= 1, "{commit} was released {count} times; {}", context());
    }
    // The newest head that was built is what is live. (A head that waits gives way to a newer one before anybody knows
    // whether that one builds.)
    let succeeded = |commit: &str| {
        by_commit
            .get(commit)
            .and_then(|builds| builds.iter().find(|build| !build["digest"].is_null()).copied())
    };
    let Some(build) = pushed.iter().rev().find_map(|head| succeeded(&head.commit)) else { return };
    let digest = build["digest"].as_str().unwrap();
    let manifests = manifests(&folder.join("deploy"));
    assert_eq!(manifests.len(), 1, "{manifests:?}");
    assert!(
        manifests[0].contains(digest),
        "{digest} is not what is deployed:\n{}\n{}",
        manifests[0],
        context()
    );
}

/// Waits until every delivery is decided and every build is over, and gives the builds.
fn settle(server: &Server) -> Vec<Value> {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        // Each after what makes it: a head that is found meanwhile would be decided, and its build missing.
        let known = heads_are_known(server);
        let decided = all(server, "deliveries").iter().all(|delivery| !delivery["outcome"].is_null());
        let builds = all(server, "builds");
        if known && decided && builds.iter().all(is_over) {
            return builds;
        }
        assert!(Instant::now() < until, "something hangs:\n{builds:#?}\n{}", server.output());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Whether the repository's head has a delivery: one that was pushed while nobody listened is found by listing heads.
fn heads_are_known(server: &Server) -> bool {
    let repository = server.value("repo").unwrap();
    let output = std::process::Command::new("git")
        .args(["--git-dir", &repository, "rev-parse", "refs/heads/main"])
        .output()
        .unwrap();
    let head = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    all(server, "deliveries").iter().any(|delivery| delivery["commit"] == *head)
}

fn all(server: &Server, what: &str) -> Vec<Value> {
    let mut items = Vec::new();
    loop {
        let page = server.get(&format!("/api/v1/{what}?limit=200&offset={}", items.len()));
        let more = page["items"].as_array().unwrap().clone();
        items.extend(more.iter().cloned());
        if more.is_empty() || items.len() as u64 >= page["total"].as_u64().unwrap() {
            return items;
        }
    }
}
