//! What is looked at in a Dockerfile before a build is started: what BuildKit is not given here. Pure.

use kiops_core::name::ImageRef;
use kiops_core::stage::{Failure, FailureKind, Stage};

use crate::build::{directive, instructions};

/// What would fail in the middle of a build, or be read by an image that nobody allowed.
pub(super) fn refused(dockerfile: &str, frontends: &[String]) -> Option<Failure> {
    let new = |text: String, remedy: &str| {
        Failure::new(Stage::Setup, FailureKind::UnsupportedInstruction, text).with_remedy(remedy)
    };
    if let Some(syntax) = directive(dockerfile, "syntax") {
        let name = ImageRef::parse_familiar(syntax).map(|image| image.name.to_string());
        if !name.is_ok_and(|name| frontends.contains(&name)) {
            let syntax: String = syntax.chars().take(80).collect();
            return Some(new(
                format!("`# syntax={syntax}` is not allowed to read Dockerfiles here"),
                "remove the line, or add its repository to frontends in the executor's settings",
            ));
        }
    }
    let all = instructions(dockerfile);
    let runs = all.iter().filter(|one| one.name == "RUN");
    runs.flat_map(|run| run.flags().map(|flag| (run.line, flag))).find_map(|(line, flag)| {
        let remedy = unsupported(flag)?;
        let flag: String = flag.chars().take(80).collect();
        Some(new(format!("line {line}: `RUN {flag}` is not given here"), remedy))
    })
}

/// What to do instead of a flag of RUN.
fn unsupported(flag: &str) -> Option<&'static str> {
    match flag {
        "--network=host" | "--security=insecure" => {
            return Some("remove it: no build is let out of its sandbox");
        }
        _ => {}
    }
    let mount = flag.strip_prefix("--mount=")?;
    mount
        .split(',')
        .any(|part| part == "type=ssh")
        .then_some("use a build secret with a token: RUN --mount=type=secret,id=...")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frontends() -> Vec<String> {
        vec!["docker.io/docker/dockerfile".to_owned()]
    }

    #[test]
    fn mounts_of_secrets_are_done_and_those_of_agents_are_not() {
        for (run, refused_too) in [
            ("RUN make", false),
            ("RUN --mount=type=secret,id=npm-token make", false),
            ("RUN --mount=type=cache,target=/c --mount=type=bind,target=/src make", false),
            ("RUN --network=none make", false),
            ("RUN --mount=type=ssh git clone x", true),
            ("RUN --mount=type=cache,target=/c --mount=id=a,type=ssh x", true),
            ("RUN --network=host make", true),
            ("RUN --security=insecure make", true),
            ("RUN echo --mount=type=ssh", false),
        ] {
            let failure = refused(&format!("FROM scratch\n{run}\n"), &frontends());
            assert_eq!(failure.is_some(), refused_too, "{run}: {failure:?}");
            if let Some(failure) = failure {
                assert!(failure.message.contains("line 2"), "{failure}");
                assert_eq!(failure.kind, FailureKind::UnsupportedInstruction);
            }
        }
    }

    #[test]
    fn only_images_that_are_named_read_dockerfiles() {
        for (syntax, refused_too) in [
            ("docker/dockerfile:1", false),
            ("docker.io/docker/dockerfile:1.7-labs", false),
            ("evil/dockerfile:1", true),
            ("registry.example.com/docker/dockerfile", true),
            ("", true),
        ] {
            let failure = refused(&format!("# syntax={syntax}\nFROM scratch\n"), &frontends());
            assert_eq!(failure.is_some(), refused_too, "{syntax}: {failure:?}");
        }
        assert!(refused("FROM scratch\n", &[]).is_none());
        assert!(refused("# syntax=docker/dockerfile:1\nFROM scratch\n", &[]).is_some());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\PC|[\\\\#<`\\n =,]|FROM|RUN --mount=|# syntax=|EOF){0,60}") {
            refused(&text, &frontends());
        }
    }
}
