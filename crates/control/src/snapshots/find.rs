//! Which snapshot is meant, and whether it can be gone on from.

use hearth_api::ProblemCode;
use hearth_node_api::{ErrorKind, NodeError};
use hearth_store::{Lookup, SnapshotRow, SnapshotState};
use tracing::warn;

use crate::{
    app::App,
    caller::Tenant,
    error::{ApiError, ApiResult},
};

/// The tenant's snapshot of a name, an ID, or a beginning of an ID that only one has.
pub(crate) async fn find(app: &App, tenant: &Tenant, text: &str) -> ApiResult<SnapshotRow> {
    match app.store.find_snapshot(tenant.project, text).await? {
        Lookup::One(row) => Ok(*row),
        Lookup::None => Err(no_snapshot(text)),
        Lookup::Ambiguous => Err(ApiError::new(
            ProblemCode::Ambiguous,
            format!("{text:?} is the beginning of more than one snapshot's ID; give more of it, or the name"),
        )),
    }
}

/// The same, if machines can go on from it.
pub(crate) async fn ready(app: &App, tenant: &Tenant, text: &str) -> ApiResult<SnapshotRow> {
    let row = find(app, tenant, text).await?;
    match row.state {
        SnapshotState::Ready => Ok(row),
        SnapshotState::Making => Err(conflict(&row, "is still being made; ask again")),
        SnapshotState::Removing => Err(conflict(&row, "is being removed; choose another one")),
        SnapshotState::Lost => Err(lost(&row)),
    }
}

pub(crate) fn no_snapshot(text: &str) -> ApiError {
    let text: String = text.chars().take(80).collect();
    ApiError::new(
        ProblemCode::SnapshotNotFound,
        format!("there is no snapshot {text:?}; `hearth snapshot ls` lists those there are"),
    )
}

pub(crate) fn conflict(row: &SnapshotRow, why: &str) -> ApiError {
    ApiError::new(ProblemCode::StateConflict, format!("snapshot {} {why}", called(row)))
}

fn lost(row: &SnapshotRow) -> ApiError {
    conflict(
        row,
        "is lost: the node does not have it any more; remove it, and make another one",
    )
}

/// What people call a snapshot.
pub(crate) fn called(row: &SnapshotRow) -> String {
    row.name.clone().unwrap_or_else(|| row.id.to_string())
}

/// What the node's refusal means to whoever wanted to go on from a snapshot. One that it does not have is noted as lost.
pub(crate) async fn refused(app: &App, row: &SnapshotRow, error: NodeError) -> ApiError {
    if error.kind != ErrorKind::NotFound {
        return error.into();
    }
    match app.node.snapshots().await {
        Ok(there) if there.iter().all(|info| info.id != row.id) => {
            if let Err(error) = app.store.lose_snapshot(row.id).await {
                warn!(id = %row.id, %error, "cannot note that a snapshot is lost; it is noted at the next start");
            }
            lost(row).caused_by(error)
        }
        Ok(_) | Err(_) => error.into(),
    }
}
