//! Connections to an instance: kept while idle, newest first, so that surplus ones grow old and go.

use std::{
    io,
    pin::Pin,
    sync::PoisonError,
    time::{Duration, Instant},
};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::AbortHandle,
    time::{Sleep, sleep, timeout},
};
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
    pub(crate) sender: SendRequest<Outgoing>,
    /// For the answer's head. Kept, since moving a timer on costs next to nothing, and a new one a place among all timers.
    pub(crate) timer: Pin<Box<Sleep>>,
    task: AbortHandle,
    made: Instant,
    used: Instant,
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Conn {
    fn is_fresh(&self, limits: &UpstreamLimits, now: Instant) -> bool {
        !self.sender.is_closed()
            && now.saturating_duration_since(self.used) < limits.idle_timeout
            && now.saturating_duration_since(self.made) < limits.max_age
    }

    /// Whether a request can be sent on it.
    async fn ready(&mut self) -> bool {
        self.sender.is_ready() || matches!(timeout(READY_TIMEOUT, self.sender.ready()).await, Ok(Ok(())))
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
        let gone = self.gone.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                biased;
                ended = connection.with_upgrades() => if let Err(error) = ended {
                    debug!(%error, "a connection to an instance ended badly");
                },
                () = gone.cancelled() => debug!("a connection is closed: its instance is gone"),
            }
        });
        let now = Instant::now();
        Ok(Conn {
            sender,
            timer: Box::pin(sleep(limits.connect_timeout)),
            task: task.abort_handle(),
            made: now,
            used: now,
        })
    }

    /// Keeps a connection for the next call.
    pub(crate) fn keep(&self, mut conn: Conn, limits: &UpstreamLimits) {
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
        idle.retain(|conn| conn.is_fresh(limits, now));
    }
}
