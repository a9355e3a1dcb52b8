//! Bodies of requests and responses.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::stream::{self, ByteStream};

/// The body of a request or a response: bytes, a stream that can be opened again, or a stream that runs once.
pub struct Body(Kind);

enum Kind {
    Bytes(Bytes),
    Reopenable { length: u64, open: Arc<dyn Fn() -> ByteStream + Send + Sync> },
    Once { length: Option<u64>, stream: ByteStream },
}

impl Body {
    /// No bytes.
    pub const fn empty() -> Self {
        Self(Kind::Bytes(Bytes::new()))
    }

    /// A stream of exactly `length` bytes that `open` gives anew each time: what an upload is, so that it can be tried again.
    pub fn reopenable(length: u64, open: impl Fn() -> ByteStream + Send + Sync + 'static) -> Self {
        Self(Kind::Reopenable { length, open: Arc::new(open) })
    }

    /// A stream that can be read once, of a length that may be known: what a response is. A request with it is never repeated.
    pub fn once(length: Option<u64>, stream: ByteStream) -> Self {
        Self(Kind::Once { length, stream })
    }

    /// How many bytes it has, where that is known.
    pub const fn length(&self) -> Option<u64> {
        match &self.0 {
            Kind::Bytes(bytes) => Some(bytes.len() as u64),
            Kind::Reopenable { length, .. } => Some(*length),
            Kind::Once { length, .. } => *length,
        }
    }

    /// The bytes, where it is no stream.
    pub const fn as_bytes(&self) -> Option<&Bytes> {
        match &self.0 {
            Kind::Bytes(bytes) => Some(bytes),
            Kind::Reopenable { .. } | Kind::Once { .. } => None,
        }
    }

    /// The same body once more, unread; `None` for a stream that runs once.
    pub fn reopen(&self) -> Option<Self> {
        match &self.0 {
            Kind::Bytes(bytes) => Some(Self(Kind::Bytes(bytes.clone()))),
            Kind::Reopenable { length, open } => {
                Some(Self(Kind::Reopenable { length: *length, open: Arc::clone(open) }))
            }
            Kind::Once { .. } => None,
        }
    }

    /// Its bytes as they come.
    pub fn into_stream(self) -> ByteStream {
        match self.0 {
            Kind::Bytes(bytes) => stream::once(bytes),
            Kind::Reopenable { open, .. } => open(),
            Kind::Once { stream, .. } => stream,
        }
    }

    /// All its bytes, or an error of kind `TooLarge` once they are more than `cap`; where the length is known, before reading any.
    pub async fn collect(self, cap: usize) -> Result<Bytes> {
        if let Some(length) = self.length().filter(|length| *length > cap as u64) {
            return Err(Error::new(
                ErrorKind::TooLarge,
                "read body",
                format!("it has {length} bytes, and the limit is {cap}"),
            ));
        }
        match self.0 {
            Kind::Bytes(bytes) => Ok(bytes),
            Kind::Reopenable { open, .. } => stream::collect(open(), cap).await,
            Kind::Once { stream, .. } => stream::collect(stream, cap).await,
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::Bytes(_) => "bytes",
            Kind::Reopenable { .. } => "reopenable",
            Kind::Once { .. } => "once",
        };
        f.debug_struct("Body").field("kind", &kind).field("length", &self.length()).finish()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Kind::Bytes(bytes))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Kind::Bytes(bytes.into()))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self(Kind::Bytes(text.into()))
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self(Kind::Bytes(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_read_whole_or_refused_at_the_cap() {
        let stream = || Body::once(None, stream::once(Bytes::from_static(b"12345")));
        assert_eq!(stream().collect(5).await.unwrap(), "12345");
        assert_eq!(stream().collect(4).await.unwrap_err().kind(), ErrorKind::TooLarge);
        assert_eq!(Body::from("12345").collect(4).await.unwrap_err().kind(), ErrorKind::TooLarge);
        let lying = Body::once(Some(1), stream::once(Bytes::from_static(b"12345")));
        assert_eq!(lying.collect(4).await.unwrap_err().kind(), ErrorKind::TooLarge);
    }

    #[tokio::test]
    async fn bytes_and_reopenable_streams_can_be_read_again() {
        let body = Body::reopenable(3, || stream::once(Bytes::from_static(b"abc")));
        let again = body.reopen().unwrap();
        assert_eq!(body.collect(9).await.unwrap(), "abc");
        assert_eq!(again.length(), Some(3));
        assert_eq!(again.collect(9).await.unwrap(), "abc");
        assert!(Body::from("x").reopen().is_some());
        assert!(Body::once(Some(1), stream::once(Bytes::from_static(b"x"))).reopen().is_none());
        assert_eq!(format!("{:?}", Body::from("secret")), r#"Body { kind: "bytes", length: Some(6) }"#);
    }
}
