//! Client of the API: over the daemon's unix socket, over TCP on the same host, or over TLS from anywhere.
//!
//! Each call opens a connection of its own: they are cheap on one host, and so no call waits for another's stream.

mod calls;
mod endpoint;
mod error;
mod lines;
mod listening;
mod path;
mod session;
mod tls;

use std::{fmt, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
pub use calls::Exchange;
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use error::ClientError;
use futures::{Stream, TryStreamExt};
use hearth_api::Problem;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
pub use lines::{ByteStream, Lines};
pub use path::{ApiPath, encoded};
use rustls::ClientConfig;
use serde::{Serialize, de::DeserializeOwned};
pub use session::{Session, SessionReceiver, SessionSender};
pub use tls::TrustError;
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

/// A client of one daemon. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    endpoint: Endpoint,
    trust: Option<Arc<ClientConfig>>,
    key: Option<Arc<str>>,
    project: Option<Arc<str>>,
}

impl Client {
    /// A client of the daemon at `endpoint`. Nothing is connected yet.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            trust: None,
            key: None,
            project: None,
        }
    }

    /// Trusts the certificates of a PEM file, or, without one, those that the host does. Without this, TLS fails.
    pub fn trusting(mut self, ca_file: Option<&Path>) -> Result<Self, TrustError> {
        self.trust = Some(tls::config(ca_file)?);
        Ok(self)
    }

    /// Sends a key with each request.
    #[must_use]
    pub fn with_key(mut self, key: Option<String>) -> Self {
        self.key = key.map(Into::into);
        self
    }

    /// Names the project in which each request is meant.
    #[must_use]
    pub fn in_project(mut self, project: Option<String>) -> Self {
        self.project = project.map(Into::into);
        self
    }

    /// Where the daemon is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What each request says of its sender.
    fn identify(&self, headers: &mut HeaderMap) -> Result<(), ClientError> {
        let failed = |source: http::header::InvalidHeaderValue| ClientError::Request { source: source.into() };
        if let Some(key) = &self.key {
            let mut value = HeaderValue::try_from(format!("Bearer {key}")).map_err(failed)?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        if let Some(project) = &self.project {
            let value = HeaderValue::try_from(project.as_ref()).map_err(failed)?;
            headers.insert(HeaderName::from_static(hearth_api::PROJECT_HEADER), value);
        }
        Ok(())
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

    /// Sends a request of any method with a JSON body.
    pub async fn send_json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &ApiPath,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|source| ClientError::Encode { source })?;
        self.json(method, path, full(body)).await
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

    /// Opens a web socket for attach or exec.
    pub async fn session(&self, path: &ApiPath) -> Result<Session, ClientError> {
        let mut headers = HeaderMap::new();
        self.identify(&mut headers)?;
        Session::open(self.connect().await?, path, headers).await
    }

    async fn json<T: DeserializeOwned>(&self, method: Method, path: &ApiPath, body: Body) -> Result<T, ClientError> {
        let response = self.send(request(method, path, body)?).await?;
        let bytes = whole(response).await?;
        serde_json::from_slice(&bytes).map_err(|source| ClientError::Decode { source })
    }

    /// Sends a request and gives its answer, if it is a good one.
    async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, ClientError> {
        let response = self.send_any(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        Err(refusal(status, &whole_body(response.into_body()).await?))
    }

    /// Sends a request and gives its answer, whatever it is.
    async fn send_any(&self, mut request: Request<Body>) -> Result<Response<Incoming>, ClientError> {
        self.identify(request.headers_mut())?;
        let io = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
            .await
            .map_err(|source| ClientError::Transport { source })?;
        // Ends with the connection: when the answer has been read, or is dropped.
        tokio::spawn(connection);
        sender
            .send_request(request)
            .await
            .map_err(|source| ClientError::Transport { source })
    }

    async fn connect(&self) -> Result<Box<dyn Transport>, ClientError> {
        let connected = async {
            Ok::<Box<dyn Transport>, std::io::Error>(match &self.endpoint {
                Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await?),
                Endpoint::Tcp(addr) => Box::new(TcpStream::connect(addr).await?),
                Endpoint::Tls { host, port } => {
                    let trust = self.trust.clone().ok_or(std::io::ErrorKind::Unsupported)?;
                    Box::new(tls::connect(trust, host, *port).await?)
                }
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

impl fmt::Debug for Client {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.endpoint)
            .field("project", &self.project)
            .finish_non_exhaustive()
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
