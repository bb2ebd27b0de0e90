//! Connections of clients: accepting, bounding, ending them.

mod entry;
mod lend;
mod limits;

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use entry::answer_to;
use hearth_http::Stalling;
use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use lend::lend;
use limits::{Admission, Doors};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use crate::{CallError, Gateway, client::Client, joining::Joining};

/// The wait after a failed accept: mostly the process has no file descriptors left, and some come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The first wait for the second of the first bytes, if they come one by one; doubles up to the most.
const PEEK_PAUSE: Duration = Duration::from_millis(10);
const PEEK_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How a connection begins that speaks HTTP/2 without TLS. No method of HTTP/1 begins so.
const H2_PREFACE: &[u8] = b"PRI ";
/// How long a connection may be silent in HTTP/2 before it is asked whether it is there.
const H2_PING: Duration = Duration::from_secs(30);

/// Where clients come in.
pub struct GatewayListener {
    /// The socket.
    pub listener: TcpListener,
    /// For TLS; with ALPN `h2` and `http/1.1` where HTTP/2 is wanted.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl Gateway {
    /// Serves on all listeners until told to stop, and returns when all requests have ended or the grace is over.
    pub async fn serve(self: &Arc<Self>, listeners: Vec<GatewayListener>, shutdown: CancellationToken) {
        let server = Arc::new(Server {
            gateway: Arc::clone(self),
            doors: Doors::new(&self.config.client),
            connections: TaskTracker::new(),
            shutdown,
        });
        let accepting = listeners
            .into_iter()
            .map(|listener| tokio::spawn(accept(Arc::clone(&server), listener)))
            .collect::<Vec<_>>();
        for task in accepting {
            if let Err(error) = task.await {
                warn!(%error, "a listener ended badly");
            }
        }
        // Those that run may end; those that wait for an instance are answered while that still reaches them.
        for pool in self.pools.all() {
            pool.fail_waiting(&CallError::ShuttingDown);
        }
        server.connections.close();
        // Each connection has the same grace, and ends by itself.
        server.connections.wait().await;
    }
}

struct Server {
    gateway: Arc<Gateway>,
    doors: Arc<Doors>,
    connections: TaskTracker,
    shutdown: CancellationToken,
}

async fn accept(server: Arc<Server>, listener: GatewayListener) {
    let tls = listener.tls.map(TlsAcceptor::from);
    loop {
        let accepted = tokio::select! {
            () = server.shutdown.cancelled() => return,
            accepted = listener.listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Whoever has too many is shut out before anything is read.
                let Some(admission) = server.doors.admit(peer.ip()) else {
                    continue;
                };
                let (this, tls) = (Arc::clone(&server), tls.clone());
                server.connections.spawn(async move {
                    if let Err(error) = connection(&this, stream, peer, tls, admission).await {
                        debug!(%peer, %error, "a connection ended badly");
                    }
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    server: &Arc<Server>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    _admission: Admission,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let limits = &server.gateway.config.client;
    // One token to wait on, for each poll of the connection asks it.
    let client = |tls| Client::new(peer.ip(), tls, server.shutdown.child_token());
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let Some(acceptor) = tls else {
        let h2 = tokio::select! {
            () = server.shutdown.cancelled() => return Ok(()),
            h2 = timeout(limits.head_timeout, speaks_h2(&stream)) => h2.map_err(late)??,
        };
        return serve(server, stream, client(false), h2).await;
    };
    let stream = timeout(limits.handshake_timeout, acceptor.accept(stream))
        .await
        .map_err(late)??;
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    serve(server, stream, client(true), h2).await
}

/// Whether the client begins as HTTP/2 does. Nothing is taken from the stream.
async fn speaks_h2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; H2_PREFACE.len()];
    let mut pause = PEEK_PAUSE;
    loop {
        let read = stream.peek(&mut first).await?;
        if read == H2_PREFACE.len() || read == 0 || !H2_PREFACE.starts_with(&first[..read]) {
            return Ok(first == H2_PREFACE);
        }
        // What is there stays readable, so there is nothing to wait on.
        sleep(pause).await;
        pause = (pause * 2).min(PEEK_PAUSE_MAX);
    }
}

async fn serve<S>(server: &Server, stream: S, client: Client, h2: bool) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let limits = &server.gateway.config.client;
    let gateway = Arc::clone(&server.gateway);
    let client = Arc::new(client);
    let (ended, stalling) = (client.connection.clone(), Arc::clone(&client));
    // Not a type of its own: so hyper keeps the future of an HTTP/1 request in one place for the whole connection.
    let service = service_fn(move |request| {
        let (gateway, client) = (Arc::clone(&gateway), Arc::clone(&client));
        async move {
            let response = answer_to(&gateway, Arc::clone(&client), Box::new(request)).await;
            Ok::<_, Infallible>(if h2 {
                lend(&gateway, &client, response)
            } else {
                response
            })
        }
    });
    let patience = server.gateway.config.sandboxes.stalled;
    let patience = move || stalling.may_wait().then_some(patience);
    let io = TokioIo::new(Stalling::new(Joining(stream), limits.body_idle, patience));
    // Both kinds of connection have the same methods, but no trait for them.
    macro_rules! drive {
        ($connection:expr) => {{
            let mut connection = pin!($connection);
            tokio::select! {
                biased;
                ended = connection.as_mut() => return ended.map_err(io::Error::other),
                () = ended.cancelled() => (),
            }
            if !server.shutdown.is_cancelled() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            connection.as_mut().graceful_shutdown();
            return match timeout(limits.grace, connection).await {
                Ok(ended) => ended.map_err(io::Error::other),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
        }};
    }
    if h2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.h2_streams)
            .max_pending_accept_reset_streams(limits.h2_pending_resets)
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .keep_alive_interval(H2_PING)
            .keep_alive_timeout(limits.head_timeout);
        drive!(builder.serve_connection(io, service))
    }
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_header_size(limits.head_bytes);
    if limits.headers != 100 {
        // The count that it has anyway costs nothing; any other a heap allocation for each request.
        builder.max_headers(limits.headers);
    }
    drive!(builder.serve_connection(io, service).with_upgrades())
}
