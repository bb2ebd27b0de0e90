//! Connections: accepting, bounding, ending them.

mod doors;
mod patience;

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::Response};
use hearth_http::{Stalling, drained};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;
use tracing::{debug, warn};

use self::{
    doors::Doors,
    patience::{PATIENCE, Patience, Pieces},
};
use crate::{listen::Listener, peer::Peer};

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 4096;
/// Of these, one client's at most; further ones are closed.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 512;
/// How long a client may take for TLS, and then to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest head, in bytes.
const HEAD_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 100;
/// How long requests in flight may go on once we shut down.
const GRACE: Duration = Duration::from_secs(5);
/// The wait after a failed accept: mostly the process has no file descriptors left, and some come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until told to stop, and returns when all connections are gone.
pub(crate) async fn serve(listener: Listener, router: Router, shutdown: CancellationToken) {
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let doors = Doors::new(CONNECTIONS_PER_ADDRESS_MAX);
    loop {
        let permit = tokio::select! {
            () = shutdown.cancelled() => break,
            permit = Arc::clone(&room).acquire_owned() => permit,
        };
        let Ok(permit) = permit else { break };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(admission) = doors.admit(peer) else {
                    debug!(?peer, "closed a connection: its address has as many as it may");
                    continue;
                };
                let shutdown = shutdown.clone();
                let service = Service {
                    router: router.clone(),
                    peer,
                    tasks: connections.clone(),
                    pieces: Pieces::default(),
                };
                connections.spawn(async move {
                    match secured(stream).await {
                        Ok(stream) => connection(stream, service, PATIENCE, shutdown).await,
                        Err(error) => debug!(%error, ?peer, "no TLS came about"),
                    }
                    drop((permit, admission));
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.close();
    if timeout(GRACE * 2, connections.wait()).await.is_err() {
        warn!(left = connections.len(), "connections did not end in time");
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that may have to begin TLS yet, which is not to keep others waiting.
enum Accepted {
    Plain(Box<dyn Stream>),
    Tls(TcpStream, TlsAcceptor),
}

async fn secured(accepted: Accepted) -> io::Result<Box<dyn Stream>> {
    match accepted {
        Accepted::Plain(stream) => Ok(stream),
        Accepted::Tls(stream, acceptor) => {
            let stream = timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await??;
            Ok(Box::new(stream))
        }
    }
}

async fn accept(listener: &Listener) -> io::Result<(Accepted, Peer)> {
    match listener {
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            let peer = Peer::of(stream.peer_cred()?);
            Ok((Accepted::Plain(Box::new(stream)), peer))
        }
        Listener::Tcp(listener) | Listener::Watching(listener) => {
            let (stream, address) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Accepted::Plain(Box::new(stream)), Peer::Tcp(address)))
        }
        Listener::Tls(listener, acceptor) => {
            let (stream, address) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Accepted::Tls(stream, acceptor.clone()), Peer::Tls(address)))
        }
    }
}

/// What answers the requests of one connection.
struct Service {
    router: Router,
    peer: Peer,
    tasks: TaskTracker,
    pieces: Pieces,
}

impl Service {
    async fn answer(&self, mut request: Request<Incoming>) -> Result<Response, Infallible> {
        request.extensions_mut().insert(self.peer);
        request.extensions_mut().insert(self.tasks.clone());
        let tasks = self.tasks.clone();
        let request = drained(request, move |rest| drop(tasks.spawn(rest))).map(Body::new);
        let response = self.router.clone().oneshot(request).await?;
        Ok(self.pieces.of(response))
    }
}

async fn connection(stream: Box<dyn Stream>, service: Service, patience: Patience, shutdown: CancellationToken) {
    let peer = service.peer;
    let (pieces, session) = (service.pieces.clone(), service.pieces.clone());
    let longer = move || pieces.are_sent().then_some(patience.pieces);
    let stream = Stalling::new(stream, patience.whole, longer);
    let service = Arc::new(service);
    let service = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { service.answer(request).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match timeout(GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    match ended {
        // Where it goes on, it is a session.
        Ok(()) => session.set(true),
        Err(error) => debug!(%error, ?peer, "a connection broke"),
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use bytes::Bytes;
    use futures::stream;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        task::JoinHandle,
    };

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    /// A connection whose client has read the first byte of an answer, and reads no more.
    async fn unread(path: &str) -> (DuplexStream, JoinHandle<()>) {
        let pieces =
            || async { Body::from_stream(stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from(vec![7; 4096])))) };
        let service = Service {
            router: Router::new()
                .route("/whole", get(|| async { vec![7; 1 << 20] }))
                .route("/pieces", get(pieces)),
            peer: Peer::Unix { uid: 0, gid: 0 },
            tasks: TaskTracker::new(),
            pieces: Pieces::default(),
        };
        let patience = Patience {
            whole: Duration::from_millis(100),
            pieces: Duration::from_hours(1),
        };
        let (ours, mut theirs) = duplex(1024);
        let served = tokio::spawn(connection(Box::new(ours), service, patience, CancellationToken::new()));
        let head = format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n");
        theirs.write_all(head.as_bytes()).await.unwrap();
        theirs.read_u8().await.unwrap();
        (theirs, served)
    }

    #[tokio::test]
    async fn who_does_not_read_is_let_go_before_who_reads_a_stream() {
        let (_reads_a_stream, stream) = unread("/pieces").await;
        let (_reads_nothing, whole) = unread("/whole").await;
        timeout(DEADLINE, whole).await.expect("it is let go").unwrap();
        assert!(!stream.is_finished(), "a stream may be left for longer");
        stream.abort();
    }
}
