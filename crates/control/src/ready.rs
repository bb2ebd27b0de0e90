//! Whether the server can do its work now.
//!
//! Everybody may ask, so what costs something is looked at once a second at most, whoever asks, and reasons are told in
//! the log and not to the one who asks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Json, extract::State, response::IntoResponse};
use hearth_api::{Readiness, ReadyPart};
use http::StatusCode;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use tracing::warn;

use crate::{api_doc::Problems, app::App};

/// For so long an answer holds.
const HOLDS: Duration = Duration::from_secs(1);
/// What takes longer is not ready.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What was seen last, and what is only known by whoever serves.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    last: Mutex<Option<(Instant, Vec<ReadyPart>)>>,
    /// The gateway's server ended, though nobody told it to.
    pub(crate) gateway_ended: AtomicBool,
}

/// Whether the server can do its work: 200 if all of it can, otherwise 503 with the parts that cannot.
#[utoipa::path(get, path = "/readyz", tag = "node", operation_id = "ready",
    responses((status = 200, description = "It can", body = Readiness),
        (status = 503, description = "Some of it cannot", body = Readiness), Problems))]
pub(crate) async fn ready(State(app): State<Arc<App>>) -> impl IntoResponse {
    let not_ready = look(&app).await;
    let ready = not_ready.is_empty();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(Readiness { ready, not_ready }))
}

async fn look(app: &App) -> Vec<ReadyPart> {
    let mut last = app.ready.last.lock().await;
    if let Some((at, parts)) = &*last
        && at.elapsed() < HOLDS
    {
        return parts.clone();
    }
    let parts = not_ready(app).await;
    if !parts.is_empty() {
        warn!(?parts, "not ready");
    }
    *last = Some((Instant::now(), parts.clone()));
    parts
}

async fn not_ready(app: &App) -> Vec<ReadyPart> {
    let mut parts = Vec::new();
    if app.shutdown.is_cancelled() {
        parts.push(ReadyPart::Server);
    }
    match timeout(TIMEOUT, app.store.check_writable()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            warn!(error = hearth_domain::chain(&error), "the store cannot be written");
            parts.push(ReadyPart::Store);
        }
        Err(_) => parts.push(ReadyPart::Store),
    }
    if !matches!(timeout(TIMEOUT, app.node.info()).await, Ok(Ok(_))) {
        parts.push(ReadyPart::Node);
    }
    if app.ready.gateway_ended.load(Ordering::SeqCst) {
        parts.push(ReadyPart::Gateway);
    }
    if !app.plane.get().is_some_and(|plane| plane.worker.serves()) {
        parts.push(ReadyPart::Worker);
    }
    parts
}
