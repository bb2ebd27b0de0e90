//! Answers that are held in memory until an HTTP/2 client takes them.
//!
//! Such a client says itself how many bytes of a stream it takes, and may say none: then nothing is written, and no write
//! stands still ([`super::stall`]). So what is held for it takes its share of the room for such bytes and has its time, both
//! until the last piece of it is sent; who does not take it loses the connection.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::RETRY_AFTER};
use tokio_util::task::AbortOnDropHandle;

use super::stall::BYTES_PER_SECOND;
use crate::{Body, CallError, Gateway, client::Client};

/// The answer, lent to the client. One that comes piece by piece has its own time.
pub(super) fn lend(gateway: &Gateway, client: &Arc<Client>, response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let whole = match body.into_whole() {
        Ok(whole) => whole,
        Err(body) => return Response::from_parts(parts, body),
    };
    let bytes = u64::try_from(whole.len()).unwrap_or(u64::MAX);
    let time = gateway.config.client.body_idle + Duration::from_secs(bytes / u64::from(BYTES_PER_SECOND));
    let connection = client.connection.clone();
    let watch = tokio::spawn(async move {
        tokio::time::sleep(time).await;
        connection.cancel();
    });
    // A copy: it may be a piece of a larger buffer, which would be held with it.
    let copy = Bytes::copy_from_slice(&whole);
    let held = gateway.room.hold(Some(client.address));
    if let Ok(lent) = held.keep_with(copy, AbortOnDropHandle::new(watch)) {
        return Response::from_parts(parts, Body::full(lent));
    }
    // Without a body there is nothing to take.
    parts.status = StatusCode::SERVICE_UNAVAILABLE;
    parts.headers.remove(http::header::CONTENT_LENGTH);
    let wait = CallError::BodiesFull.retry_after().unwrap_or(Duration::from_secs(1));
    parts
        .headers
        .insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    Response::from_parts(parts, Body::empty())
}
