//! What is done to sandboxes.

use std::sync::Arc;

use axum::{Json, extract::State};
use hearth_api::{PauseSandbox, ResumeSandbox, Sandbox, SetSandboxTimeout};
use hearth_domain::Action;
use http::StatusCode;

use super::view;
use crate::{
    api_doc::Problems,
    app::App,
    caller::{Caller, Tenant},
    error::ApiResult,
    extract::{ApiBody, ApiPath},
    sandboxes::{self, Pause, Resume, find_beginning, no_sandbox, timeout_ms},
    time::{now_unix_ms, timestamp},
};

/// Removes a sandbox with everything of it, whether it runs or is paused.
#[utoipa::path(delete, path = "/v1/sandboxes/{sandbox}", tag = "sandboxes", operation_id = "kill_sandbox",
    params(("sandbox" = String, Path, description = "ID")),
    responses((status = 204, description = "It is gone"), Problems))]
pub(crate) async fn kill(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let (sandbox, _) = find_beginning(&app, &tenant, &wanted).await?;
    sandboxes::kill(&app, &sandbox).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Has a sandbox stand still: it holds no memory and no CPU then, outlasts a restart of the host, and does not end. One that is
/// paused already is a conflict.
#[utoipa::path(post, path = "/v1/sandboxes/{sandbox}/pause", tag = "sandboxes", operation_id = "pause_sandbox",
    params(("sandbox" = String, Path, description = "ID")), request_body = PauseSandbox,
    responses((status = 200, description = "It is paused", body = Sandbox), Problems))]
pub(crate) async fn pause(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<Json<Sandbox>> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let (sandbox, _) = find_beginning(&app, &tenant, &wanted).await?;
    let request: PauseSandbox = body.json_or_default().await?;
    let how = Pause {
        memory: request.memory.unwrap_or(true),
        if_healthy: false,
    };
    sandboxes::pause(&app, &sandbox, how).await?;
    now(&app, &tenant, &sandbox).await
}

/// Has a paused sandbox go on. One that runs is left as it is, but for its end, which is put off if it is nearer.
#[utoipa::path(post, path = "/v1/sandboxes/{sandbox}/resume", tag = "sandboxes", operation_id = "resume_sandbox",
    params(("sandbox" = String, Path, description = "ID")), request_body = ResumeSandbox,
    responses((status = 200, description = "It runs", body = Sandbox), Problems))]
pub(crate) async fn resume(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<Json<Sandbox>> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let (sandbox, _) = find_beginning(&app, &tenant, &wanted).await?;
    let request: ResumeSandbox = body.json_or_default().await?;
    let timeout_ms = match request.timeout_s {
        Some(seconds) => timeout_ms("timeout_s", seconds)?,
        None => sandbox.timeout_ms,
    };
    let how = Resume {
        memory: request.memory.unwrap_or(true),
        ..Resume::lasting(timeout_ms)
    };
    sandboxes::resume(&app, &sandbox, how).await?;
    now(&app, &tenant, &sandbox).await
}

/// Says when a sandbox's time is over, be that later or sooner than before.
#[utoipa::path(post, path = "/v1/sandboxes/{sandbox}/timeout", tag = "sandboxes", operation_id = "set_sandbox_timeout",
    params(("sandbox" = String, Path, description = "ID")), request_body = SetSandboxTimeout,
    responses((status = 200, description = "It is noted", body = Sandbox), Problems))]
pub(crate) async fn set_timeout(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<Json<Sandbox>> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let (sandbox, row) = find_beginning(&app, &tenant, &wanted).await?;
    let request: SetSandboxTimeout = body.json().await?;
    let timeout_ms = match request.timeout_s {
        0 => 0,
        seconds => timeout_ms("timeout_s", seconds)?,
    };
    // Looked at before: one whose time is over now may be gone when this is answered.
    let mut seen = view::sandbox(&app, &tenant, &row, false).ok_or_else(|| no_sandbox(&wanted))?;
    sandboxes::set_end(&app, &sandbox, timeout_ms, false).await?;
    seen.ends_at = timestamp(now_unix_ms().saturating_add(timeout_ms));
    Ok(Json(seen))
}

/// The sandbox as it is now.
pub(super) async fn now(app: &App, tenant: &Tenant, sandbox: &sandboxes::Sandbox) -> ApiResult<Json<Sandbox>> {
    let row = sandboxes::read(app, sandbox).await?;
    let seen = view::sandbox(app, tenant, &row, false);
    seen.map(Json).ok_or_else(|| no_sandbox(&row.id.to_string()))
}
