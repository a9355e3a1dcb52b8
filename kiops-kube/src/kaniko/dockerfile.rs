//! What is looked at in a Dockerfile before a build is started: how many steps it has, and what Kaniko would pass over. Pure.

use kiops_core::stage::{Failure, FailureKind, Stage};

use crate::build::instructions;

/// How many steps Kaniko takes: every instruction but the arguments before the first stage. Stages that nothing needs are counted too.
pub(super) fn steps(dockerfile: &str) -> Option<u32> {
    let all = instructions(dockerfile);
    let first = all.iter().position(|one| one.name == "FROM")?;
    u32::try_from(all.len() - first).ok()
}

/// What Kaniko reads and does not do; it would go on without it, and make something else.
pub(super) fn refused(dockerfile: &str) -> Option<Failure> {
    instructions(dockerfile).iter().filter(|one| one.name == "RUN").find_map(|run| {
        run.flags().find_map(|flag| unsupported(flag).map(|remedy| refusal(run.line, flag, remedy)))
    })
}

/// What to do instead of a flag of RUN that Kaniko does not do.
fn unsupported(flag: &str) -> Option<&'static str> {
    const OTHER: &str = "remove it, or use an executor with BuildKit";
    if flag == "--network=default" || flag == "--security=sandbox" {
        return None;
    }
    let Some(mount) = flag.strip_prefix("--mount=") else {
        let known = flag.starts_with("--network") || flag.starts_with("--security");
        return known.then_some(OTHER);
    };
    let kind = mount.split(',').find_map(|part| part.strip_prefix("type=")).unwrap_or("bind");
    match kind {
        "cache" => None,
        "secret" => {
            Some("read the secret from its file, /kaniko/secrets/ID, or use an executor with BuildKit")
        }
        _ => Some(OTHER),
    }
}

fn refusal(line: usize, flag: &str, remedy: &str) -> Failure {
    let flag: String = flag.chars().take(80).collect();
    let text = format!("line {line}: Kaniko does not do `RUN {flag}`");
    Failure::new(Stage::Setup, FailureKind::UnsupportedInstruction, text).with_remedy(remedy)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn steps_are_instructions_without_the_arguments_before_the_first_stage() {
        let text = "# syntax=docker/dockerfile:1\nARG V=1\nfrom node:$V as build\nRUN a && \\\n  # why\n  b\nCOPY <<EOF /x\nRUN no\nEOF\n\nFROM scratch\nCOPY --from=build /a /\nnonsense\n";
        assert_eq!(steps(text), Some(5));
        assert_eq!(steps("RUN x"), None);
        assert_eq!(steps(""), None);
    }

    #[test]
    fn what_kaniko_would_pass_over_is_refused_with_its_line() {
        for (run, refused_too) in [
            ("RUN make", false),
            ("RUN --mount=type=cache,target=/root/.cache make", false),
            ("RUN --network=default make", false),
            ("RUN --mount=type=ssh git clone x", true),
            ("RUN --mount=type=secret,id=a make", true),
            ("RUN --mount=target=/src make", true),
            ("RUN --network=none make", true),
            ("RUN --mount=type=cache,target=/c --security=insecure make", true),
            ("RUN echo --mount=type=ssh", false),
        ] {
            let failure = refused(&format!("FROM scratch\n{run}\n"));
            assert_eq!(failure.is_some(), refused_too, "{run}: {failure:?}");
            if let Some(failure) = failure {
                assert!(failure.message.contains("line 2"), "{failure}");
                assert_eq!(failure.kind, FailureKind::UnsupportedInstruction);
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\PC|[\\\\#<`\\n ]|FROM|RUN --|EOF){0,60}") {
            refused(&text);
            steps(&text);
        }
    }
}
