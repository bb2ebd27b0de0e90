//! Bodies that the gateway passes around.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited, combinators::UnsyncBoxBody};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use crate::{
    CallError,
    room::{Held, NoSpace},
};

/// What a body may fail with.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body of a request or an answer.
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Empty,
    Full(Option<Bytes>),
    Incoming(Incoming),
    Boxed(UnsyncBoxBody<Bytes, BodyError>),
}

/// Why a body was not read whole.
#[derive(Debug)]
pub(crate) enum NotCollected {
    TooLarge,
    Broken,
    /// There is no room for it now.
    NoSpace,
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Self::empty();
        }
        Self(Kind::Full(Some(bytes)))
    }

    /// Another body.
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        Self(Kind::Boxed(body.map_err(Into::into).boxed_unsync()))
    }

    /// The bytes, where all of them are in memory and there are any.
    pub(crate) fn into_whole(self) -> Result<Bytes, Self> {
        match self.0 {
            Kind::Full(Some(bytes)) => Ok(bytes),
            kind => Err(Self(kind)),
        }
    }

    /// The whole of it, if it has no more than `max` bytes.
    pub(crate) async fn collect(self, max: usize) -> Result<Bytes, NotCollected> {
        match self.0 {
            Kind::Empty | Kind::Full(None) => Ok(Bytes::new()),
            Kind::Full(Some(bytes)) if bytes.len() <= max => Ok(bytes),
            Kind::Full(Some(_)) => Err(NotCollected::TooLarge),
            kind => match Limited::new(Self(kind), max).collect().await {
                Ok(whole) => Ok(whole.to_bytes()),
                Err(error) if error.is::<LengthLimitError>() => Err(NotCollected::TooLarge),
                Err(_) => Err(NotCollected::Broken),
            },
        }
    }

    /// The same of what a client sends: room is taken as it comes.
    pub(crate) async fn collect_in(mut self, held: &mut Held, max: usize) -> Result<Bytes, NotCollected> {
        if let Kind::Full(Some(bytes)) = &self.0 {
            if bytes.len() > max {
                return Err(NotCollected::TooLarge);
            }
            held.set(bytes.len())?;
            return Ok(bytes.clone());
        }
        let mut whole = Vec::new();
        while let Some(frame) = self.frame().await {
            let frame = frame.map_err(|_| NotCollected::Broken)?;
            let Some(data) = frame.data_ref() else { continue };
            if whole.len() + data.len() > max {
                return Err(NotCollected::TooLarge);
            }
            whole.extend_from_slice(data);
            held.set(whole.capacity())?;
        }
        Ok(whole.into())
    }
}

impl NotCollected {
    /// Why a call has failed whose body may have `max` bytes.
    pub(crate) fn of_call(self, max: usize) -> CallError {
        match self {
            Self::TooLarge => CallError::BodyTooLarge { max: max as u64 },
            Self::Broken => CallError::ClientGone,
            Self::NoSpace => CallError::BodiesFull,
        }
    }
}

impl From<NoSpace> for NotCollected {
    fn from(_: NoSpace) -> Self {
        Self::NoSpace
    }
}

impl From<Incoming> for Body {
    fn from(body: Incoming) -> Self {
        if body.is_end_stream() {
            return Self::empty();
        }
        Self(Kind::Incoming(body))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Incoming(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Kind::Boxed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty | Kind::Full(None) => true,
            Kind::Full(Some(_)) => false,
            Kind::Incoming(body) => body.is_end_stream(),
            Kind::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty | Kind::Full(None) => SizeHint::with_exact(0),
            Kind::Full(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Incoming(body) => body.size_hint(),
            Kind::Boxed(body) => body.size_hint(),
        }
    }
}
