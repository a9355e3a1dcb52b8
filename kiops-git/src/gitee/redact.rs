//! Taking secrets out of a body before it is stored.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::body::{parse, replace};

/// The body with `password` and `sign` blanked, which repeat what the headers prove with.
///
/// Of a body that cannot be read nothing is kept but `null`.
pub(super) fn redact(body: &Bytes) -> Bytes {
    const NOTHING: Bytes = Bytes::from_static(b"null");
    let blank = |body: Bytes, of: fn(Secretive<'_>) -> Option<&RawValue>| {
        let found = parse::<Secretive<'_>>(&body, "Gitee webhook").ok()?;
        match of(found) {
            Some(secret) => replace(&body, secret.get(), r#""""#),
            None => Some(body.clone()),
        }
    };
    blank(body.clone(), |found| found.password)
        .and_then(|body| blank(body, |found| found.sign))
        .unwrap_or(NOTHING)
}

#[derive(Deserialize)]
struct Secretive<'a> {
    #[serde(borrow)]
    password: Option<&'a RawValue>,
    #[serde(borrow)]
    sign: Option<&'a RawValue>,
}
