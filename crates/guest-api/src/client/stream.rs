//! Streams of messages from the guest: bounded frames, and a whole message within the idle limit or none.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use http_body::Body as _;
use tokio::time::{Instant, Sleep};

use super::Result;
use super::error::{GuestError, millis};
use super::pool::Exchange;
use crate::MAX_MESSAGE_BYTES;
use crate::connect::{Codec, Frame, FrameDecoder, Message, parse_end_of_stream};

/// Over three keepalive intervals of the agent.
const IDLE_LIMIT: Duration = Duration::from_secs(35);

/// Messages until the guest ends the stream, fails, or falls silent. Keepalives are taken out.
/// Dropping it closes its connection.
pub struct MessageStream<M> {
    call: &'static str,
    exchange: Option<Exchange>,
    decoder: FrameDecoder,
    is_keepalive: fn(&M) -> bool,
    idle: Pin<Box<Sleep>>,
}

impl<M> std::fmt::Debug for MessageStream<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageStream")
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

// Nothing in it is pinned in place.
impl<M> Unpin for MessageStream<M> {}

impl<M: Message> MessageStream<M> {
    pub(super) fn new(call: &'static str, exchange: Exchange, is_keepalive: fn(&M) -> bool) -> Self {
        Self {
            call,
            exchange: Some(exchange),
            decoder: FrameDecoder::new(MAX_MESSAGE_BYTES),
            is_keepalive,
            idle: Box::pin(tokio::time::sleep(IDLE_LIMIT)),
        }
    }

    /// The next message; `None` after the stream's proper end. After an error there is nothing more.
    pub async fn next(&mut self) -> Option<Result<M>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// What the buffered bytes give: a message, the end, or the need for more bytes.
    fn take_decoded(&mut self) -> Result<Decoded<M>> {
        let call = self.call;
        loop {
            match self
                .decoder
                .next_frame()
                .map_err(|source| GuestError::Frame { call, source })?
            {
                None => return Ok(Decoded::NeedsMore),
                Some(Frame::End(payload)) => {
                    parse_end_of_stream(&payload).map_err(|answer| GuestError::Rpc { call, answer })?;
                    return Ok(Decoded::End);
                }
                Some(Frame::Message(payload)) => {
                    self.idle.as_mut().reset(Instant::now() + IDLE_LIMIT);
                    let message = Codec::Proto
                        .decode(payload)
                        .map_err(|source| GuestError::Message { call, source })?;
                    if !(self.is_keepalive)(&message) {
                        return Ok(Decoded::Message(message));
                    }
                }
            }
        }
    }

    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<M>>> {
        let call = self.call;
        loop {
            match self.take_decoded()? {
                Decoded::Message(message) => return Poll::Ready(Ok(Some(message))),
                Decoded::End => return Poll::Ready(Ok(None)),
                Decoded::NeedsMore => {}
            }
            if self.idle.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(GuestError::Timeout {
                    call,
                    limit_ms: millis(IDLE_LIMIT),
                }));
            }
            let Some(exchange) = self.exchange.as_mut() else {
                return Poll::Ready(Ok(None));
            };
            match ready!(Pin::new(&mut exchange.body).poll_frame(context)) {
                Some(Ok(frame)) => frame.data_ref().into_iter().for_each(|data| self.decoder.push(data)),
                Some(Err(source)) => return Poll::Ready(Err(GuestError::Transport { call, source })),
                None => return Poll::Ready(Err(GuestError::protocol(call, "the stream broke off without its end"))),
            }
        }
    }
}

enum Decoded<M> {
    Message(M),
    End,
    NeedsMore,
}

impl<M: Message> Stream for MessageStream<M> {
    type Item = Result<M>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.exchange.is_none() {
            return Poll::Ready(None);
        }
        let step = ready!(self.poll_step(context));
        if !matches!(step, Ok(Some(_))) {
            // Not given back to the pool: the HTTP body's own end has not been read, and an erring guest gets no second use.
            self.exchange = None;
        }
        Poll::Ready(step.transpose())
    }
}
