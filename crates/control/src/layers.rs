//! What every request passes: an ID, the guard, and on the way out the problem, written in full.

use std::{sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use hearth_api::{PROBLEM_JSON, ProblemCode, REQUEST_ID_HEADER};
use hearth_domain::RetryAfterMs;
use hearth_ids::RequestId;
use http::{HeaderName, HeaderValue, Method, Uri, header, request::Parts};
use tokio::sync::SemaphorePermit;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, debug, field::Empty, info_span, warn};

use crate::{
    app::App,
    caller::Caller,
    e2b,
    error::ApiError,
    key, lambda, metrics,
    peer::{Peer, PeerRule, check_web},
    spans,
    tenancy::audit::{self, Noted},
};

/// What may be asked without a key.
const PUBLIC: [&str; 4] = ["/healthz", "/readyz", "/v1/version", "/openapi.json"];

/// What the guard asks.
pub(crate) struct Guard {
    pub(crate) rule: Arc<PeerRule>,
    pub(crate) app: Arc<App>,
}

/// A request that changes something is a task of its own, among those that its connection brought with it: a client that
/// goes away in the middle of it must not leave it half done. One that only reads, or calls a function, ends with its
/// client.
pub(crate) async fn finish_changes(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let tasks = parts.extensions.get::<TaskTracker>().cloned();
    let tasks = tasks.filter(|_| audit::changes(&parts));
    let answer = next.run(Request::from_parts(parts, body));
    let Some(tasks) = tasks else { return answer.await };
    tasks.spawn(answer).await.unwrap_or_else(|error| {
        let error = ApiError::internal("the request broke off").caused_by(error);
        finish(error.into_response(), &RequestId::new().to_string())
    })
}

/// Guards, numbers, logs and finishes every request.
pub(crate) async fn around(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let request_id = RequestId::new();
    let id = request_id.to_string();
    let span =
        info_span!("request", request = id, project = Empty, method = %request.method(), path = request.uri().path());
    let from = Instant::now();
    let (mut parts, body) = request.into_parts();
    let answer = async move {
        let noted = Noted::of(&parts);
        let operation = audit::operation(&parts);
        let traced = spans::begin(operation, &parts.headers);
        let peer = parts.extensions.get::<Peer>().copied();
        let speaks_lambda = lambda::is_meant(&parts.uri);
        let speaks_e2b = e2b::is_meant(&parts.uri);
        let admitted = if speaks_lambda {
            lambda::guard::admit(&guard, &parts, body).await
        } else {
            let admitted = admit(&guard, &parts).await;
            admitted
                .map(|caller| Admitted::new(caller, body))
                .map_err(ApiError::into_response)
        };
        let caller = admitted.as_ref().ok().and_then(|admitted| admitted.caller.clone());
        let response = match admitted {
            Ok(Admitted { caller, body, room }) => {
                if let Some(caller) = caller {
                    parts.extensions.insert(caller);
                }
                parts.extensions.insert(request_id);
                spans::put(traced.as_ref(), &mut parts.headers);
                let response = next.run(Request::from_parts(parts, body)).await;
                drop(room);
                response
            }
            Err(response) => response,
        };
        let response = if speaks_lambda {
            lambda::error::finish(response, &id)
        } else if speaks_e2b {
            e2b::error::finish(response, &id)
        } else {
            finish(response, &id)
        };
        metrics::answered(operation, response.status(), from.elapsed());
        if let Some(traced) = traced {
            traced.end(request_id, response.status(), from.elapsed());
        }
        let entry = noted.and_then(|noted| noted.entry(caller.as_ref(), peer, &response, &id));
        if let Some(entry) = entry {
            audit::keep(&guard.app, entry).await;
        }
        debug!(
            status = response.status().as_u16(),
            elapsed_us = from.elapsed().as_micros(),
            "answered"
        );
        response
    };
    answer.instrument(span).await
}

/// Guards a listener that asks for no key: it is on loopback, where web pages that users look at could reach it too.
pub(crate) async fn around_watching(request: Request, next: Next) -> Response {
    match check_web(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => finish(error.into_response(), &RequestId::new().to_string()),
    }
}

/// A request that may go on.
pub(crate) struct Admitted {
    /// Nobody known, for what all may ask.
    pub(crate) caller: Option<Caller>,
    /// As it came, or as it was read for its signature.
    pub(crate) body: Body,
    /// The place of a large body in memory, until its request is answered.
    pub(crate) room: Option<SemaphorePermit<'static>>,
}

impl Admitted {
    pub(crate) fn new(caller: Option<Caller>, body: Body) -> Self {
        Self {
            caller,
            body,
            room: None,
        }
    }
}

/// Who sends a request; nobody known, for what all may ask.
pub(crate) async fn admit(guard: &Guard, request: &Parts) -> Result<Option<Caller>, ApiError> {
    let headers = &request.headers;
    match request.extensions.get::<Peer>().copied() {
        Some(peer @ Peer::Unix { uid, gid }) => {
            let asked = Arc::clone(&guard.rule);
            // Root is by far the most frequent, and needs no look into the user database.
            let may = uid == 0
                || tokio::task::spawn_blocking(move || asked.allows(uid, gid))
                    .await
                    .unwrap_or(false);
            if may {
                Caller::operator(uid, peer, headers).map(Some)
            } else {
                Err(guard.rule.refusal(uid))
            }
        }
        Some(peer @ (Peer::Tcp(_) | Peer::Tls(_))) => {
            if matches!(peer, Peer::Tcp(_)) {
                check_web(&request.uri, headers)?;
            }
            if PUBLIC.contains(&request.uri.path()) || e2b::has_own_token(request) {
                return Ok(None);
            }
            let key = key::of_headers(&guard.app, headers).await?;
            guard.app.limits.take_known(key.project).map_err(too_many)?;
            Caller::of_key(key, peer, headers).map(Some)
        }
        None => Err(ApiError::internal("the connection has no known peer")),
    }
}

pub(crate) fn too_many(wait: RetryAfterMs) -> ApiError {
    let detail = "the project sends more requests a second than it may; send them more slowly";
    ApiError::new(ProblemCode::TooManyRequests, detail).retry_after_ms(wait.0)
}

fn finish(mut response: Response, id: &str) -> Response {
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        response = written(response, &error, id);
    }
    if let Ok(value) = HeaderValue::from_str(id) {
        response
            .headers_mut()
            .insert(HeaderName::from_static(REQUEST_ID_HEADER), value);
    }
    response
}

fn written(mut response: Response, error: &ApiError, id: &str) -> Response {
    let mut problem = (*error.problem).clone();
    metrics::problem(problem.code);
    problem.instance = Some(format!("urn:hearth:request:{id}"));
    if problem.status >= 500 {
        warn!(
            status = problem.status,
            detail = problem.detail,
            cause = error.chain(),
            "failed"
        );
    } else {
        debug!(
            status = problem.status,
            detail = problem.detail,
            cause = error.chain(),
            "refused"
        );
    }
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    if let Some(seconds) = error.retry_after_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if problem.code == ProblemCode::Unauthorized {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if problem.code == ProblemCode::UpgradeRequired {
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    *response.body_mut() = Body::from(body);
    response
}

/// For paths that are not there.
pub(crate) async fn not_found(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    ApiError::new(
        ProblemCode::NotFound,
        format!("there is nothing at {path}; /openapi.json tells what there is"),
    )
}

/// For methods that a path does not have.
pub(crate) async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    ApiError::new(
        ProblemCode::MethodNotAllowed,
        format!("{method} is not possible at {path}; the Allow header tells what is"),
    )
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use axum::{Router, middleware, routing::any};
    use tokio::{sync::Notify, time::timeout};
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn what_changes_something_is_finished_without_its_client_and_a_call_is_not() {
        let (go, done) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let handler = {
            let (go, done) = (Arc::clone(&go), Arc::clone(&done));
            any(async move || {
                go.notified().await;
                done.fetch_add(1, Ordering::SeqCst);
            })
        };
        let lambda = "/2015-03-31/functions/{function}/invocations";
        let mut router = Router::new();
        for path in ["/v1/functions/{function}", "/v1/functions/{function}/invoke", lambda] {
            router = router.route(path, handler.clone());
        }
        let router = router.layer(middleware::from_fn(finish_changes));
        for (method, path, finished) in [
            ("DELETE", "/v1/functions/web", 1),
            ("DELETE", "/v1/functions/invoke", 1),
            ("GET", "/v1/functions/web", 0),
            ("POST", "/v1/functions/web/invoke", 0),
            ("POST", "/2015-03-31/functions/web/invocations", 0),
        ] {
            let tasks = TaskTracker::new();
            let mut request = http::Request::new(Body::empty());
            *request.method_mut() = method.parse().unwrap();
            *request.uri_mut() = path.parse().unwrap();
            request.extensions_mut().insert(tasks.clone());
            done.store(0, Ordering::SeqCst);
            let mut answer = Box::pin(router.clone().oneshot(request));
            assert!(futures::poll!(answer.as_mut()).is_pending());
            drop(answer);
            assert_eq!(tasks.len(), finished, "{method} {path}");
            go.notify_one();
            tasks.close();
            timeout(Duration::from_secs(20), tasks.wait()).await.unwrap();
            assert_eq!(done.load(Ordering::SeqCst), finished, "{method} {path}");
            // Nobody waited for it.
            if finished == 0 {
                go.notified().await;
            }
        }
    }
}
