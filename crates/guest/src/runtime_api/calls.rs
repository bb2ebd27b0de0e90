//! The host's side: calls, and waiting for the workload to be ready.

use std::rc::Rc;

use hearth_guest_api::runtime::{
    ERROR_BODY_TRAILER, ERROR_TYPE_TRAILER, FUNCTION_ERROR_HEADER, GO_ON_PATH, INVOKE_PATH, LOG_RESULT_HEADER,
    MAX_PAYLOAD_BYTES, MAX_WAITING_CALLS, READY_PATH, REQUEST_ID_HEADER, RESPONSE_MODE_HEADER, WAITS_FOR_CALLS,
    WAITS_FOR_HEADER, WAITS_FOR_SNAPSHOT,
};
use http::header::{CONTENT_TYPE, TRAILER};
use http::{HeaderName, HeaderValue, Method, Request, Response as HttpResponse, StatusCode};
use tokio::sync::{oneshot, watch};

use super::failure::{self, Failure};
use super::invocation::Invocation;
use super::payload::{self, Unfit};
use super::queue::{Answer, Call, Outcome, Refused};
use super::{Phase, RuntimeApi};
use crate::server::body::{self, Body, Incoming, Response};

/// How Lambda marks an answer of a function that failed, whatever the failure.
const UNHANDLED: HeaderValue = HeaderValue::from_static("Unhandled");
const STREAMING: HeaderValue = HeaderValue::from_static("streaming");

/// A request that is not yet wholly answered.
struct Answering(Rc<watch::Sender<usize>>);

impl Answering {
    fn new(count: &Rc<watch::Sender<usize>>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

pub(super) async fn serve(api: Rc<RuntimeApi>, request: Request<Incoming>) -> Response {
    let answering = Answering::new(&api.answering);
    let response = route(&api, request).await;
    response.map(|body| body.holding(answering))
}

async fn route(api: &RuntimeApi, request: Request<Incoming>) -> Response {
    match (request.method(), request.uri().path()) {
        (&Method::POST, INVOKE_PATH) => invoke(api, request).await,
        (&Method::GET, READY_PATH) => ready(api).await,
        (&Method::POST, GO_ON_PATH) => {
            api.go_on();
            body::status(StatusCode::NO_CONTENT)
        }
        (_, INVOKE_PATH | GO_ON_PATH) => wrong_method("use POST"),
        (_, READY_PATH) => wrong_method("use GET"),
        (method, path) => failure::not_found(method, path),
    }
}

fn wrong_method(message: &str) -> Response {
    failure::error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
}

/// Waits for as long as its caller does.
async fn ready(api: &RuntimeApi) -> Response {
    let mut phases = api.phase.subscribe();
    let phase = phases
        .wait_for(|phase| !matches!(phase, Phase::Starting | Phase::Restored))
        .await
        .map(|phase| phase.clone());
    match phase {
        Ok(Phase::Snapshot) => waits_for(WAITS_FOR_SNAPSHOT),
        Ok(Phase::Failed(failure)) => {
            api.failure_told.send_replace(true);
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            body::with_type(status, "application/json", Body::full(failure.body(None)))
        }
        _ => waits_for(WAITS_FOR_CALLS),
    }
}

fn waits_for(what: &'static str) -> Response {
    let mut response = body::status(StatusCode::OK);
    insert(&mut response, WAITS_FOR_HEADER, Some(HeaderValue::from_static(what)));
    response
}

async fn invoke(api: &RuntimeApi, request: Request<Incoming>) -> Response {
    let (head, mut body) = request.into_parts();
    let taken = match Invocation::parse(&head.headers, crate::clock::unix_ns() / 1_000_000) {
        Ok(invocation) => payload::event(&head.headers, &mut body, &api.calls_room)
            .await
            .map(|event| (invocation, event))
            .map_err(unfit),
        Err(bad) => Err(failure::error(
            StatusCode::BAD_REQUEST,
            "InvalidRequest",
            &bad.to_string(),
        )),
    };
    match taken {
        Ok((invocation, event)) => call(api, invocation, event).await,
        Err(refusal) => {
            payload::discard(&mut body).await;
            refusal
        }
    }
}

async fn call(api: &RuntimeApi, invocation: Invocation, event: bytes::Bytes) -> Response {
    let id = invocation.id.clone();
    if let Phase::Failed(failure) = &*api.phase.borrow() {
        api.failure_told.send_replace(true);
        return failed(&id, failure);
    }
    // Whoever calls makes no snapshot first, and the workload is not to wait for one in vain.
    api.go_on();
    let (caller, answer) = oneshot::channel();
    let call = Call {
        invocation,
        event,
        caller,
    };
    if let Err(refused) = api.queue.push(call) {
        return refusal(refused, &id);
    }
    let mut response = match answer.await {
        Ok(Answer::Whole { outcome, log_result }) => whole(outcome, log_result),
        Ok(Answer::Streamed { content_type, body }) => streamed(content_type, body),
        Err(_) => failure::error(
            StatusCode::BAD_GATEWAY,
            "Runtime.Unknown",
            "the call was dropped unanswered",
        ),
    };
    insert(&mut response, REQUEST_ID_HEADER, HeaderValue::from_str(&id).ok());
    response
}

fn failed(id: &str, failure: &Failure) -> Response {
    whole(Outcome::failed(failure.body(Some(id))), None)
}

fn whole(outcome: Outcome, log_result: Option<String>) -> Response {
    let mut response = HttpResponse::new(Body::full(outcome.body));
    response.headers_mut().insert(CONTENT_TYPE, outcome.content_type);
    insert(
        &mut response,
        FUNCTION_ERROR_HEADER,
        outcome.is_error.then_some(UNHANDLED),
    );
    let log_result = log_result.and_then(|log| HeaderValue::try_from(log).ok());
    insert(&mut response, LOG_RESULT_HEADER, log_result);
    response
}

fn streamed(content_type: HeaderValue, body: Body) -> Response {
    let mut response = HttpResponse::new(body);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    insert(&mut response, RESPONSE_MODE_HEADER, Some(STREAMING));
    for name in [ERROR_TYPE_TRAILER, ERROR_BODY_TRAILER, LOG_RESULT_HEADER] {
        response.headers_mut().append(TRAILER, HeaderValue::from_static(name));
    }
    response
}

fn insert(response: &mut Response, name: &'static str, value: Option<HeaderValue>) {
    let named = value.map(|value| (HeaderName::from_static(name), value));
    response.headers_mut().extend(named);
}

fn refusal(refused: Refused, id: &str) -> Response {
    match refused {
        Refused::Full => failure::error(
            StatusCode::TOO_MANY_REQUESTS,
            "TooManyRequestsException",
            &format!("{MAX_WAITING_CALLS} calls wait for this machine already"),
        ),
        Refused::Duplicate => failure::error(
            StatusCode::CONFLICT,
            "ResourceConflictException",
            &format!("a call with the request ID {id} is under way"),
        ),
    }
}

fn unfit(unfit: Unfit) -> Response {
    match unfit {
        Unfit::TooLarge(_) => failure::error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestTooLargeException",
            &format!("an event may have at most {MAX_PAYLOAD_BYTES} bytes"),
        ),
        Unfit::NoRoom => failure::error(
            StatusCode::TOO_MANY_REQUESTS,
            "TooManyRequestsException",
            "the events of waiting calls fill the memory for them",
        ),
        Unfit::Broken => failure::error(
            StatusCode::BAD_REQUEST,
            "TruncatedHTTPRequest",
            "the event did not arrive whole",
        ),
    }
}
