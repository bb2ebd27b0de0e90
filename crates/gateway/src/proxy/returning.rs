//! An answer's body on its way to the client. It holds the instance's place and connection until its end.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hearth_domain::Contract;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::{
    runtime::Handle,
    time::{Instant, Sleep, sleep_until, timeout_at},
};

use super::{Progress, Sent};
use crate::{
    BodyError, CallError, RetireReason, UpstreamLimits,
    observe::Recording,
    pool::{Conn, Place},
};

/// The body of an instance's answer.
pub(crate) struct Returning {
    /// Absent only while it is dropped.
    body: Option<Incoming>,
    /// Absent once the end is reached.
    held: Option<Held>,
    until: Pin<Box<Sleep>>,
    timeout_ms: u64,
    bytes: u64,
}

struct Held {
    conn: Conn,
    place: Place,
    progress: Option<Arc<Progress>>,
    recording: Recording,
}

impl Held {
    /// The answer is whole: connection and place can serve the next.
    fn done(self, limits: &UpstreamLimits, bytes: u64) {
        let whole = self.progress.as_ref().is_none_or(|progress| progress.is_whole());
        let bytes_in = self.progress.as_ref().map_or(0, |progress| progress.bytes());
        if whole {
            self.place.upstream().keep(self.conn, limits);
        }
        drop(self.place);
        self.recording.finish(bytes_in, bytes, None);
    }

    /// It ended early: the connection is closed, and with it whatever the instance still does.
    fn cut(self, bytes: u64, error: CallError) {
        let bytes_in = self.progress.as_ref().map_or(0, |progress| progress.bytes());
        drop(self.conn);
        drop(self.place);
        self.recording.finish(bytes_in, bytes, Some(error));
    }
}

impl Returning {
    /// The body of this answer.
    pub(crate) fn new(
        sent: Sent,
        progress: Option<Arc<Progress>>,
        recording: Recording,
        timeout_ms: u64,
    ) -> http::Response<Self> {
        let Sent {
            response,
            conn,
            place,
            until,
        } = sent;
        response.map(|body| {
            let mut returning = Self {
                body: Some(body),
                held: Some(Held {
                    conn,
                    place,
                    progress,
                    recording,
                }),
                until: Box::pin(sleep_until(until.into())),
                timeout_ms,
                bytes: 0,
            };
            returning.end_if_whole();
            returning
        })
    }

    fn is_whole(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn end_if_whole(&mut self) {
        if self.is_whole() {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(held) = self.held.take() {
            let config = Arc::clone(&held.place.pool().config);
            held.done(&config.upstream, self.bytes);
        }
    }

    fn cut(&mut self, error: CallError) {
        if let Some(held) = self.held.take() {
            held.cut(self.bytes, error);
        }
    }

    fn time_is_over(&mut self) -> CallError {
        let error = CallError::Timeout {
            timeout_ms: self.timeout_ms,
        };
        if let Some(held) = &self.held
            && held.place.pool().rule().facts.contract == Contract::Lambda
        {
            held.place.condemn(RetireReason::TimedOut);
        }
        self.cut(error.clone());
        error
    }
}

impl HttpBody for Returning {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        match Pin::new(body).poll_frame(cx) {
            Poll::Pending => {
                if self.held.is_some() && self.until.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Some(Err(self.time_is_over().into())));
                }
                Poll::Pending
            }
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                self.end_if_whole();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.cut(CallError::Crashed(hearth_domain::chain(&error)));
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_whole()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        // The server reads no further than the last byte, so the end may not have been seen.
        if self.is_whole() {
            self.end();
            return;
        }
        let (Some(held), Some(body)) = (self.held.take(), self.body.take()) else {
            return;
        };
        if held.place.pool().rule().facts.contract == Contract::Lambda && Handle::try_current().is_ok() {
            // A Lambda program cannot be told to stop: its place is free when it has ended.
            let (until, timeout_ms) = (self.until.deadline(), self.timeout_ms);
            tokio::spawn(read_to_end(body, held, self.bytes, until, timeout_ms));
        } else {
            held.cut(self.bytes, CallError::ClientGone);
        }
    }
}

async fn read_to_end(mut body: Incoming, held: Held, bytes: u64, until: Instant, timeout_ms: u64) {
    let end = async {
        while let Some(frame) = body.frame().await {
            frame?;
        }
        Ok::<(), hyper::Error>(())
    };
    match timeout_at(until, end).await {
        Ok(Ok(())) => {
            let config = Arc::clone(&held.place.pool().config);
            held.done(&config.upstream, bytes);
        }
        Ok(Err(_)) => held.cut(bytes, CallError::ClientGone),
        Err(_) => {
            held.place.condemn(RetireReason::TimedOut);
            held.cut(bytes, CallError::Timeout { timeout_ms });
        }
    }
}
