//! An answer's body on its way to the client. It holds the instance's place and connection until its end, or until its
//! time is over: a client that does not read has nobody poll the body, so a task of its own watches the time.
//!
//! Most answers are small, and all of their bytes came with their head. Those hold nothing, and need no such task.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use hearth_domain::Contract;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

use super::{Progress, Sent};
use crate::{
    Body, BodyError, CallError, RetireReason, UpstreamLimits,
    client::Client,
    observe::Recording,
    pool::{Conn, Place},
};

/// The body of an instance's answer.
pub(crate) struct Returning {
    /// Absent only while it is dropped.
    body: Option<Incoming>,
    /// What is there of it, and is told next.
    ahead: Ahead,
    shared: Arc<Shared>,
    until: Instant,
    /// Ends with the body.
    watch: Option<AbortOnDropHandle<()>>,
}

/// What is there of a body.
type Ahead = Option<Result<Frame<Bytes>, hyper::Error>>;

/// What body and watch have together.
struct Shared {
    /// Absent once the end is reached.
    held: Mutex<Option<Held>>,
    /// Bytes that were passed on.
    bytes: AtomicU64,
    /// Its time was over before its end.
    late: AtomicBool,
    timeout_ms: u64,
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
    /// The answer for the client.
    pub(crate) fn of(
        sent: Sent,
        progress: Option<Arc<Progress>>,
        recording: Recording,
        timeout_ms: u64,
        client: Option<Arc<Client>>,
    ) -> http::Response<Body> {
        let Sent {
            response,
            mut conn,
            place,
            until,
        } = sent;
        response.map(|mut body| {
            let idle = place.pool().config.client.body_idle;
            let ahead = look(&mut body);
            // An answer that began before the request has ended: neither waits for the other.
            if progress.as_ref().is_some_and(|progress| !progress.is_whole()) {
                conn.detach();
            }
            let held = Held {
                conn,
                place,
                progress,
                recording,
            };
            let shared = Shared {
                held: Mutex::new(Some(held)),
                bytes: AtomicU64::new(0),
                late: AtomicBool::new(false),
                timeout_ms,
            };
            if body.is_end_stream()
                && let Some(whole) = bytes_of(&ahead)
            {
                shared.bytes.store(whole.len() as u64, Ordering::Relaxed);
                shared.end();
                return Body::full(whole);
            }
            let mut returning = Self {
                body: Some(body),
                ahead,
                shared: Arc::new(shared),
                until: until.into(),
                watch: None,
            };
            let watching = watch(Arc::clone(&returning.shared), returning.until, idle, client);
            returning.watch = Some(AbortOnDropHandle::new(tokio::spawn(watching)));
            Body::new(returning)
        })
    }

    fn is_whole(&self) -> bool {
        self.ahead.is_none() && self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }
}

/// Looks at the body once. Nobody is woken by what comes later: whoever reads on looks again.
fn look(body: &mut Incoming) -> Ahead {
    match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(there) => there,
        Poll::Pending => None,
    }
}

/// The next piece of the body.
fn poll_next(
    body: &mut Incoming,
    ahead: &mut Ahead,
    shared: &Shared,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
    if let there @ Some(_) = ahead.take() {
        return Poll::Ready(there);
    }
    // What is there is taken before more is read. Nor does what is then read wake us, who take it at once.
    let polled = if let there @ Some(_) = look(body) {
        Poll::Ready(there)
    } else {
        shared.poll_connection(cx);
        Pin::new(body).poll_frame(cx)
    };
    if let Poll::Ready(Some(Err(error))) = polled {
        // The server drops what it has not written when it is told of an error: it has a turn for that before.
        *ahead = Some(Err(error));
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    polled
}

/// The bytes, if it is nothing else.
fn bytes_of(ahead: &Ahead) -> Option<Bytes> {
    match ahead {
        None => Some(Bytes::new()),
        Some(Ok(frame)) => frame.data_ref().cloned(),
        Some(Err(_)) => None,
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Held> {
        self.held().take()
    }

    fn poll_connection(&self, cx: &mut Context<'_>) {
        if let Some(held) = &mut *self.held() {
            held.conn.poll(cx);
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The answer is whole, unless its machine has vanished: the end of a connection is no end of an answer then.
    fn end(&self) {
        let Some(held) = self.take() else { return };
        if held.place.upstream().gone.is_cancelled() {
            return held.cut(self.bytes(), CallError::Crashed("its machine is gone".to_owned()));
        }
        let config = Arc::clone(&held.place.pool().config);
        held.done(&config.upstream, self.bytes());
    }

    fn cut(&self, error: CallError) {
        if let Some(held) = self.take() {
            held.cut(self.bytes(), error);
        }
    }

    fn too_late(&self) -> CallError {
        CallError::Timeout {
            timeout_ms: self.timeout_ms,
        }
    }

    /// Frees place and connection. The end of the connection wakes the body, which then sees that it is late.
    fn time_is_over(&self) {
        let Some(held) = self.take() else { return };
        self.late.store(true, Ordering::Release);
        if held.place.pool().rule().facts.contract == Contract::Lambda {
            held.place.condemn(RetireReason::TimedOut);
        }
        held.cut(self.bytes(), self.too_late());
    }
}

/// Ends the exchange when its time is over; and then the client's connection, if the client does not even take the end.
async fn watch(shared: Arc<Shared>, until: Instant, idle: Duration, client: Option<Arc<Client>>) {
    sleep_until(until).await;
    shared.time_is_over();
    if let Some(client) = client {
        sleep(idle).await;
        client.connection.cancel();
    }
}

impl HttpBody for Returning {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        let polled = poll_next(body, &mut this.ahead, &this.shared, cx);
        // Looked at after it was polled: what a closed connection says is not the instance's word.
        if self.shared.late.load(Ordering::Acquire) {
            self.body = None;
            return Poll::Ready(Some(Err(self.shared.too_late().into())));
        }
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.shared.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
                if self.is_whole() {
                    self.shared.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.shared.cut(CallError::Crashed(hearth_domain::chain(&error)));
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_whole()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint);
        let Some(Ok(ahead)) = &self.ahead else { return rest };
        let ahead = ahead.data_ref().map_or(0, Bytes::len) as u64;
        let mut all = SizeHint::new();
        if let Some(upper) = rest.upper() {
            all.set_upper(upper.saturating_add(ahead));
        }
        all.set_lower(rest.lower().saturating_add(ahead));
        all
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        // The server reads no further than the last byte, so the end may not have been seen.
        if self.is_whole() {
            self.shared.end();
            return;
        }
        let (Some(held), Some(body)) = (self.shared.take(), self.body.take()) else {
            return;
        };
        let bytes = self.shared.bytes();
        if held.place.pool().rule().facts.contract == Contract::Lambda && Handle::try_current().is_ok() {
            // A Lambda program cannot be told to stop: its place is free when it has ended.
            tokio::spawn(read_to_end(body, held, bytes, self.until, self.shared.timeout_ms));
        } else {
            held.cut(bytes, CallError::ClientGone);
        }
    }
}

async fn read_to_end(mut body: Incoming, mut held: Held, bytes: u64, until: Instant, timeout_ms: u64) {
    held.conn.detach();
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
