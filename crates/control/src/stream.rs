//! Answers that are streams.

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use hearth_api::NDJSON;
use http::{HeaderValue, header};
use serde::Serialize;

use crate::app::App;

/// A stream of JSON lines, cut off when the server shuts down.
pub(crate) fn ndjson<T, S>(app: &App, lines: S) -> Response
where
    T: Serialize,
    S: Stream<Item = T> + Send + 'static,
{
    bytes(
        app,
        NDJSON,
        lines.map(|line| Ok::<_, std::convert::Infallible>(json_line(&line))),
    )
}

/// A stream of bytes, cut off when the server shuts down.
pub(crate) fn bytes<E, S>(app: &App, media_type: &'static str, chunks: S) -> Response
where
    E: Into<axum::BoxError>,
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
{
    let until = app.shutdown.clone().cancelled_owned();
    let mut response = Body::from_stream(chunks.take_until(until)).into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// JSON of a wire type, whose maps have text keys, so that it cannot fail.
fn json_line<T: Serialize>(line: &T) -> Bytes {
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text.into()
}
