//! Looking at snapshots.

use std::sync::Arc;

use axum::{Json, extract::State};
use hearth_api::{ListSnapshotsQuery, Snapshot, SnapshotList};
use hearth_domain::Action;
use hearth_store::SnapshotFilter;

use super::{find, view};
use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiPath, ApiQuery, page_limit},
};

/// Snapshots of the project, newest first.
#[utoipa::path(get, path = "/v1/snapshots", tag = "snapshots", operation_id = "list_snapshots", params(ListSnapshotsQuery),
    responses((status = 200, description = "A page of snapshots", body = SnapshotList), Problems))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiQuery(query): ApiQuery<ListSnapshotsQuery>,
) -> ApiResult<Json<SnapshotList>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let limit = page_limit(query.limit)?;
    let before = query.cursor.as_deref().map(str::parse).transpose();
    let filter = SnapshotFilter {
        project: Some(tenant.project),
        machine: query.machine,
        all_kinds: false,
        before: before
            .map_err(|_| ApiError::field("cursor", "cursor is not valid: use next_cursor of the page before"))?,
        limit: limit + 1,
    };
    let mut rows = app.store.snapshots(&filter).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let last = rows.last().map(|row| row.id.to_string());
    Ok(Json(SnapshotList {
        snapshots: rows.into_iter().map(|row| view::snapshot(row, false)).collect(),
        next_cursor: last.filter(|_| more),
    }))
}

/// One snapshot, by name, ID, or a beginning of an ID that only one has.
#[utoipa::path(get, path = "/v1/snapshots/{snapshot}", tag = "snapshots", operation_id = "get_snapshot",
    params(("snapshot" = String, Path, description = "Name or ID")),
    responses((status = 200, description = "The snapshot", body = Snapshot), Problems))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<Json<Snapshot>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let row = find::find(&app, &tenant, &wanted).await?;
    Ok(Json(view::snapshot(row, true)))
}
