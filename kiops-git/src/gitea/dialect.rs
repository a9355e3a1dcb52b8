//! How Gitea and Forgejo are spoken to, and what their errors mean.

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::rest::{Answer, Dialect};

pub(super) const GITEA: Dialect = dialect("Gitea");
pub(super) const FORGEJO: Dialect = dialect("Forgejo");

const fn dialect(host: &'static str) -> Dialect {
    Dialect {
        host,
        accept: "application/json",
        headers: &[],
        authorization: |token| Zeroizing::new(format!("token {token}")),
        said,
        remedy,
    }
}

/// Where tokens are made, in the host's own words.
pub(super) const TOKENS: &str = "Settings > Applications > Access tokens";

fn said(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Said {
        message: String,
    }
    serde_json::from_slice::<Said>(body).ok().map(|said| said.message)
}

fn remedy(answer: &Answer) -> Option<String> {
    match answer.status {
        403 => {
            let scopes = required_scopes(&answer.said())?;
            Some(format!("token lacks scope `{}`: make one that has it ({TOKENS})", scopes.join("` or `")))
        }
        423 => Some("the repository is archived: nothing can be changed in it until it is unarchived".into()),
        _ => None,
    }
}

/// The scopes that a refusal asks for: `... required scope(s): [write:issue]`, or since Gitea 1.22
/// `... required scope(s), required=[write:issue], token scope=read:user`.
pub(super) fn required_scopes(said: &str) -> Option<Vec<String>> {
    let (_, rest) = said.split_once("required scope")?;
    let (list, _) = rest.split_once('[')?.1.split_once(']')?;
    let scopes: Vec<_> = list.split([' ', ',']).filter(|scope| is_scope(scope)).map(str::to_owned).collect();
    (!scopes.is_empty()).then_some(scopes)
}

/// The scopes that the refused token has, where the refusal says so (Gitea since 1.22).
pub(super) fn held_scopes(said: &str) -> Option<Vec<String>> {
    let (_, list) = said.split_once("token scope=")?;
    let list = list.split([' ', ']']).next().unwrap_or_default();
    Some(list.split(',').filter(|scope| is_scope(scope)).map(str::to_owned).collect())
}

fn is_scope(scope: &str) -> bool {
    !scope.is_empty()
        && scope.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b':' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scopes_of_a_refusal_are_read_in_both_its_forms() {
        let old = "token does not have at least one of required scope(s): [read:user write:user]";
        assert_eq!(required_scopes(old).unwrap(), ["read:user", "write:user"]);
        assert_eq!(held_scopes(old), None);
        let new = "token does not have at least one of required scope(s), required=[read:admin], token scope=write:issue,read:user";
        assert_eq!(required_scopes(new).unwrap(), ["read:admin"]);
        assert_eq!(held_scopes(new).unwrap(), ["write:issue", "read:user"]);
    }

    #[test]
    fn other_refusals_name_no_scope() {
        for said in
            ["", "user should be an owner", "required scope", "required scope []", "required scope ][", "[x]"]
        {
            assert_eq!(required_scopes(said), None, "{said}");
        }
    }
}
