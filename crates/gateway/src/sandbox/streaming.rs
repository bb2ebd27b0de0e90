//! A sandbox's answer on its way to the client, for as long as it lasts.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Response, Version, header::TRAILER};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use super::{
    connections::{Conn, Connections},
    streams::Stream,
};
use crate::{Body, BodyError, proxy::clean_answer};

/// The body of a sandbox's answer. A connection that is closed because the machine is gone fails it, also where it has neither
/// length nor chunks.
struct Streaming {
    body: Incoming,
    /// Absent once the end is reached.
    held: Option<Held>,
    /// What it has failed with, to be told next.
    failure: Option<BodyError>,
}

/// What is held until the end.
pub(super) struct Held {
    pub(super) conn: Conn,
    pub(super) connections: Arc<Connections>,
    pub(super) stream: Stream,
}

/// The answer for the client.
pub(super) fn streaming(response: Response<Incoming>, held: Held) -> Response<Body> {
    let mut response = response.map(|body| {
        let mut streaming = Streaming {
            body,
            held: Some(held),
            failure: None,
        };
        if streaming.body.is_end_stream() {
            streaming.end();
            return Body::empty();
        }
        Body::new(streaming)
    });
    // The version is of each connection for itself: a program that speaks HTTP/1.0 need not cost the client its connection,
    // and only in chunks an answer that is cut can be told from one that has ended.
    *response.version_mut() = Version::HTTP_11;
    // It names what comes at the end of this very body, which is passed on as it is.
    let trailer = response.headers().get(TRAILER).cloned();
    clean_answer(response.headers_mut());
    if let Some(trailer) = trailer {
        response.headers_mut().insert(TRAILER, trailer);
    }
    response
}

impl Streaming {
    /// The answer is whole: the connection can serve the next.
    fn end(&mut self) {
        if let Some(Held {
            conn,
            connections,
            stream,
        }) = self.held.take()
        {
            drop(stream);
            connections.keep(conn);
        }
    }

    /// It breaks off. The server drops what it has not written when it is told of an error: it has a turn for that before.
    fn fail(&mut self, error: BodyError, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.held = None;
        self.failure = Some(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl HttpBody for Streaming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(failure) = this.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        if this.held.is_none() {
            return Poll::Ready(None);
        }
        match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            None => {
                this.end();
                Poll::Ready(None)
            }
            Some(Ok(frame)) => {
                if frame.is_trailers() || this.body.is_end_stream() {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => this.fail(error.into(), cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.failure.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
