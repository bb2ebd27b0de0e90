//! Waiting for machines.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use hearth_api::{MachineState, WaitCondition, WaitQuery, WaitResult};
use hearth_domain::{Action, StateWord};
use hearth_ids::MachineId;
use hearth_store::Tombstone;
use tokio::{sync::broadcast, time::timeout};

use super::{input, view::Seen};
use crate::{
    api_doc::Problems,
    app::{App, no_machine},
    caller::Caller,
    error::ApiResult,
    extract::{ApiPath, ApiQuery},
};

const DEFAULT_TIMEOUT_MS: u64 = 30_000;
const TIMEOUT_MAX_MS: u64 = 300_000;

/// Waits until a condition holds or the time is over. A machine that is removed meanwhile is answered with how it
/// ended.
#[utoipa::path(get, path = "/v1/machines/{machine}/wait", tag = "machines", operation_id = "wait_machine",
    params(("machine" = String, Path, description = "Name or ID"), WaitQuery),
    responses((status = 200, description = "What it came to", body = WaitResult), Problems))]
pub(crate) async fn wait(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    ApiQuery(query): ApiQuery<WaitQuery>,
) -> ApiResult<Json<WaitResult>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let timeout_ms = input::at_most(
        "timeout_ms",
        query.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS),
        TIMEOUT_MAX_MS,
    )?;
    let id = match app.find(&tenant, &wanted).await {
        Ok(row) => row.spec.id,
        Err(error) => {
            let tombstone = app.store.tombstone(tenant.project, &wanted).await?;
            return tombstone.map(|last| Json(gone(last))).ok_or(error);
        }
    };
    let condition = query.condition;
    let in_time = tokio::select! {
        ended = timeout(Duration::from_millis(timeout_ms), until(&app, id, condition)) => ended.is_ok(),
        () = app.shutdown.cancelled() => false,
    };
    outcome(&app, id, condition, in_time).await.map(Json)
}

async fn until(app: &App, id: MachineId, condition: WaitCondition) -> ApiResult<()> {
    if condition == WaitCondition::Removed {
        return until_removed(app, id).await;
    }
    let Some(mut status) = app.node.watch(id) else {
        return Ok(());
    };
    // It fails when the machine is destroyed, and then the condition holds.
    let _ = status.wait_for(|status| holds(condition, status.state.word())).await;
    Ok(())
}

fn holds(condition: WaitCondition, state: StateWord) -> bool {
    let state = MachineState::from(state);
    match condition {
        WaitCondition::AtRest => state.is_at_rest(),
        WaitCondition::Running => state.is_at_rest() || state == MachineState::Running,
        WaitCondition::Removed => state == MachineState::Destroyed,
    }
}

async fn until_removed(app: &App, id: MachineId) -> ApiResult<()> {
    let mut events = app.events.subscribe();
    while app.store.machine(id).await?.is_some() {
        loop {
            match events.recv().await {
                Ok(event) if event.machine == id => break,
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => break,
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            }
        }
    }
    Ok(())
}

/// How the machine is now, from the node, the store, or what is remembered of it.
async fn outcome(app: &App, id: MachineId, condition: WaitCondition, in_time: bool) -> ApiResult<WaitResult> {
    let status = app
        .status(id)
        .filter(|status| status.state.word() != StateWord::Destroyed);
    let (seen, removed) = if let Some(status) = status {
        (Seen::of_status(&status), false)
    } else {
        app.flush().await;
        match app.store.machine(id).await? {
            Some(row) => (Seen::of_row(&row), false),
            None => match app.store.tombstone_of(id).await? {
                Some(last) => return Ok(gone(last)),
                None => return Err(no_machine(&id.to_string())),
            },
        }
    };
    // A machine of a restart policy may run again by now: it was at rest all the same.
    let reached = in_time || (condition != WaitCondition::Removed && holds(condition, seen.state));
    Ok(WaitResult {
        id,
        reached,
        state: seen.state.into(),
        removed,
        exit: seen.exit,
        reason: seen.reason,
    })
}

fn gone(last: Tombstone) -> WaitResult {
    WaitResult {
        id: last.id,
        reached: true,
        state: last.state.into(),
        removed: true,
        exit: last.exit.map(Into::into),
        reason: last.reason,
    }
}
