//! `/hearth/archive`.
use http::{Request, StatusCode};
use hyper::body::Incoming;

use super::body::{self, Response};

#[expect(clippy::unused_async, reason = "first cut")]
pub(super) async fn serve(_request: Request<Incoming>) -> Response {
    body::json_error(StatusCode::NOT_IMPLEMENTED, "not yet")
}
