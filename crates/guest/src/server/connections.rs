//! Taking connections within bounds, and HTTP/1.1 on each.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::body::Response;
use super::sessions::Sessions;

/// Bounds request headers.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// For one who connects while no connection more is taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a client may still send, and for how long, once it was answered and will be heard no more.
const LINGER_BYTES: usize = 64 * 1024 * 1024;
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);
const LINGER_BUFFER_BYTES: usize = 16 * 1024;

/// What a port's connections may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// At once; further ones wait in the listener's queue.
    pub(crate) connections: usize,
    /// A client that opens a connection, or keeps one, must say what it wants. `None` where only the guest itself connects.
    pub(crate) header_timeout: Option<Duration>,
}

/// Serves until the machine ends.
pub(crate) async fn serve<H, F>(listener: TcpListener, limits: Limits, sessions: Rc<Sessions>, handle: H)
where
    H: Fn(SocketAddr, Request<Incoming>) -> F + 'static,
    F: Future<Output = Response> + 'static,
{
    let handle = Rc::new(handle);
    let places = Rc::new(Semaphore::new(limits.connections));
    // Each connection has it from here. Answers are small and awaited; a failure to say so only costs time.
    let _ = rustix::net::sockopt::set_tcp_nodelay(&listener, true);
    loop {
        let place = Rc::clone(&places);
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of descriptors, or the peer is gone already: give what runs time to end.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let handle = Rc::clone(&handle);
        let session = sessions.enter(peer);
        tokio::task::spawn_local(async move {
            let served = async {
                let _place = place.acquire().await;
                serve_connection(stream, peer, limits, handle).await;
            };
            tokio::select! {
                biased;
                () = session.ended() => {}
                () = served => {}
            }
        });
    }
}

async fn serve_connection<H, F>(stream: TcpStream, peer: SocketAddr, limits: Limits, handle: Rc<H>)
where
    H: Fn(SocketAddr, Request<Incoming>) -> F + 'static,
    F: Future<Output = Response> + 'static,
{
    let service = service_fn(|request| {
        let answer = handle(peer, request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(READ_BUFFER_BYTES);
    // A connection that breaks is its client's loss; there is nobody else to tell.
    if let Ok(parts) = builder
        .serve_connection(TokioIo::new(stream), service)
        .without_shutdown()
        .await
    {
        linger(parts.io.into_inner()).await;
    }
}

/// Closes as RFC 9112, 9.6 has it: a socket closed while its client still sends is reset, which takes away the answer that the
/// client has not read yet, such as why its upload was refused.
async fn linger(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut buffer = vec![0; LINGER_BUFFER_BYTES];
    let drained = async {
        let mut left = LINGER_BYTES;
        while left > 0 {
            match stream.read(&mut buffer).await {
                Ok(count) if count > 0 => left = left.saturating_sub(count),
                _ => return,
            }
        }
    };
    // Whether it ended in time makes no difference: the socket is closed now.
    let _ = tokio::time::timeout(LINGER_TIMEOUT, drained).await;
}
