//! Taking secrets out of a body before it is stored.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::body::{parse, replace};

/// The body with the hook's own secret blanked, which Gitea before 1.15 and Gogs write into every body; any other as it is.
///
/// Of a body that cannot be read nothing is kept but `null`.
pub(super) fn redact(body: &Bytes) -> Bytes {
    const NOTHING: Bytes = Bytes::from_static(b"null");
    match parse::<Secretive<'_>>(body, "webhook") {
        Ok(Secretive { secret: Some(secret) }) => replace(body, secret.get(), r#""""#).unwrap_or(NOTHING),
        Ok(_) => body.clone(),
        Err(_) => NOTHING,
    }
}

#[derive(Deserialize)]
struct Secretive<'a> {
    #[serde(borrow)]
    secret: Option<&'a RawValue>,
}
