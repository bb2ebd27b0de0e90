//! Requests to the API as spans, where traces are on.

use std::time::{Duration, SystemTime};

use hearth_ids::RequestId;
use hearth_telemetry::trace::{self, Begun, Span, SpanKind, TRACEPARENT};
use http::{HeaderMap, HeaderValue, StatusCode};

/// Operations that are asked again and again, and tell nothing.
const UNTOLD: [&str; 3] = ["health", "metrics", "ready"];

/// A request's span.
pub(crate) struct Traced {
    operation: &'static str,
    begun: Begun,
    from: SystemTime,
}

/// Begins the span of a request; none while traces are off.
pub(crate) fn begin(operation: Option<&'static str>, headers: &HeaderMap) -> Option<Traced> {
    let operation = operation.filter(|operation| !UNTOLD.contains(operation))?;
    let begun = trace::begin(headers)?;
    let from = SystemTime::now();
    Some(Traced { operation, begun, from })
}

/// Lets whatever the request leads to be told within it.
pub(crate) fn put(traced: Option<&Traced>, headers: &mut HeaderMap) {
    let value = traced.and_then(|traced| HeaderValue::try_from(traced.begun.context().traceparent()).ok());
    if let Some(value) = value {
        headers.insert(TRACEPARENT, value);
    }
}

impl Traced {
    /// It was answered.
    pub(crate) fn end(self, request: RequestId, status: StatusCode, took: Duration) {
        let error = status.is_server_error().then(|| status.to_string());
        let span = Span::new(self.operation, self.from, self.from + took)
            .kind(SpanKind::Server)
            .with("hearth.request", request.to_string())
            .with("http.response.status_code", i64::from(status.as_u16()));
        self.begun.end(span.failed(error));
    }
}
