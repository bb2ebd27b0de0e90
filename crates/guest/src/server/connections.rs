//! Taking connections within bounds, and HTTP/1.1 on each.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use hearth_http::{Rest, drained};
use http::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::body::{Incoming, Response};
use super::places::Place;
use super::sessions::Sessions;

/// Bounds request headers.
const READ_BUFFER_BYTES: usize = 64 * 1024;
const BACKLOG: i32 = 4096;
/// For one who connects while no connection more is taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a client may still send, and for how long, once it was answered and will be heard no more.
const LINGER_BYTES: usize = 64 * 1024 * 1024;
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);
const LINGER_BUFFER_BYTES: usize = 16 * 1024;

/// What a port's connections may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Served at once, of callers who are trusted; four times as many may wait.
    pub(crate) connections: usize,
    /// Served at once, of all others; further ones are closed.
    pub(crate) strangers: usize,
    /// A client that opens a connection, or keeps one, must say what it wants. `None` where only the guest itself connects.
    pub(crate) header_timeout: Option<Duration>,
}

/// Room for connections. What strangers hold does not count for those who are trusted.
struct Places {
    held: Rc<Semaphore>,
    served: Rc<Semaphore>,
}

impl Places {
    fn new(held: usize, served: usize) -> Self {
        Self {
            held: Rc::new(Semaphore::new(held)),
            served: Rc::new(Semaphore::new(served)),
        }
    }
}

/// Serves until the machine ends.
///
/// A program in the guest may open connections as fast as it can. That must not keep the host out, so only peers that `is_trusted`
/// have the larger share, and the others' are taken and closed rather than left in the queue that both have in common.
pub(crate) async fn serve<H, F>(
    listener: TcpListener,
    limits: Limits,
    is_trusted: impl Fn(IpAddr) -> bool,
    sessions: Rc<Sessions>,
    handle: H,
) where
    H: Fn(SocketAddr, Request<Incoming>) -> F + 'static,
    F: Future<Output = Response> + 'static,
{
    let handle = Rc::new(handle);
    let trusted = Places::new(limits.connections * 4, limits.connections);
    let strangers = Places::new(limits.strangers, limits.strangers);
    // The longest that the kernel allows. A failure leaves the queue as it is.
    let _ = rustix::net::listen(&listener, BACKLOG);
    // Each connection has it from here. Answers are small and awaited; a failure to say so only costs time.
    let _ = rustix::net::sockopt::set_tcp_nodelay(&listener, true);
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of descriptors, or the peer is gone already: give what runs time to end.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let is_trusted = is_trusted(peer.ip().to_canonical());
        let places = if is_trusted { &trusted } else { &strangers };
        let Some(held) = Place::take(&places.held) else {
            continue;
        };
        let place = Rc::clone(&places.served);
        let handle = Rc::clone(&handle);
        let session = sessions.enter(peer);
        tokio::task::spawn_local(async move {
            let _held = held;
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
        let answer = handle(peer, drained(request, read_on as fn(Rest)));
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

fn read_on(rest: Rest) {
    tokio::task::spawn_local(rest);
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
