//! Response bodies: whole, or pieces handed over one by one so that a slow client holds its sender back.

use std::any::Any;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hearth_http::{Drained, Rest};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

pub(crate) type Response = http::Response<Body>;
/// A request's body. What nobody reads of it is read on, so that the connection serves the next request.
pub(crate) type Incoming = Drained<fn(Rest)>;

/// Pieces under way between a sender and the socket.
const PIECES: usize = 2;

/// A response's body.
pub(crate) struct Body {
    content: Content,
    /// Dropped once everything was handed to the socket, or the client is gone.
    _held: Option<Box<dyn Any>>,
}

enum Content {
    /// Everything at once.
    Full(Option<Bytes>),
    /// Pieces, until the sender is dropped; an error cuts the connection, so that the client sees a broken answer.
    Pieces(mpsc::Receiver<io::Result<Bytes>>),
    /// As `Pieces`, with trailers at the end.
    Frames(mpsc::Receiver<io::Result<Frame<Bytes>>>),
}

impl Body {
    pub(crate) fn empty() -> Self {
        Content::Full(None).into()
    }

    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Content::Full(Some(bytes.into())).into()
    }

    pub(crate) fn pieces() -> (mpsc::Sender<io::Result<Bytes>>, Self) {
        let (sender, receiver) = mpsc::channel(PIECES);
        (sender, Content::Pieces(receiver).into())
    }

    pub(crate) fn frames() -> (mpsc::Sender<io::Result<Frame<Bytes>>>, Self) {
        let (sender, receiver) = mpsc::channel(PIECES);
        (sender, Content::Frames(receiver).into())
    }

    /// Keeps something until the body is sent.
    pub(crate) fn holding(self, held: impl Any) -> Self {
        Self {
            _held: Some(Box::new(held)),
            ..self
        }
    }
}

impl From<Content> for Body {
    fn from(content: Content) -> Self {
        Self { content, _held: None }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.content {
            Content::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Pieces(receiver) => receiver
                .poll_recv(context)
                .map(|piece| piece.map(|piece| piece.map(Frame::data))),
            Content::Frames(receiver) => receiver.poll_recv(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Content::Pieces(_) | Content::Frames(_) => SizeHint::default(),
        }
    }
}

pub(crate) fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

pub(crate) fn with_type(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An error of the plain HTTP part: `{"code": <status>, "message": …}`.
pub(crate) fn json_error(status: StatusCode, message: &str) -> Response {
    let body = serde_json::json!({ "code": status.as_u16(), "message": message });
    with_type(status, "application/json", Body::full(body.to_string()))
}
