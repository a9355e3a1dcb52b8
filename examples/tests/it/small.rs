//! The examples that fit on a page: they run, and they say what they promise.

use std::process::Command;

fn run(example: &str) -> String {
    let program = crate::support::quickstart().with_file_name(example);
    let output = Command::new(program).output().unwrap();
    assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn decisions_are_made_and_explained_without_async() {
    let said = run("policy_only");
    assert!(
        said.contains(
            "refs/heads/feature/a/b, `services/api/main.go`, \"Try something\"\n  builds 1 component"
        ),
        "{said}"
    );
    assert!(said.contains("branch `feature/a/b` matches `feature/*`"), "{said}");
    for why in [
        "skips: no watched path changed",
        "skips: the commit message has `[skip ci]`",
        "skips: branch `wip` matches none of",
    ] {
        assert!(said.contains(why), "no `{why}` in\n{said}");
    }
}

#[test]
fn a_hosts_rule_stands_among_the_findings_and_blocks() {
    let said = run("custom_rule");
    assert!(said.contains("ticket: the commit names OPS-42"), "{said}");
    assert!(said.contains("skips: ticket: the commit names no `OPS-...` ticket"), "{said}");
}

#[test]
fn a_hosts_provider_is_put_to_the_proof() {
    let said = run("custom_provider");
    let checks = said.lines().filter(|line| line.starts_with("ok  ")).count();
    assert!(said.contains("ok  a file is read up to its cap and never in part\n"), "{said}");
    assert!(said.ends_with(&format!("\n{checks} checks: conformant\n")), "{said}");
}

#[test]
fn a_request_goes_in_and_a_response_comes_out() {
    let said = run("embed_minimal");
    assert!(said.starts_with("200 OK {\"status\":\"accepted\""), "{said}");
}
