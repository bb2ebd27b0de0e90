//! Starting, stopping, removing machines.

use std::sync::Arc;

use axum::{Json, extract::State};
use hearth_api::{KillQuery, Machine, PauseQuery, ProblemCode, RemoveQuery, RollbackMachine, StopQuery};
use hearth_domain::{Action, StateWord};
use hearth_node_api::{ErrorKind, PauseMode};
use hearth_store::{Desired, MachineRow};
use http::StatusCode;

use super::{
    input,
    view::{self, Seen},
};
use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiBody, ApiPath, ApiQuery},
    fault,
    snapshots::{find, warm},
};

const SIGKILL: i32 = 9;

/// The machine as it is after an action. One that removes itself may be gone already: then as it was last seen.
async fn after(app: &App, row: MachineRow) -> ApiResult<Json<Machine>> {
    let id = row.spec.id;
    let seen = app.status(id);
    let row = if seen.is_none() {
        app.flush().await;
        let tombstone = app.store.tombstone_of(id).await?;
        match tombstone {
            Some(last) => MachineRow {
                state: last.state,
                exit: last.exit,
                reason: last.reason,
                ..row
            },
            None => app.store.machine(id).await?.unwrap_or(row),
        }
    } else {
        row
    };
    Ok(Json(view::machine(row, seen, true)))
}

fn timeout(query: &StopQuery) -> ApiResult<Option<u64>> {
    query
        .timeout_ms
        .map(|ms| input::stop_timeout_ms("timeout_ms", ms))
        .transpose()
}

/// Starts a machine. One that runs is left alone.
#[utoipa::path(post, path = "/v1/machines/{machine}/start", tag = "machines", operation_id = "start_machine",
    params(("machine" = String, Path, description = "Name or ID")),
    responses((status = 200, description = "The machine", body = Machine), Problems))]
pub(crate) async fn start(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<Json<Machine>> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let row = app.find(&tenant, &wanted).await?;
    app.store.set_desired(row.spec.id, Desired::Running).await?;
    let (id, node) = (row.spec.id, &app.node);
    warm::with_room(&app, &row.spec.resources, || node.start(id)).await?;
    after(&app, row).await
}

/// Stops a machine, and answers when it is at rest.
#[utoipa::path(post, path = "/v1/machines/{machine}/stop", tag = "machines", operation_id = "stop_machine",
    params(("machine" = String, Path, description = "Name or ID"), StopQuery),
    responses((status = 200, description = "The machine", body = Machine), Problems))]
pub(crate) async fn stop(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    ApiQuery(query): ApiQuery<StopQuery>,
) -> ApiResult<Json<Machine>> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let timeout_ms = timeout(&query)?;
    let row = app.find(&tenant, &wanted).await?;
    app.store.set_desired(row.spec.id, Desired::Stopped).await?;
    // One that sleeps is woken, to go down as others do.
    let stop = || app.node.stop(row.spec.id, timeout_ms);
    warm::with_room(&app, &row.spec.resources, stop).await?;
    after(&app, row).await
}

/// Stops a machine, if it runs, and starts it.
#[utoipa::path(post, path = "/v1/machines/{machine}/restart", tag = "machines", operation_id = "restart_machine",
    params(("machine" = String, Path, description = "Name or ID"), StopQuery),
    responses((status = 200, description = "The machine", body = Machine), Problems))]
pub(crate) async fn restart(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    ApiQuery(query): ApiQuery<StopQuery>,
) -> ApiResult<Json<Machine>> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let timeout_ms = timeout(&query)?;
    let row = app.find(&tenant, &wanted).await?;
    app.store.set_desired(row.spec.id, Desired::Running).await?;
    let (id, node) = (row.spec.id, &app.node);
    // Where it found no room it has stopped, and is started; or it sleeps still.
    let restart = || node.restart(id, timeout_ms);
    warm::with_room(&app, &row.spec.resources, restart).await?;
    after(&app, row).await
}

/// Sends a signal to a machine's program. `KILL` ends the machine at once. One at rest is a conflict.
#[utoipa::path(post, path = "/v1/machines/{machine}/kill", tag = "machines", operation_id = "kill_machine",
    params(("machine" = String, Path, description = "Name or ID"), KillQuery),
    responses((status = 200, description = "The machine", body = Machine), Problems))]
pub(crate) async fn kill(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    ApiQuery(query): ApiQuery<KillQuery>,
) -> ApiResult<Json<Machine>> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let signal = query.signal.as_deref().map_or(Ok(SIGKILL), input::signal)?;
    let row = app.find(&tenant, &wanted).await?;
    refuse_at_rest(&app, &row)?;
    if signal == SIGKILL {
        app.store.set_desired(row.spec.id, Desired::Stopped).await?;
    }
    app.node.kill(row.spec.id, signal).await?;
    after(&app, row).await
}

/// Lets a machine stand still: on disk, where its memory is given back and it outlasts the host's restarts, or in memory.
/// Answers when it does. One that is paused in memory may still go to disk.
#[utoipa::path(post, path = "/v1/machines/{machine}/pause", tag = "machines", operation_id = "pause_machine",
    params(("machine" = String, Path, description = "Name or ID"), PauseQuery),
    responses((status = 200, description = "The machine", body = Machine), Problems))]
pub(crate) async fn pause(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    ApiQuery(query): ApiQuery<PauseQuery>,
) -> ApiResult<Json<Machine>> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let row = app.find(&tenant, &wanted).await?;
    let mode = match query.mode {
        Some(hearth_api::PauseMode::Disk) => PauseMode::Disk,
        None if app.makes_snapshots(row.spec.driver).await? => PauseMode::Disk,
        Some(hearth_api::PauseMode::Memory) | None => PauseMode::Memory,
    };
    app.node.pause(row.spec.id, mode).await?;
    after(&app, row).await
}

/// Lets a paused machine go on, from memory or from disk.
#[utoipa::path(post, path = "/v1/machines/{machine}/resume", tag = "machines", operation_id = "resume_machine",
    params(("machine" = String, Path, description = "Name or ID")),
    responses((status = 200, description = "The machine", body = Machine), Problems))]
pub(crate) async fn resume(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<Json<Machine>> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let row = app.find(&tenant, &wanted).await?;
    let (id, node) = (row.spec.id, &app.node);
    warm::with_room(&app, &row.spec.resources, || node.resume(id)).await?;
    after(&app, row).await
}

/// Takes a machine back to where a snapshot was made of it, memory and disk alike. What it did since is lost.
#[utoipa::path(post, path = "/v1/machines/{machine}/rollback", tag = "machines", operation_id = "rollback_machine",
    params(("machine" = String, Path, description = "Name or ID")), request_body = RollbackMachine,
    responses((status = 200, description = "The machine", body = Machine), Problems))]
pub(crate) async fn rollback(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<Json<Machine>> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let row = app.find(&tenant, &wanted).await?;
    let request: RollbackMachine = body.json().await?;
    let snapshot = find::ready(&app, &tenant, &request.snapshot).await?;
    let id = row.spec.id;
    if snapshot.spec.id != id && row.spec.snapshot != Some(snapshot.id) {
        return Err(ApiError::field(
            "snapshot",
            format!(
                "snapshot {} is of machine {}, not of {}; make another machine from it instead",
                find::called(&snapshot),
                snapshot.spec.name,
                row.spec.name
            ),
        ));
    }
    if !snapshot.has_memory() {
        return Err(ApiError::field(
            "snapshot",
            format!(
                "snapshot {} is of the disk alone: there is no memory to go back to; make another machine from it instead",
                find::called(&snapshot)
            ),
        ));
    }
    app.store.set_desired(id, Desired::Running).await?;
    fault::point("rollback.booked");
    let back = || app.node.rollback(id, snapshot.id);
    if let Err(error) = warm::with_room(&app, &row.spec.resources, back).await {
        return Err(find::refused(&app, &snapshot, error).await);
    }
    after(&app, row).await
}

/// Removes a machine with everything of it. One that is not at rest is removed by force only.
#[utoipa::path(delete, path = "/v1/machines/{machine}", tag = "machines", operation_id = "remove_machine",
    params(("machine" = String, Path, description = "Name or ID"), RemoveQuery),
    responses((status = 204, description = "It is gone"), Problems))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    ApiQuery(query): ApiQuery<RemoveQuery>,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let row = app.find(&tenant, &wanted).await?;
    let id = row.spec.id;
    if !query.force {
        refuse_active(&app, &row)?;
    }
    // Noted first, so that a removal that is cut off is finished at the next start.
    app.store.set_desired(id, Desired::Removed).await?;
    match app.node.remove(id, query.force).await {
        Ok(()) => {}
        // What the node does not know is gone.
        Err(error) if error.kind == ErrorKind::NotFound => {}
        Err(error) => {
            app.store.cancel_removal(id).await?;
            return Err(error.into());
        }
    }
    // How it ended is told before that it is gone.
    app.flush().await;
    app.forget(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// There is nothing to signal in a machine at rest. One that waits for its restart is kept from it by a stop.
fn refuse_at_rest(app: &App, row: &MachineRow) -> ApiResult<()> {
    match seen(app, row).state {
        StateWord::Pending if row.desired == Desired::Running => Ok(()),
        state @ (StateWord::Pending | StateWord::Stopped | StateWord::Failed | StateWord::Destroyed) => {
            Err(ApiError::new(
                ProblemCode::StateConflict,
                format!("machine {} is {state}, not running", row.spec.name),
            ))
        }
        _ => Ok(()),
    }
}

fn seen(app: &App, row: &MachineRow) -> Seen {
    app.status(row.spec.id)
        .map_or_else(|| Seen::of_row(row), |status| Seen::of_status(&status))
}

fn refuse_active(app: &App, row: &MachineRow) -> ApiResult<()> {
    match seen(app, row).state {
        StateWord::Pending | StateWord::Stopped | StateWord::Failed | StateWord::Destroyed => Ok(()),
        state => Err(ApiError::new(
            ProblemCode::StateConflict,
            format!(
                "machine {} is {state}; stop it first, or remove it by force",
                row.spec.name
            ),
        )),
    }
}
