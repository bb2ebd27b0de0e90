//! `Invoke`: a call that is waited for, one that is kept, and one that is only asked about.
//!
//! That the function's own program failed is an answer, with status 200 and `X-Amz-Function-Error`; only what kept it from being
//! called is an error of this API.

use std::sync::Arc;

use axum::{
    body::Body as ApiBody,
    extract::State,
    response::{IntoResponse as _, Response},
};
use hearth_domain::Action;
use hearth_gateway::{Body, CallError, CallOptions, ExecutedVersion, Qualifier, Target};
use hearth_store::{FunctionRow, InvocationSource, RequestHead};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use serde_json::json;

use super::{
    body::{KEPT_EVENT_MAX, LambdaBody},
    error::{Kind, LambdaError, LambdaResult},
    find::not_found,
    name::Named,
    view::LATEST,
    wire::Qualified,
};
use crate::{
    app::App,
    caller::Caller,
    error::ApiError,
    extract::{ApiPath, ApiQuery},
    invocations::accept::{Wanted, new_invocation, readable},
};

const INVOCATION_TYPE: HeaderName = HeaderName::from_static("x-amz-invocation-type");
const CLIENT_CONTEXT: HeaderName = HeaderName::from_static("x-amz-client-context");
const LOG_TYPE: HeaderName = HeaderName::from_static("x-amz-log-type");
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
pub(super) const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");
pub(super) const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
pub(super) const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
/// The gateway's ID of a call.
const CALL_ID: HeaderName = HeaderName::from_static("x-hearth-request-id");
/// The same for all tries of AWS's clients to make one call.
const SDK_INVOCATION: HeaderName = HeaderName::from_static("amz-sdk-invocation-id");
/// Lambda's bound on a client context, in bytes.
const CLIENT_CONTEXT_MAX: usize = 3583;
const SDK_INVOCATION_MAX: usize = 200;
pub(super) const UNHANDLED: &str = "Unhandled";

/// What kind of call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InvocationType {
    RequestResponse,
    Event,
    DryRun,
}

/// `Invoke`.
pub(super) async fn invoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
    ApiQuery(query): ApiQuery<Qualified>,
    headers: HeaderMap,
    body: LambdaBody,
) -> LambdaResult<Response> {
    let tenant = caller.may(&app, Action::FunctionInvoke).await?;
    let named = Named::parse(&path, query.qualifier.as_deref())?;
    let row = app.named_function(&tenant, &named).await?;
    let kind = invocation_type(&headers)?;
    let passed = passed(&headers)?;
    match kind {
        InvocationType::RequestResponse => {
            let event = body.bytes().await?;
            Ok(answered(&app, &row, &named, passed, event).await?.into_response())
        }
        InvocationType::Event => {
            app.qualified(&row, named.qualifier.as_deref()).await?;
            keep(&app, &row, &named, (passed, &headers), body.bytes().await?).await
        }
        InvocationType::DryRun => {
            app.qualified(&row, named.qualifier.as_deref()).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
    }
}

/// Calls the function, and waits for its answer.
async fn answered(
    app: &App,
    row: &FunctionRow,
    named: &Named,
    headers: HeaderMap,
    event: bytes::Bytes,
) -> LambdaResult<Response> {
    let called = call(app, row, named, headers, event).await;
    let response = match called {
        Ok(response) => response,
        Err(error) => return failed(app, named, &error),
    };
    let (parts, body) = response.into_parts();
    let mut response = Response::new(ApiBody::new(body));
    let headers = response.headers_mut();
    for name in [LOG_RESULT, FUNCTION_ERROR, header::CONTENT_TYPE] {
        if let Some(value) = parts.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    // Of the contract http: there the status is how a program says that it failed.
    if parts.status.is_client_error() || parts.status.is_server_error() {
        headers.insert(FUNCTION_ERROR, HeaderValue::from_static(UNHANDLED));
    }
    if let Some(ExecutedVersion(version)) = parts.extensions.get() {
        headers.insert(EXECUTED_VERSION, executed(row, named, *version));
    }
    same_id(&parts.headers, headers);
    Ok(response)
}

/// Gives an answer the ID by which the program knows its call, and its log tells of it.
pub(super) fn same_id(call: &HeaderMap, answer: &mut HeaderMap) {
    if let Some(id) = call.get(CALL_ID) {
        answer.insert(HeaderName::from_static(super::REQUEST_ID), id.clone());
    }
}

/// Calls the function with an event.
pub(super) async fn call(
    app: &App,
    row: &FunctionRow,
    named: &Named,
    headers: HeaderMap,
    event: bytes::Bytes,
) -> Result<http::Response<Body>, CallError> {
    let mut request = http::Request::new(Body::full(event));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/");
    *request.headers_mut() = headers;
    let target = Target {
        function: row.spec.id,
        qualifier: qualifier(named).map_err(|()| CallError::NoRoute)?,
    };
    let options = CallOptions {
        raw_event: true,
        ..CallOptions::default()
    };
    app.plane().gateway.call(target, request, options).await
}

/// The version that ran, in Lambda's words: without a qualifier the newest is `$LATEST`.
pub(super) fn executed(row: &FunctionRow, named: &Named, version: u32) -> HeaderValue {
    let newest = version == row.latest && matches!(named.qualifier.as_deref(), None | Some(LATEST));
    if newest {
        HeaderValue::from_static(LATEST)
    } else {
        HeaderValue::from(version)
    }
}

fn qualifier(named: &Named) -> Result<Qualifier, ()> {
    named.qualifier.as_deref().unwrap_or_default().parse()
}

/// What stands for the answer of a call that was not answered: the function's failure, or an error of ours.
fn failed(app: &App, named: &Named, error: &CallError) -> LambdaResult<Response> {
    let Some((kind, message)) = own_failure(error) else {
        return Err(refused(app, named, error));
    };
    let body = json!({ "errorType": kind, "errorMessage": message });
    let mut response = axum::Json(body).into_response();
    let unhandled = HeaderValue::from_static(UNHANDLED);
    response.headers_mut().insert(FUNCTION_ERROR, unhandled);
    Ok(response)
}

/// Error type and message, where it is the function that failed.
pub(super) fn own_failure(error: &CallError) -> Option<(&'static str, String)> {
    let told = match error {
        CallError::Timeout { timeout_ms } => {
            let seconds = format!("{}.{:02}", timeout_ms / 1000, timeout_ms % 1000 / 10);
            ("Sandbox.Timedout", format!("Task timed out after {seconds} seconds"))
        }
        CallError::Crashed(_) | CallError::Unreachable(_) => ("Runtime.ExitError", error.to_string()),
        CallError::BadAnswer(_) => ("Function.ResponseInvalid", error.to_string()),
        CallError::StartFailed(_) => ("Runtime.InitError", error.to_string()),
        CallError::FunctionError(_) => (UNHANDLED, error.to_string()),
        _ => return None,
    };
    Some(told)
}

/// The error that keeps a function from being called.
pub(super) fn refused(app: &App, named: &Named, error: &CallError) -> LambdaError {
    let message = error.to_string();
    let told = match error {
        CallError::NoRoute => not_found(app, &named.name, named.qualifier.as_deref()),
        CallError::RateLimited { .. }
        | CallError::QueueFull { .. }
        | CallError::NoInstance { .. }
        | CallError::NoRoom => LambdaError::new(Kind::TooManyRequests, message),
        CallError::BodyTooLarge { .. } => LambdaError::new(Kind::RequestTooLarge, message),
        error => ApiError::from(error.clone()).into(),
    };
    match error.retry_after() {
        Some(time) => told.retry_after_s(time.as_secs().max(1)),
        None => told,
    }
}

/// Keeps the call; it is on the disk when this is answered.
async fn keep(
    app: &App,
    row: &FunctionRow,
    named: &Named,
    (passed, all): (HeaderMap, &HeaderMap),
    event: bytes::Bytes,
) -> LambdaResult<Response> {
    if event.len() > KEPT_EVENT_MAX {
        return Err(LambdaError::new(
            Kind::RequestTooLarge,
            format!("Request must be smaller than {KEPT_EVENT_MAX} bytes for the invocation type Event"),
        ));
    }
    let tried_as = all.get(SDK_INVOCATION).and_then(|value| value.to_str().ok());
    let tried_as = tried_as.filter(|id| (1..=SDK_INVOCATION_MAX).contains(&id.len()));
    let new = new_invocation(Wanted {
        project: row.spec.project,
        function: row.spec.id,
        qualifier: named.qualifier.clone(),
        key: tried_as.map(|id| format!("aws-sdk:{id}")),
        source: InvocationSource::Lambda,
        head: RequestHead {
            method: Method::POST.to_string(),
            path: "/".to_owned(),
            headers: readable(&passed),
        },
        body: event.into(),
    });
    let kept = app.plane().keeper.accept(new).await;
    let id = kept.map_err(|error| refused(app, named, &CallError::from(error)))?;
    let mut response = StatusCode::ACCEPTED.into_response();
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        let name = HeaderName::from_static(super::REQUEST_ID);
        response.headers_mut().insert(name, id);
    }
    Ok(response)
}

fn invocation_type(headers: &HeaderMap) -> LambdaResult<InvocationType> {
    match headers.get(INVOCATION_TYPE).map(HeaderValue::as_bytes) {
        None | Some(b"" | b"RequestResponse") => Ok(InvocationType::RequestResponse),
        Some(b"Event") => Ok(InvocationType::Event),
        Some(b"DryRun") => Ok(InvocationType::DryRun),
        Some(_) => Err(LambdaError::parameter(
            "X-Amz-Invocation-Type has to be RequestResponse, Event or DryRun",
        )),
    }
}

/// What of the headers is for the function.
pub(super) fn passed(headers: &HeaderMap) -> LambdaResult<HeaderMap> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let mut passed = HeaderMap::new();
    for name in [CLIENT_CONTEXT, LOG_TYPE, TRACE_ID, header::CONTENT_TYPE] {
        if let Some(value) = headers.get(&name) {
            passed.insert(name, value.clone());
        }
    }
    if let Some(context) = passed.get(CLIENT_CONTEXT) {
        let decoded = STANDARD.decode(context.as_bytes()).ok();
        let object = decoded.is_some_and(|json| serde_json::from_slice::<serde_json::Value>(&json).is_ok());
        if !object || context.len() > CLIENT_CONTEXT_MAX {
            return Err(LambdaError::new(
                Kind::InvalidRequestContent,
                format!(
                    "Client context must be a valid Base64-encoded JSON object of at most {CLIENT_CONTEXT_MAX} bytes"
                ),
            ));
        }
    }
    match passed.get(LOG_TYPE).map(HeaderValue::as_bytes) {
        None | Some(b"" | b"None" | b"Tail") => Ok(passed),
        Some(_) => Err(LambdaError::parameter("X-Amz-Log-Type has to be None or Tail")),
    }
}
