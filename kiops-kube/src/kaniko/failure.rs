//! Why a build failed: Kaniko's exit status and its last lines, in words that people know (K45). Pure.

use kiops_core::stage::{Failure, FailureKind, Stage};

use crate::build::{
    base_image_unavailable, clone_failed, first_line, has, is_unreachable, push_failed, push_refused,
    run_failed,
};

/// What is known of a build that failed.
#[derive(Debug, Clone)]
pub(super) struct Facts<'a> {
    /// The executor's exit status: 1, or that of a RUN.
    pub(super) exit: i32,
    /// The last lines of the log.
    pub(super) lines: &'a [&'a str],
    /// The stage it was in.
    pub(super) stage: Stage,
    /// The Dockerfile, from the context's folder.
    pub(super) dockerfile: &'a str,
    /// The commit.
    pub(super) commit: &'a str,
    /// The instruction that was last begun; empty before the first.
    pub(super) step: &'a str,
}

/// The failure of a build.
pub(super) fn failure(facts: &Facts<'_>) -> Failure {
    let Some((what, words)) = complaint(facts.lines) else {
        return without_words(facts);
    };
    let new = |stage, kind, text: &str| Failure::new(stage, kind, first_line(text));
    match what {
        Complaint::Context => clone_failed(words, facts.commit),
        Complaint::Dockerfile => new(Stage::Setup, FailureKind::DockerfileNotFound, facts.dockerfile),
        // It asks before it builds, and whatever the registry answers then is a no.
        Complaint::Permission if !is_unreachable(words) => push_refused(words),
        Complaint::Permission | Complaint::Push => push_failed(words),
        Complaint::Build => build_failed(facts, words),
    }
}

/// What Kaniko complains of in its last words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Complaint {
    Context,
    Dockerfile,
    Permission,
    Push,
    Build,
}

/// The last complaint and what stands behind it.
fn complaint<'a>(lines: &[&'a str]) -> Option<(Complaint, &'a str)> {
    const BEGINNINGS: [(&str, Complaint); 5] = [
        ("error resolving source context: ", Complaint::Context),
        ("error resolving dockerfile path: ", Complaint::Dockerfile),
        ("error checking push permission", Complaint::Permission),
        ("error pushing image: ", Complaint::Push),
        ("error building image: ", Complaint::Build),
    ];
    lines.iter().rev().find_map(|line| {
        let line = line.trim_start().trim_start_matches("Error: ").trim_start_matches("fatal: ");
        BEGINNINGS.iter().find_map(|(beginning, what)| Some((*what, line.strip_prefix(beginning)?)))
    })
}

fn build_failed(facts: &Facts<'_>, words: &str) -> Failure {
    let stage = facts.stage.max(Stage::Build);
    let new = |kind, text: &str| Failure::new(stage, kind, first_line(text));
    if has(words, &["no space left on device"]) {
        return new(FailureKind::DiskFull, words);
    }
    if let Some(status) = exit_status(words) {
        return run_failed(stage, facts.step, status);
    }
    if facts.exit != 1 {
        return run_failed(stage, facts.step, facts.exit);
    }
    if has(words, &["parsing dockerfile", "dockerfile parse error", "unknown instruction"]) {
        return new(FailureKind::DockerfileInvalid, words);
    }
    if has(words, &["failed to get fileinfo", "copy failed", "no source files were specified"])
        || (is_copy(facts.step) && has(words, &["no such file or directory"]))
    {
        return new(FailureKind::SourceFileNotFound, words);
    }
    if let Some(failure) = base_image_unavailable(stage, words) {
        return failure;
    }
    if facts.step.starts_with("RUN") {
        run_failed(stage, facts.step, facts.exit)
    } else {
        new(FailureKind::DockerfileInvalid, words)
    }
}

/// Kaniko ended without saying why, or its words are not in the log.
fn without_words(facts: &Facts<'_>) -> Failure {
    match facts.stage {
        Stage::Setup => {
            let last =
                facts.lines.iter().rev().find(|line| !line.trim().is_empty()).unwrap_or(&"it said nothing");
            let text = first_line(&format!("Kaniko ended with status {}: {last}", facts.exit));
            Failure::new(Stage::Setup, FailureKind::ExecutorUnavailable, text)
                .with_remedy("read the log, and check the image and the settings of the executor")
        }
        stage if facts.step.starts_with("RUN") || facts.exit != 1 => {
            run_failed(stage, facts.step, facts.exit)
        }
        stage => {
            let text = first_line(&format!("Kaniko ended with status {} in `{}`", facts.exit, facts.step));
            Failure::new(stage, FailureKind::ExecutorUnavailable, text).with_remedy("read the log")
        }
    }
}

/// The status in `waiting for process to exit: exit status 7`.
fn exit_status(words: &str) -> Option<i32> {
    let (_, rest) = words.split_once("waiting for process to exit: ")?;
    if rest.starts_with("signal: killed") {
        return Some(137);
    }
    rest.strip_prefix("exit status ")?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn is_copy(step: &str) -> bool {
    step.starts_with("COPY") || step.starts_with("ADD")
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureKind::*;

    fn of(exit: i32, stage: Stage, step: &str, lines: &[&str]) -> Failure {
        failure(&Facts { exit, lines, stage, dockerfile: "web/Dockerfile", commit: "abc", step })
    }

    #[test]
    fn every_failure_is_called_by_its_name() {
        use Stage::{Build, Push, Setup};
        let clone = |words: &str| format!("Error: error resolving source context: {words}");
        let built = |words: &str| format!("error building image: {words}");
        let cases: &[(i32, Stage, &str, String, FailureKind, Stage)] = &[
            (1, Setup, "", clone("authentication required: Repository not found."), GitCloneFailed, Setup),
            (1, Setup, "", clone("Get \"https://git.invalid/x.git/info/refs\": dial tcp: lookup git.invalid: no such host"), GitCloneFailed, Setup),
            (1, Setup, "", clone("object not found"), CommitNotFound, Setup),
            (1, Setup, "", clone("server does not support exact SHA1 refspec"), CommitNotFound, Setup),
            (1, Setup, "", "Error: error resolving dockerfile path: please provide a valid path to a Dockerfile within the build context with --dockerfile".into(), DockerfileNotFound, Setup),
            (1, Setup, "", "error checking push permissions -- make sure you entered the correct tag name, and that you are authenticated correctly, and try again: checking push permission for \"harbor.example.com/a/b:c\": POST https://harbor.example.com/v2/a/b/blobs/uploads/: UNAUTHORIZED: unauthorized to access repository".into(), RegistryAuthenticationFailed, Push),
            (1, Setup, "", "error checking push permissions: checking push permission for \"r/a:b\": dial tcp 10.0.0.1:443: connect: connection refused".into(), PushFailed, Push),
            (1, Push, "CMD x", "error pushing image: failed to push to destination r/a:b: PUT https://r/v2/: DENIED: requested access to the resource is denied".into(), RegistryAuthenticationFailed, Push),
            (1, Push, "CMD x", "error pushing image: failed to push to destination r/a:b: unexpected EOF".into(), PushFailed, Push),
            (1, Build, "", built("GET https://index.docker.io/v2/library/node/manifests/20: TOOMANYREQUESTS: You have reached your pull rate limit."), BaseImageUnavailable, Build),
            (1, Build, "", built("GET https://index.docker.io/v2/library/nope/manifests/1: MANIFEST_UNKNOWN: manifest unknown"), BaseImageUnavailable, Build),
            (1, Build, "", built("GET https://r/v2/base/manifests/1: UNAUTHORIZED: authentication required"), BaseImageUnavailable, Build),
            (7, Build, "RUN exit 7", built("error building stage: failed to execute command: waiting for process to exit: exit status 7"), RunFailed, Build),
            (1, Build, "RUN false", built("error building stage: failed to execute command: waiting for process to exit: exit status 1"), RunFailed, Build),
            (1, Build, "COPY nope /", built("error building stage: failed to get fileinfo for /kaniko/buildcontext/nope: lstat: no such file or directory"), SourceFileNotFound, Build),
            (1, Build, "", built("parsing dockerfile: dockerfile parse error on line 2: unknown instruction: RNU"), DockerfileInvalid, Build),
            (1, Build, "RUN x", built("error building stage: failed to take snapshot: write /kaniko/1: no space left on device"), DiskFull, Build),
            (3, Build, "RUN make", "make: *** [all] Error 3".into(), RunFailed, Build),
            (1, Setup, "", "panic: runtime error".into(), ExecutorUnavailable, Setup),
        ];
        for (exit, stage, step, line, kind, at) in cases {
            let failure = of(*exit, *stage, step, &["...", line, "Usage:", "  executor [flags]"]);
            assert_eq!((failure.kind, failure.stage), (*kind, *at), "{line}: {failure}");
            assert!(!failure.remedy.is_empty());
        }
    }

    #[test]
    fn a_failing_run_names_its_step_and_status() {
        let failure = of(
            7,
            Stage::Build,
            "RUN npm test",
            &[
                "error building image: error building stage: failed to execute command: waiting for process to exit: exit status 7",
            ],
        );
        assert_eq!(failure.message, "RUN failed: `RUN npm test` ended with status 7");
        let killed = of(137, Stage::Build, "RUN npm test", &[]);
        assert_eq!(killed.kind, OutOfMemory);
        assert!(killed.message.contains("`RUN npm test` was killed"), "{killed}");
    }

    #[test]
    fn the_limit_of_docker_hub_is_named_as_that() {
        let failure = of(
            1,
            Stage::Build,
            "",
            &[
                "error building image: GET https://index.docker.io/v2/library/node/manifests/20: TOOMANYREQUESTS: You have reached your pull rate limit.",
            ],
        );
        assert!(failure.message.contains("Docker Hub"), "{failure}");
        assert!(failure.remedy.contains("account") && failure.remedy.contains("mirror"), "{failure}");
    }

    #[test]
    fn a_clone_that_is_refused_says_what_the_token_needs() {
        let failure =
            of(1, Stage::Setup, "", &["Error: error resolving source context: authentication required"]);
        assert!(failure.message.starts_with("Git clone failed"), "{failure}");
        assert!(failure.remedy.contains("read_repository"), "{failure}");
    }

    #[test]
    fn a_missing_dockerfile_is_named() {
        let failure =
            of(1, Stage::Setup, "", &["Error: error resolving dockerfile path: please provide a valid path"]);
        assert_eq!(failure.message, "Dockerfile not found: web/Dockerfile");
    }
}
