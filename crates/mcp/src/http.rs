//! Over HTTP, for all who hold a key of the daemon's. Each request stands for itself: there are no sessions that could be
//! taken over or that pile up, and whose key came is whose name the tools act in.
//!
//! Without TLS we listen on loopback alone, where pages that people look at could reach us too: what says by `Host` or
//! `Origin` that it comes from elsewhere is refused, as the protocol's specification has it.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use hearth_api::{ListSandboxesQuery, ProblemCode, SandboxList};
use hearth_client::{ApiPath, Client, ClientError};
use http::{HeaderValue, StatusCode, header};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
};
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use crate::server::{Caller, Server, bearer};

/// Where the protocol is spoken.
const PATH: &str = "/mcp";
/// Connections at once.
const CONNECTIONS_MAX: usize = 256;
/// Until a request's head is there.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Until the daemon has said whether it knows a key.
const KEY_WITHIN: Duration = Duration::from_secs(10);
/// From being told to stop until calls that are under way are given up.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);
/// After a connection could not be taken, which is for want of descriptors.
const REST: Duration = Duration::from_millis(100);
/// Bytes of a request: the longest file that is written, in base64, with room.
const REQUEST_MAX_BYTES: usize = 4 << 20;

/// How to serve agents over HTTP.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Where to listen: on loopback.
    pub listen: SocketAddr,
    /// Names by which clients may call us beside those of loopback, as a proxy with TLS passes them on.
    pub hosts: Vec<String>,
    /// Origins of pages that may call us, such as `https://app.example:443`.
    pub origins: Vec<String>,
}

/// Why agents cannot be served.
#[derive(Debug, Error)]
pub enum HttpError {
    /// Keys would be read on the way.
    #[error(
        "--listen {0} is not on loopback, and keys would go in the clear: listen on 127.0.0.1, and put a proxy with TLS before it"
    )]
    NotLoopback(SocketAddr),
    /// Something else listens there, say.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Serves agents until `stop`; `ready` is told where, once they can come.
pub async fn listen(
    client: Client,
    options: HttpOptions,
    stop: CancellationToken,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), HttpError> {
    let address = options.listen;
    if !address.ip().is_loopback() {
        return Err(HttpError::NotLoopback(address));
    }
    let failed = |source| HttpError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    ready(listener.local_addr().map_err(failed)?);
    accept(listener, router(client, options, &stop), stop).await;
    Ok(())
}

fn router(client: Client, options: HttpOptions, stop: &CancellationToken) -> Router {
    let loopback = ["localhost", "127.0.0.1", "::1"].map(ToOwned::to_owned);
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_allowed_hosts(loopback.into_iter().chain(options.hosts))
        .with_allowed_origins(options.origins)
        .enforce_origin_validation()
        .with_max_request_body_bytes(REQUEST_MAX_BYTES)
        .with_cancellation_token(stop.child_token());
    let server = Server::new(client.clone(), Caller::EachRequests);
    let service = StreamableHttpService::new(
        move || Ok(server.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    Router::new()
        .route_service(PATH, service)
        .layer(middleware::from_fn_with_state(client, known))
}

/// Lets those in whose key the daemon knows.
async fn known(State(client): State<Client>, request: Request, next: Next) -> Response {
    let Some(key) = bearer(request.headers()) else {
        return unauthorized("a key is needed: send it as Authorization: Bearer hth_…");
    };
    let client = client.with_key(Some(key.to_owned()));
    let query = ListSandboxesQuery {
        limit: Some(1),
        ..ListSandboxesQuery::default()
    };
    let path = ApiPath::v1(&["sandboxes"]).query(&query);
    match timeout(KEY_WITHIN, client.get::<SandboxList>(&path)).await {
        Ok(Ok(_)) => next.run(request).await,
        Ok(Err(ClientError::Problem(problem))) if problem.code == ProblemCode::Unauthorized => {
            unauthorized(&problem.detail)
        }
        Ok(Err(ClientError::Problem(problem))) => (StatusCode::FORBIDDEN, problem.detail).into_response(),
        Ok(Err(error)) => {
            warn!(%error, "the daemon cannot be asked about a key");
            (
                StatusCode::BAD_GATEWAY,
                "the hearth daemon cannot be reached; try again later",
            )
                .into_response()
        }
        Err(_) => (
            StatusCode::GATEWAY_TIMEOUT,
            "the hearth daemon does not answer; try again later",
        )
            .into_response(),
    }
}

fn unauthorized(why: &str) -> Response {
    let mut response = (StatusCode::UNAUTHORIZED, why.to_owned()).into_response();
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Takes connections until `stop`, so many at once, and gives those under way a moment then.
async fn accept(listener: TcpListener, router: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = next(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                connections.spawn(serve(stream, router.clone(), stop.clone(), place));
            }
            Err(error) => {
                warn!(%error, "a connection could not be taken");
                sleep(REST).await;
            }
        }
    }
    connections.close();
    if timeout(LEAVE_WITHIN, connections.wait()).await.is_err() {
        debug!("calls were under way still when time was over");
    }
}

async fn next(listener: &TcpListener, places: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn serve(stream: TcpStream, router: Router, stop: CancellationToken, _place: OwnedSemaphorePermit) {
    let service = TowerToHyperService::new(router);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    // A client that broke off is nobody's to tell.
    let _ = connection.await;
}
