//! For how long a client may leave unread what it is sent. An answer that is held whole costs memory until it is read; of one that comes
//! piece by piece, as of a session, hardly more is held than a piece, and its reader may be a person at a pager.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// How long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) whole: Duration,
    pub(super) pieces: Duration,
}

pub(super) const PATIENCE: Patience = Patience {
    whole: Duration::from_mins(1),
    pieces: Duration::from_hours(24),
};

/// Whether what a connection is sent comes piece by piece at the moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Pieces(Arc<AtomicBool>);

impl Pieces {
    pub(super) fn set(&self, are_sent: bool) {
        self.0.store(are_sent, Ordering::Relaxed);
    }

    pub(super) fn are_sent(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The response; from when its body is asked for pieces until the next answer, that is known. It is asked once what was sent before
    /// is nearly read, and gone while the last of it is still to be read.
    pub(super) fn of(&self, response: Response) -> Response {
        if response.body().size_hint().exact().is_some() {
            self.set(false);
            return response;
        }
        let sent = self.clone();
        response.map(|body| Body::new(Piecewise { body, sent }))
    }
}

/// A body whose pieces are made as they are asked for.
struct Piecewise {
    body: Body,
    sent: Pieces,
}

impl HttpBody for Piecewise {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.sent.set(true);
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
