//! Why a build failed: BuildKit's last words, in words that people know (K45). Pure.

use kiops_core::stage::{Failure, FailureKind, Stage};

use crate::build::{base_image_unavailable, first_line, has, push_failed, run_failed};

/// What is known of a build that failed.
#[derive(Debug, Clone)]
pub(super) struct Facts<'a> {
    /// The exit status: 1 for whatever it was.
    pub(super) exit: i32,
    /// BuildKit's own last lines; nothing that a command printed.
    pub(super) lines: &'a [&'a str],
    /// The stage it was in.
    pub(super) stage: Stage,
    /// The Dockerfile, from the repository's root.
    pub(super) dockerfile: &'a str,
    /// The instruction that failed; empty where none did.
    pub(super) step: &'a str,
}

/// The failure of a build.
pub(super) fn failure(facts: &Facts<'_>) -> Failure {
    let complaint = facts.lines.iter().rev().find_map(|line| {
        let line = line.trim();
        let words = line.strip_prefix("error: ").or_else(|| line.strip_prefix("ERROR: "))?;
        Some(words.trim_start_matches("failed to solve: "))
    });
    match complaint {
        Some(words) => named(facts, words),
        None => without_words(facts),
    }
}

fn named(facts: &Facts<'_>, words: &str) -> Failure {
    let stage = facts.stage.max(Stage::Build);
    let new = |kind, text: &str| Failure::new(stage, kind, first_line(text));
    if has(words, &["failed to read dockerfile"]) && has(words, &["no such file", "not found"]) {
        return Failure::new(Stage::Setup, FailureKind::DockerfileNotFound, facts.dockerfile);
    }
    // Where it says that it pushed; what else it does in the end, it does for the same registry.
    if has(words, &["failed to push"]) {
        return push_failed(words);
    }
    if has(words, &["no space left on device"]) {
        return new(FailureKind::DiskFull, words);
    }
    if let Some(status) = exit_status(words) {
        return run_failed(stage, facts.step, status);
    }
    if has(words, &["is not an allowed gateway source", "no frontend", "frontend gateway.v0 is disabled"]) {
        return new(FailureKind::UnsupportedInstruction, words).with_remedy(
            "remove the `# syntax=` line, or add its repository to frontends in the executor's settings",
        );
    }
    if has(
        words,
        &[
            "dockerfile parse error",
            "unknown instruction",
            "target stage",
            "file with no instructions",
            "no build stage in current context",
            "failed to parse stage name",
            "failed to parse platform",
            "circular dependency",
        ],
    ) {
        return new(FailureKind::DockerfileInvalid, words);
    }
    if has(words, &["failed to calculate checksum of ref", "failed to compute cache key", "lstat "])
        && has(words, &["not found", "no such file"])
        && !has(words, &["failed to resolve"])
    {
        return new(FailureKind::SourceFileNotFound, words);
    }
    if let Some(id) = missing_secret(words) {
        let text = format!("the Dockerfile wants the build secret `{id}`, which is not given");
        return new(FailureKind::SettingsInvalid, &text)
            .with_remedy("add it to the service's build secrets; a fork's build is given none");
    }
    if facts.stage >= Stage::Push {
        return push_failed(words);
    }
    if let Some(failure) = base_image_unavailable(stage, words) {
        return failure;
    }
    if has(words, &["failed to resolve source metadata", ": not found"]) {
        return new(FailureKind::BaseImageUnavailable, words);
    }
    if facts.step.starts_with("RUN") {
        return run_failed(stage, facts.step, facts.exit);
    }
    new(FailureKind::DockerfileInvalid, words)
}

/// It ended without saying why: the daemon did not come up, or its words are not in the log.
fn without_words(facts: &Facts<'_>) -> Failure {
    let unavailable =
        |text: &str| Failure::new(facts.stage, FailureKind::ExecutorUnavailable, first_line(text));
    let last = facts.lines.iter().rev().map(|line| line.trim()).find(|line| !line.is_empty());
    if facts.lines.iter().any(|line| line.contains("could not connect to unix://")) {
        // Rather what the daemon says than what the shell makes of its end.
        let said = facts.lines.iter().rev().find(|line| line.contains("error"));
        let said = said.map(|line| line.trim()).or(last).unwrap_or_default();
        return unavailable(&format!("BuildKit's daemon did not start: {said}")).with_remedy(
            "let the namespace run pods of the Pod Security level privileged, and the nodes make user namespaces without root (user.max_user_namespaces, and kernel.apparmor_restrict_unprivileged_userns on Ubuntu)",
        );
    }
    let last = last.unwrap_or("it said nothing");
    unavailable(&format!("BuildKit ended with status {}: {last}", facts.exit))
        .with_remedy("read the log, and check the image and the settings of the executor")
}

/// The status in `process "/bin/sh -c make" did not complete successfully: exit code: 2`.
fn exit_status(words: &str) -> Option<i32> {
    let (_, rest) = words.rsplit_once("did not complete successfully: ")?;
    if rest.contains("signal: killed") {
        return Some(137);
    }
    rest.strip_prefix("exit code: ")?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The id in `secret npm-token: not found`.
fn missing_secret(words: &str) -> Option<&str> {
    let (before, _) = words.split_once(": not found")?;
    let (_, id) = before.rsplit_once("secret ")?;
    (!id.is_empty() && !id.contains([' ', '/'])).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureKind::*;

    fn of(stage: Stage, step: &str, lines: &[&str]) -> Failure {
        failure(&Facts { exit: 1, lines, stage, dockerfile: "web/Dockerfile", step })
    }

    #[test]
    fn every_failure_is_called_by_its_name() {
        use Stage::{Build, Push, Setup};
        let cases: &[(Stage, &str, &str, FailureKind, Stage)] = &[
            (
                Setup,
                "",
                "error: failed to solve: failed to read dockerfile: open web/Dockerfile: no such file or directory",
                DockerfileNotFound,
                Setup,
            ),
            (
                Setup,
                "",
                "error: failed to solve: dockerfile parse error on line 2: unknown instruction: RNU (did you mean RUN?)",
                DockerfileInvalid,
                Build,
            ),
            (
                Build,
                "",
                "error: failed to solve: target stage \"runtime\" could not be found",
                DockerfileInvalid,
                Build,
            ),
            (
                Build,
                "",
                "error: failed to solve: docker.io/library/nope:1: failed to resolve source metadata for docker.io/library/nope:1: docker.io/library/nope:1: not found",
                BaseImageUnavailable,
                Build,
            ),
            (
                Build,
                "",
                "error: failed to solve: private/base: failed to resolve source metadata for docker.io/private/base:latest: pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
                BaseImageUnavailable,
                Build,
            ),
            (
                Build,
                "",
                "error: failed to solve: registry.invalid/base:1: failed to resolve source metadata for registry.invalid/base:1: failed to do request: Head \"https://registry.invalid/v2/base/manifests/1\": dial tcp: lookup registry.invalid: no such host",
                BaseImageUnavailable,
                Build,
            ),
            (
                Build,
                "",
                "error: failed to solve: failed to copy: httpReadSeeker: failed open: unexpected status code https://registry-1.docker.io/v2/library/node/manifests/sha256:aa: 429 Too Many Requests - Server message: toomanyrequests: You have reached your unauthenticated pull rate limit.",
                BaseImageUnavailable,
                Build,
            ),
            (
                Build,
                "RUN exit 7",
                "error: failed to solve: process \"/bin/sh -c exit 7\" did not complete successfully: exit code: 7",
                RunFailed,
                Build,
            ),
            (
                Build,
                "COPY nope /",
                "error: failed to solve: failed to compute cache key: failed to calculate checksum of ref 5f401af1::k2: \"/nope\": not found",
                SourceFileNotFound,
                Build,
            ),
            (Build, "RUN x", "error: failed to solve: secret npm-token: not found", SettingsInvalid, Build),
            (
                Build,
                "RUN x",
                "error: failed to solve: write /tmp/x: no space left on device",
                DiskFull,
                Build,
            ),
            (
                Build,
                "",
                "error: failed to solve: 'docker.io/evil/dockerfile:1' is not an allowed gateway source",
                UnsupportedInstruction,
                Build,
            ),
            (
                Push,
                "",
                "error: failed to solve: failed to push harbor.example.com/a/b:c: failed to authorize: failed to fetch oauth token: unexpected status from GET request to https://harbor.example.com/service/token: 401 Unauthorized",
                RegistryAuthenticationFailed,
                Push,
            ),
            (
                Push,
                "",
                "error: failed to solve: failed to push ghcr.io/a/b:c: unexpected status from POST request to https://ghcr.io/v2/a/b/blobs/uploads/: 403 Forbidden",
                RegistryAuthenticationFailed,
                Push,
            ),
            (
                Push,
                "",
                "error: failed to solve: failed to push r.example.com/a/b:c: failed to copy: io: read/write on closed pipe",
                PushFailed,
                Push,
            ),
            (
                Push,
                "",
                "error: failed to solve: failed to push r.example.com/a/b:c@sha256:403aa401: dial tcp 10.0.0.1:443: connect: connection refused",
                PushFailed,
                Push,
            ),
            (Setup, "", "panic: runtime error", ExecutorUnavailable, Setup),
        ];
        for (stage, step, line, kind, at) in cases {
            let failure = of(*stage, step, &["Dockerfile:2", "   2 | >>> RUN x", line]);
            assert_eq!((failure.kind, failure.stage), (*kind, *at), "{line}: {failure}");
            assert!(!failure.remedy.is_empty());
        }
    }

    #[test]
    fn a_failing_run_names_its_step_and_status() {
        let line = "error: failed to solve: process \"/bin/sh -c npm test\" did not complete successfully: exit code: 7";
        let failure = of(Stage::Build, "RUN npm test", &[line]);
        assert_eq!(failure.message, "RUN failed: `RUN npm test` ended with status 7");
        let killed = of(Stage::Build, "RUN npm test", &[&line.replace(": 7", ": 137")]);
        assert_eq!(killed.kind, OutOfMemory);
        assert!(killed.message.contains("`RUN npm test` was killed"), "{killed}");
    }

    #[test]
    fn the_limit_of_docker_hub_is_named_as_that() {
        let line = "error: failed to solve: node:20: failed to resolve source metadata for docker.io/library/node:20: unexpected status from HEAD request to https://registry-1.docker.io/v2/library/node/manifests/20: 429 Too Many Requests";
        let failure = of(Stage::Build, "", &[line]);
        assert!(failure.message.contains("Docker Hub"), "{failure}");
        assert!(failure.remedy.contains("account") && failure.remedy.contains("mirror"), "{failure}");
    }

    #[test]
    fn a_daemon_that_does_not_come_up_says_what_it_needs() {
        let failure = of(
            Stage::Setup,
            "",
            &[
                "could not connect to unix:///run/user/1000/buildkit/buildkitd.sock after 60 trials",
                "========== log ==========",
                "[rootlesskit:parent] error: failed to start the child: fork/exec /proc/self/exe: operation not permitted",
                "sh: can't kill pid 12: No such process",
            ],
        );
        assert_eq!(failure.kind, ExecutorUnavailable);
        assert!(failure.message.contains("operation not permitted"), "{failure}");
        assert!(failure.remedy.contains("privileged"), "{failure}");
    }
}
