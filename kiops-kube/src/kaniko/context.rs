//! Where Kaniko finds the source: one commit of one repository. Pure.

use kiops_core::build::BuildSpec;
use kiops_core::name::GitRef;
use kiops_core::provider::CloneAccess;
use kiops_core::{Error, Result};

use crate::build::parts;
use crate::run::{CloneAddress, clone_address};

/// What names the source on Kaniko's command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Context {
    /// The value of `--context`.
    pub(crate) address: String,
    /// The value of `--git`, where the ref does not fit into the address.
    pub(crate) git: Option<String>,
    /// Whether it is cloned over plain HTTP.
    pub(crate) plain_http: bool,
}

const OPERATION: &str = "prepare git clone";

/// The context `git://HOST/PATH#REF#COMMIT`. The ref is what the clone asks the host for, the commit is what is checked out.
///
/// # Errors
/// `Unsupported` for anything but HTTP and HTTPS, for plain HTTP from a host that is not named, for a ref outside branches and tags with a
/// `#` in it; `Invalid` for an address with a credential, a query or a fragment in it.
pub(super) fn context(spec: &BuildSpec, access: &CloneAccess, insecure: &[String]) -> Result<Context> {
    let CloneAddress { plain_http, rest } = clone_address(access, insecure)?;
    let full = spec.git_ref.to_string();
    let commit = &spec.commit;
    let (in_address, git) = match &spec.git_ref {
        _ if !full.contains('#') => (full.as_str(), None),
        // `#` parts the address; a branch or a tag can be named beside it.
        GitRef::Branch(branch) => ("", Some(format!("branch={branch}"))),
        GitRef::Tag(tag) => ("", Some(format!("branch={tag}"))),
        GitRef::Other(_) => {
            return Err(Error::unsupported(OPERATION, format!("Kaniko cannot fetch the ref {full}"))
                .with_remedy("use another executor"));
        }
    };
    Ok(Context { address: format!("git://{rest}#{in_address}#{commit}"), git, plain_http })
}

/// A Dockerfile's path from the context's folder: Kaniko looks for it there.
///
/// # Errors
/// `Invalid` for a path that leaves the repository.
pub(crate) fn dockerfile_from(context: &str, dockerfile: &str) -> Result<String> {
    let (context, dockerfile) = (parts(context)?, parts(dockerfile)?);
    let shared = context.iter().zip(&dockerfile).take_while(|(one, other)| one == other).count();
    let up = std::iter::repeat_n("..", context.len() - shared);
    let path: Vec<&str> = up.chain(dockerfile[shared..].iter().copied()).collect();
    Ok(path.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dockerfile_is_named_from_the_context() {
        for (context, dockerfile, expected) in [
            ("", "Dockerfile", "Dockerfile"),
            ("web", "web/Dockerfile", "Dockerfile"),
            ("web", "docker/Dockerfile", "../docker/Dockerfile"),
            ("a/b", "a/c/./D", "../c/D"),
            ("/web/", "Dockerfile", "../Dockerfile"),
        ] {
            assert_eq!(dockerfile_from(context, dockerfile).unwrap(), expected, "{context} {dockerfile}");
        }
        assert!(dockerfile_from("", "../../x").is_err());
        assert!(dockerfile_from("../x", "Dockerfile").is_err());
    }
}
