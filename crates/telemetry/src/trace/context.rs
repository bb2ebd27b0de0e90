//! Which trace and which span a request belongs to, as headers say it.

use std::fmt::Write as _;

/// The header of W3C Trace Context.
pub const TRACEPARENT: &str = "traceparent";
/// The header of AWS, which programs of the Lambda contract read.
pub const AMZN_TRACE_ID: &str = "x-amzn-trace-id";

/// A span of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// Of all spans of the trace.
    pub(super) trace: u128,
    /// Of this span.
    pub(super) span: u64,
    /// Whether the trace is recorded.
    pub(super) sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent` (W3C Trace Context, 3.2): of version 00, or what a later one has in common with it.
    pub fn of_traceparent(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let version = hex_field(fields.next()?, 2)?;
        let (trace, span) = (hex_field(fields.next()?, 32)?, hex_field(fields.next()?, 16)?);
        let flags = hex_field(fields.next()?, 2)?;
        let valid = version != 0xff && (version != 0 || fields.next().is_none()) && trace != 0 && span != 0;
        valid.then_some(Self {
            trace,
            span: u64::try_from(span).ok()?,
            sampled: flags & 1 == 1,
        })
    }

    /// Reads an `X-Amzn-Trace-Id` such as `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`.
    pub fn of_amzn(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let mut fields = text.split(';').map(str::trim);
            fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        let (time, rest) = field("Root")?.strip_prefix("1-")?.split_once('-')?;
        let trace = hex_field(time, 8)? << 96 | hex_field(rest, 24)?;
        let span = u64::try_from(hex_field(field("Parent")?, 16)?).ok()?;
        let sampled = field("Sampled") == Some("1");
        (trace != 0 && span != 0).then_some(Self { trace, span, sampled })
    }

    /// For `traceparent`.
    pub fn traceparent(&self) -> String {
        let mut text = String::with_capacity(55);
        let (trace, span, flags) = (self.trace, self.span, u8::from(self.sampled));
        // Writing to a string cannot fail.
        let _ = write!(text, "00-{trace:032x}-{span:016x}-{flags:02x}");
        text
    }

    /// For `X-Amzn-Trace-Id`.
    pub fn amzn(&self) -> String {
        let Self { trace, span, sampled } = *self;
        let (time, rest) = (trace >> 96, trace & ((1 << 96) - 1));
        format!(
            "Root=1-{time:08x}-{rest:024x};Parent={span:016x};Sampled={}",
            u8::from(sampled)
        )
    }

    /// Another span of the same trace.
    pub(super) fn sibling(self) -> Self {
        Self {
            span: random_span(),
            ..self
        }
    }

    /// The first span of a trace.
    pub(super) fn root(sampled: bool) -> Self {
        Self {
            trace: rand::random::<u128>().max(1),
            span: random_span(),
            sampled,
        }
    }
}

fn random_span() -> u64 {
    rand::random::<u64>().max(1)
}

/// Exactly so many digits, in lower case as the standard wants it.
fn hex_field(text: &str, digits: usize) -> Option<u128> {
    let fits = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    fits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_standard_s_example_is_read_and_written() {
        let context = TraceContext::of_traceparent(EXAMPLE).unwrap();
        assert!(context.sampled);
        assert_eq!(context.traceparent(), EXAMPLE);
        assert_eq!(TraceContext::of_amzn(&context.amzn()), Some(context));
        assert_eq!(
            context.amzn(),
            "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1"
        );
    }

    #[test]
    fn what_is_not_valid_is_passed_over() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::of_traceparent(text), None, "{text}");
        }
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-more";
        assert!(!TraceContext::of_traceparent(later).unwrap().sampled);
        for text in [
            "",
            "Root=1-4bf92f35",
            "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736",
            "Parent=1;Root=1-x-y",
        ] {
            assert_eq!(TraceContext::of_amzn(text), None, "{text}");
        }
    }
}
