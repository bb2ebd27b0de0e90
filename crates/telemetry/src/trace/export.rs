//! Sending spans by OTLP over HTTP, in batches, by a thread of the SDK's that has a bounded queue: what does not fit is lost,
//! and nobody waits.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, Status, TraceState},
};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor as _},
};
use thiserror::Error;
use tokio::runtime::Handle;

use super::{Span, TraceContext};

/// How long one batch may take to be sent.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last spans may take when the daemon goes down.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// What is read of a receiver's answer, in bytes.
const ANSWER_MAX: usize = 64 * 1024;

/// Where traces go.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceConfig {
    /// Base address of the receiver, such as `http://127.0.0.1:4318`; `/v1/traces` is added.
    pub endpoint: String,
    /// Of traces that begin here, the part that is recorded: 0 to 1. Of others their maker decides.
    pub ratio: f64,
    /// Version of the daemon.
    pub version: &'static str,
}

/// Why traces cannot be sent.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The address is not valid.
    #[error("{0:?} is no address of an OTLP receiver; give one such as http://127.0.0.1:4318")]
    Endpoint(String),
    /// There is no TLS.
    #[error("cannot prepare TLS for traces")]
    Tls(#[source] rustls::Error),
    /// The client cannot be made.
    #[error("cannot prepare the client for traces")]
    Client(#[source] reqwest::Error),
    /// The exporter cannot be made.
    #[error("cannot prepare the exporter of traces")]
    Exporter(#[source] opentelemetry_otlp::ExporterBuildError),
}

/// Sends spans.
pub(super) struct Tracer {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    ratio: f64,
}

impl Tracer {
    pub(super) fn new(config: &TraceConfig) -> Result<Self, TraceError> {
        let endpoint = format!("{}/v1/traces", config.endpoint.trim_end_matches('/'));
        let valid = endpoint
            .parse::<http::Uri>()
            .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
        if !valid {
            return Err(TraceError::Endpoint(config.endpoint.clone()));
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new()?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .with_timeout(TIMEOUT)
            .build()
            .map_err(TraceError::Exporter)?;
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        let resource = Resource::builder_empty().with_attributes([
            KeyValue::new("service.name", "hearth"),
            KeyValue::new("service.version", config.version),
        ]);
        processor.set_resource(&resource.build());
        Ok(Self {
            processor,
            scope: InstrumentationScope::builder("hearth").build(),
            ratio: config.ratio,
        })
    }

    /// Whether a trace that begins here is recorded.
    pub(super) fn samples(&self) -> bool {
        self.ratio >= 1.0 || rand::random::<f64>() < self.ratio
    }

    pub(super) fn send(&self, context: TraceContext, parent: Option<TraceContext>, span: Span) {
        let span_context = SpanContext::new(
            TraceId::from_bytes(context.trace.to_be_bytes()),
            SpanId::from_bytes(context.span.to_be_bytes()),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        );
        let attributes = span.attributes.into_iter();
        self.processor.on_end(SpanData {
            span_context,
            parent_span_id: parent.map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.span.to_be_bytes())),
            parent_span_is_remote: false,
            span_kind: span.kind,
            name: span.name,
            start_time: span.from,
            end_time: span.to,
            attributes: attributes.map(|(name, value)| KeyValue::new(name, value)).collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: span.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: self.scope.clone(),
        });
    }

    pub(super) fn close(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(CLOSE_TIMEOUT) {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Our HTTP client, which works on our runtime while the SDK's thread waits for it.
#[derive(Clone)]
struct Client {
    client: reqwest::Client,
    runtime: Handle,
}

impl Client {
    fn new() -> Result<Self, TraceError> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TraceError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()
            .map_err(TraceError::Client)?;
        let runtime = Handle::current();
        Ok(Self { client, runtime })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let answer = self.runtime.spawn(async move {
            let request = request.map(reqwest::Body::from).try_into()?;
            let mut answer = client.execute(request).await?;
            let mut response = Response::builder().status(answer.status());
            if let Some(headers) = response.headers_mut() {
                headers.clone_from(answer.headers());
            }
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await? {
                let room = ANSWER_MAX.saturating_sub(body.len());
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if room == 0 {
                    break;
                }
            }
            Ok::<_, HttpError>(response.body(Bytes::from(body))?)
        });
        answer.await?
    }
}
