//! Connections to ports of sandboxes: made, kept for the next request, closed once the machine is gone.
//!
//! Each is moved by a task of its own, since requests and answers stream both ways and outlast each other. The task ends
//! with the connection, with `gone`, or when whoever uses the connection gives it up.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use hearth_ids::SandboxId;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::debug;

use super::SandboxLimits;
use crate::{Body, joining::Joining};

/// How long a connection whose last answer has been read may take to be ready for the next request. Longer takes only one on
/// which the request is still being sent.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

/// Whose connections they are. The address is a part of it: after a pause the sandbox may have another.
pub(super) type Key = (SandboxId, SocketAddr);
/// Resolves when the sandbox's machine is not there any more.
pub(super) type Gone = Shared<BoxFuture<'static, ()>>;

/// Connections that nobody uses now.
pub(super) struct Connections {
    limits: SandboxLimits,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    by_key: HashMap<Key, Vec<Conn>>,
    all: usize,
}

/// A connection. Closed when it is dropped, with whatever is under way on it.
pub(super) struct Conn {
    key: Key,
    sender: SendRequest<Body>,
    gone: Gone,
    used: Instant,
    _driver: AbortOnDropHandle<()>,
}

/// Why there is no connection.
pub(super) enum NotOpened {
    /// The machine is not there any more.
    Gone,
    /// Nobody listens, or nobody answered in time.
    Closed(io::Error),
}

/// Why there is no answer.
pub(super) enum NotAnswered {
    /// Nothing of the request was sent, and it was put back.
    Unsent,
    /// The connection failed, and the sandbox may have seen the request.
    Broken(hyper::Error),
}

impl Conn {
    /// Sends a request and waits for the head of its answer, without end. A request that was not sent is put back.
    pub(super) async fn send(&mut self, request: &mut Request<Body>) -> Result<Response<Incoming>, NotAnswered> {
        let sent = self.sender.try_send_request(std::mem::take(request)).await;
        sent.map_err(|mut error| match error.take_message() {
            Some(unsent) => {
                *request = unsent;
                NotAnswered::Unsent
            }
            None => NotAnswered::Broken(error.into_error()),
        })
    }

    pub(super) fn gone(&self) -> Gone {
        self.gone.clone()
    }

    /// Whether the machine is gone: then it is why there was no answer.
    pub(super) fn is_gone(&self) -> bool {
        self.gone().now_or_never().is_some()
    }

    fn is_fresh(&self, idle: Duration) -> bool {
        !self.sender.is_closed() && self.used.elapsed() < idle
    }
}

impl Connections {
    pub(super) fn new(limits: SandboxLimits) -> Self {
        Self {
            limits,
            idle: Mutex::default(),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that is there, if one can be used; the newest first, so that surplus ones grow old.
    pub(super) fn take(&self, key: Key) -> Option<Conn> {
        let mut idle = self.idle();
        let Idle { by_key, all } = &mut *idle;
        let of_key = by_key.get_mut(&key)?;
        let before = of_key.len();
        let found = std::iter::from_fn(|| of_key.pop())
            .find(|conn| conn.is_fresh(self.limits.idle_timeout) && conn.sender.is_ready());
        *all -= before - of_key.len();
        if of_key.is_empty() {
            by_key.remove(&key);
        }
        found
    }

    /// A new connection.
    pub(super) async fn open(self: &Arc<Self>, key: Key, gone: BoxFuture<'static, ()>) -> Result<Conn, NotOpened> {
        let gone = gone.shared();
        let connecting = timeout(self.limits.connect_timeout, connect(key.1));
        let connected = tokio::select! {
            biased;
            () = gone.clone() => return Err(NotOpened::Gone),
            connected = connecting => connected,
        };
        let late = |_| NotOpened::Closed(io::ErrorKind::TimedOut.into());
        let (sender, connection) = connected.map_err(late)?.map_err(NotOpened::Closed)?;
        let driver = drive(connection, gone.clone(), Arc::downgrade(self), key);
        Ok(Conn {
            key,
            sender,
            gone,
            used: Instant::now(),
            _driver: AbortOnDropHandle::new(tokio::spawn(driver)),
        })
    }

    /// Keeps a connection whose answer was read to its end, once it is ready.
    pub(super) fn keep(self: Arc<Self>, mut conn: Conn) {
        if conn.sender.is_ready() {
            return self.put(conn);
        }
        if conn.sender.is_closed() {
            return;
        }
        tokio::spawn(async move {
            if let Ok(Ok(())) = timeout(READY_TIMEOUT, conn.sender.ready()).await {
                self.put(conn);
            }
        });
    }

    fn put(&self, mut conn: Conn) {
        conn.used = Instant::now();
        let mut idle = self.idle();
        // Looked at under the lock: its task forgets it there when it has ended.
        if conn.sender.is_closed() || idle.all >= self.limits.idle_connections {
            return;
        }
        let of_key = idle.by_key.entry(conn.key).or_default();
        if of_key.len() < self.limits.idle_connections_per_port {
            of_key.push(conn);
            idle.all += 1;
        }
    }

    /// Forgets those that are closed or were idle too long.
    fn forget(&self) {
        let mut idle = self.idle();
        let max = self.limits.idle_timeout;
        idle.by_key.retain(|_, of_key| {
            of_key.retain(|conn| conn.is_fresh(max));
            !of_key.is_empty()
        });
        idle.all = idle.by_key.values().map(Vec::len).sum();
    }

    /// Forgets one port's that are closed.
    fn forget_closed(&self, key: Key) {
        let mut idle = self.idle();
        let Some(of_key) = idle.by_key.get_mut(&key) else {
            return;
        };
        let before = of_key.len();
        of_key.retain(|conn| !conn.sender.is_closed());
        let (after, forgotten) = (of_key.len(), before - of_key.len());
        if after == 0 {
            idle.by_key.remove(&key);
        }
        idle.all -= forgotten;
    }
}

type Connection = http1::Connection<TokioIo<Joining<TcpStream>>, Body>;

async fn connect(address: SocketAddr) -> io::Result<(SendRequest<Body>, Connection)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let handshake = http1::handshake(TokioIo::new(Joining(stream)));
    handshake.await.map_err(io::Error::other)
}

/// Moves a connection until its end or its machine's. That is asked for first each time, so that nothing is sent any more once
/// the machine is gone: whoever is there then may be another.
async fn drive(connection: Connection, gone: Gone, connections: Weak<Connections>, key: Key) {
    tokio::select! {
        biased;
        () = gone => debug!("a connection is closed: its sandbox is gone"),
        ended = connection.with_upgrades() => if let Err(error) = ended {
            debug!(%error, "a connection to a sandbox ended badly");
        },
    }
    if let Some(connections) = connections.upgrade() {
        connections.forget_closed(key);
    }
}

/// Closes connections that were idle too long, now and then.
pub(super) async fn prune(connections: Arc<Connections>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(connections.limits.idle_timeout) => connections.forget(),
        }
    }
}
