//! The crate's errors as ours.

use std::borrow::Cow;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use kiops_core::http::status_error;
use kiops_core::image::RegistryCredential;
use kiops_core::{Error, ErrorKind};
use oci_distribution::errors::{DigestError, OciDistributionError, OciEnvelope, OciErrorCode};

use crate::oci::said::Said;

/// What to do about what the crate cannot.
pub(super) const USE_OCI: &str = "use `Oci` for this registry, which can";

/// What a push of nothing ends with: it was only to be begun.
const ONLY_BEGUN: &str = "only begun";

pub(super) fn only_begun() -> OciDistributionError {
    OciDistributionError::GenericError(Some(ONLY_BEGUN.into()))
}

pub(super) fn is_only_begun(fault: &OciDistributionError) -> bool {
    matches!(fault, OciDistributionError::GenericError(Some(text)) if text == ONLY_BEGUN)
}

/// An error of ours on its way through the crate.
pub(super) fn carried(error: Error) -> OciDistributionError {
    OciDistributionError::IoError(std::io::Error::other(error))
}

pub(super) fn is_unauthorized(fault: &OciDistributionError) -> bool {
    match fault {
        OciDistributionError::UnauthorizedError { .. }
        | OciDistributionError::ServerError { code: 401, .. } => true,
        OciDistributionError::RequestError(error) => {
            error.status().is_some_and(|status| status.as_u16() == 401)
        }
        _ => false,
    }
}

/// A success that the crate did not expect: of a mount, that it has to be pushed.
pub(super) fn is_spec_violation(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    matches!(source, Some(OciDistributionError::SpecViolationError(_)))
}

pub(super) fn another_digest(operation: &'static str) -> Error {
    Error::invalid(operation, "it came with another digest than was asked for").with_remedy(
        "the registry's content is damaged, or something changes it on its way: push the image again",
    )
}

/// What a stream of a blob ended with.
pub(super) fn of_stream(operation: &'static str, error: std::io::Error) -> Error {
    let inner = error.get_ref();
    if inner.is_some_and(|inner| inner.is::<DigestError>()) {
        return another_digest(operation);
    }
    // The text of a broken connection may hold the address of a store, with its signature.
    Error::unavailable(operation, "the registry hung up before its end")
}

/// Our error, and the status that it stands for.
pub(super) fn told(
    operation: &'static str,
    fault: OciDistributionError,
    login: Option<&RegistryCredential>,
    now: Timestamp,
) -> (Error, StatusCode) {
    let by_status = |status: StatusCode, detail: &str| {
        (status_error(operation, status, &HeaderMap::new(), now, detail), status)
    };
    let none = StatusCode::OK;
    match fault {
        OciDistributionError::UnauthorizedError { .. } => by_status(StatusCode::UNAUTHORIZED, ""),
        OciDistributionError::ServerError { code, message, .. } => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_GATEWAY);
            let said = Said::read(message.as_bytes(), login);
            by_status(status, said.text())
        }
        OciDistributionError::RegistryError { envelope, .. } => {
            let text = serde_json::to_vec(&envelope).unwrap_or_default();
            by_status(status_of(&envelope), Said::read(&text, login).text())
        }
        OciDistributionError::AuthenticationFailure(_) => by_status(StatusCode::UNAUTHORIZED, ""),
        OciDistributionError::RequestError(error) => {
            if let Some(status) = error.status().and_then(|status| StatusCode::from_u16(status.as_u16()).ok())
            {
                return by_status(status, "");
            }
            let (kind, what): (_, Cow<'static, str>) = if error.is_timeout() {
                (ErrorKind::Timeout, "no answer in time".into())
            } else if error.is_connect() {
                (ErrorKind::Unavailable, "the host cannot be reached".into())
            } else if error.is_redirect() {
                (ErrorKind::Invalid, "it redirects without end".into())
            } else {
                (ErrorKind::Unavailable, "the exchange broke off".into())
            };
            (Error::new(kind, operation, what).with_source(error.without_url()), none)
        }
        OciDistributionError::DigestError(_) => (another_digest(operation), none),
        OciDistributionError::IoError(error) => match error.downcast::<Error>() {
            Ok(ours) => (ours, none),
            Err(_) => (Error::unavailable(operation, "the exchange broke off"), none),
        },
        OciDistributionError::SpecViolationError(_) => {
            let message = "the registry answered with another success than the crate oci-client expects";
            (Error::unsupported(operation, message).with_remedy(USE_OCI).with_source(fault), none)
        }
        _ => {
            let error = Error::unavailable(operation, "the registry did not answer as documented")
                .with_remedy(
                    "check that the address is the registry's own and that no proxy answers in its place",
                );
            (error, none)
        }
    }
}

/// The status of an answer of which the crate kept only the codes.
fn status_of(envelope: &OciEnvelope) -> StatusCode {
    let first = envelope.errors.first().map(|error| &error.code);
    match first {
        Some(OciErrorCode::Unauthorized) => StatusCode::UNAUTHORIZED,
        Some(OciErrorCode::Denied) => StatusCode::FORBIDDEN,
        Some(
            OciErrorCode::BlobUnknown
            | OciErrorCode::BlobUploadUnknown
            | OciErrorCode::ManifestUnknown
            | OciErrorCode::NameUnknown
            | OciErrorCode::NotFound,
        ) => StatusCode::NOT_FOUND,
        Some(OciErrorCode::Toomanyrequests) => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::BAD_REQUEST,
    }
}

#[cfg(test)]
mod tests {
    use kiops_core::secret::Secret;

    use super::*;

    fn kind(fault: OciDistributionError) -> ErrorKind {
        told("x", fault, None, Timestamp::UNIX_EPOCH).0.kind()
    }

    fn server(code: u16, message: &str) -> OciDistributionError {
        OciDistributionError::ServerError {
            code,
            url: "https://h.io/?signature=s".into(),
            message: message.into(),
        }
    }

    fn envelope(code: &str) -> OciDistributionError {
        let text = format!(r#"{{"errors":[{{"code":"{code}","message":"m"}}]}}"#);
        let envelope = serde_json::from_str(&text).unwrap();
        OciDistributionError::RegistryError { envelope, url: "https://h.io/".into() }
    }

    #[test]
    fn what_the_crate_says_is_told_by_our_kinds() {
        for (fault, expected) in [
            (server(403, ""), ErrorKind::Forbidden),
            (server(404, ""), ErrorKind::NotFound),
            (server(503, ""), ErrorKind::Unavailable),
            (envelope("MANIFEST_UNKNOWN"), ErrorKind::NotFound),
            (envelope("DENIED"), ErrorKind::Forbidden),
            (envelope("TOOMANYREQUESTS"), ErrorKind::RateLimited),
            (envelope("SOMETHING_ELSE"), ErrorKind::Invalid),
            (carried(Error::invalid("y", "z")), ErrorKind::Invalid),
            (OciDistributionError::RegistryNoLocationError, ErrorKind::Unavailable),
        ] {
            assert_eq!(kind(fault), expected);
        }
    }

    #[test]
    fn neither_passwords_nor_addresses_are_repeated() {
        let password = Secret::new("hunter22").unwrap();
        let login = RegistryCredential { host: "h.io".into(), username: "bob".into(), password };
        let said = r#"{"errors":[{"code":"DENIED","message":"no bob:hunter22"}]}"#;
        let (error, _) = told("x", server(403, said), Some(&login), Timestamp::UNIX_EPOCH);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hunter22") && !shown.contains("signature"), "{shown}");
    }
}
