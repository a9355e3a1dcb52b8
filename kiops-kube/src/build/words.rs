//! What executors say when a build fails, in the words that people know (K45), where it is the same for all of them. Pure.

use kiops_core::stage::{Failure, FailureKind, Stage};

use crate::run::{KILLED, killed};

const LIMIT: &str =
    "Docker Hub lets nobody pull more than so many images in a while, and this build came after";
const LIMIT_REMEDY: &str =
    "give a Docker Hub account as pull credential, or set a registry mirror in the executor's settings";

/// The source was not fetched.
pub(crate) fn clone_failed(words: &str, commit: &str) -> Failure {
    let stage = Stage::Setup;
    if has(
        words,
        &[
            "object not found",
            "reference not found",
            "couldn't find remote ref",
            "exact sha1 refspec",
            "not our ref",
        ],
    ) {
        return Failure::new(stage, FailureKind::CommitNotFound, commit);
    }
    let failure = Failure::new(stage, FailureKind::GitCloneFailed, first_line(words));
    if has(
        words,
        &[
            "authentication required",
            "authentication failed",
            "authorization failed",
            "could not read username",
            "repository not found",
        ],
    ) || is_refused(words)
    {
        return failure
            .with_remedy("check that the repository exists and that its token has read_repository");
    }
    if has(words, &["unadvertised object"]) {
        return failure.with_remedy(
            "let the Git host hand out commits by their ids: uploadpack.allowReachableSHA1InWant",
        );
    }
    if is_unreachable(words) {
        return failure.with_remedy("check that the Git host can be reached from the build's pod");
    }
    failure
}

/// A base image that cannot be had, if these words say so. A limit on pulls is named as that (E79).
pub(crate) fn base_image_unavailable(stage: Stage, words: &str) -> Option<Failure> {
    let new = |text: &str| Failure::new(stage, FailureKind::BaseImageUnavailable, first_line(text));
    if has(words, &["toomanyrequests", "429 too many requests", "pull rate limit"]) {
        let hub = has(words, &["docker.io", "docker.com", "toomanyrequests: you have reached"]);
        let text = if hub { LIMIT.to_owned() } else { format!("the registry asks to slow down: {words}") };
        return Some(new(&text).with_remedy(LIMIT_REMEDY));
    }
    if has(words, &["manifest_unknown", "manifest unknown", "name_unknown", "not_found", "404 not found"]) {
        return Some(new(words));
    }
    if is_refused(words) {
        return Some(
            new(words).with_remedy("check the name after FROM, and give a pull credential for its registry"),
        );
    }
    is_unreachable(words).then(|| {
        new(words).with_remedy("check that the base image's registry can be reached from the build's pod")
    })
}

/// The registry does not let this image in.
pub(crate) fn push_refused(words: &str) -> Failure {
    Failure::new(Stage::Push, FailureKind::RegistryAuthenticationFailed, first_line(words))
        .with_remedy("check the registry's user name and password, and that they may push to this repository")
}

/// The image was not pushed.
pub(crate) fn push_failed(words: &str) -> Failure {
    if is_refused(words) {
        return push_refused(words);
    }
    let failure = Failure::new(Stage::Push, FailureKind::PushFailed, first_line(words));
    if is_unreachable(words) {
        return failure.with_remedy("check that the registry can be reached from the build's pod");
    }
    failure
}

/// A command of the Dockerfile ended with this status.
pub(crate) fn run_failed(stage: Stage, step: &str, status: i32) -> Failure {
    let step = if step.is_empty() { "a command" } else { step };
    if status == KILLED {
        return killed(stage, &format!("`{step}`"));
    }
    let failure = Failure::new(
        stage,
        FailureKind::RunFailed,
        first_line(&format!("`{step}` ended with status {status}")),
    );
    match status {
        126 | 127 => failure.with_remedy(
            "the command is not in the image: install it in an earlier step, or correct its name",
        ),
        _ => failure,
    }
}

/// Whether a registry or a host let somebody not in.
pub(crate) fn is_refused(words: &str) -> bool {
    has(words, &["unauthorized", "denied", "authentication required", "authorization failed"])
        // As words of their own: digests are full of digits.
        || words.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| matches!(word, "401" | "403"))
}

/// Whether a host was not reached.
pub(crate) fn is_unreachable(words: &str) -> bool {
    has(
        words,
        &[
            "no such host",
            "could not resolve host",
            "connection refused",
            "connection timed out",
            "i/o timeout",
            "x509",
            "ssl certificate problem",
            "network is unreachable",
            "server misbehaving",
            "tls handshake",
        ],
    )
}

/// Whether any of these stands in the words, in capitals or not.
pub(crate) fn has(words: &str, any: &[&str]) -> bool {
    let words = words.to_ascii_lowercase();
    any.iter().any(|word| words.contains(word))
}

/// What a message says of a text. It is cut once it is masked: half a secret is not found.
pub(crate) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
