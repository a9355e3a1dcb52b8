//! What Docker Hub says of an error, and what to do about it in its own words.

use kiops_core::ErrorKind;
use kiops_core::image::RegistryCredential;
use serde::Deserialize;

use crate::oci::said::repeats;

pub(super) const LOGIN: &str = "check the user name and its access token: one that works is made under Account settings, Personal access tokens; \
    with two factors or single sign-on a password does not do";

const RIGHT: &str = "the access token lacks the right: it needs Read & Write to push, Read, Write, Delete to delete, and more than Public Repo Read-only \
    for private repositories; and its user has to be a member of the namespace";

const NOT_THERE: &str = "check namespace, repository and tag: to an account that may not see a private repository Docker Hub says that it is not there";

pub(super) const ADDRESS: &str =
    "check that `url` is Docker Hub's own and that no proxy answers in its place";

/// What to do about an error of this kind.
pub(super) const fn remedy(kind: ErrorKind, with_account: bool) -> Option<&'static str> {
    match (kind, with_account) {
        (ErrorKind::Unauthorized, false) => Some(
            "give a Docker Hub user name with an access token: Docker Hub answers this to nobody without one",
        ),
        (ErrorKind::Unauthorized, true) => Some(LOGIN),
        (ErrorKind::Forbidden, _) => Some(RIGHT),
        (ErrorKind::NotFound, _) => Some(NOT_THERE),
        (ErrorKind::RateLimited, _) => {
            Some("Docker Hub asks for a pause: it is tried again when Docker Hub says")
        }
        _ => None,
    }
}

/// What an error's body says, cut short; nothing where it is of another kind, or repeats what was sent.
pub(super) fn said(body: &[u8], login: Option<&RegistryCredential>) -> String {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Words {
        message: Option<String>,
        detail: Option<serde_json::Value>,
        text: Option<String>,
    }
    let words: Words = serde_json::from_slice(body).unwrap_or_default();
    let detail = words.detail.as_ref().and_then(serde_json::Value::as_str).map(str::to_owned);
    let parts: Vec<String> = [words.message, detail, words.text].into_iter().flatten().collect();
    let text = parts.join("; ");
    if repeats(&text, login) { String::new() } else { text }
}

#[cfg(test)]
mod tests {
    use kiops_core::secret::Secret;

    use super::*;

    #[test]
    fn words_are_read_wherever_docker_hub_puts_them_and_no_token_is_repeated() {
        let password = Secret::new("dckr_pat_x1").unwrap();
        let login = RegistryCredential { host: "docker.io".into(), username: "me".into(), password };
        assert_eq!(
            said(br#"{"detail":"Incorrect authentication credentials"}"#, Some(&login)),
            "Incorrect authentication credentials"
        );
        assert_eq!(said(br#"{"message":"no","errinfo":{}}"#, None), "no");
        assert_eq!(said(br#"{"text":"bad","fields":{"name":["x"]}}"#, None), "bad");
        assert_eq!(said(br#"{"message":"dckr_pat_x1 is no token"}"#, Some(&login)), "");
        for other in [&b"<html>"[..], b"", b"[]", br#"{"detail":7}"#] {
            assert_eq!(said(other, Some(&login)), "");
        }
    }
}
