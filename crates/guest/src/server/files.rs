//! `/files`.
use std::rc::Rc;

use http::{Request, StatusCode};
use hyper::body::Incoming;

use super::body::{self, Response};
use crate::agent::Agent;

#[expect(clippy::unused_async, reason = "first cut")]
pub(super) async fn serve(_agent: Rc<Agent>, _request: Request<Incoming>) -> Response {
    body::json_error(StatusCode::NOT_IMPLEMENTED, "not yet")
}
