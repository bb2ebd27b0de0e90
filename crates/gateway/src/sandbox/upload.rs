//! What a client sends to a port, and what becomes of the rest of it when nobody there wants it.
//!
//! A program may answer before an upload is through, to say why it takes no more. Over HTTP/1.1 a client hears that once it has sent
//! all of it: a connection that is closed instead is reset, and the reset takes the answer away, and the client's next request too.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Version, header::EXPECT};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::{runtime::Handle, time::timeout};

use crate::Body;

/// What is read of an upload that nobody wants, and for how long. Whoever sends more is cut off.
const REST_BYTES: u64 = 64 << 20;
const REST_TIMEOUT: Duration = Duration::from_secs(5);

/// A request's body, whose rest is read when it is dropped.
struct Upload(Option<Incoming>);

/// The request with such a body. Over HTTP/2 streams end each for itself, and who waits to be asked has sent nothing yet.
pub(super) fn reading_the_rest(request: Request<Incoming>) -> Request<Body> {
    let sends_anyway = request.version() <= Version::HTTP_11 && !request.headers().contains_key(EXPECT);
    request.map(|body| {
        if sends_anyway && !body.is_end_stream() {
            Body::new(Upload(Some(body)))
        } else {
            Body::from(body)
        }
    })
}

/// Reads on, within bounds, and keeps nothing.
async fn read_rest(mut body: Incoming) {
    let rest = async {
        let mut left = REST_BYTES;
        while let Some(Ok(frame)) = http_body_util::BodyExt::frame(&mut body).await {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            left = match left.checked_sub(length) {
                Some(left) => left,
                None => return,
            };
        }
    };
    // Whether it ended in time makes no difference: it is dropped now.
    let _ = timeout(REST_TIMEOUT, rest).await;
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(body) = self.0.take().filter(|body| !body.is_end_stream())
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(read_rest(body));
        }
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}
