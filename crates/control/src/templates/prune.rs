//! Removing what builds leave: those that no tag means any more, and snapshots that came to nothing.

use hearth_ids::SnapshotId;
use hearth_store::TemplateRow;
use tracing::{info, warn};

use super::remove;
use crate::{app::App, error::ApiResult, time::now_unix_ms};

/// Builds of a template that failed, and whose logs are kept.
const FAILED_KEPT: u32 = 10;
/// How long a build that nobody starts is kept, in milliseconds.
const WAITING_KEPT_MS: u64 = 24 * 60 * 60 * 1000;

/// Removes a template's builds that no tag means, but for the last of them: somebody may be making a sandbox of that.
pub(super) async fn superseded(app: &App, template: &TemplateRow) {
    if let Err(error) = try_superseded(app, template).await {
        warn!(template = %template.id, error = error.problem.detail, "cannot remove builds that no tag means; the next build tries again");
    }
}

async fn try_superseded(app: &App, template: &TemplateRow) -> ApiResult<()> {
    for (build, snapshot) in app.store.superseded_builds(template.id, FAILED_KEPT).await? {
        if let Some(id) = snapshot
            && let Some(row) = app.store.snapshot(id).await?
        {
            remove::remove_snapshot(app, &row).await?;
        }
        app.store.forget_build(build).await?;
    }
    Ok(())
}

/// Forgets builds that were asked for and that nobody has started for a day.
pub(super) async fn waiting(app: &App) {
    let before = now_unix_ms().saturating_sub(WAITING_KEPT_MS);
    match app.store.forget_waiting_builds(before).await {
        Ok(0) => {}
        Ok(count) => info!(count, "builds that nobody started are forgotten"),
        Err(error) => warn!(%error, "cannot forget builds that nobody starts; it is tried again"),
    }
}

/// Removes a snapshot that is nobody's. What cannot be removed now goes with the next start.
pub(super) async fn snapshot(app: &App, id: SnapshotId) {
    let removed: ApiResult<()> = async {
        match app.store.snapshot(id).await? {
            Some(row) => remove::remove_snapshot(app, &row).await,
            None => Ok(()),
        }
    }
    .await;
    if let Err(error) = removed {
        warn!(%id, error = error.problem.detail, "cannot remove a snapshot that is nobody's; it is tried again at the next start");
    }
}
