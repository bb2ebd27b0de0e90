//! Making and removing snapshots.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use hearth_api::{CreateSnapshot, Snapshot};
use hearth_domain::{Action, MachineName};
use hearth_ids::{ProjectId, SnapshotId};
use hearth_node_api::{ErrorKind, SnapshotRequest};
use hearth_store::{IdempotencyKey, InsertError, Made, NewSnapshot, SnapshotRow, SnapshotState};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tracing::warn;

use super::{find, view, warm};
use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiBody, ApiPath},
    fault, made_before,
    time::now_unix_ms,
};

/// Makes a snapshot of a machine that runs or is paused, and answers when it is there. A machine that runs stands still
/// meanwhile, and goes on afterwards. Without memory it is of the disk alone, and the machine may be at rest. With an
/// `Idempotency-Key` header the request may be sent again: the same snapshot is answered.
#[utoipa::path(post, path = "/v1/snapshots", tag = "snapshots", operation_id = "create_snapshot",
    params(("idempotency-key" = Option<String>, Header, description = "Makes it safe to send the request again", max_length = 255)),
    request_body = CreateSnapshot,
    responses(
        (status = 201, description = "It is made", body = Snapshot),
        (status = 200, description = "It was made before, with the same key", body = Snapshot),
        Problems))]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body: ApiBody,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let request: CreateSnapshot = body.json().await?;
    let name = request.name.as_deref().map(str::parse).transpose();
    let name: Option<MachineName> =
        name.map_err(|error: hearth_domain::InvalidName| ApiError::field("name", error.to_string()))?;
    let key = made_before::key(&headers, &["create_snapshot"], &request)?;
    if let Some(key) = &key
        && let Some(row) = made(&app, tenant.project, key).await?
    {
        return Ok(answer(StatusCode::OK, row));
    }
    let machine = app.find(&tenant, &request.machine).await?;
    let new = NewSnapshot {
        id: SnapshotId::new(),
        name,
        spec: machine.spec.without_volumes(),
        args: machine.args,
        created_unix_ms: now_unix_ms(),
        key,
        build: None,
    };
    match app.store.insert_snapshot(&new).await {
        Ok(()) => {}
        // Another request with the key was faster.
        Err(InsertError::KeyUsed(_)) => return Err(made_before::in_progress()),
        Err(error) => return Err(error.into()),
    }
    fault::point("snapshot.booked");
    let row = make(&app, &new, request.memory.unwrap_or(true)).await?;
    Ok(answer(StatusCode::CREATED, row))
}

/// The snapshot that was made with a key, if one was.
async fn made(app: &App, project: ProjectId, key: &IdempotencyKey) -> ApiResult<Option<SnapshotRow>> {
    let Some(used) = made_before::used(app, project, key).await? else {
        return Ok(None);
    };
    let row = match used.made {
        Made::Snapshot(id) => app.store.snapshot(id).await?,
        Made::Machine(_) => None,
    };
    match row {
        Some(row) if row.state == SnapshotState::Making => Err(made_before::in_progress()),
        Some(row) => Ok(Some(row)),
        None => Err(made_before::removed(used.made)),
    }
}

/// Has the node make it. If it does not, there is no such snapshot.
async fn make(app: &App, new: &NewSnapshot, memory: bool) -> ApiResult<SnapshotRow> {
    let request = SnapshotRequest {
        id: new.id,
        machine: new.spec.id,
        memory,
    };
    let info = match app.node.snapshot(request).await {
        Ok(info) => info,
        Err(error) => {
            withdraw(app, new.id).await;
            return Err(error.into());
        }
    };
    fault::point("snapshot.made");
    app.store.note_snapshot_made(new.id, &view::facts(info)).await?;
    let row = app.store.snapshot(new.id).await?;
    row.ok_or_else(|| find::no_snapshot(&new.id.to_string()))
}

/// Takes back a snapshot that was not made, and whatever the node has of it.
pub(crate) async fn withdraw(app: &App, id: SnapshotId) {
    let forgotten = match app.node.remove_snapshot(id).await {
        Ok(()) => app.store.withdraw_snapshot(id).await,
        Err(error) => {
            warn!(%id, %error, "cannot remove a snapshot that could not be made; it is tried again at the next start");
            app.store.abandon_snapshot(id).await
        }
    };
    if let Err(error) = forgotten {
        warn!(%id, %error, "cannot forget a snapshot that could not be made");
    }
}

fn answer(status: StatusCode, row: SnapshotRow) -> Response {
    let place = format!("/v1/snapshots/{}", row.id);
    let mut response = (status, Json(view::snapshot(row, true))).into_response();
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

/// Removes a snapshot. Machines that began with it stay.
#[utoipa::path(delete, path = "/v1/snapshots/{snapshot}", tag = "snapshots", operation_id = "remove_snapshot",
    params(("snapshot" = String, Path, description = "Name or ID")),
    responses((status = 204, description = "It is gone"), Problems))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let row = find::find(&app, &tenant, &wanted).await?;
    // Noted first, so that a removal that is cut off is finished at the next start.
    if !app.store.begin_snapshot_removal(row.id).await? {
        return Err(find::conflict(&row, "is still being made; ask again"));
    }
    fault::point("snapshot.removing");
    warm::forget(&app, row.id).await;
    match app.node.remove_snapshot(row.id).await {
        Ok(()) => {}
        // What the node does not know is gone.
        Err(error) if error.kind == ErrorKind::NotFound => {}
        Err(error) => {
            app.store.cancel_snapshot_removal(row.id).await?;
            return Err(error.into());
        }
    }
    app.store.forget_snapshot(row.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
