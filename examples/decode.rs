//! Verifies and decodes webhooks offline: JSON lines in, one JSON line out for each.
//!
//! ```text
//! echo '{"provider":"gitlab","headers":{"X-Gitlab-Token":"s3cret"},"body_file":"push.json","secrets":["s3cret"]}' \
//!   | cargo run --example decode
//! ```
//!
//! A line in: `provider`, a sender of a Git host or of a registry; `headers`, names in any case, a list of values for a repeated one; `body`, or `body_file`
//! (relative to the current folder); `secrets`, newest first, whatever the sender's scheme shares (a token, a key,
//! `whsec_...`, a hook's path), an empty list being none; `hook`, the last part of the path where the delivery came to a path of its own; `now`, RFC 3339, by default the clock. A line out: `verified`, null where no secrets were given;
//! `error`; `events`, one row each (`kiops_core::event::Columns`), also of a delivery that does not verify.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use kiops_core::event::{Columns, Event};
use kiops_core::name::{HookId, ProviderName};
use kiops_core::secret::Secret;
use kiops_core::webhook::{Delivery, SecretSet, WebhookSource};
use kiops_registry::webhook::WebhookConfig;
use serde::{Deserialize, Serialize};

fn main() -> io::Result<()> {
    let mut sources = kiops_git::sources();
    sources.extend(kiops_registry::webhook::sources(WebhookConfig::default()));
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        if !line.trim_ascii().is_empty() {
            let found =
                answer(&line, |name| sources.iter().map(AsRef::as_ref).find(|one| one.name() == *name));
            let events = found.events.iter().map(Columns::from).collect();
            let row = Row { verified: found.verified, error: found.error.as_deref(), events };
            serde_json::to_writer(&mut output, &row)?;
            output.write_all(b"\n")?;
            output.flush()?;
        }
        line.clear();
    }
    Ok(())
}

#[derive(Deserialize)]
struct Line {
    provider: String,
    headers: Option<BTreeMap<String, Values>>,
    body: Option<String>,
    body_file: Option<PathBuf>,
    secrets: Option<Vec<String>>,
    hook: Option<HookId>,
    now: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Several(Vec<String>),
}

#[derive(Serialize)]
struct Row<'a> {
    verified: Option<bool>,
    error: Option<&'a str>,
    events: Vec<Columns<'a>>,
}

/// What came of a line; an error leaves standing what was found before it.
#[derive(Default)]
struct Answer {
    verified: Option<bool>,
    error: Option<String>,
    events: Vec<Event>,
}

fn answer<'s>(line: &[u8], source: impl Fn(&ProviderName) -> Option<&'s dyn WebhookSource>) -> Answer {
    let mut answer = Answer::default();
    let decoded = (|| {
        let line: Line = serde_json::from_slice(line).map_err(|error| format!("read line: {error}"))?;
        let secrets = line.secrets.filter(|given| !given.is_empty());
        if secrets.is_some() {
            answer.verified = Some(false);
        }
        let provider = ProviderName::parse(&line.provider).map_err(|error| error.to_string())?;
        let source = source(&provider).ok_or_else(|| format!("unknown provider `{provider}`"))?;
        let mut delivery =
            Delivery::new(provider, headers(line.headers)?, body(line.body, line.body_file)?.into());
        delivery.hook = line.hook;
        if let Some(secrets) = secrets {
            let secrets = SecretSet::new(secrets.into_iter().filter_map(Secret::new));
            let now = line.now.unwrap_or_else(Timestamp::now);
            answer.verified = Some(source.verify(&delivery, &secrets, now).verdict.is_verified());
        }
        source.decode(&delivery).map_err(|error| error.to_string())
    })();
    match decoded {
        Ok(events) => answer.events = events,
        Err(error) => answer.error = Some(error),
    }
    answer
}

fn headers(given: Option<BTreeMap<String, Values>>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, values) in given.unwrap_or_default() {
        let values = match values {
            Values::One(value) => vec![value],
            Values::Several(values) => values,
        };
        let bad = || format!("read line: HTTP does not allow the header `{}`", name.escape_debug());
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        for value in values {
            headers.append(key.clone(), HeaderValue::from_bytes(value.as_bytes()).map_err(|_| bad())?);
        }
    }
    Ok(headers)
}

fn body(text: Option<String>, file: Option<PathBuf>) -> Result<Vec<u8>, String> {
    match (text, file) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(file)) => {
            std::fs::read(&file).map_err(|error| format!("read `{}`: {error}", file.display()))
        }
        _ => Err("read line: give either `body` or `body_file`".to_owned()),
    }
}
