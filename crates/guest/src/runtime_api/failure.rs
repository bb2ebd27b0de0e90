//! Why a workload failed as a whole, and the errors of both ports, in Lambda's words.

use bytes::Bytes;
use hearth_guest_api::guest::ExitKind;
use hearth_guest_api::guest::record::Exited;
use hearth_guest_api::signals;
use http::StatusCode;
use serde_json::{Value, json};

use crate::server::body::{self, Body, Response};

const JSON: &str = "application/json";
/// What Lambda calls an error whose type the workload does not tell.
const UNKNOWN_TYPE: &str = "Function.Unknown";
/// An error as the X-Ray SDKs post it: it has more in it than a caller shall see.
pub(super) const WITH_CAUSE: &str = "application/vnd.aws.lambda.error.cause+json";

/// Why the workload takes no more calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// What it posted itself.
    Posted(Bytes),
    Ended {
        kind: &'static str,
        reason: String,
    },
}

impl Failure {
    pub(super) fn exited(exited: &Exited) -> Self {
        let kind = if exited.oom {
            "Runtime.OutOfMemory"
        } else {
            "Runtime.ExitError"
        };
        let reason = match (exited.signal, exited.code) {
            (0, 0) => "Runtime exited without providing a reason".to_owned(),
            (0, code) => format!("Runtime exited with error: exit status {code}"),
            (signal, _) => format!("Runtime exited with error: signal: {}", signals::description(signal)),
        };
        Self::Ended { kind, reason }
    }

    pub(super) fn not_started(exited: &Exited) -> Self {
        let kind = match exited.kind() {
            ExitKind::NotFound | ExitKind::NotExecutable => "Runtime.InvalidEntrypoint",
            ExitKind::BadCwd => "Runtime.InvalidWorkingDir",
            _ => "Runtime.ExitError",
        };
        let reason = exited.message.clone();
        Self::Ended { kind, reason }
    }

    /// As a caller gets it. `id` is the caller's call, where there is one.
    pub(super) fn body(&self, id: Option<&str>) -> Bytes {
        match self {
            Self::Posted(body) => body.clone(),
            Self::Ended { kind, reason } => {
                let call = id.map(|id| format!("RequestId: {id} ")).unwrap_or_default();
                error_body(kind, &format!("{call}Error: {reason}"))
            }
        }
    }
}

/// `{"errorType", "errorMessage"}`.
pub(super) fn error_body(kind: &str, message: &str) -> Bytes {
    json!({ "errorType": kind, "errorMessage": message }).to_string().into()
}

/// An error as the workload posted it, made fit for callers: always JSON, and without what is not theirs.
pub(super) fn posted(body: Bytes, content_type: &str, named_type: &str) -> Bytes {
    let kind = if is_type(named_type) { named_type } else { UNKNOWN_TYPE };
    match serde_json::from_slice::<Value>(&body) {
        Ok(Value::Object(mut error)) if content_type == WITH_CAUSE => {
            error.retain(|key, _| matches!(key.as_str(), "errorType" | "errorMessage" | "stackTrace"));
            Value::Object(error).to_string().into()
        }
        Ok(_) => body,
        Err(_) if body.is_empty() => json!({ "errorType": kind }).to_string().into(),
        Err(_) => error_body(kind, &String::from_utf8_lossy(&body)),
    }
}

/// Error types come from the workload and go into JSON and trailers: anything short and printable will do.
fn is_type(kind: &str) -> bool {
    !kind.is_empty() && kind.len() <= 256 && kind.bytes().all(|byte| byte.is_ascii_graphic())
}

/// An error of either port.
pub(super) fn error(status: StatusCode, kind: &str, message: &str) -> Response {
    body::with_type(status, JSON, Body::full(error_body(kind, message)))
}

pub(super) fn not_found(method: &http::Method, path: &str) -> Response {
    let message = format!("there is no {method} {path}");
    error(StatusCode::NOT_FOUND, "NotFound", &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: i32, signal: i32, oom: bool) -> Exited {
        Exited {
            kind: ExitKind::Exited.into(),
            code,
            signal,
            oom,
            message: String::new(),
        }
    }

    fn text(failure: &Failure, id: Option<&str>) -> String {
        String::from_utf8(failure.body(id).to_vec()).unwrap()
    }

    #[test]
    fn exits_in_lambdas_words() {
        assert_eq!(
            text(&Failure::exited(&exited(1, 0, false)), Some("7")),
            r#"{"errorMessage":"RequestId: 7 Error: Runtime exited with error: exit status 1","errorType":"Runtime.ExitError"}"#
        );
        let killed = text(&Failure::exited(&exited(137, 9, true)), None);
        assert!(
            killed.contains("signal: killed") && killed.contains("Runtime.OutOfMemory"),
            "{killed}"
        );
        assert!(text(&Failure::exited(&exited(0, 0, false)), None).contains("without providing a reason"));
    }

    #[test]
    fn posted_errors_are_always_json() {
        let of = |body: &'static str, content_type, kind| {
            String::from_utf8(posted(Bytes::from_static(body.as_bytes()), content_type, kind).to_vec()).unwrap()
        };
        assert_eq!(of(r#"{"errorType":"A"}"#, JSON, "B"), r#"{"errorType":"A"}"#);
        assert_eq!(of("", JSON, "Runtime.X"), r#"{"errorType":"Runtime.X"}"#);
        assert_eq!(of("", JSON, "no spaces"), r#"{"errorType":"Function.Unknown"}"#);
        assert_eq!(
            of("not json", JSON, "B"),
            r#"{"errorMessage":"not json","errorType":"B"}"#
        );
        let cause = r#"{"errorType":"A","errorMessage":"m","causeX":{"secret":1}}"#;
        assert_eq!(of(cause, WITH_CAUSE, ""), r#"{"errorMessage":"m","errorType":"A"}"#);
    }
}
