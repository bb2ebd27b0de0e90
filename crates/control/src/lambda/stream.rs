//! `InvokeWithResponseStream`: the answer as the function writes it, in messages of an event stream.

use std::sync::Arc;

use axum::{
    body::Body as ApiBody,
    extract::State,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use hearth_domain::Action;
use hearth_gateway::{Body, CallError, ExecutedVersion};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Map, Value};

use super::{
    body::LambdaBody,
    error::{LambdaError, LambdaResult},
    eventstream::{self, PAYLOAD_MAX},
    invoke::{
        EXECUTED_VERSION, FUNCTION_ERROR, LOG_RESULT, UNHANDLED, call, executed, own_failure, passed, refused, same_id,
    },
    name::Named,
    wire::Qualified,
};
use crate::{
    app::App,
    caller::Caller,
    extract::{ApiPath, ApiQuery},
};

/// Trailers by which the agent tells that a stream failed.
const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
const ERROR_BODY: &str = "lambda-runtime-function-error-body";
/// The longest error that is told, in bytes.
const DETAILS_MAX: usize = 256 * 1024;

/// `InvokeWithResponseStream`.
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
    match headers.get("x-amz-invocation-type").map(HeaderValue::as_bytes) {
        None | Some(b"" | b"RequestResponse") => {}
        Some(b"DryRun") => {
            app.qualified(&row, named.qualifier.as_deref()).await?;
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        Some(_) => {
            return Err(LambdaError::parameter(
                "X-Amz-Invocation-Type has to be RequestResponse or DryRun",
            ));
        }
    }
    let event = body.bytes().await?;
    let mut ids = HeaderMap::new();
    let (messages, version) = match call(&app, &row, &named, passed(&headers)?, event).await {
        Ok(answer) => {
            let version = answer.extensions().get::<ExecutedVersion>().copied();
            same_id(answer.headers(), &mut ids);
            (messages(answer).await, version)
        }
        Err(error) => (failure(&app, &named, &error)?, None),
    };
    let mut response = Response::new(ApiBody::from_stream(messages.map(Ok::<_, std::convert::Infallible>)));
    let headers = response.headers_mut();
    headers.extend(ids);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(eventstream::CONTENT_TYPE),
    );
    if let Some(ExecutedVersion(version)) = version {
        headers.insert(EXECUTED_VERSION, executed(&row, &named, version));
    }
    Ok(response)
}

type Messages = stream::BoxStream<'static, Bytes>;

/// The one message of a call that the function failed.
fn failure(app: &App, named: &Named, error: &CallError) -> LambdaResult<Messages> {
    let (kind, message) = own_failure(error).ok_or_else(|| refused(app, named, error))?;
    let end = End {
        error: Some((kind.to_owned(), message)),
        log: None,
    };
    Ok(stream::iter([end.message()]).boxed())
}

/// The messages of an answer.
async fn messages(answer: http::Response<Body>) -> Messages {
    let (parts, body) = answer.into_parts();
    let log = parts.headers.get(LOG_RESULT).and_then(text);
    let failed = parts.headers.contains_key(FUNCTION_ERROR);
    let failed = failed || parts.status.is_client_error() || parts.status.is_server_error();
    if !failed {
        return passed_on(body, log).boxed();
    }
    let body = http_body_util::Limited::new(body, DETAILS_MAX).collect().await;
    let details = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
    let end = End {
        error: Some((UNHANDLED.to_owned(), details.unwrap_or_default())),
        log,
    };
    stream::iter([end.message()]).boxed()
}

/// Each piece of the body in messages of its own, and at the end what became of it.
fn passed_on(body: Body, log: Option<String>) -> impl Stream<Item = Bytes> + Send {
    let end = End { error: None, log };
    let pieces = stream::unfold(Some((body, end)), |state| async move {
        let (mut body, mut end) = state?;
        match body.frame().await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Some((chunks(&data), Some((body, end)))),
                Err(frame) => {
                    end.take(frame.trailers_ref());
                    Some((Vec::new(), Some((body, end))))
                }
            },
            Some(Err(error)) => {
                let broken = (UNHANDLED.to_owned(), format!("the answer broke off: {error}"));
                end.error.get_or_insert(broken);
                Some((vec![end.message()], None))
            }
            None => Some((vec![end.message()], None)),
        }
    });
    pieces.flat_map(stream::iter)
}

fn chunks(data: &Bytes) -> Vec<Bytes> {
    let pieces = data.chunks(PAYLOAD_MAX);
    pieces
        .map(|piece| eventstream::event("PayloadChunk", "application/octet-stream", piece))
        .collect()
}

/// What became of the call.
struct End {
    /// Its type, and all that is known of it.
    error: Option<(String, String)>,
    log: Option<String>,
}

impl End {
    /// Takes what stands behind the body.
    fn take(&mut self, trailers: Option<&HeaderMap>) {
        let Some(trailers) = trailers else { return };
        self.log = trailers.get(LOG_RESULT).and_then(text).or(self.log.take());
        let Some(kind) = trailers.get(ERROR_TYPE).and_then(text) else {
            return;
        };
        let details = trailers.get(ERROR_BODY).and_then(|value| STANDARD.decode(value).ok());
        let details = details.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        self.error = Some((kind, details.unwrap_or_default()));
    }

    /// `InvokeComplete`.
    fn message(self) -> Bytes {
        let mut fields = Map::new();
        if let Some((kind, details)) = self.error {
            fields.insert("ErrorCode".into(), kind.into());
            fields.insert("ErrorDetails".into(), details.into());
        }
        if let Some(log) = self.log {
            fields.insert("LogResult".into(), log.into());
        }
        let body = Value::from(fields).to_string();
        eventstream::event("InvokeComplete", "application/json", body.as_bytes())
    }
}

fn text(value: &HeaderValue) -> Option<String> {
    value.to_str().ok().map(str::to_owned)
}
