//! Functions of the Lambda contract: an HTTP request becomes an event, and the program's answer an HTTP answer.
//!
//! The agent in the machine takes events one at a time. An event that was sent cannot be taken back, so the exchange goes on in a
//! task of its own when the caller goes away, and the instance is free when the program has ended.

mod answer;
mod event;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use tokio::{sync::oneshot, time::timeout_at};

use crate::{
    Body, CallError, Gateway, Qualifier, RetireReason,
    body::NotCollected,
    call::Call,
    observe::Recording,
    pool::Pool,
    proxy::{Exchange, Met, Outgoing, REQUEST_ID, Returning, Sent, clean_answer, send},
};

/// Where the agent takes events.
const INVOKE_PATH: &str = "/2015-03-31/functions/function/invocations";
const FUNCTION_ARN: HeaderName = HeaderName::from_static("x-hearth-function-arn");
const FUNCTION_VERSION: HeaderName = HeaderName::from_static("x-hearth-function-version");
const RESPONSE_MODE: HeaderName = HeaderName::from_static("x-hearth-response-mode");
/// Headers of the Invoke API that concern the program.
const PASSED: [HeaderName; 3] = [
    HeaderName::from_static("x-amz-client-context"),
    HeaderName::from_static("x-amz-log-type"),
    HeaderName::from_static("x-amzn-trace-id"),
];

/// What the agent answered.
enum Answered {
    Whole(http::response::Parts, Bytes),
    Streaming(Response<Body>),
}

/// Calls a function of the Lambda contract.
pub(crate) async fn invoke(
    gateway: &Arc<Gateway>,
    call: &mut Call,
    pool: Arc<Pool>,
    recording: Recording,
) -> Result<Response<Body>, CallError> {
    let limits = &gateway.config.client;
    let (parts, body) = std::mem::take(&mut call.request).into_parts();
    let mut held = gateway.room.hold(call.address());
    let read = tokio::time::timeout(limits.body_idle, body.collect_in(&mut held, limits.event_bytes)).await;
    let body = match read {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return Err(recording.failed(0, error.of_call(limits.event_bytes))),
        Err(_) => return Err(recording.failed(0, CallError::BodyTimeout)),
    };
    let bytes_in = body.len() as u64;
    let event = if call.raw_event {
        body
    } else {
        Bytes::from(event::of(call, &parts, &body))
    };
    // It may wait for an instance.
    let Ok(event) = held.keep(event) else {
        return Err(recording.failed(0, CallError::BodiesFull));
    };
    let raw = call.raw_event;
    let headers = headers(gateway, call, &parts.headers);
    let exchange = gateway.exchange(call, pool, u64::MAX, None);
    let (sender, answered) = oneshot::channel();
    let task = run(
        exchange,
        headers,
        event,
        bytes_in,
        recording,
        sender,
        gateway.config.upstream.answer_bytes,
    );
    // Owned by the gateway, since the caller may go away.
    gateway.tasks.spawn(task);
    match answered.await.map_err(|_| CallError::ShuttingDown)?? {
        Answered::Whole(parts, body) if raw => {
            let mut response = Response::from_parts(parts, Body::full(body));
            clean_answer(response.headers_mut());
            Ok(response)
        }
        Answered::Whole(parts, body) => answer::of(&parts, &body),
        Answered::Streaming(mut response) => {
            clean_answer(response.headers_mut());
            if raw {
                return Ok(response);
            }
            answer::streaming(response).await
        }
    }
}

fn headers(gateway: &Gateway, call: &Call, from: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut put = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    let function = &call.route.function;
    let qualifier = match &call.qualifier {
        Qualifier::Live => String::new(),
        other => format!(":{other}"),
    };
    let region = &gateway.config.region;
    put(REQUEST_ID, call.id.to_string());
    put(
        FUNCTION_ARN,
        format!(
            "arn:aws:lambda:{region}:000000000000:function:{}{qualifier}",
            function.name
        ),
    );
    put(FUNCTION_VERSION, call.version.to_string());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(http::header::HOST, HeaderValue::from_static("localhost"));
    for name in &PASSED {
        if let Some(value) = from.get(name) {
            headers.insert(name, value.clone());
        }
    }
    headers
}

/// Sends the event and waits for the program's answer, whether somebody waits for that or not.
async fn run(
    exchange: Exchange,
    headers: HeaderMap,
    event: Bytes,
    bytes_in: u64,
    mut recording: Recording,
    mut caller: oneshot::Sender<Result<Answered, CallError>>,
    answer_max: usize,
) {
    let (outgoing, _) = Outgoing::new(Body::full(event), u64::MAX, exchange.config.client.body_idle);
    let mut request = Request::new(outgoing);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static(INVOKE_PATH);
    *request.headers_mut() = headers;
    let mut met = Met::default();
    // While it waits for an instance nothing has been sent: then the caller's going away ends it.
    let sent = {
        let sending = send(&exchange, &mut request, &mut met);
        tokio::pin!(sending);
        tokio::select! {
            biased;
            sent = &mut sending => sent,
            () = caller.closed() => {
                if exchange.has_begun() { sending.await } else { Err(CallError::ClientGone) }
            }
        }
    };
    recording.met(met.machine, met.queued, met.cold);
    let sent = match sent {
        Ok(sent) => sent,
        Err(error) => return drop(caller.send(Err(recording.failed(bytes_in, error)))),
    };
    recording.status(sent.response.status());
    let streaming = sent.response.headers().get(RESPONSE_MODE);
    if streaming.is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"streaming")) {
        let response = Returning::of(sent, None, recording, exchange.timeout_ms, exchange.client);
        drop(caller.send(Ok(Answered::Streaming(response))));
        return;
    }
    let answered = collect(&exchange, sent, recording, bytes_in, answer_max).await;
    drop(caller.send(answered));
}

/// Reads the answer, and frees the instance.
async fn collect(
    exchange: &Exchange,
    sent: Sent,
    recording: Recording,
    bytes_in: u64,
    answer_max: usize,
) -> Result<Answered, CallError> {
    let Sent {
        response,
        mut conn,
        place,
        until,
    } = sent;
    conn.detach();
    let (parts, body) = response.into_parts();
    let error = match timeout_at(until.into(), Body::from(body).collect(answer_max)).await {
        Ok(Ok(body)) => {
            let failed = function_error(&parts).then(|| answer::message(&body));
            if failed.as_deref().is_some_and(has_ended) {
                place.condemn(RetireReason::Ended);
            } else {
                place.upstream().keep(conn, &exchange.config.upstream);
            }
            drop(place);
            let failed = failed.map(CallError::FunctionError);
            recording.finish(bytes_in, body.len() as u64, failed);
            return Ok(Answered::Whole(parts, body));
        }
        Ok(Err(NotCollected::TooLarge)) => CallError::BadAnswer(format!("it is longer than {answer_max} bytes")),
        Ok(Err(_)) => CallError::Crashed("it broke off its answer".to_owned()),
        Err(_) => {
            place.condemn(RetireReason::TimedOut);
            CallError::Timeout {
                timeout_ms: exchange.timeout_ms,
            }
        }
    };
    drop(conn);
    Err(recording.failed(bytes_in, error))
}

/// Whether the agent says that the program has ended: the machine is about to, and takes no more calls. A program that
/// only says so loses its instance.
fn has_ended(message: &str) -> bool {
    message.starts_with("Runtime.ExitError: ") || message.starts_with("Runtime.OutOfMemory: ")
}

/// Whether the program itself failed: still an answer, for the Invoke API.
fn function_error(parts: &http::response::Parts) -> bool {
    parts.status == StatusCode::OK && parts.headers.contains_key("x-amz-function-error")
}
