//! What is told of a call, once it has ended.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hearth_domain::Contract;
use hearth_ids::MachineId;
use hearth_telemetry::trace::{self, Begun, Span, SpanKind};
use http::{HeaderMap, HeaderValue};

use crate::{CallError, CallObserver, CallRecord, call::Call, pool::Pool};

/// A call under way. Told when it is finished, and as given up by its caller when it is dropped before.
pub(crate) struct Recording(Option<Box<Inner>>);

struct Inner {
    observer: Arc<dyn CallObserver>,
    pool: Arc<Pool>,
    began: Instant,
    record: CallRecord,
    trace: Option<Begun>,
}

/// Begins the call's span, where calls are traced, and lets the function know of it.
pub(crate) fn trace(call: &mut Call, pool: &Pool) -> Option<Begun> {
    // A stranger must not have us record and send what nobody wants.
    let begun = if call.trusted {
        trace::begin(call.request.headers())?
    } else {
        trace::begin(&HeaderMap::new())?
    };
    let context = begun.context();
    let mut put = |name, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            call.request.headers_mut().insert(name, value);
        }
    };
    put(trace::TRACEPARENT, context.traceparent());
    if call.facts.contract == Contract::Lambda {
        put(trace::AMZN_TRACE_ID, context.amzn());
    }
    if begun.is_sampled() && pool.instances().is_empty() {
        pool.put_trace(context);
    }
    Some(begun)
}

/// Tells the call's span, and how long of it was spent waiting.
fn tell_span(begun: Begun, record: &CallRecord) {
    let (from, to) = (record.started, record.started + record.duration);
    if !record.queued.is_zero() {
        let waited = Span::new("wait for an instance", from, from + record.queued).with("hearth.cold", record.cold);
        trace::tell(begun.context(), waited);
    }
    let mut span = Span::new("call", from, to)
        .kind(SpanKind::Server)
        .with("hearth.request", record.request.to_string())
        .with("hearth.project", record.project.to_string())
        .with("hearth.function", record.function.to_string())
        .with("hearth.version", i64::from(record.version))
        .with("hearth.cold", record.cold)
        .with("http.request.method", record.method.to_string())
        .with("url.path", record.path.clone())
        .with("http.response.status_code", i64::from(record.status));
    if let Some(machine) = record.machine {
        span = span.with("hearth.machine", machine.to_string());
    }
    if let Some(invocation) = record.invocation {
        span = span.with("hearth.invocation", invocation.to_string());
    }
    begun.end(span.failed(record.error.as_ref().map(ToString::to_string)));
}

impl Recording {
    pub(crate) fn new(
        observer: Arc<dyn CallObserver>,
        pool: Arc<Pool>,
        record: CallRecord,
        trace: Option<Begun>,
    ) -> Self {
        Self(Some(Box::new(Inner {
            observer,
            pool,
            began: Instant::now(),
            record,
            trace,
        })))
    }

    /// It reached this instance, after so long a wait.
    pub(crate) fn met(&mut self, machine: Option<MachineId>, queued: Duration, cold: bool) {
        if let Some(inner) = &mut self.0 {
            inner.record.machine = machine;
            inner.record.queued = queued;
            inner.record.cold = cold;
        }
    }

    /// The answer's head is there.
    pub(crate) fn status(&mut self, status: http::StatusCode) {
        if let Some(inner) = &mut self.0 {
            inner.record.status = status.as_u16();
        }
    }

    /// It has ended.
    pub(crate) fn finish(mut self, bytes_in: u64, bytes_out: u64, error: Option<CallError>) {
        self.tell(bytes_in, bytes_out, error);
    }

    /// It has failed, so.
    pub(crate) fn failed(self, bytes_in: u64, error: CallError) -> CallError {
        self.finish(bytes_in, 0, Some(error.clone()));
        error
    }

    fn tell(&mut self, bytes_in: u64, bytes_out: u64, error: Option<CallError>) {
        let Some(mut inner) = self.0.take() else { return };
        let record = &mut inner.record;
        record.duration = inner.began.elapsed();
        (record.bytes_in, record.bytes_out) = (bytes_in, bytes_out);
        // Of a program's own error the agent tells with a 200; the call has failed all the same.
        if record.status == 0 || matches!(error, Some(CallError::FunctionError(_))) {
            // 499, as others call it: nobody was there to be answered.
            let status = |error: &CallError| match error {
                CallError::ClientGone => 499,
                error => error.status().as_u16(),
            };
            record.status = error.as_ref().map_or(500, status);
        }
        record.error = error;
        let (status, took) = (record.status, record.duration);
        inner.pool.meters.ended(status, took, record.queued, record.cold);
        if let Some(begun) = inner.trace.filter(Begun::is_sampled) {
            tell_span(begun, &inner.record);
        }
        inner.observer.finished(inner.record);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.tell(0, 0, Some(CallError::ClientGone));
    }
}
