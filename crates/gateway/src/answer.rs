//! What a caller is told whose call was not answered by its function.

use hearth_ids::RequestId;
use http::{
    HeaderName, HeaderValue, Response,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};

use crate::{Body, CallError, proxy::REQUEST_ID};

const ERROR: HeaderName = HeaderName::from_static("x-hearth-error");
/// The longest text of an error in a header, in bytes.
const HEADER_TEXT_MAX: usize = 256;

/// The answer that tells of the error: to the function's owner all of it, as a problem (RFC 9457); to anybody else in plain
/// words without the reason.
pub(crate) fn refusal(error: &CallError, request: RequestId, owner: bool) -> Response<Body> {
    let (kind, text) = if owner {
        ("application/problem+json", problem(error, request))
    } else {
        ("text/plain; charset=utf-8", format!("{}\n", error.public()))
    };
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = error.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if owner && let Some(value) = header_text(&format!("{}: {error}", error.code())) {
        headers.insert(ERROR, value);
    }
    if let Some(time) = error.retry_after() {
        // Rounded up, so that nobody comes too early.
        let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    if *error == CallError::Unauthorized {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"hearth\""));
    }
    mark(&mut response, &id_value(request));
    response
}

/// Puts the request's ID on an answer.
pub(crate) fn mark<B>(response: &mut Response<B>, request: &HeaderValue) {
    response.headers_mut().insert(REQUEST_ID, request.clone());
}

/// A request's ID as a header has it.
pub(crate) fn id_value(request: RequestId) -> HeaderValue {
    HeaderValue::try_from(request.to_string()).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

fn problem(error: &CallError, request: RequestId) -> String {
    let status = error.status();
    serde_json::json!({
        "type": format!("urn:hearth:problem:{}", error.code()),
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": error.to_string(),
        "code": error.code(),
        "instance": format!("urn:hearth:request:{request}"),
    })
    .to_string()
}

/// Text from an instance may hold anything: only what a header may have is left of it.
fn header_text(text: &str) -> Option<HeaderValue> {
    let plain: String = text
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { ' ' })
        .take(HEADER_TEXT_MAX)
        .collect();
    HeaderValue::try_from(plain).ok()
}
