//! Calls with one answer, and the head of calls with many.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};

use super::error::{GuestError, millis};
use super::pool::{Body, Exchange};
use super::{GuestClient, Result};
use crate::connect::{
    Codec, Kind, Message, TIMEOUT_HEADER, VERSION_HEADER, content_type, encode_message, parse_content_type,
};
use crate::{ACCESS_TOKEN_HEADER, HOST_TOKEN_HEADER, KEEPALIVE_HEADER, MAX_ANSWER_BYTES};

/// The host speaks protobuf: smaller, quicker, and open to signal numbers without names.
const CODEC: Codec = Codec::Proto;
/// The longest answer of all calls but a listing, in bytes.
const SMALL_ANSWER_BYTES: usize = 256 * 1024;
/// How often the agent is asked for a sign of life on a stream; a third of the idle limit.
const KEEPALIVE_SECONDS: &str = "10";
/// For the head of a stream's answer.
const STREAM_HEAD_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) async fn within<T>(call: &'static str, limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(GuestError::Timeout {
            call,
            limit_ms: millis(limit),
        })
    })
}

pub(super) fn full_body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn empty_body() -> Body {
    full_body(Bytes::new())
}

pub(super) fn request(method: Method, path: &str, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    // Paths are constants or percent-encoded here; one that is no URI cannot come up, and would give a 404 at worst.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request.headers_mut().insert(HOST, HeaderValue::from_static("guest"));
    request
}

/// The method's name, for error messages: the last segment of `/service/Method`.
fn call_name(path: &'static str) -> &'static str {
    path.rsplit('/').next().unwrap_or(path)
}

impl GuestClient {
    pub(super) fn host_headers(&self) -> HeaderMap {
        token_header(HOST_TOKEN_HEADER, &self.tokens.host)
    }

    pub(super) fn access_headers(&self) -> HeaderMap {
        token_header(ACCESS_TOKEN_HEADER, &self.tokens.access)
    }

    pub(super) async fn guest_call<Q: Message, A: Message>(
        &self,
        method: &'static str,
        limit: Duration,
        message: &Q,
    ) -> Result<A> {
        within(method, limit, self.guest_call_unlimited(method, message)).await
    }

    /// For calls that last as long as the workload does not read; they end when it, or the machine, does.
    pub(super) async fn guest_call_unlimited<Q: Message, A: Message>(
        &self,
        method: &'static str,
        message: &Q,
    ) -> Result<A> {
        self.unary(
            method,
            &format!("/hearth.guest.v1.Guest/{method}"),
            &self.host_headers(),
            message,
        )
        .await
    }

    pub(super) async fn unary<Q: Message, A: Message>(
        &self,
        call: &'static str,
        path: &str,
        headers: &HeaderMap,
        message: &Q,
    ) -> Result<A> {
        let bytes = CODEC
            .encode(message)
            .map_err(|source| GuestError::Message { call, source })?;
        let mut request = request(Method::POST, path, full_body(bytes));
        add_protocol_headers(request.headers_mut(), Kind::Unary, headers);
        let exchange = self.pool.exchange(call, request).await?;
        if exchange.status() != StatusCode::OK {
            return Err(exchange.into_http_error(call).await);
        }
        check_content_type(call, &exchange, Kind::Unary)?;
        // A message grows to many times its bytes once it is decoded: only a listing may be long.
        let limit = if call == "ListDir" {
            MAX_ANSWER_BYTES
        } else {
            SMALL_ANSWER_BYTES
        };
        let body = exchange.collect(call, limit).await?;
        CODEC
            .decode(body)
            .map_err(|source| GuestError::Message { call, source })
    }

    /// Starts a call that answers with a stream; `path` is `/service/Method`.
    pub(super) async fn stream_call<Q: Message>(
        &self,
        path: &'static str,
        headers: &HeaderMap,
        message: &Q,
    ) -> Result<Exchange> {
        let call = call_name(path);
        let bytes = CODEC
            .encode(message)
            .map_err(|source| GuestError::Message { call, source })?;
        let mut request = request(Method::POST, path, full_body(encode_message(&bytes)));
        add_protocol_headers(request.headers_mut(), Kind::Stream, headers);
        request.headers_mut().insert(
            HeaderName::from_static(KEEPALIVE_HEADER),
            HeaderValue::from_static(KEEPALIVE_SECONDS),
        );
        let exchange = within(call, STREAM_HEAD_TIMEOUT, self.pool.exchange(call, request)).await?;
        if exchange.status() != StatusCode::OK {
            return Err(exchange.into_http_error(call).await);
        }
        check_content_type(call, &exchange, Kind::Stream)?;
        Ok(exchange)
    }
}

fn token_header(name: &'static str, token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // A token that is no header value cannot be one that the guest was given; without it the guest refuses the call.
    if let Ok(mut value) = HeaderValue::from_str(token) {
        value.set_sensitive(true);
        headers.insert(HeaderName::from_static(name), value);
    }
    headers
}

fn add_protocol_headers(headers: &mut HeaderMap, kind: Kind, own: &HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(CODEC, kind)));
    headers.insert(HeaderName::from_static(VERSION_HEADER), HeaderValue::from_static("1"));
    // The agent must not kill what it runs when a host's call ends, so no `connect-timeout-ms`.
    debug_assert!(!own.contains_key(TIMEOUT_HEADER));
    headers.extend(own.iter().map(|(name, value)| (name.clone(), value.clone())));
}

fn check_content_type(call: &'static str, exchange: &Exchange, kind: Kind) -> Result<()> {
    let value = exchange.header(CONTENT_TYPE.as_str()).unwrap_or_default();
    if parse_content_type(value) == Some((CODEC, kind)) {
        return Ok(());
    }
    let shown: String = value.chars().take(80).collect();
    Err(GuestError::protocol(
        call,
        format!("it answered with the content type `{shown}`"),
    ))
}
