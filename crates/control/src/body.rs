//! Bodies of requests that are refused before they are read.
//!
//! A client that is still sending would find the connection closed, and not the answer. So what is left of a body that
//! nobody wants any more is read on aside, for a bounded while.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// How long what is left of a body is read. Who sends for longer has to do without the answer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A body that is read on when it is dropped before its end.
pub(crate) struct Drained {
    /// `None` once it is at its end, or broken.
    body: Option<Incoming>,
    tasks: TaskTracker,
}

impl Drained {
    /// What is left is read by one of these tasks.
    pub(crate) fn new(body: Incoming, tasks: TaskTracker) -> Self {
        let body = Some(body).filter(|body| !body.is_end_stream());
        Self { body, tasks }
    }
}

impl Body for Drained {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = self.body.as_mut() else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take().filter(|body| !body.is_end_stream()) else {
            return;
        };
        self.tasks.spawn(async move {
            let reading = async { while let Some(Ok(_)) = body.frame().await {} };
            // Late or not: there is nothing more to be done for it.
            let _ = timeout(DRAIN_TIMEOUT, reading).await;
        });
    }
}
