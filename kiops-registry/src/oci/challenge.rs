//! What a registry asks for: `WWW-Authenticate` (RFC 9110).

use std::collections::BTreeMap;

use http::{HeaderMap, header};

/// One way to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    /// Its scheme in lower case: `basic`, `bearer`.
    pub(super) scheme: String,
    /// Its parameters, names in lower case.
    pub(super) parameters: BTreeMap<String, String>,
}

impl Challenge {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }
}

/// No challenge that means anything is longer.
const LONGEST: usize = 8192;

/// Every challenge of an answer, in order. What cannot be read is left out.
pub(super) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    values.filter(|value| value.len() <= LONGEST).flat_map(parse).collect()
}

fn parse(text: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return found;
        }
        let (word, after) = token(rest);
        if word.is_empty() {
            // Neither a scheme nor a parameter: nothing after it can be trusted.
            return found;
        }
        let after = after.trim_start_matches([' ', '\t']);
        match after.strip_prefix('=') {
            Some(value) => {
                let Some((value, after)) = parameter_value(value.trim_start_matches([' ', '\t'])) else {
                    return found;
                };
                if let Some(challenge) = found.last_mut() {
                    challenge.parameters.entry(word.to_ascii_lowercase()).or_insert(value);
                }
                rest = after;
            }
            None => {
                let scheme = word.to_ascii_lowercase();
                found.push(Challenge { scheme, parameters: BTreeMap::new() });
                rest = after;
            }
        }
    }
}

fn token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    text.split_at(text.find(|c| !is_token(c)).unwrap_or(text.len()))
}

/// A quoted string or a token, and what follows. `None`: a quote that never ends.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        // Servers leave the quotes out of URLs, too.
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(text: &str) -> Vec<(String, Option<String>, Option<String>)> {
        let all = parse(text).into_iter();
        all.map(|one| {
            (one.scheme.clone(), one.get("realm").map(Into::into), one.get("scope").map(Into::into))
        })
        .collect()
    }

    fn one(scheme: &str, realm: &str, scope: Option<&str>) -> (String, Option<String>, Option<String>) {
        (scheme.into(), Some(realm.into()), scope.map(Into::into))
    }

    #[test]
    fn challenges_are_read_as_servers_write_them() {
        let docker = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        assert_eq!(
            bearer(docker),
            [one("bearer", "https://auth.docker.io/token", Some("repository:a/b:pull,push"))]
        );
        assert_eq!(bearer(r#"Basic realm="Registry Realm""#), [one("basic", "Registry Realm", None)]);
        assert_eq!(bearer("BASIC Realm=plain"), [one("basic", "plain", None)]);
        let both = r#"Basic realm="a, \"b\"", Bearer realm="https://h/t?x=1" , scope = "s""#;
        assert_eq!(
            bearer(both),
            [one("basic", "a, \"b\"", None), one("bearer", "https://h/t?x=1", Some("s"))]
        );
    }

    #[test]
    fn a_parameter_that_is_said_twice_counts_as_it_was_said_first() {
        assert_eq!(
            bearer(r#"Bearer realm="https://a/",realm="https://b/""#),
            [one("bearer", "https://a/", None)]
        );
    }

    #[test]
    fn nothing_is_read_out_of_what_is_no_challenge() {
        for bad in ["", ",,,", "=x", "\"Bearer\"", "\u{7f}"] {
            assert_eq!(parse(bad), [], "{bad}");
        }
        assert_eq!(bearer(r#"Bearer realm="never ends"#), [("bearer".into(), None, None)]);
    }

    proptest! {
        #[test]
        fn whatever_a_server_sends_is_read_to_its_end(text in "\\PC{0,200}") {
            let found = parse(&text);
            prop_assert!(found.iter().all(|one| !one.scheme.is_empty()));
            prop_assert!(found.iter().map(|one| one.scheme.len()).sum::<usize>() <= text.len());
        }

        #[test]
        fn what_is_quoted_comes_out_as_it_went_in(value in "\\PC{0,40}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let text = format!("Bearer realm=\"{quoted}\", service=s");
            let found = parse(&text);
            prop_assert_eq!(found[0].get("realm"), Some(value.as_str()));
            prop_assert_eq!(found[0].get("service"), Some("s"));
        }
    }
}
