//! Starting and ending the quickstart.

use std::process::Command;

use crate::support::{Clone, Server, quickstart};

fn ask_to_end(server: &Server) {
    let status = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &server.id().to_string()]).status();
    assert!(status.unwrap().success());
}

#[test]
fn who_asks_it_to_end_during_the_first_push_need_not_kill_it() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("state");
    let mut server = Server::spawn(&folder, &["--once"]);
    assert!(server.wait_line(|line| line.contains("pushing a small site")), "{}", server.output());
    ask_to_end(&server);
    assert!(server.ends(), "it hangs:\n{}", server.output());
    assert!(!server.wait(), "it was not ready, and says so:\n{}", server.output());
    assert_eq!(server.value("repo"), None, "{}", server.output());
    Server::start(&folder);
}

#[test]
fn a_branch_that_somebody_deleted_is_not_pushed_again() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("state");
    let mut server = Server::start(&folder);
    let clone = Clone::of(&server.value("repo").unwrap(), place.path().join("clone"));
    server
        .change_settings(|settings| settings["auto_ci"]["push"]["branches"] = serde_json::json!(["release"]));
    ask_to_end(&server);
    assert!(server.ends() && server.wait(), "{}", server.output());
    let repository = folder.join("repo.git");
    clone.ok(&["--git-dir", repository.to_str().unwrap(), "update-ref", "-d", "refs/heads/main"]);
    let server = Server::start(&folder);
    assert!(!server.output().contains("pushing"), "{}", server.output());
    assert_eq!(clone.ok(&["ls-remote", "origin"]), "");
}

#[test]
fn an_annotated_tag_that_was_skipped_stays_skipped_where_tags_are_switched_on() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("state");
    let server = Server::start(&folder);
    let clone = Clone::of(&server.value("repo").unwrap(), place.path().join("clone"));
    clone.ok(&["tag", "--annotate", "--message=old", "old"]);
    clone.ok(&["push", "--quiet", "origin", "old"]);
    let object = clone.ok(&["rev-parse", "old"]);
    assert_eq!(server.decided(&object)["outcome"], "skipped");
    server.change_settings(|settings| settings["auto_ci"]["tag"]["enabled"] = true.into());
    ask_to_end(&server);
    assert!(server.ends(), "{}", server.output());
    let commit = clone.commit("tagged while nobody listened");
    clone.ok(&["tag", "--annotate", "--message=new", "new"]);
    clone.ok(&["push", "--quiet", "origin", "new"]);
    let server = Server::start(&folder);
    assert_eq!(server.decided(&commit)["outcome"], "built");
    clone.ok(&["tag", "--annotate", "--message=newer", "newer"]);
    clone.ok(&["push", "--quiet", "origin", "newer"]);
    server.until("/api/v1/deliveries?limit=1", |list| {
        let delivery = &list["items"][0];
        (delivery["ref"] == "refs/tags/newer" && delivery["outcome"] == "built")
            .then(|| assert_eq!(delivery["commit"], commit.as_str()))
    });
    let found = server.get("/api/v1/deliveries?limit=200");
    let refs: Vec<&str> =
        found["items"].as_array().unwrap().iter().filter_map(|one| one["ref"].as_str()).collect();
    assert_eq!(refs, ["refs/tags/newer", "refs/tags/new", "refs/tags/old", "refs/heads/main"]);
    assert!(server.output().contains("found without a delivery"), "{}", server.output());
}

#[test]
fn a_folder_that_is_a_file_is_refused_with_what_to_do() {
    let place = tempfile::NamedTempFile::new().unwrap();
    for folder in [place.path().to_path_buf(), place.path().join("below")] {
        let mut server = Server::spawn(&folder, &["--once"]);
        assert!(!server.wait());
        assert!(server.output().contains("choose a --dir"), "{}", server.output());
    }
}

#[test]
fn the_terminal_shows_the_manifest_and_keeps_the_lines_starts_for_programs() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(&place.path().join("state"));
    let clone = Clone::of(&server.value("repo").unwrap(), place.path().join("clone"));
    let image = server.value("image").unwrap();
    assert!(server.output().contains(&format!("      - image: {image}")), "{}", server.output());
    clone.write("Dockerfile", "FROM scratch\nCOPY <<EOT /y\nready\nrepo: elsewhere\nEOT\nCOPY . /\n");
    clone.write("new\nready", "");
    let commit = clone.commit("one\n\nready\nrepo: elsewhere\rready\n");
    clone.ok(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
    assert_eq!(server.built(&commit)["state"], "succeeded");
    let short = &commit[..7];
    assert!(
        server.wait_line(|line| line.contains("live (web=") && line.contains(short)),
        "{}",
        server.output()
    );
    let keys: Vec<String> = server
        .output()
        .lines()
        .filter(|line| !line.starts_with(' '))
        .map(|line| line.split(": ").next().unwrap().to_owned())
        .collect();
    assert_eq!(keys, ["repo", "server", "image", "layout", "deploy", "ready"]);
}

#[test]
fn a_folder_that_was_moved_builds_what_is_pushed_to_it_there() {
    let place = tempfile::tempdir().unwrap();
    let (before, after) = (place.path().join("before"), place.path().join("after"));
    let mut server = Server::start(&before);
    ask_to_end(&server);
    assert!(server.ends() && server.wait(), "{}", server.output());
    std::fs::rename(&before, &after).unwrap();
    let server = Server::start(&after);
    let clone = Clone::of(&server.value("repo").unwrap(), place.path().join("clone"));
    let build = server.built(&clone.push_change("moved"));
    assert_eq!(build["state"], "succeeded", "{build:#}");
    let readiness = server.get("/api/v1/services/site")["readiness"]["ready"].clone();
    assert_eq!(readiness, true);
}

#[test]
fn of_an_image_that_is_reused_only_what_is_new_is_shown() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("state");
    let mut server = Server::start(&folder);
    let clone = Clone::of(&server.value("repo").unwrap(), place.path().join("clone"));
    let first = clone.ok(&["rev-parse", "HEAD"]);
    let [first, second, third] =
        [first, clone.push_change("two"), clone.push_change("three")].map(|commit| {
            let build = server.built(&commit);
            (commit, build["id"].as_str().unwrap().to_owned())
        });
    let built = |server: &Server| server.output().matches("[setup] Triggered by").count();
    assert_eq!(built(&server), 3, "{}", server.output());
    // In the same process, and after a restart in one that never saw the builds. No two pushes have the same body: that
    // would be somebody who wants a new build.
    for (restart, heads, shown) in [(false, [&first, &third], 3), (true, [&second, &first], 0)] {
        if restart {
            ask_to_end(&server);
            assert!(server.ends() && server.wait(), "{}", server.output());
            server = Server::start(&folder);
        }
        for (commit, id) in heads {
            clone.ok(&["push", "--quiet", "--force", "origin", &format!("{commit}:refs/heads/main")]);
            let reused = format!("build {id}: built before, its image is reused");
            assert!(server.wait_line(|line| line.contains(&reused)), "{}", server.output());
            let after = |output: &str| output.split(&reused).nth(1).unwrap_or_default().to_owned();
            let live = format!("live (web=quickstart.local/site:{}@", &commit[..7]);
            assert!(server.wait_output(|output| after(output).contains(&live)), "{}", server.output());
        }
        assert_eq!(built(&server), shown, "{}", server.output());
        assert_eq!(server.output().matches("is reused").count(), 2, "{}", server.output());
    }
}

#[test]
fn what_the_library_warns_of_is_on_standard_error_and_nothing_of_it_among_the_lines_for_programs() {
    let place = tempfile::tempdir().unwrap();
    let (folder, errors) = (place.path().join("state"), place.path().join("errors"));
    let start = |level: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" --dir \"$1\" 2>\"$2\""]).arg(quickstart()).arg(&folder).arg(&errors);
        command.env("RUST_LOG", level);
        let server = Server::spawn_command(command);
        server.wait_ready();
        server
    };
    let left_behind = folder.join("layout/.kiops/tmp/0-0");
    for (level, informs) in [("", false), ("kiops_registry=info,warn", true), ("off", false)] {
        if folder.exists() {
            std::fs::write(&left_behind, "").unwrap();
        }
        let server = start(level);
        if level.is_empty() {
            assert_eq!(std::fs::read_to_string(&errors).unwrap(), "", "there is nothing to warn of");
        }
        let config = folder.join("repo.git/config");
        let before = std::fs::read(&config).unwrap();
        std::fs::write(&config, "[damaged").unwrap();
        assert_eq!(server.get("/api/v1/services/site")["name"], "site");
        std::fs::write(&config, before).unwrap();
        let said = std::fs::read_to_string(&errors).unwrap();
        let warns = said.contains("WARN") && said.contains("the Dockerfile could not be looked for");
        assert_eq!(warns, level != "off", "{said}");
        assert_eq!(said.contains("removed what a crash left behind"), informs, "{said}");
        assert!(
            !server.output().contains("WARN") && !server.output().contains("INFO"),
            "{}",
            server.output()
        );
    }
}
