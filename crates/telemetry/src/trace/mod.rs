//! Traces: spans that are told once they have ended, with the times that they had.
//!
//! Nothing is kept while a span lasts but its IDs, which travel in headers and requests; whoever sees its end tells it
//! whole. So a machine's history and what a guest says of its boot become spans as well as what happens here, and while
//! traces are off, which they are unless [`open`] was called, all of it is one look at a flag.

mod context;
mod export;
mod span;

use std::sync::OnceLock;

pub use context::{AMZN_TRACE_ID, TRACEPARENT, TraceContext};
pub use export::{TraceConfig, TraceError};
use http::HeaderMap;
pub use span::{Span, SpanKind, Value};

static TRACER: OnceLock<export::Tracer> = OnceLock::new();

/// Sends spans from now on. To be called once, within the runtime that is to send them.
pub fn open(config: &TraceConfig) -> Result<(), TraceError> {
    let tracer = export::Tracer::new(config)?;
    // A second call changes nothing.
    let _ = TRACER.set(tracer);
    Ok(())
}

/// Sends what there is, and waits for that no longer than a few seconds. Blocks.
pub fn close() {
    if let Some(tracer) = TRACER.get() {
        tracer.close();
    }
}

/// Whether spans are sent.
pub fn is_on() -> bool {
    TRACER.get().is_some()
}

/// Begins a span: of the trace that the headers name, or of a new one. None while traces are off.
pub fn begin(headers: &HeaderMap) -> Option<Begun> {
    let tracer = TRACER.get()?;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let parent = text(TRACEPARENT)
        .and_then(TraceContext::of_traceparent)
        .or_else(|| text(AMZN_TRACE_ID).and_then(TraceContext::of_amzn));
    let context = parent.map_or_else(|| TraceContext::root(tracer.samples()), TraceContext::sibling);
    Some(Begun { context, parent })
}

/// Tells a span within another, and gives it, so that others can be told within it.
pub fn tell(parent: TraceContext, span: Span) -> TraceContext {
    let context = parent.sibling();
    let begun = Begun {
        context,
        parent: Some(parent),
    };
    begun.end(span);
    context
}

/// A span that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    context: TraceContext,
    parent: Option<TraceContext>,
}

impl Begun {
    /// For those within it.
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// Whether it will be sent.
    pub fn is_sampled(&self) -> bool {
        self.context.sampled
    }

    /// It has ended.
    pub fn end(self, span: Span) {
        if let Some(tracer) = TRACER.get().filter(|_| self.context.sampled) {
            tracer.send(self.context, self.parent, span);
        }
    }
}
