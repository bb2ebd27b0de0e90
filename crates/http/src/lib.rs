//! What Hearth's HTTP servers have in common: what becomes of the rest of what a client sends when nobody wants it any more, and of a
//! client that does not read ([`Stalling`]).
//!
//! A server may answer before an upload is through, to say why it takes no more. Over HTTP/1.1 a client hears that once it has sent
//! all of it (RFC 9112, 9.3). A connection that is closed instead is reset: that takes the answer away, and with it whatever the
//! client, or a proxy that believes the connection to be good, sends on it next.

mod stall;

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Version, header::EXPECT};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
pub use stall::Stalling;
use tokio::time::timeout;

/// What is read of a body that nobody wants, and for how long. Whoever sends more is cut off.
const REST_BYTES: u64 = 64 << 20;
const REST_TIMEOUT: Duration = Duration::from_secs(5);

/// The reading of a rest, to be run aside. Dropped, it closes the connection.
pub type Rest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A request's body, whose rest is read when it is dropped before its end. `S` runs that.
#[derive(Debug)]
pub struct Drained<S: FnOnce(Rest) + Unpin> {
    /// Absent once it is at its end, or broken.
    body: Option<Incoming>,
    /// Absent where nobody sends anything that was not asked for.
    spawn: Option<S>,
}

/// The request with such a body. Over HTTP/2 streams end each for itself, and who waits to be asked has sent nothing yet.
pub fn drained<S: FnOnce(Rest) + Unpin>(request: Request<Incoming>, spawn: S) -> Request<Drained<S>> {
    let sends_anyway = request.version() <= Version::HTTP_11 && !request.headers().contains_key(EXPECT);
    request.map(|body| Drained {
        body: Some(body).filter(|body| !body.is_end_stream()),
        spawn: sends_anyway.then_some(spawn),
    })
}

/// Reads on, within bounds, and keeps nothing.
async fn read_rest(mut body: Incoming) {
    let rest = async {
        let mut left = REST_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
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

impl<S: FnOnce(Rest) + Unpin> Drop for Drained<S> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream())
            && let Some(spawn) = self.spawn.take()
        {
            spawn(Box::pin(read_rest(body)));
        }
    }
}

impl<S: FnOnce(Rest) + Unpin> Body for Drained<S> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::{Response, server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    /// A connection to a server that answers each request at once and reads nothing of it.
    fn deaf() -> DuplexStream {
        let (client, server) = duplex(1 << 12);
        let service = service_fn(|request| {
            drop(drained(request, |rest: Rest| drop(tokio::spawn(rest))));
            async { Ok::<_, Infallible>(Response::new(String::new())) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(server), service));
        client
    }

    async fn answer(client: &mut DuplexStream) -> String {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            text.push(client.read_u8().await.expect("an answer"));
        }
        String::from_utf8(text).expect("text")
    }

    #[tokio::test]
    async fn the_next_request_is_answered() {
        let mut client = deaf();
        client
            .write_all(b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
            .await
            .expect("the head");
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
        // The rest comes once the answer is there, and in pieces.
        for _ in 0..100 {
            client.write_all(b"3\r\nabc\r\n").await.expect("the rest");
        }
        client
            .write_all(b"0\r\n\r\nGET / HTTP/1.1\r\nhost: h\r\n\r\n")
            .await
            .expect("the next");
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
    }

    // However long the bytes take.
    #[tokio::test(start_paused = true)]
    async fn who_sends_too_much_is_cut_off() {
        let mut client = deaf();
        let length = REST_BYTES + (1 << 20);
        let head = format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n");
        client.write_all(head.as_bytes()).await.expect("the head");
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
        let piece = vec![0; 1 << 16];
        let mut sent = 0;
        while sent < length && client.write_all(&piece).await.is_ok() {
            sent += piece.len() as u64;
        }
        assert!(
            sent >= REST_BYTES && sent < length,
            "{sent} of {length} bytes were taken"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_stands_still_is_cut_off() {
        let mut client = deaf();
        client
            .write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\nabc")
            .await
            .expect("the head");
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
        assert_eq!(client.read(&mut [0]).await.expect("an end"), 0);
    }
}
