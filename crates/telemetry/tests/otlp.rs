//! Spans as a real receiver decodes them.

use std::time::{Duration, UNIX_EPOCH};

use hearth_telemetry::trace::{self, Span, SpanKind, TraceConfig};
use hearth_testkit::otlp::OtlpReceiver;
use http::HeaderMap;

const TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn spans_arrive_with_their_trace_their_parents_and_their_times() {
    let receiver = match OtlpReceiver::start() {
        Ok(receiver) => receiver,
        Err(missing) => {
            eprintln!("SKIPPED: {missing}");
            return;
        }
    };
    let mut headers = HeaderMap::new();
    headers.insert(
        trace::TRACEPARENT,
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
            .parse()
            .unwrap(),
    );
    assert!(trace::begin(&headers).is_none(), "traces are off until they are opened");
    let config = TraceConfig {
        endpoint: receiver.endpoint(),
        ratio: 0.0,
        version: "1.2.3",
    };
    trace::open(&config).unwrap();

    let call = trace::begin(&headers).unwrap();
    let at = |ms: u64| UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + ms);
    let inner = trace::tell(
        call.context(),
        Span::new("boot", at(10), at(20)).failed(Some("no room".into())),
    );
    trace::tell(inner, Span::new("guest", at(11), at(12)));
    let span = Span::new("call", at(0), at(30)).kind(SpanKind::Server);
    call.end(span.with("hearth.version", 7));
    // Of a trace that begins here none is recorded at a ratio of 0.
    let unsampled = trace::begin(&HeaderMap::new()).unwrap();
    assert!(!unsampled.is_sampled());
    unsampled.end(Span::new("never", at(0), at(1)));
    tokio::task::spawn_blocking(trace::close).await.unwrap();

    let spans = receiver.spans_until(TIMEOUT, |spans| spans.len() == 3);
    let named = |name: &str| spans.iter().find(|span| span["name"] == name).unwrap();
    assert_eq!(spans.len(), 3, "{spans:?}");
    let (call, boot, guest) = (named("call"), named("boot"), named("guest"));
    for span in &spans {
        assert_eq!(span["trace"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(span["service"], "hearth");
    }
    assert_eq!(call["parent"], "00f067aa0ba902b7");
    assert_eq!(boot["parent"], call["span"]);
    assert_eq!(guest["parent"], boot["span"]);
    assert_eq!(call["attributes"]["hearth.version"], 7);
    assert_eq!(call["from_ns"], 1_700_000_000_000_000_000_u64);
    assert_eq!(call["to_ns"], 1_700_000_000_030_000_000_u64);
    assert_eq!(boot["error"], "no room");
}

#[tokio::test]
async fn an_address_that_is_none_is_refused() {
    for endpoint in ["", "127.0.0.1:4318", "ftp://x", "http://"] {
        let config = TraceConfig {
            endpoint: endpoint.into(),
            ratio: 1.0,
            version: "1",
        };
        assert!(trace::open(&config).is_err(), "{endpoint}");
    }
}
