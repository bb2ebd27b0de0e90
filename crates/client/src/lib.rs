//! Client of the API: over the daemon's unix socket, or over TCP on the same host.
//!
//! Each call opens a connection of its own: they are cheap on one host, and so no call waits for another's stream.

mod error;
mod lines;
mod path;
mod session;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bytes::Bytes;
pub use error::ClientError;
use futures::{Stream, TryStreamExt};
use hearth_api::Problem;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
pub use lines::{ByteStream, Lines};
pub use path::ApiPath;
use serde::{Serialize, de::DeserializeOwned};
pub use session::{Session, SessionReceiver, SessionSender};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// Where a daemon listens that was not told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/hearth/hearth.sock";

/// A daemon that does not take a connection within this is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// No plain answer is larger, in bytes.
const ANSWER_MAX_BYTES: usize = 64 << 20;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A connection that can carry HTTP.
trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// Where the daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket.
    Unix(PathBuf),
    /// Plain TCP, on loopback.
    Tcp(SocketAddr),
}

/// A client of one daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    endpoint: Endpoint,
}

impl Client {
    /// A client of the daemon at `endpoint`. Nothing is connected yet.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Reads a resource.
    pub async fn get<T: DeserializeOwned>(&self, path: &ApiPath) -> Result<T, ClientError> {
        self.json(Method::GET, path, empty()).await
    }

    /// Sends a request without a body.
    pub async fn post<T: DeserializeOwned>(&self, path: &ApiPath) -> Result<T, ClientError> {
        self.json(Method::POST, path, empty()).await
    }

    /// Sends a request with a JSON body.
    pub async fn post_json<T: DeserializeOwned>(
        &self,
        path: &ApiPath,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|source| ClientError::Encode { source })?;
        self.json(Method::POST, path, full(body)).await
    }

    /// Removes something that leaves an account.
    pub async fn delete<T: DeserializeOwned>(&self, path: &ApiPath) -> Result<T, ClientError> {
        self.json(Method::DELETE, path, empty()).await
    }

    /// Does something that has no answer.
    pub async fn act(&self, method: Method, path: &ApiPath) -> Result<(), ClientError> {
        let response = self.send(request(method, path, empty())?).await?;
        whole(response).await.map(drop)
    }

    /// A stream of JSON lines, after a request with a JSON body or without one.
    pub async fn lines<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &ApiPath,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<Lines<T>, ClientError> {
        let body = match body {
            None => empty(),
            Some(body) => full(serde_json::to_vec(body).map_err(|source| ClientError::Encode { source })?),
        };
        Ok(Lines::new(self.send(request(method, path, body)?).await?.into_body()))
    }

    /// The same with a streamed body.
    pub async fn upload_lines<T: DeserializeOwned>(
        &self,
        path: &ApiPath,
        body: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<Lines<T>, ClientError> {
        let mut request = request(Method::POST, path, streamed(body))?;
        request.headers_mut().insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/octet-stream"),
        );
        Ok(Lines::new(self.send(request).await?.into_body()))
    }

    /// A stream of bytes, with the answer's headers.
    pub async fn download(&self, path: &ApiPath) -> Result<(http::HeaderMap, ByteStream), ClientError> {
        let (parts, body) = self.send(request(Method::GET, path, empty())?).await?.into_parts();
        Ok((parts.headers, ByteStream::new(body)))
    }

    /// Sends a tar.
    pub async fn upload_tar(
        &self,
        path: &ApiPath,
        body: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), ClientError> {
        let mut request = request(Method::PUT, path, streamed(body))?;
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(hearth_api::TAR));
        let response = self.send(request).await?;
        whole(response).await.map(drop)
    }

    /// Opens a web socket for attach or exec.
    pub async fn session(&self, path: &ApiPath) -> Result<Session, ClientError> {
        Session::open(self.connect().await?, path).await
    }

    async fn json<T: DeserializeOwned>(&self, method: Method, path: &ApiPath, body: Body) -> Result<T, ClientError> {
        let response = self.send(request(method, path, body)?).await?;
        let bytes = whole(response).await?;
        serde_json::from_slice(&bytes).map_err(|source| ClientError::Decode { source })
    }

    /// Sends a request and gives its answer, if it is a good one.
    async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, ClientError> {
        let io = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
            .await
            .map_err(|source| ClientError::Transport { source })?;
        // Ends with the connection: when the answer has been read, or is dropped.
        tokio::spawn(connection);
        let response = sender
            .send_request(request)
            .await
            .map_err(|source| ClientError::Transport { source })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        Err(refusal(status, &whole_body(response.into_body()).await?))
    }

    async fn connect(&self) -> Result<Box<dyn Transport>, ClientError> {
        let connected = async {
            Ok::<Box<dyn Transport>, std::io::Error>(match &self.endpoint {
                Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await?),
                Endpoint::Tcp(addr) => Box::new(TcpStream::connect(addr).await?),
            })
        };
        let failed = |source| ClientError::NoDaemon {
            endpoint: self.endpoint.clone(),
            source,
        };
        match timeout(CONNECT_TIMEOUT, connected).await {
            Ok(outcome) => outcome.map_err(failed),
            Err(_) => Err(failed(std::io::ErrorKind::TimedOut.into())),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(addr) => addr.fmt(f),
        }
    }
}

fn request(method: Method, path: &ApiPath, body: Body) -> Result<Request<Body>, ClientError> {
    Request::builder()
        .method(method)
        .uri(path.as_str())
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(|source| ClientError::Request { source })
}

fn empty() -> Body {
    full(Bytes::new())
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

fn streamed(body: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(body.map_ok(Frame::data)).boxed_unsync()
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    whole_body(response.into_body()).await
}

async fn whole_body(body: Incoming) -> Result<Bytes, ClientError> {
    let collected = Limited::new(body, ANSWER_MAX_BYTES).collect().await;
    collected
        .map(http_body_util::Collected::to_bytes)
        .map_err(|source| ClientError::Body { source })
}

/// What the daemon says is wrong; one that does not speak of problems is no daemon of ours.
fn refusal(status: StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => ClientError::Problem(Box::new(problem)),
        Err(_) => ClientError::Status {
            status,
            body: String::from_utf8_lossy(body).chars().take(200).collect(),
        },
    }
}
