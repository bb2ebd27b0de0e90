//! A plain client: one connection a request, or raw bytes.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use hearth_gateway::Body;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{doubles::GOOD_KEY, world::LONG};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    address: SocketAddr,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// A new connection.
    pub(crate) async fn connect(self) -> http1::SendRequest<Body> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender
    }

    /// Sends a request on a connection of its own.
    pub(crate) async fn send(self, request: Request<Body>) -> Response<Incoming> {
        let mut sender = self.connect().await;
        let sent = timeout(LONG, sender.send_request(request)).await;
        sent.expect("no answer in time").unwrap()
    }

    /// `GET path`: status and body.
    pub(crate) async fn get(self, path: &str) -> (u16, String) {
        let response = self.send(get(path)).await;
        (response.status().as_u16(), text(response).await)
    }

    /// Sends bytes as they are, and gives all that comes until the connection ends or is silent for a while.
    pub(crate) async fn raw(self, bytes: &[u8], silence: Duration) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(Ok(read)) = timeout(silence, stream.read(&mut buffer)).await {
            if read == 0 {
                break;
            }
            answer.extend_from_slice(&buffer[..read]);
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

pub(crate) fn get(path: &str) -> Request<Body> {
    request("GET", path, "")
}

pub(crate) fn request(method: &str, path: &str, body: impl Into<Bytes>) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header("host", "gateway");
    request.body(Body::full(body)).unwrap()
}

pub(crate) async fn text(response: Response<Incoming>) -> String {
    let whole = timeout(LONG, response.into_body().collect()).await;
    let bytes = whole.expect("no end in time").unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The same from somebody whose key may call.
pub(crate) fn with_key(mut request: Request<Body>) -> Request<Body> {
    let key = format!("Bearer {GOOD_KEY}").parse().unwrap();
    request.headers_mut().insert("authorization", key);
    request
}
