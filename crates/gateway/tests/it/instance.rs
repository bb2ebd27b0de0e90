//! Fake instances.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use hearth_gateway::Body;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// How busy an instance is and was.
#[derive(Debug, Default)]
pub(crate) struct Load {
    pub(crate) connections: AtomicU32,
    pub(crate) requests: AtomicU32,
    pub(crate) now: AtomicU32,
    pub(crate) most: AtomicU32,
}

/// A fake instance; gone when it is dropped.
pub(crate) struct FakeInstance {
    pub(crate) address: SocketAddr,
    pub(crate) load: Arc<Load>,
    _task: AbortOnDropHandle<()>,
}

impl FakeInstance {
    /// Answers each request by the function.
    pub(crate) async fn serve<F, A>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::serve_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), answer)
    }

    /// The same on this socket.
    pub(crate) fn serve_on<F, A>(listener: TcpListener, answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let load = Arc::new(Load::default());
        let counted = Arc::clone(&load);
        let task = tokio::spawn(async move {
            // Connections end with the instance.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                counted.connections.fetch_add(1, Ordering::SeqCst);
                let (answer, load) = (answer.clone(), Arc::clone(&counted));
                let service = service_fn(move |request| {
                    let (answer, load) = (answer.clone(), Arc::clone(&load));
                    async move {
                        let _busy = Busy::new(load);
                        Ok::<_, Infallible>(answer(request).await)
                    }
                });
                let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                connections.spawn(serving.with_upgrades());
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            load,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub(crate) fn requests(&self) -> u32 {
        self.load.requests.load(Ordering::SeqCst)
    }
}

struct Busy(Arc<Load>);

impl Busy {
    fn new(load: Arc<Load>) -> Self {
        load.requests.fetch_add(1, Ordering::SeqCst);
        let now = load.now.fetch_add(1, Ordering::SeqCst) + 1;
        load.most.fetch_max(now, Ordering::SeqCst);
        Self(load)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An answer of this text.
pub(crate) fn text(text: impl Into<String>) -> Response<Body> {
    Response::new(Body::full(text.into()))
}
