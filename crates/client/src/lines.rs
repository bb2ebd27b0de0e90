//! Answers that come bit by bit.

use std::marker::PhantomData;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::ClientError;

/// No line is longer, in bytes.
const LINE_MAX_BYTES: usize = 4 << 20;

/// Bytes as they come.
#[derive(Debug)]
pub struct ByteStream(Incoming);

impl ByteStream {
    pub(crate) fn new(body: Incoming) -> Self {
        Self(body)
    }

    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, ClientError>> {
        loop {
            return match self.0.frame().await? {
                Ok(frame) => match frame.into_data() {
                    Ok(bytes) => Some(Ok(bytes)),
                    Err(_trailers) => continue,
                },
                Err(source) => Some(Err(ClientError::Transport { source })),
            };
        }
    }
}

/// JSON lines as they come.
#[derive(Debug)]
pub struct Lines<T> {
    bytes: ByteStream,
    buffer: BytesMut,
    line: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    pub(crate) fn new(body: Incoming) -> Self {
        Self {
            bytes: ByteStream::new(body),
            buffer: BytesMut::new(),
            line: PhantomData,
        }
    }

    /// The next line; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<T, ClientError>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                if line.is_empty() {
                    continue;
                }
                return Some(serde_json::from_slice(&line).map_err(|source| ClientError::Decode { source }));
            }
            if self.buffer.len() > LINE_MAX_BYTES {
                return Some(Err(ClientError::Body {
                    source: "a line of the answer is too long".into(),
                }));
            }
            match self.bytes.next().await? {
                Ok(bytes) => self.buffer.extend_from_slice(&bytes),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
