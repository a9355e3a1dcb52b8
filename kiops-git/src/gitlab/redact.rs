//! Taking secrets out of a body before it is stored.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::decode::kind;
use crate::body::{Text, parse, replace};

/// The body with the values of a pipeline's variables blanked (E31); any other body as it is.
///
/// A pipeline event that cannot be read, or a body that does not say what it is, cannot be searched for them either: of
/// that nothing is kept but `null`.
pub(super) fn redact(body: &Bytes) -> Bytes {
    match kind(body).as_deref() {
        Some("pipeline") => {}
        Some(_) => return body.clone(),
        None => return NOTHING,
    }
    match parse::<Pipeline<'_>>(body, "GitLab pipeline event") {
        Ok(Pipeline { object_attributes: Some(Attributes { variables: Some(variables) }) }) => {
            replace(body, variables.get(), &blanked(variables)).unwrap_or(NOTHING)
        }
        Ok(_) => body.clone(),
        Err(_) => NOTHING,
    }
}

const NOTHING: Bytes = Bytes::from_static(b"null");

#[derive(Deserialize)]
struct Pipeline<'a> {
    #[serde(borrow)]
    object_attributes: Option<Attributes<'a>>,
}

#[derive(Deserialize)]
struct Attributes<'a> {
    #[serde(borrow)]
    variables: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Variable<'a> {
    #[serde(borrow)]
    key: Option<Text<'a>>,
}

#[derive(Serialize)]
struct Blank<'a> {
    key: &'a str,
    value: &'a str,
}

/// The variables' names with empty values; of anything that is no list of variables, an empty list.
fn blanked(variables: &RawValue) -> String {
    let named: Vec<Variable<'_>> = serde_json::from_str(variables.get()).unwrap_or_default();
    let blank: Vec<Blank<'_>> =
        named.iter().filter_map(|one| Some(Blank { key: one.key.as_ref()?.as_ref(), value: "" })).collect();
    serde_json::to_string(&blank).unwrap_or_else(|_| "[]".to_owned())
}
