//! Answers that are held in memory until an HTTP/2 client takes them.
//!
//! Such a client says itself how many bytes of a stream it takes, and may say none: then nothing is written, and no write
//! stands still ([`hearth_http::Stalling`]). So what is held for it has its time, until the last piece of it is sent; who does not take
//! it loses the connection. Large answers take a share of a room of their own, so that unread ones are bounded in all.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio_util::task::AbortOnDropHandle;

use crate::{Body, Gateway, client::Client, room::attach};

/// What a client must take, on average. More than of what it is sent piece by piece, for this is held in memory meanwhile.
const BYTES_PER_SECOND: u64 = 16 * 1024;
/// Up to so many bytes an answer takes no share of the room: the connection's own bounds are enough for it.
const SMALL: usize = 16 * 1024;

/// The answer, lent to the client. One that comes piece by piece has its own time.
pub(super) fn lend(gateway: &Gateway, client: &Arc<Client>, response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let whole = match body.into_whole() {
        Ok(whole) => whole,
        Err(body) => return Response::from_parts(parts, body),
    };
    let bytes = u64::try_from(whole.len()).unwrap_or(u64::MAX);
    let time = gateway.config.client.body_idle + Duration::from_secs(bytes / BYTES_PER_SECOND);
    let connection = client.connection.clone();
    let watch = tokio::spawn(async move {
        tokio::time::sleep(time).await;
        connection.cancel();
    });
    // A copy: it may be a piece of a larger buffer, which would be held with it.
    let copy = Bytes::copy_from_slice(&whole);
    let watch = AbortOnDropHandle::new(watch);
    if copy.len() <= SMALL {
        return Response::from_parts(parts, Body::full(attach(copy, watch)));
    }
    if let Ok(copy) = gateway.lent.hold(Some(client.address)).keep(copy) {
        return Response::from_parts(parts, Body::full(attach(copy, watch)));
    }
    // The call has run, so nobody is invited to repeat it; without a body there is nothing to take.
    parts.status = StatusCode::INSUFFICIENT_STORAGE;
    parts.headers.remove(http::header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::empty())
}
