//! Copies of sandboxes: forks, and templates that are snapshots of them. And what a sandbox may reach.

use std::sync::Arc;

use axum::{Json, extract::State};
use hearth_api::{ForkSandbox, Sandbox, SandboxFork, SandboxNetwork, SnapshotSandbox, Template};
use hearth_domain::Action;
use http::StatusCode;

use super::{change::now, create::rules, view};
use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::ApiResult,
    extract::{ApiBody, ApiPath},
    sandboxes::{self, find_beginning, timeout_ms},
    templates::{self, name::name_and_tag},
};

/// Makes copies of a sandbox that runs, or is paused with its memory. Each is made or fails by itself.
#[utoipa::path(post, path = "/v1/sandboxes/{sandbox}/fork", tag = "sandboxes", operation_id = "fork_sandbox",
    params(("sandbox" = String, Path, description = "ID")), request_body = ForkSandbox,
    responses((status = 201, description = "The copies", body = SandboxFork), Problems))]
pub(crate) async fn fork(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<(StatusCode, Json<SandboxFork>)> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let request: ForkSandbox = body.json_or_default().await?;
    let (sandbox, row) = find_beginning(&app, &tenant, &wanted).await?;
    let timeout_ms = match request.timeout_s {
        Some(seconds) => timeout_ms("timeout_s", seconds)?,
        None => row.timeout_ms,
    };
    let copies = sandboxes::fork(&app, &tenant, &sandbox, request.count.unwrap_or(1), timeout_ms).await?;
    let mut made = SandboxFork {
        sandboxes: Vec::new(),
        failures: Vec::new(),
    };
    for copy in copies {
        match copy {
            Ok(row) => made.sandboxes.extend(view::sandbox(&app, &tenant, &row, true)),
            Err(error) => made.failures.push(*error.problem),
        }
    }
    Ok((StatusCode::CREATED, Json(made)))
}

/// Makes a template of a sandbox as it is now, which goes on.
#[utoipa::path(post, path = "/v1/sandboxes/{sandbox}/snapshot", tag = "sandboxes", operation_id = "snapshot_sandbox",
    params(("sandbox" = String, Path, description = "ID")), request_body = SnapshotSandbox,
    responses((status = 201, description = "The template", body = Template), Problems))]
pub(crate) async fn snapshot(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<(StatusCode, Json<Template>)> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let request: SnapshotSandbox = body.json_or_default().await?;
    let name = request.name.filter(|name| !name.is_empty());
    let name = name.map(|name| name_and_tag(&tenant, &name)).transpose()?;
    let (sandbox, _) = find_beginning(&app, &tenant, &wanted).await?;
    let _turn = sandbox.turn.lock().await;
    let row = sandboxes::read(&app, &sandbox).await?;
    let (template, _) = templates::of_sandbox(&app, &row, name, request.memory.unwrap_or(true)).await?;
    let template = templates::owned(&app, &tenant, &template.id.to_string()).await?;
    let seen = templates::api::read::seen(&app, template, true).await?;
    Ok((StatusCode::CREATED, Json(seen)))
}

/// Says what a sandbox may reach from now on: all of it, in the place of what was said before.
#[utoipa::path(put, path = "/v1/sandboxes/{sandbox}/network", tag = "sandboxes", operation_id = "set_sandbox_network",
    params(("sandbox" = String, Path, description = "ID")), request_body = SandboxNetwork,
    responses((status = 200, description = "It holds", body = Sandbox), Problems))]
pub(crate) async fn set_network(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<Json<Sandbox>> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let (sandbox, _) = find_beginning(&app, &tenant, &wanted).await?;
    let network = body.json::<SandboxNetwork>().await?.into();
    rules(&network)?;
    sandboxes::set_network(&app, &sandbox, network).await?;
    now(&app, &tenant, &sandbox).await
}
