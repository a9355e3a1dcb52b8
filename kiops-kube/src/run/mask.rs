//! What must not stand in a run's log, read back from the run's own Secret. Pure.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::Secret as SecretObject;
use kiops_core::Result;
use kiops_core::log::Masker;
use kiops_core::secret::Secret;

use super::names;
use super::object::DOCKER_CONFIG_JSON;

/// The keys of registry configurations that kiops writes.
const OWN_CONFIGS: [&str; 3] = ["config.json", "push-config.json", DOCKER_CONFIG_JSON];

/// The masker of a run: every value of its Secret but the plain ones, and of a registry configuration the passwords.
pub(crate) fn masker(secret: &SecretObject) -> Result<Masker> {
    let annotations = secret.metadata.annotations.as_ref();
    let plain: Vec<&str> = annotations
        .and_then(|all| all.get(names::PLAIN_KEYS))
        .map(|keys| keys.split(',').collect())
        .unwrap_or_default();
    let mut values = Vec::new();
    for (key, value) in secret.data.iter().flatten() {
        if plain.contains(&key.as_str()) {
            continue;
        }
        let known = passwords(&value.0);
        // Ours: its hosts and user names may be shown. Somebody's own is masked whole, too.
        if known.is_none() || !OWN_CONFIGS.contains(&key.as_str()) {
            values.extend(Secret::new(value.0.clone()));
        }
        values.extend(known.into_iter().flatten());
    }
    Masker::new(&values)
}

/// A report in JSON with what must not be shown masked in it; byte for byte as it is where there is nothing to mask. Token by
/// token: no tree of it is made, and a key, a number or a value that another one hides is masked, too.
pub(crate) fn masked_report(report: &str, masker: &Masker) -> String {
    let mut out = String::with_capacity(report.len());
    let mut rest = report;
    while let Some(quote) = rest.find('"') {
        let (plain, text) = rest.split_at(quote);
        out.push_str(&masked_plain(plain, masker));
        let end = string_end(text);
        let (token, after) = text.split_at(end);
        match serde_json::from_str::<String>(token) {
            Ok(value) => match masked_value(&value, masker) {
                Some(masked) => out.push_str(&serde_json::Value::String(masked).to_string()),
                None => out.push_str(token),
            },
            Err(_) => out.push_str("\"***\""),
        }
        rest = after;
    }
    out.push_str(&masked_plain(rest, masker));
    out
}

/// Where a string token that begins here ends.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'\\' if !escaped => escaped = true,
            b'"' if !escaped => return at + 1,
            _ => escaped = false,
        }
    }
    text.len()
}

/// What stands between strings: a secret may be a number.
fn masked_plain<'t>(text: &'t str, masker: &Masker) -> Cow<'t, str> {
    let is_number = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let mut out = String::new();
    let mut from = 0;
    let mut words = text.match_indices(is_number).map(|(at, _)| at).peekable();
    while let Some(begin) = words.next() {
        let mut end = begin + 1;
        while words.next_if_eq(&end).is_some() {
            end += 1;
        }
        if masker.mask_text(&text[begin..end]) != text[begin..end] {
            out.push_str(&text[from..begin]);
            out.push_str("\"***\"");
            from = end;
        }
    }
    if from == 0 { Cow::Borrowed(text) } else { Cow::Owned(out + &text[from..]) }
}

/// A text with what must not be shown masked; `None` where there is nothing. Control characters stay where they are.
fn masked_value(text: &str, masker: &Masker) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive(char::is_control) {
        let end = piece
            .char_indices()
            .next_back()
            .filter(|(_, c)| c.is_control())
            .map_or(piece.len(), |(at, _)| at);
        out.push_str(&masker.mask_text(&piece[..end]));
        out.push_str(&piece[end..]);
    }
    (out != text).then_some(out)
}

/// The passwords of a registry configuration; `None` for any other text.
fn passwords(text: &[u8]) -> Option<Vec<Secret>> {
    let config: serde_json::Value = serde_json::from_slice(text).ok()?;
    let auths = config.get("auths")?.as_object()?;
    // The pair in base64 holds the password, which is found in there.
    let values = auths.values().flat_map(|auth| [auth.get("password"), auth.get("auth")]);
    Some(values.flatten().filter_map(|value| Secret::new(value.as_str()?)).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;
    use kiops_core::image::{RegistryCredential, docker_config_json};

    use super::*;

    #[test]
    fn everything_of_a_runs_secret_is_masked_but_what_is_plain() {
        let credential = RegistryCredential {
            host: "harbor.example.com".into(),
            username: "robot$team+ci".into(),
            password: Secret::new("hunter22").unwrap(),
        };
        let config = docker_config_json([&credential]);
        let data = [("config.json", config.expose()), ("password", b"gl-token-1"), ("username", b"oauth2")];
        let mut secret = SecretObject {
            data: Some(BTreeMap::from(data.map(|(k, v)| (k.to_owned(), ByteString(v.to_vec()))))),
            ..SecretObject::default()
        };
        secret.metadata.annotations = Some([(names::PLAIN_KEYS.to_owned(), "username".to_owned())].into());
        let masked =
            masker(&secret).unwrap().mask_text("oauth2 gl-token-1 hunter22 auths harbor.example.com");
        assert_eq!(masked, "oauth2 *** *** auths harbor.example.com");
    }

    #[test]
    fn a_report_is_masked_wherever_a_secret_stands_and_else_stays_as_it_is() {
        let secrets = ["hunter22", "31415926", "two\nlines of it"].map(|text| Secret::new(text).unwrap());
        let masker = Masker::new(&secrets).unwrap();
        let clean = "{ \"runs\" : [ {\"a\": \"b***\\n\\u00e9\\\"\", \"n\": -1.5e3, \"t\": true } ] }\n";
        assert_eq!(masked_report(clean, &masker), clean);
        for (told, expected) in [
            (r#"{"m":"found hunter22"}"#, r#"{"m":"found ***"}"#),
            (r#"{"hunter22":1}"#, r#"{"***":1}"#),
            (r#"{"n":31415926}"#, r#"{"n":"***"}"#),
            (r#"{"x":"hunter22","x":"y"}"#, r#"{"x":"***","x":"y"}"#),
            (r#"{"x":"hunter\u0032\u0032"}"#, r#"{"x":"***"}"#),
            (r#"{"x":"https://***:hunter22@host"}"#, r#"{"x":"https://***@host"}"#),
            (r#"{"x":"a\nlines of it\nb"}"#, r#"{"x":"a\n***\nb"}"#),
        ] {
            assert_eq!(masked_report(told, &masker), expected);
        }
        assert_eq!(masked_report("\"cut hunter22", &masker), "\"***\"");
    }

    #[test]
    fn somebodys_own_registry_configuration_is_masked_whole() {
        let text = br#"{"auths":{"r":{"identitytoken":"eyJhbGciOi"}}}"#;
        let data = [("build-secret-0".to_owned(), ByteString(text.to_vec()))];
        let secret = SecretObject { data: Some(data.into()), ..SecretObject::default() };
        let told = format!("x {} y", String::from_utf8_lossy(text));
        assert_eq!(masker(&secret).unwrap().mask_text(&told), "x *** y");
    }

    #[test]
    fn a_secret_that_is_json_is_masked_whole() {
        let data = [("key".to_owned(), ByteString(b"{\"a\":1}".to_vec()))];
        let secret = SecretObject { data: Some(data.into()), ..SecretObject::default() };
        assert_eq!(masker(&secret).unwrap().mask_text("x {\"a\":1} y"), "x *** y");
    }
}
