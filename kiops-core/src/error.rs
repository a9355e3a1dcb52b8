//! The one error of this crate and of every trait in it.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What went wrong, whether trying again can help, what was being done, and what a person can do about it.
///
/// `Display` prints `operation: message (remedy)`; the source chain holds the cause. Nothing in an error ever
/// holds a secret: whoever builds one from outside text masks it first.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    retry: Retry,
    operation: Cow<'static, str>,
    message: String,
    remedy: Option<Cow<'static, str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// A result whose error is [`enum@ErrorKind`]-carrying [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong. Callers branch on this, never on the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input is malformed or breaks a documented rule.
    Invalid,
    /// What was named does not exist.
    NotFound,
    /// It exists already, or somebody else changed it first.
    Conflict,
    /// No credential, or a wrong one.
    Unauthorized,
    /// The credential is right and lacks the right.
    Forbidden,
    /// Understood, and deliberately not done.
    Unsupported,
    /// Larger than the limit in force.
    TooLarge,
    /// The other side asked us to slow down.
    RateLimited,
    /// The other side could not be reached or answered with a fault of its own.
    Unavailable,
    /// It took longer than the deadline.
    Timeout,
    /// No space is left, on disk or in a quota.
    Full,
    /// Stored data does not read back as it was written.
    Corrupt,
    /// Canceled by request.
    Canceled,
    /// A defect of ours.
    Internal,
}

/// Whether doing the same thing again can succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// The same call will fail the same way.
    Never,
    /// It may succeed: a fault that comes and goes.
    Maybe,
    /// It may succeed, but not before this many seconds have passed.
    After(u32),
}

impl Error {
    /// A new error. `operation` names what was being done ("fetch commit"), `message` what was wrong with it.
    pub fn new(kind: ErrorKind, operation: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let retry = match kind {
            ErrorKind::RateLimited | ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Full => {
                Retry::Maybe
            }
            _ => Retry::Never,
        };
        Self { kind, retry, operation: operation.into(), message: message.into(), remedy: None, source: None }
    }

    /// [`ErrorKind::Invalid`]: the input of `operation` is malformed.
    pub fn invalid(operation: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, operation, message)
    }

    /// [`ErrorKind::NotFound`]: what `operation` names does not exist.
    pub fn not_found(operation: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, operation, message)
    }

    /// [`ErrorKind::Conflict`]: somebody else was first.
    pub fn conflict(operation: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, operation, message)
    }

    /// [`ErrorKind::Unavailable`]: worth another try.
    pub fn unavailable(operation: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, operation, message)
    }

    /// [`ErrorKind::Unsupported`]: deliberately not done.
    pub fn unsupported(operation: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, operation, message)
    }

    /// [`ErrorKind::Corrupt`]: stored data does not read back.
    pub fn corrupt(operation: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, operation, message)
    }

    /// [`ErrorKind::Internal`]: a defect of ours.
    pub fn internal(operation: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, operation, message)
    }

    /// The same error with what a person can do about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<Cow<'static, str>>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error with other retry advice than its kind's.
    #[must_use]
    pub const fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The same error without its cause, for somebody else who waited for the same.
    #[must_use]
    pub fn told_again(&self) -> Self {
        self.reworded(self.operation.clone(), self.message.clone())
    }

    /// The same error in another operation's words, without its cause: kind, retry advice and remedy stay.
    #[must_use]
    pub fn reworded(&self, operation: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            kind: self.kind,
            retry: self.retry,
            operation: operation.into(),
            message: message.into(),
            remedy: self.remedy.clone(),
            source: None,
        }
    }

    /// What kind of thing went wrong.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether doing the same again can succeed.
    pub const fn retry(&self) -> Retry {
        self.retry
    }

    /// What was being done.
    pub fn operation(&self) -> &str {
        &self.operation
    }

    /// What was wrong with it, without operation and remedy.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What a person can do about it.
    pub fn remedy(&self) -> Option<&str> {
        self.remedy.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.message)?;
        if let Some(remedy) = &self.remedy {
            write!(f, " ({remedy})")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// What serde says of bad input, without the text that stood where none belongs: it may be a secret.
///
/// `invalid type: string "hunter2", expected u64` becomes `invalid type: string, expected u64`. Names of fields and variants stay.
pub fn without_text(error: &impl fmt::Display) -> String {
    let said = error.to_string();
    match (said.find("string \""), said.rfind("\", expected")) {
        (Some(start), Some(end)) if start + "string ".len() < end => {
            format!("{}string{}", &said[..start], &said[end + 1..])
        }
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_is_told_again_says_all_that_the_first_said_but_its_cause() {
        let first = Error::unavailable("fetch", "it is away")
            .with_retry(Retry::After(3))
            .with_remedy("wait")
            .with_source(std::io::Error::other("refused"));
        let again = first.told_again();
        assert_eq!(again.to_string(), first.to_string());
        assert_eq!((again.kind(), again.retry()), (first.kind(), Retry::After(3)));
        assert!(again.source().is_none());
        let other = first.reworded("open", "db: it is away");
        assert_eq!(
            (other.retry(), other.to_string().as_str()),
            (Retry::After(3), "open: db: it is away (wait)")
        );
    }

    #[test]
    fn text_in_the_wrong_place_is_not_repeated() {
        for text in ["hunter2", "", "a\", expected b", "a \"string \" b", "\n"] {
            let json = serde_json::to_string(text).unwrap();
            let error = serde_json::from_str::<bool>(&json).unwrap_err();
            let column = json.len();
            let expected = format!("invalid type: string, expected a boolean at line 1 column {column}");
            assert_eq!(without_text(&error), expected);
        }
        let error = serde_json::from_str::<bool>("7").unwrap_err();
        assert_eq!(without_text(&error), error.to_string());
    }

    #[test]
    fn an_error_says_operation_message_and_remedy() {
        let error = Error::not_found("read Dockerfile", "no file `web/Dockerfile` in the commit")
            .with_remedy("set the service's dockerfile, or add the file");
        assert_eq!(
            error.to_string(),
            "read Dockerfile: no file `web/Dockerfile` in the commit (set the service's dockerfile, or add the file)"
        );
        assert_eq!(error.retry(), Retry::Never);
        assert_eq!(Error::unavailable("push", "reset").retry(), Retry::Maybe);
    }
}
