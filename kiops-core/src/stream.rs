//! Streams of bytes, as archives, blobs and layers travel.

use std::pin::Pin;

use bytes::Bytes;
use futures_core::Stream;

use crate::error::Result;

/// A stream of bytes that may fail on its way. A stream that ended with an error is incomplete: never use what came before it.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// A stream of one chunk.
pub fn once(bytes: Bytes) -> ByteStream {
    Box::pin(Once(Some(bytes)))
}

struct Once(Option<Bytes>);

impl Stream for Once {
    type Item = Result<Bytes>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.take().map(Ok))
    }
}

/// The next chunk of a stream, or `None` at its end.
pub async fn next(stream: &mut ByteStream) -> Option<Result<Bytes>> {
    std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await
}

/// Everything a stream gives, or an error of kind `TooLarge` once it is more than `cap` bytes.
pub async fn collect(mut stream: ByteStream, cap: usize) -> Result<Bytes> {
    let mut all = bytes::BytesMut::new();
    while let Some(chunk) = next(&mut stream).await {
        let chunk = chunk?;
        if all.len() + chunk.len() > cap {
            return Err(crate::Error::new(
                crate::ErrorKind::TooLarge,
                "read stream",
                format!("it is larger than the limit of {cap} bytes"),
            ));
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}
