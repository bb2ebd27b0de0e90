//! The workload's side: the Runtime API itself.
//!
//! The workload is as hostile here as anywhere: what it says out of turn is refused with 400 or 403 and changes nothing.

use std::rc::Rc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response as HttpResponse, StatusCode};

use super::failure::{self, Failure};
use super::{Phase, RuntimeApi, payload};
use crate::server::body::{self, Body, Incoming, Response};

const PREFIX: &str = "/2018-06-01/runtime/";
pub(super) const ERROR_TYPE: &str = "lambda-runtime-function-error-type";

pub(super) async fn serve(api: Rc<RuntimeApi>, request: Request<Incoming>) -> Response {
    let path = request.uri().path().to_owned();
    let Some(resource) = path.strip_prefix(PREFIX) else {
        return failure::not_found(request.method(), &path);
    };
    let parts: Vec<&str> = resource.split('/').collect();
    let method = request.method();
    match (method.as_str(), parts.as_slice()) {
        ("GET", ["invocation", "next"]) => next(&api).await,
        ("POST", ["invocation", id, "response"]) => detached(api.respond(id, request)).await,
        ("POST", ["invocation", id, "error"]) => detached(api.respond_error(id, request)).await,
        ("POST", ["init", "error"]) => detached(start_error(api, request, "InitError")).await,
        ("POST", ["restore", "error"]) => detached(start_error(api, request, "RestoreError")).await,
        ("GET", ["restore", "next"]) => restore_next(&api).await,
        (
            _,
            ["invocation" | "restore", "next"]
            | ["init" | "restore", "error"]
            | ["invocation", _, "response" | "error"],
        ) => method_not_allowed(),
        _ => failure::not_found(method, &path),
    }
}

/// What the workload posts is dealt with to its end, also when its connection breaks, as it does when it exits.
async fn detached(work: impl Future<Output = Response> + 'static) -> Response {
    tokio::task::spawn_local(work).await.unwrap_or_else(|_| {
        failure::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalServerError",
            "Internal Server Error",
        )
    })
}

async fn next(api: &RuntimeApi) -> Response {
    let phase = api.phase.borrow().clone();
    if matches!(phase, Phase::Failed(_) | Phase::Snapshot) {
        return invalid_transition(phase.name(), "Ready");
    }
    api.become_ready();
    let (headers, event) = api.next_call().await;
    let mut response = HttpResponse::new(Body::full(event));
    *response.headers_mut() = headers;
    response
}

/// Waits for as long as the host takes. Asked again meanwhile, as after a broken connection, it waits again.
async fn restore_next(api: &RuntimeApi) -> Response {
    let phase = api.phase.borrow().clone();
    let may_wait = matches!(phase, Phase::Starting | Phase::Snapshot);
    if may_wait && api.wait_for_snapshot().await {
        return body::status(StatusCode::OK);
    }
    let phase = api.phase.borrow().clone();
    invalid_transition(phase.name(), "RestoreReady")
}

/// `init/error` and `restore/error`: the workload will not become ready.
async fn start_error(api: Rc<RuntimeApi>, request: Request<Incoming>, to: &str) -> Response {
    let (head, mut body) = request.into_parts();
    let phase = api.phase.borrow().clone();
    if !phase.is_before_ready() {
        payload::discard(&mut body).await;
        return invalid_transition(phase.name(), to);
    }
    let answer = match payload::answer(&head.headers, &mut body, &api.answers_room).await {
        Ok(posted) => {
            let error = failure::posted(
                posted,
                header(&head.headers, CONTENT_TYPE.as_str()),
                header(&head.headers, ERROR_TYPE),
            );
            api.fail(Failure::Posted(error)).await;
            return accepted();
        }
        Err(unfit) => super::responses::refused(unfit),
    };
    payload::discard(&mut body).await;
    answer
}

pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

pub(super) fn accepted() -> Response {
    let status = StatusCode::ACCEPTED;
    body::with_type(status, "application/json", Body::full(&b"{\"status\":\"OK\"}\n"[..]))
}

pub(super) fn invalid_transition(from: &str, to: &str) -> Response {
    let message =
        format!("State transition from {from} to {to} failed for runtime. Error: State transition is not allowed");
    failure::error(StatusCode::FORBIDDEN, "InvalidStateTransition", &message)
}

pub(super) fn invalid_request_id() -> Response {
    failure::error(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID")
}

fn method_not_allowed() -> Response {
    failure::error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "Method Not Allowed")
}
