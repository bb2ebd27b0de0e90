//! Connect on the server's side: reading requests within bounds, answering once or in a stream, keepalives and deadlines.

use std::time::Duration;

use bytes::Bytes;
use hearth_guest_api::connect::{
    Code, Codec, ConnectError, Frame, FrameDecoder, Kind, Message, TIMEOUT_HEADER, content_type, encode_end,
    encode_message, end_of_stream, parse_content_type,
};
use hearth_guest_api::{KEEPALIVE_HEADER, MAX_ANSWER_BYTES, MAX_MESSAGE_BYTES};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::body::{self, Body, Incoming, Response};
use super::{header, named_user};

/// For the next piece of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// For the next message of a client that streams: somebody may be typing, and a program may be long at what it was given. Who wants
/// an end says so, by the call's time-out; a connection that is gone is an end as well.
const STREAM_SILENCE: Duration = Duration::MAX;
const DEFAULT_KEEPALIVE: Duration = Duration::from_secs(90);

/// A call that was let in, its message not yet read.
pub(crate) struct Call {
    codec: Codec,
    kind: Kind,
    /// The user named by the caller.
    pub(crate) user: Option<String>,
    pub(crate) keepalive: Duration,
    /// How long the caller will wait.
    pub(crate) timeout: Option<Duration>,
    body: Incoming,
}

impl Call {
    pub(crate) fn new(request: Request<Incoming>) -> Result<Self, ConnectError> {
        let headers = request.headers();
        let invalid = |message: String| ConnectError::new(Code::InvalidArgument, message);
        let named = header(headers, CONTENT_TYPE.as_str());
        let (codec, kind) =
            parse_content_type(named).ok_or_else(|| invalid(format!("the content type `{named}` is not supported")))?;
        for encoding in [CONTENT_ENCODING.as_str(), "connect-content-encoding"] {
            if !matches!(header(headers, encoding), "" | "identity") {
                return Err(ConnectError::new(
                    Code::Unimplemented,
                    "compression is not supported; send `identity`",
                ));
            }
        }
        Ok(Self {
            codec,
            kind,
            user: named_user(headers),
            keepalive: parse_keepalive(header(headers, KEEPALIVE_HEADER)),
            timeout: parse_timeout(header(headers, TIMEOUT_HEADER)).map_err(invalid)?,
            body: request.into_body(),
        })
    }

    /// The one message of a unary or server-streaming call.
    async fn message<M: Message>(&mut self) -> Result<M, ConnectError> {
        let bytes = match self.kind {
            Kind::Unary => self.whole_body().await?,
            Kind::Stream => self.only_frame().await?,
        };
        decode(self.codec, bytes)
    }

    async fn whole_body(&mut self) -> Result<Bytes, ConnectError> {
        let mut collected = Vec::new();
        while let Some(data) = next_data(&mut self.body, REQUEST_TIMEOUT).await? {
            if collected.len() + data.len() > MAX_MESSAGE_BYTES {
                return Err(ConnectError::new(
                    Code::ResourceExhausted,
                    format!("a message may have at most {MAX_MESSAGE_BYTES} bytes"),
                ));
            }
            collected.extend_from_slice(&data);
        }
        Ok(collected.into())
    }

    /// Reads the request to its end, too: a connection with something unread cannot serve another call.
    async fn only_frame(&mut self) -> Result<Bytes, ConnectError> {
        let invalid = |message| ConnectError::new(Code::InvalidArgument, message);
        let mut frames = FrameDecoder::new(MAX_MESSAGE_BYTES);
        let message = next_message(&mut frames, &mut self.body, REQUEST_TIMEOUT)
            .await?
            .ok_or_else(|| invalid("the request has no message"))?;
        match next_message(&mut frames, &mut self.body, REQUEST_TIMEOUT).await? {
            None => Ok(message),
            Some(_) => Err(invalid("the request has more than one message")),
        }
    }

    fn expect(&self, kind: Kind) -> Result<(), ConnectError> {
        let wanted = content_type(self.codec, kind);
        (self.kind == kind)
            .then_some(())
            .ok_or_else(|| ConnectError::new(Code::InvalidArgument, format!("this call wants `{wanted}`")))
    }
}

fn decode<M: Message>(codec: Codec, bytes: Bytes) -> Result<M, ConnectError> {
    codec.decode(bytes).map_err(|error| {
        let cause = std::error::Error::source(&error)
            .map(ToString::to_string)
            .unwrap_or_default();
        ConnectError::new(Code::InvalidArgument, format!("{error}: {cause}"))
    })
}

async fn next_data(body: &mut Incoming, patience: Duration) -> Result<Option<Bytes>, ConnectError> {
    let late = |_| ConnectError::new(Code::DeadlineExceeded, "the request took too long to arrive");
    let broken = |error| ConnectError::new(Code::Canceled, format!("the request broke off: {error}"));
    loop {
        let Some(frame) = tokio::time::timeout(patience, body.frame()).await.map_err(late)? else {
            return Ok(None);
        };
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            return Ok(Some(data));
        }
    }
}

async fn next_message(
    frames: &mut FrameDecoder,
    body: &mut Incoming,
    patience: Duration,
) -> Result<Option<Bytes>, ConnectError> {
    loop {
        match frames
            .next_frame()
            .map_err(|error| ConnectError::new(Code::InvalidArgument, error.to_string()))?
        {
            Some(Frame::Message(payload)) => return Ok(Some(payload)),
            Some(Frame::End(_)) => return Ok(None),
            None => {}
        }
        match next_data(body, patience).await? {
            Some(data) => frames.push(&data),
            None if frames.is_partial() => {
                return Err(ConnectError::new(Code::InvalidArgument, "the last frame is cut short"));
            }
            None => return Ok(None),
        }
    }
}

/// Seconds; anything unreadable is the default, since old clients send odd things.
fn parse_keepalive(value: &str) -> Duration {
    value
        .parse()
        .ok()
        .filter(|seconds| (1..=3600).contains(seconds))
        .map_or(DEFAULT_KEEPALIVE, Duration::from_secs)
}

/// Milliseconds in at most ten digits, by the protocol. 0 or nothing means no limit.
fn parse_timeout(value: &str) -> Result<Option<Duration>, String> {
    if value.is_empty() {
        return Ok(None);
    }
    let parsed = value.parse::<u64>().ok().filter(|_| value.len() <= 10);
    let ms = parsed.ok_or_else(|| format!("`{value}` is no time-out; send milliseconds in at most ten digits"))?;
    Ok((ms > 0).then(|| Duration::from_millis(ms)))
}

fn deadline_error() -> ConnectError {
    ConnectError::new(Code::DeadlineExceeded, "the call's time-out has passed")
}

/// The moment that a caller's time-out, from now, ends at.
pub(crate) fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

/// Ends as the work does, or when the caller's time-out passes.
pub(crate) async fn within<T>(
    timeout: Option<Duration>,
    work: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    match timeout {
        Some(timeout) => tokio::time::timeout(timeout, work)
            .await
            .unwrap_or_else(|_| Err(deadline_error())),
        None => work.await,
    }
}

pub(crate) fn unary_error(error: &ConnectError) -> Response {
    body::with_type(error.code.status(), "application/json", Body::full(error.to_json()))
}

pub(crate) fn unknown_method(method: &str) -> Response {
    let name: String = method.chars().take(80).collect();
    let error = ConnectError::new(Code::Unimplemented, format!("there is no method `{name}`"));
    body::with_type(StatusCode::NOT_FOUND, "application/json", Body::full(error.to_json()))
}

/// A call with one message each way.
pub(crate) async fn unary<Q: Message, A: Message>(
    mut call: Call,
    handle: impl AsyncFnOnce(Q) -> Result<A, ConnectError>,
) -> Response {
    let timeout = call.timeout;
    let answer = within(timeout, async {
        call.expect(Kind::Unary)?;
        let message = call.message().await?;
        let answer = handle(message).await?;
        let encoded = call.codec.encode(&answer);
        let bytes = encoded.map_err(|error| ConnectError::new(Code::Internal, error.to_string()))?;
        let too_large = || {
            ConnectError::new(
                Code::ResourceExhausted,
                format!("the answer exceeds {MAX_ANSWER_BYTES} bytes; ask for less"),
            )
        };
        (bytes.len() <= MAX_ANSWER_BYTES).then_some(bytes).ok_or_else(too_large)
    });
    match answer.await {
        Ok(bytes) => body::with_type(StatusCode::OK, content_type(call.codec, Kind::Unary), Body::full(bytes)),
        Err(error) => unary_error(&error),
    }
}

/// A call whose client streams and whose answer is one message, in a stream of its own.
pub(crate) async fn client_stream<Q: Message, A: Message>(
    mut call: Call,
    handle: impl AsyncFnOnce(Messages<'_, Q>) -> Result<A, ConnectError>,
) -> Response {
    let (codec, timeout) = (call.codec, call.timeout);
    if let Err(error) = call.expect(Kind::Stream) {
        return unary_error(&error);
    }
    let messages = Messages {
        codec,
        frames: FrameDecoder::new(MAX_MESSAGE_BYTES),
        body: &mut call.body,
        marker: std::marker::PhantomData,
    };
    let answer = within(timeout, handle(messages)).await.and_then(|answer| {
        let encoded = codec.encode(&answer);
        encoded.map_err(|error| ConnectError::new(Code::Internal, error.to_string()))
    });
    let mut wire = Vec::new();
    let end = match answer {
        Ok(bytes) => {
            wire.extend_from_slice(&encode_message(&bytes));
            end_of_stream(None)
        }
        Err(error) => end_of_stream(Some(error)),
    };
    wire.extend_from_slice(&encode_end(&end));
    body::with_type(StatusCode::OK, content_type(codec, Kind::Stream), Body::full(wire))
}

/// What a streaming client sends.
pub(crate) struct Messages<'a, M> {
    codec: Codec,
    frames: FrameDecoder,
    body: &'a mut Incoming,
    marker: std::marker::PhantomData<M>,
}

impl<M: Message> Messages<'_, M> {
    /// The next message; `None` when the client is done.
    pub(crate) async fn next(&mut self) -> Result<Option<M>, ConnectError> {
        let bytes = next_message(&mut self.frames, self.body, STREAM_SILENCE).await?;
        bytes.map(|bytes| decode(self.codec, bytes)).transpose()
    }
}

/// The client is gone.
#[derive(Debug)]
pub(crate) struct Gone;

/// The way out of a streaming call.
pub(crate) struct Sink<A> {
    codec: Codec,
    pieces: mpsc::Sender<std::io::Result<Bytes>>,
    marker: std::marker::PhantomData<A>,
}

impl<A: Message> Sink<A> {
    /// Waits while the client is slow.
    pub(crate) async fn send(&self, message: &A) -> Result<(), Gone> {
        // An event of our own making always has a JSON form; one that had none could only be left out.
        let Ok(bytes) = self.codec.encode(message) else {
            return Ok(());
        };
        self.pieces.send(Ok(encode_message(&bytes))).await.map_err(|_| Gone)
    }

    /// Returns when the client is gone.
    pub(crate) async fn gone(&self) {
        self.pieces.closed().await;
    }
}

/// A call answered with a stream. The handler runs in a task that ends with it; the client's leaving shows as [`Gone`].
pub(crate) async fn server_stream<Q, A, H>(mut call: Call, handle: H) -> Response
where
    Q: Message,
    A: Message,
    H: AsyncFnOnce(Q, &Sink<A>) -> Result<(), ConnectError> + 'static,
{
    if let Err(error) = call.expect(Kind::Stream) {
        return unary_error(&error);
    }
    let (pieces, body) = Body::pieces();
    let sink = Sink {
        codec: call.codec,
        pieces: pieces.clone(),
        marker: std::marker::PhantomData,
    };
    let codec = call.codec;
    // Read before the answer begins: HTTP/1.1 clients may send the one after the other.
    let message = call.message::<Q>().await;
    tokio::task::spawn_local(async move {
        let handled = match message {
            Ok(message) => handle(message, &sink).await,
            Err(error) => Err(error),
        };
        // A client that is gone needs no end.
        let _ = pieces.send(Ok(encode_end(&end_of_stream(handled.err())))).await;
    });
    body::with_type(StatusCode::OK, content_type(codec, Kind::Stream), body)
}

/// Forwards events until `next` has none, with a keepalive whenever there was none for the interval.
/// Errors when the deadline passes, whatever else happens at that moment; ends quietly when the client is gone.
pub(crate) async fn forward<A: Message>(
    sink: &Sink<A>,
    keepalive: (Duration, A),
    deadline: Option<Instant>,
    mut next: impl AsyncFnMut() -> Option<A>,
) -> Result<(), ConnectError> {
    let expired = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    let (interval, ping) = keepalive;
    let work = async {
        loop {
            let sent = tokio::select! {
                biased;
                event = next() => match event {
                    Some(event) => sink.send(&event).await,
                    None => return Ok(()),
                },
                () = tokio::time::sleep(interval) => sink.send(&ping).await,
                () = sink.gone() => Err(Gone),
            };
            if sent.is_err() {
                return Ok(());
            }
        }
    };
    tokio::select! {
        biased;
        () = expired => Err(deadline_error()),
        result = work => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_and_keepalives() {
        assert_eq!(parse_timeout(""), Ok(None));
        assert_eq!(parse_timeout("0"), Ok(None));
        assert_eq!(parse_timeout("1500"), Ok(Some(Duration::from_millis(1500))));
        assert!(parse_timeout("12345678901").is_err() && parse_timeout("-1").is_err() && parse_timeout("x").is_err());
        assert_eq!(parse_keepalive("50"), Duration::from_secs(50));
        assert_eq!(parse_keepalive("0"), DEFAULT_KEEPALIVE);
        assert_eq!(parse_keepalive("soon"), DEFAULT_KEEPALIVE);
    }
}
