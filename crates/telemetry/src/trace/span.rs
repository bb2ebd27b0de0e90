//! What is told of a span.

use std::{borrow::Cow, time::SystemTime};

pub use opentelemetry::Value;
pub use opentelemetry::trace::SpanKind;

/// A span that has ended.
#[derive(Debug, Clone)]
pub struct Span {
    pub(super) name: Cow<'static, str>,
    pub(super) kind: SpanKind,
    pub(super) from: SystemTime,
    pub(super) to: SystemTime,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) error: Option<String>,
}

impl Span {
    /// Of something that went on here, between these times.
    pub fn new(name: impl Into<Cow<'static, str>>, from: SystemTime, to: SystemTime) -> Self {
        Self {
            name: name.into(),
            kind: SpanKind::Internal,
            from,
            to: to.max(from),
            attributes: Vec::new(),
            error: None,
        }
    }

    /// Its part in a call.
    #[must_use]
    pub fn kind(mut self, kind: SpanKind) -> Self {
        self.kind = kind;
        self
    }

    /// Something to know of it.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    /// It failed, so.
    #[must_use]
    pub fn failed(mut self, error: Option<String>) -> Self {
        self.error = error;
        self
    }
}
