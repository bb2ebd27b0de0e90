//! Ports of sandboxes: small servers on loopback in the place of what runs in guests.

mod access;
mod connections;
mod gone;
mod hostile;
mod refusals;
mod routing;
mod streams;
mod uploads;

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use futures::FutureExt as _;
use hearth_gateway::{Body, GatewayConfig, Knock, NoSandbox, Route, SandboxPlace, Sandboxes};
use hearth_ids::SandboxId;
use http::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::world::{LONG, World};

/// What is known of a sandbox.
#[derive(Clone)]
pub(crate) struct Known {
    address: IpAddr,
    token: Option<Arc<str>>,
    mask_host: Option<String>,
    gone: CancellationToken,
    /// Why it cannot be had.
    missing: Option<NoSandbox>,
}

/// Sandboxes that are somewhere on loopback.
#[derive(Default)]
pub(crate) struct House {
    known: Mutex<HashMap<SandboxId, Known>>,
    /// How often somebody looked for one.
    asked: AtomicU32,
}

impl House {
    /// A sandbox at this address, of which `change` says more.
    fn enter(&self, address: SocketAddr, change: impl FnOnce(&mut Known)) -> SandboxId {
        let id = SandboxId::new();
        let known = Known {
            address: address.ip(),
            token: None,
            mask_host: None,
            gone: CancellationToken::new(),
            missing: None,
        };
        self.known.lock().unwrap().insert(id, known);
        self.change(id, change);
        id
    }

    fn change(&self, id: SandboxId, change: impl FnOnce(&mut Known)) {
        change(self.known.lock().unwrap().get_mut(&id).unwrap());
    }

    /// Its machine goes; where it comes again it is another.
    fn go(&self, id: SandboxId) {
        self.change(id, |known| std::mem::take(&mut known.gone).cancel());
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Sandboxes for House {
    async fn find(&self, id: SandboxId, _: Knock<'_>) -> Result<SandboxPlace, NoSandbox> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let known = self.known.lock().unwrap().get(&id).cloned();
        let known = known.ok_or(NoSandbox::NotFound)?;
        if let Some(missing) = known.missing {
            return Err(missing);
        }
        Ok(SandboxPlace {
            held: None,
            address: known.address,
            traffic_token: known.token,
            mask_host: known.mask_host,
            gone: known.gone.cancelled_owned().boxed(),
        })
    }
}

/// A gateway before sandboxes.
async fn world(config: GatewayConfig, routes: Vec<Route>) -> (World, Arc<House>) {
    let house = Arc::<House>::default();
    (World::of(config, routes, house.clone()).await, house)
}

/// A request without body for the port of the sandbox.
fn to(at: SocketAddr, id: SandboxId, path: &str) -> Request<Body> {
    let host = format!("{}-{id}.e2b.localhost", at.port());
    let request = Request::get(path).header("host", host);
    request.body(Body::empty()).unwrap()
}

/// The same with a body.
fn post(at: SocketAddr, id: SandboxId, path: &str, body: Body) -> Request<Body> {
    let mut request = to(at, id, path).map(|_| body);
    *request.method_mut() = http::Method::POST;
    request
}

/// The same as HTTP/2 names a host.
fn over_h2(request: Request<Body>) -> Request<Body> {
    let (mut parts, body) = request.into_parts();
    let host = parts.headers.remove("host").unwrap();
    let path = parts.uri.path_and_query().unwrap().clone();
    let uri = http::Uri::builder().scheme("http").authority(host.to_str().unwrap());
    parts.uri = uri.path_and_query(path).build().unwrap();
    parts.version = http::Version::HTTP_2;
    Request::from_parts(parts, body)
}

/// A connection that speaks HTTP/2 from its first byte.
async fn h2(world: &World) -> http2::SendRequest<Body> {
    let stream = TcpStream::connect(world.address).await.unwrap();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A loopback address that no other test has.
fn own_address() -> IpAddr {
    let [_, a, b, c] = rand::random::<u32>().to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, a.clamp(1, 254), b, c.clamp(1, 254)))
}

/// Waits for what must come.
async fn soon<F: Future>(what: &str, wait: F) -> F::Output {
    timeout(LONG, wait)
        .await
        .unwrap_or_else(|_| panic!("{what}: not in time"))
}
