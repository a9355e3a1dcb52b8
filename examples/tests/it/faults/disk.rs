//! Disks that are full: what cannot be kept is refused or fails by name, and all of it goes on when there is room again.

use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use kiops_core::testing::{has_program, skipped};
use kiops_examples::local::open_store;
use serde_json::{Value, json};

use super::{is_deployed, is_problem, named};
use crate::inside::Inside;
use crate::support::{Clone, Server, is_over, manifests};

/// A file that does not become smaller by packing.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(bytes).collect()
}

fn push_noise(clone: &Clone, bytes: usize) -> String {
    std::fs::write(clone.folder.join("noise"), noise(bytes)).unwrap();
    let commit = clone.commit("something large");
    clone.ok(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
    commit
}

/// What was pushed at last fits again: it is built and deployed, by the same process.
fn goes_on(server: &Server, clone: &Clone) {
    let _ = std::fs::remove_file(clone.folder.join("noise"));
    let commit = clone.push_change("there is room again");
    is_deployed(server, &server.built(&commit));
    server.until("/api/v1/builds?limit=200", |list| {
        list["items"].as_array()?.iter().all(is_over).then_some(())
    });
    server.until("/api/v1/deliveries?limit=200", |list| {
        list["items"].as_array()?.iter().all(|delivery| !delivery["outcome"].is_null()).then_some(())
    });
}

#[test]
fn a_full_database_refuses_what_it_cannot_keep_and_goes_on_when_there_is_room() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("state");
    let inside = Inside::start(&folder, async |place, config| {
        config.store = Some(open_store(place, |sqlite| sqlite.max_pages = Some(150)).await.unwrap());
    });
    let server = &inside.server;
    let clone = Clone::of(&server.value("repo").unwrap(), place.path().join("clone"));
    let commit = clone.push_change("while there is room");
    let deployed = server.built(&commit);
    is_deployed(server, &deployed);

    // Deliveries that decide nothing take the room: first large ones, then small ones.
    let mut taken = server.get("/api/v1/deliveries")["total"].as_u64().unwrap();
    let mut fill = |padding: usize| {
        let most = taken + 500;
        loop {
            let answer = server.deliver(&folder, "refs/heads/other", &commit, padding);
            if answer.status / 100 != 2 {
                let problem = is_problem(&answer, 507);
                assert!(problem["detail"].as_str().unwrap().contains("space"), "{problem:#}");
                assert!(problem["remedy"].as_str().unwrap().contains("free"), "{problem:#}");
                return taken;
            }
            taken += 1;
            assert!(taken < most, "it is never full");
        }
    };
    fill(100_000);
    fill(3000);
    // A push says that it was not told. What is decided meanwhile may make room again.
    let unheard = (0..100).find_map(|n| {
        fill(0);
        clone.write("index.html", &format!("while it is full: {n}"));
        let commit = clone.commit("while it is full");
        let output = clone.git(&["push", "origin", "HEAD:refs/heads/main"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        said.contains("the push will be found").then_some(commit)
    });
    let unheard = unheard.expect("every push found room");
    let taken = fill(0);
    // Everything that was taken is there.
    assert!(server.get("/api/v1/deliveries")["total"].as_u64().unwrap() >= taken);
    let path = format!("/api/v1/builds/{}", deployed["id"].as_str().unwrap());
    assert_eq!(server.get(&path), deployed);

    // Builds by hand fit in until they do not either.
    let by_hand = (0..200).map(|_| server.send("POST", "/api/v1/services/site/builds", &json!({})));
    is_problem(&by_hand.into_iter().find(|answer| answer.status != 202).unwrap(), 507);
    assert_eq!(server.call("GET", "/healthz", &[], b"").status, 200);

    inside.runtime.block_on(inside.driver.store().expire(Timestamp::now())).unwrap();
    assert_eq!(server.decided(&unheard)["trigger"], "reconcile", "nobody could say so: it was found");
    let digest = server.built(&unheard)["digest"].as_str().unwrap().to_owned();
    // What was pushed before it, and heard of, is decided now, too, and may be deployed first.
    server.until("/api/v1/services/site/deployments", |_| {
        let folder = server.value("deploy")?;
        manifests(folder.as_ref()).concat().contains(&digest).then_some(())
    });
    goes_on(server, &clone);
}

/// From now on the process may not make a file larger than this; `None`: as large as it likes.
fn limit_file_sizes(server: &Server, bytes: Option<u64>) {
    let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
    let pid = server.id().to_string();
    let output = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={limit}:")]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |facts| facts.len())
}

#[test]
fn at_a_limit_of_file_sizes_builds_and_deliveries_fail_by_name_and_the_program_lives_on() {
    if !has_program("prlimit") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("state");
    let server = Server::start(&folder);
    let clone = Clone::of(&server.value("repo").unwrap(), place.path().join("clone"));
    let log = || size(&folder.join("kiops.db-wal")).max(size(&folder.join("kiops.db")));

    let limit = log() + 1_000_000;
    limit_file_sizes(&server, Some(limit));
    let commit = push_noise(&clone, usize::try_from(limit).unwrap() + 2_000_000);
    let build = server.built(&commit);
    let message = named(&server, &build, "disk_full");
    assert!(message.contains(folder.to_str().unwrap()), "it names no path: {message}");
    let refused = server.deliver(&folder, "refs/heads/other", &commit, 4_000_000);
    assert!([503, 507].contains(&refused.status), "{}", refused.text());
    is_problem(&refused, refused.status);
    goes_on(&server, &clone);

    // Now nothing at all can be written.
    let taken = server.get("/api/v1/deliveries")["total"].as_u64().unwrap();
    limit_file_sizes(&server, Some(1));
    let refused = server.deliver(&folder, "refs/heads/other", &commit, 0);
    assert!([503, 507].contains(&refused.status), "{}", refused.text());
    is_problem(&refused, refused.status);
    let unready = server.call("GET", "/readyz", &[], b"");
    is_problem(&unready, unready.status);
    let by_hand = server.send("POST", "/api/v1/services/site/builds", &json!({}));
    is_problem(&by_hand, by_hand.status);
    assert_eq!(server.get("/api/v1/deliveries")["total"], taken);
    limit_file_sizes(&server, None);
    goes_on(&server, &clone);
}

#[test]
fn a_program_that_starts_at_a_limit_of_file_sizes_says_what_is_full() {
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -f 8; exec \"$0\" \"$@\""]).arg(crate::support::quickstart());
    command.arg("--dir").arg(place.path().join("state"));
    let mut server = Server::spawn_command(command);
    assert!(!server.wait());
    let said = server.output();
    assert!(said.contains("kiops.db") && said.contains("limit"), "{said}");
    // The half-made folder is completed once there is room.
    let server = Server::start(&place.path().join("state"));
    assert!(server.value("image").is_some(), "{}", server.output());
}

/// A file system of its own on a folder. Unmounted when dropped.
struct Small(PathBuf);

impl Small {
    /// `None`: not without root, and said so.
    fn mount(folder: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "none"])
            .arg(folder)
            .output();
        match output {
            Ok(output) if output.status.success() => Some(Self(folder.to_owned())),
            Ok(output) => {
                skipped(String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                skipped(format!("no `mount` ({error})"));
                None
            }
        }
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("ballast")).unwrap();
        for block in [64 << 10, 4096, 1] {
            while std::io::Write::write_all(&mut file, &vec![1; block]).is_ok() {}
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still hold files there.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

#[test]
fn on_a_full_disk_nothing_is_answered_2xx_and_lost() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("state");
    let Some(disk) = Small::mount(&folder, "12m") else { return };
    let server = Server::start(&folder);
    let clone = Clone::of(&server.value("repo").unwrap(), place.path().join("clone"));
    let commit = clone.push_change("while there is room");
    is_deployed(&server, &server.built(&commit));
    disk.fill();
    let mut taken = server.get("/api/v1/deliveries")["total"].as_u64().unwrap();
    // What fits into files that are there already may go in.
    let refused = loop {
        let answer = server.deliver(&folder, "refs/heads/other", &commit, 20_000);
        if answer.status / 100 != 2 {
            break answer;
        }
        taken += 1;
        assert!(taken < 2000, "it is never full");
    };
    is_problem(&refused, 507);
    assert_eq!(server.get("/api/v1/deliveries")["total"], taken);
    disk.make_room();
    goes_on(&server, &clone);
    drop(server);
    drop(disk);
}

/// One folder of the state on a disk of its own, which is full while a push is built.
fn while_one_folder_is_full(below: &str, check: impl FnOnce(&Server, &Value)) {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("state");
    let Some(disk) = Small::mount(&folder.join(below), "2m") else { return };
    let server = Server::start(&folder);
    let clone = Clone::of(&server.value("repo").unwrap(), place.path().join("clone"));
    disk.fill();
    let commit = push_noise(&clone, 1_000_000);
    let build = server.built(&commit);
    disk.make_room();
    check(&server, &build);
    goes_on(&server, &clone);
    drop(server);
}

#[test]
fn a_build_whose_workspace_is_full_says_so() {
    while_one_folder_is_full("work", |server, build| {
        assert!(named(server, build, "disk_full").contains("work"), "{build:#}");
    });
}

#[test]
fn a_build_whose_image_cannot_be_kept_says_so() {
    while_one_folder_is_full("layout", |server, build| {
        assert!(named(server, build, "disk_full").contains("layout"), "{build:#}");
    });
}

#[test]
fn a_build_whose_manifests_cannot_be_written_says_so() {
    for below in ["deploy", "revisions"] {
        while_one_folder_is_full(below, |server, build| {
            assert!(named(server, build, "disk_full").contains(below), "{build:#}");
        });
    }
}

#[test]
fn a_build_whose_log_cannot_be_written_says_so() {
    while_one_folder_is_full("logs", |server, build| {
        assert!(named(server, build, "disk_full").contains("logs"), "{build:#}");
        assert_eq!(server.log(build).lines().next(), Some("[setup] Triggered by Webhook"));
    });
}
