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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::body::Response;
use super::sessions::Sessions;

/// Bounds request headers.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// For one who connects while no connection more is taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}
