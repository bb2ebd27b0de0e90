//! A program's answer as an HTTP answer.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, TRANSFER_ENCODING},
    response::Parts,
};
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use serde::Deserialize;
use serde_json::Value;

use crate::{Body, BodyError, CallError};

/// The kind of a streamed answer that begins with a prelude.
const WITH_PRELUDE: &str = "application/vnd.awslambda.http-integration-response";
/// What stands between prelude and body.
const SEPARATOR: [u8; 8] = [0; 8];
/// The longest prelude, in bytes.
const PRELUDE_MAX: usize = 64 * 1024;
/// How many headers and cookies an answer may have.
const HEADERS_MAX: usize = 128;
/// The longest text of a program's error that is passed on, in characters.
const MESSAGE_MAX: usize = 1000;

/// What a program may answer: a status with what belongs to it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Shaped {
    status_code: Option<Value>,
    headers: BTreeMap<String, Value>,
    cookies: Vec<String>,
    body: Option<Value>,
    is_base64_encoded: bool,
}

/// The answer of a program that has ended.
pub(super) fn of(parts: &Parts, body: &Bytes) -> Result<Response<Body>, CallError> {
    if parts.headers.contains_key("x-amz-function-error") {
        return Err(CallError::FunctionError(message(body)));
    }
    if parts.status != StatusCode::OK {
        return Err(CallError::BadAnswer(format!(
            "status {}: {}",
            parts.status.as_u16(),
            message(body)
        )));
    }
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let shaped = value.filter(|value| value.get("statusCode").is_some());
    let Some(shaped) = shaped else {
        // Whatever else it returns is the body of a plain answer.
        let mut response = Response::new(Body::full(body.clone()));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        return Ok(response);
    };
    let shaped: Shaped = serde_json::from_value(shaped).map_err(|error| CallError::BadAnswer(error.to_string()))?;
    let body = decoded(&shaped)?;
    head(&shaped, body)
}

/// The answer of a program that streams it.
pub(super) async fn streaming(response: Response<Body>) -> Result<Response<Body>, CallError> {
    let kind = response.headers().get(CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(WITH_PRELUDE.as_bytes())) {
        return Ok(response);
    }
    let mut body = response.into_body();
    let mut read = BytesMut::new();
    let mut looked = 0;
    let at = loop {
        // It may have begun in what was looked at before, but did not end there.
        let from = usize::saturating_sub(looked, SEPARATOR.len() - 1);
        let mut windows = read[from..].windows(SEPARATOR.len());
        if let Some(at) = windows.position(|window| window == SEPARATOR) {
            break from + at;
        }
        looked = read.len();
        if read.len() > PRELUDE_MAX {
            return Err(CallError::BadAnswer("its prelude has no end".to_owned()));
        }
        match body.frame().await {
            Some(Ok(frame)) => read.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            Some(Err(error)) => return Err(CallError::Crashed(error.to_string())),
            None => return Err(CallError::BadAnswer("it ended within its prelude".to_owned())),
        }
    };
    let prelude = read.split_to(at);
    let rest = read.split_off(SEPARATOR.len()).freeze();
    let shaped: Shaped = serde_json::from_slice(&prelude).map_err(|error| CallError::BadAnswer(error.to_string()))?;
    let first = stream::iter([Ok::<_, BodyError>(hyper::body::Frame::data(rest))]);
    let body = StreamBody::new(first.chain(BodyStream::new(body)));
    head(&shaped, Body::new(body))
}

fn head(shaped: &Shaped, body: Body) -> Result<Response<Body>, CallError> {
    let wrong = || CallError::BadAnswer("statusCode is no status from 200 to 599".to_owned());
    let mut response = Response::new(body);
    *response.status_mut() = match &shaped.status_code {
        None => StatusCode::OK,
        Some(Value::Number(number)) => status(number.as_u64()).ok_or_else(wrong)?,
        Some(Value::String(text)) => status(text.parse().ok()).ok_or_else(wrong)?,
        Some(_) => return Err(wrong()),
    };
    if shaped.headers.len() + shaped.cookies.len() > HEADERS_MAX {
        return Err(CallError::BadAnswer(format!("it has more than {HEADERS_MAX} headers")));
    }
    let headers = response.headers_mut();
    for (name, value) in &shaped.headers {
        put(headers, name, value)?;
    }
    for cookie in &shaped.cookies {
        let cookie =
            HeaderValue::try_from(cookie).map_err(|_| CallError::BadAnswer("a cookie is not valid".to_owned()))?;
        headers.append(SET_COOKIE, cookie);
    }
    if !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Ok(response)
}

fn status(number: Option<u64>) -> Option<StatusCode> {
    let number = u16::try_from(number?).ok()?;
    (200..=599)
        .contains(&number)
        .then(|| StatusCode::from_u16(number).ok())?
}

fn put(headers: &mut HeaderMap, name: &str, value: &Value) -> Result<(), CallError> {
    let wrong = || {
        CallError::BadAnswer(format!(
            "header {:?} is not valid",
            name.chars().take(80).collect::<String>()
        ))
    };
    let name = HeaderName::try_from(name).map_err(|_| wrong())?;
    // How the body is framed is ours to say.
    if [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(&name) {
        return Ok(());
    }
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        _ => return Err(wrong()),
    };
    headers.append(name, HeaderValue::try_from(text).map_err(|_| wrong())?);
    Ok(())
}

fn decoded(shaped: &Shaped) -> Result<Body, CallError> {
    let text = match &shaped.body {
        None | Some(Value::Null) => return Ok(Body::empty()),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    if !shaped.is_base64_encoded {
        return Ok(Body::full(text));
    }
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| CallError::BadAnswer("its body is not valid base 64".to_owned()))?;
    Ok(Body::full(bytes))
}

/// What a program says of its failure.
pub(super) fn message(body: &[u8]) -> String {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let text = |name| value.as_ref()?.get(name)?.as_str();
    let whole = match (text("errorType"), text("errorMessage")) {
        (Some(kind), Some(message)) => format!("{kind}: {message}"),
        (None, Some(message)) => message.to_owned(),
        _ => String::from_utf8_lossy(body).into_owned(),
    };
    whole.chars().take(MESSAGE_MAX).collect()
}

#[cfg(test)]
mod tests;
