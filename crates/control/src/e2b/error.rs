//! Errors as E2B has them: `{"code": the status, "message": …}`.

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use hearth_api::{ProblemCode, REQUEST_ID_HEADER};
use http::{HeaderName, HeaderValue, StatusCode, header};
use tracing::{debug, warn};

use crate::{error::ApiError, metrics};

/// Says whether a client may send the request again by itself.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("should-retry");

/// Writes out the problem that an answer notes.
pub(crate) fn finish(mut response: Response, id: &str) -> Response {
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        response = written(&error);
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        response
            .headers_mut()
            .insert(HeaderName::from_static(REQUEST_ID_HEADER), id);
    }
    response
}

/// The status of E2B's API for a problem of Hearth's.
fn status(code: ProblemCode) -> u16 {
    match code {
        ProblemCode::NoCapacity => 503,
        ProblemCode::UnsupportedMediaType | ProblemCode::IdempotencyMismatch => 400,
        code => code.status(),
    }
}

/// The error as a body has it.
pub(super) fn body(error: &ApiError) -> serde_json::Value {
    let problem = &error.problem;
    serde_json::json!({
        "code": status(problem.code),
        "message": problem.detail,
        "error_code": problem.code.as_str(),
    })
}

fn written(error: &ApiError) -> Response {
    let problem = &error.problem;
    metrics::problem(problem.code);
    let status = status(problem.code);
    if status >= 500 {
        warn!(status, detail = problem.detail, cause = error.chain(), "failed");
    } else {
        debug!(status, detail = problem.detail, cause = error.chain(), "refused");
    }
    let body = body(error);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Body::from(body.to_string())).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = error.retry_after_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    // SDKs send these again by themselves unless told not to; what is full stays so for longer than they wait.
    if matches!(status.as_u16(), 429 | 502 | 503 | 504) {
        let again = problem.code == ProblemCode::TooManyRequests;
        headers.insert(
            SHOULD_RETRY,
            HeaderValue::from_static(if again { "true" } else { "false" }),
        );
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Statuses that clients send again by themselves where nothing is said of it.
    const AGAIN: [u16; 4] = [429, 502, 503, 504];

    fn answered(error: ApiError) -> Response {
        finish(error.into_response(), "req1")
    }

    #[test]
    fn each_problem_has_a_status_that_clients_know() {
        for &code in ProblemCode::ALL {
            let wanted = match code {
                ProblemCode::NoCapacity => 503,
                ProblemCode::UnsupportedMediaType | ProblemCode::IdempotencyMismatch => 400,
                code => code.status(),
            };
            let response = answered(ApiError::new(code, "why"));
            assert_eq!(response.status().as_u16(), wanted, "{code:?}");
            assert_eq!(response.headers()["content-type"], "application/json");
            assert_eq!(response.headers()[REQUEST_ID_HEADER], "req1");
            let told = serde_json::json!({ "code": wanted, "message": "why", "error_code": code.as_str() });
            assert_eq!(body(&ApiError::new(code, "why")), told);
        }
    }

    #[test]
    fn what_would_be_sent_again_says_whether_it_should_be() {
        for &code in ProblemCode::ALL {
            let response = answered(ApiError::new(code, "why"));
            let said = response.headers().get(&SHOULD_RETRY);
            let wanted = AGAIN.contains(&response.status().as_u16());
            assert_eq!(said.is_some(), wanted, "{code:?}");
            // Only what is over in a moment is worth it.
            if let Some(said) = said {
                let brief = code == ProblemCode::TooManyRequests;
                assert_eq!(said, if brief { "true" } else { "false" }, "{code:?}");
            }
        }
        let response = answered(ApiError::new(ProblemCode::TooManyRequests, "why").retry_after_ms(1500));
        assert_eq!(response.headers()["retry-after"], "2");
    }
}
