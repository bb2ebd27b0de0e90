//! `filesystem.Filesystem`.

use std::rc::Rc;

use super::body::Response;
use super::rpc::{self, Call};
use crate::agent::Agent;

#[expect(clippy::unused_async, reason = "first cut")]
pub(super) async fn serve(_agent: Rc<Agent>, method: &str, _call: Call) -> Response {
    rpc::unknown_method(method)
}
