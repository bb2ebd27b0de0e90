//! Connections to an instance: made, kept for the next call, and given up.
//!
//! A connection moves only while it is polled. That is done by the call itself ([`Conn::send`]), and by whoever reads the
//! answer's body ([`Conn::poll`]): no other task has to be woken for a request and for its answer, and what belongs to one call
//! is worked on in one go. Only where both sides of an exchange go on by themselves the connection gets a task of its own
//! ([`Conn::detach`]). An idle one is looked at when it is put back, now and then, and when it is used; the newest is used first,
//! so that surplus ones grow old and go.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::PoisonError,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::{AbortHandle, unconstrained},
    time::{Sleep, sleep, timeout},
};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tracing::debug;

use super::Upstream;
use crate::{UpstreamLimits, joining::Joining, proxy::Outgoing};

/// How long a connection whose last answer has just been read may take to be ready again.
const READY_TIMEOUT: Duration = Duration::from_millis(20);
/// The most that is read of an answer's head, in bytes; and the buffer for its body. As many headers as hyper takes anyway
/// (100): any other number costs two heap allocations for each answer.
const BUFFER_MAX: usize = 256 * 1024;

/// A connection to an instance. Closed when it is dropped, with whatever is under way on it.
pub(crate) struct Conn {
    sender: SendRequest<Outgoing>,
    driver: Driver,
    /// For the answer's head. Kept, since moving a timer on costs next to nothing, and a new one a place among all timers.
    timer: Pin<Box<Sleep>>,
    made: Instant,
    used: Instant,
}

/// What makes a connection move.
enum Driver {
    /// Whoever uses it.
    User(Driven),
    /// A task of its own.
    Task(AbortHandle),
    /// Nothing any more: it is closed, or has become something else.
    None,
}

struct Driven {
    connection: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>,
    /// The instance is known not to be there any more.
    gone: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Whether what comes on it wakes who has used it.
    wakes: bool,
}

/// Why there is no answer.
pub(crate) enum NotAnswered {
    /// Nothing of the request was sent.
    Unsent,
    /// The connection failed, and the instance may have seen the request.
    Broken(hyper::Error),
    /// Its time was over.
    Late,
}

impl Drop for Conn {
    fn drop(&mut self) {
        if let Driver::Task(task) = &self.driver {
            task.abort();
        }
    }
}

impl Conn {
    /// Sends a request and waits until that time for the head of its answer. A request that was not sent is put back.
    pub(crate) async fn send(
        &mut self,
        request: &mut Request<Outgoing>,
        until: Instant,
    ) -> Result<Response<Incoming>, NotAnswered> {
        let Self {
            sender, driver, timer, ..
        } = self;
        timer.as_mut().reset(until.into());
        // Without a budget, for one that is used up says so to a waker that may be none.
        let mut answer = pin!(unconstrained(sender.try_send_request(std::mem::take(request))));
        let mut sent = false;
        let answer = poll_fn(|cx| {
            let nobody = &mut Context::from_waker(Waker::noop());
            // What woke us is mostly the whole answer. Then the connection is left without anybody to wake.
            if std::mem::replace(&mut sent, true)
                && driver.look()
                && let Poll::Ready(answer) = answer.as_mut().poll(nobody)
            {
                return Poll::Ready(Some(answer));
            }
            let polled = if driver.poll(cx) {
                // The connection has just had its turn in this very task, and nobody else brings an answer.
                answer.as_mut().poll(nobody)
            } else {
                answer.as_mut().poll(cx)
            };
            if polled.is_ready() {
                return polled.map(Some);
            }
            if driver.end_if_gone(cx) {
                return answer.as_mut().poll(cx).map(Some);
            }
            timer.as_mut().poll(cx).map(|()| None)
        });
        match answer.await {
            Some(Ok(response)) => Ok(response),
            Some(Err(mut error)) => Err(match error.take_message() {
                Some(unsent) => {
                    *request = unsent;
                    NotAnswered::Unsent
                }
                None => NotAnswered::Broken(error.into_error()),
            }),
            None => Err(NotAnswered::Late),
        }
    }

    /// Moves it on while the body of an answer is read.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) {
        self.driver.poll(cx);
        self.driver.end_if_gone(cx);
    }

    /// From here on it moves by itself.
    pub(crate) fn detach(&mut self) {
        let driven = match std::mem::replace(&mut self.driver, Driver::None) {
            Driver::User(driven) => driven,
            already => {
                self.driver = already;
                return;
            }
        };
        let task = tokio::spawn(async move {
            let Driven { connection, gone, .. } = driven;
            tokio::select! {
                biased;
                ended = connection => told(ended),
                () = gone => debug!("a connection is closed: its instance is gone"),
            }
        });
        self.driver = Driver::Task(task.abort_handle());
    }

    /// Whether it can be kept for another request, as far as is known without waiting.
    fn is_fresh(&self, limits: &UpstreamLimits, now: Instant) -> bool {
        !self.sender.is_closed()
            && now.saturating_duration_since(self.used) < limits.idle_timeout
            && now.saturating_duration_since(self.made) < limits.max_age
    }

    /// Whether a request can be sent on it.
    async fn ready(&mut self) -> bool {
        if self.sender.is_ready() {
            return true;
        }
        let Self { sender, driver, .. } = self;
        let ready = poll_fn(|cx| {
            driver.poll(cx);
            sender.poll_ready(cx)
        });
        matches!(timeout(READY_TIMEOUT, ready).await, Ok(Ok(())))
    }
}

impl Driver {
    /// Moves the connection on, if it does not do so by itself. Whether that is so. What comes later wakes the caller.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        self.advance(cx, true)
    }

    /// The same, but nobody is woken by what comes later.
    fn look(&mut self) -> bool {
        self.advance(&mut Context::from_waker(Waker::noop()), false)
    }

    fn advance(&mut self, cx: &mut Context<'_>, wakes: bool) -> bool {
        match self {
            Self::User(driven) => {
                driven.wakes = wakes;
                if let Poll::Ready(ended) = driven.connection.as_mut().poll(cx) {
                    told(ended);
                    *self = Self::None;
                }
                true
            }
            Self::None => true,
            Self::Task(_) => false,
        }
    }

    /// Whether what comes on the connection wakes who has used it.
    fn wakes(&self) -> bool {
        matches!(self, Self::User(driven) if driven.wakes)
    }

    /// Closes the connection if the instance is known to be gone, and nobody else asks for that: whoever waits for something
    /// is told at once that it will not come. Whether that is so.
    fn end_if_gone(&mut self, cx: &mut Context<'_>) -> bool {
        let Self::User(driven) = self else { return false };
        let gone = driven.gone.as_mut().poll(cx).is_ready();
        if gone {
            *self = Self::None;
        }
        gone
    }
}

fn told(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        debug!(%error, "a connection to an instance ended badly");
    }
}

impl Upstream {
    /// An idle connection, if there is one that can be used.
    pub(crate) async fn idle_connection(&self, limits: &UpstreamLimits) -> Option<Conn> {
        loop {
            let mut conn = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if conn.is_fresh(limits, Instant::now()) && conn.ready().await {
                return Some(conn);
            }
        }
    }

    /// A new connection.
    pub(crate) async fn connect(&self, limits: &UpstreamLimits) -> io::Result<Conn> {
        let connecting = async {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            let handshake = http1::Builder::new()
                .max_buf_size(BUFFER_MAX)
                .handshake(TokioIo::new(Joining(stream)));
            handshake.await.map_err(io::Error::other)
        };
        let (sender, connection) = timeout(limits.connect_timeout, connecting)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let now = Instant::now();
        let driven = Driven {
            connection: Box::pin(connection.with_upgrades()),
            gone: Box::pin(self.gone.clone().cancelled_owned()),
            wakes: false,
        };
        Ok(Conn {
            sender,
            driver: Driver::User(driven),
            timer: Box::pin(sleep(limits.connect_timeout)),
            made: now,
            used: now,
        })
    }

    /// Keeps a connection for the next call.
    pub(crate) fn keep(&self, mut conn: Conn, limits: &UpstreamLimits) {
        if conn.driver.wakes() || !conn.sender.is_ready() {
            conn.driver.look();
        }
        if conn.sender.is_closed() || self.is_draining() {
            return;
        }
        conn.used = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < limits.idle_connections {
            idle.push(conn);
        }
    }

    /// Closes connections that were idle too long.
    pub(crate) fn prune(&self, limits: &UpstreamLimits) {
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain_mut(|conn| {
            conn.driver.look();
            conn.is_fresh(limits, now)
        });
    }
}
