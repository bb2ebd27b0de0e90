//! Removing what builds leave: those that no tag means any more, and snapshots that came to nothing.

use std::collections::HashSet;

use hearth_ids::SnapshotId;
use hearth_store::{BuildState, TemplateRow};
use tracing::warn;

use super::remove;
use crate::{app::App, error::ApiResult};

/// Builds of a template that failed, and whose logs are kept.
const FAILED_KEPT: usize = 10;

/// Removes a template's builds that no tag means, but for the last of them: somebody may be making a sandbox of that.
pub(super) async fn superseded(app: &App, template: &TemplateRow) {
    if let Err(error) = try_superseded(app, template).await {
        warn!(template = %template.id, error = error.problem.detail, "cannot remove builds that no tag means; the next build tries again");
    }
}

async fn try_superseded(app: &App, template: &TemplateRow) -> ApiResult<()> {
    let tags = app.store.tags(template.id).await?;
    let tagged: HashSet<_> = tags.into_iter().map(|tag| tag.build).collect();
    let builds = app.store.builds(template.id).await?;
    let in_state = |state| builds.iter().filter(move |build| build.state == state);
    let untagged = in_state(BuildState::Ready).filter(|build| !tagged.contains(&build.id));
    for build in untagged.skip(1).chain(in_state(BuildState::Error).skip(FAILED_KEPT)) {
        if let Some(id) = build.snapshot
            && let Some(row) = app.store.snapshot(id).await?
        {
            remove::remove_snapshot(app, &row).await?;
        }
        app.store.forget_build(build.id).await?;
    }
    Ok(())
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
