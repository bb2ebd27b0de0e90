//! Removing templates. Sandboxes that were made of one stay.

use hearth_api::ProblemCode;
use hearth_ids::BuildId;
use hearth_node_api::ErrorKind;
use hearth_store::{SnapshotRow, SnapshotState, TemplateRow};

use super::{build::reason, find};
use crate::{
    app::App,
    caller::Tenant,
    error::{ApiError, ApiResult},
    snapshots,
    time::now_unix_ms,
};

/// Removes the tenant's template of a name or an ID, or its snapshot. Of a sandbox's snapshots that have one name, each has a tag,
/// and goes by itself.
pub(crate) async fn remove(app: &App, tenant: &Tenant, wanted: &str) -> ApiResult<()> {
    match find::owned(app, tenant, wanted).await {
        Ok(template) if template.sandbox.is_some() && wanted.contains(':') => {
            let (template, build) = find::tagged(app, tenant, wanted).await?;
            remove_tag(app, &template, find::tag_of(wanted), build).await
        }
        Ok(template) => remove_template(app, &template).await,
        Err(error) if error.problem.code == ProblemCode::TemplateNotFound => {
            let name = wanted.strip_suffix(":default").unwrap_or(wanted);
            let found = snapshots::find::find(app, tenant, name).await;
            let row = found.map_err(|_| error)?;
            remove_snapshot(app, &row).await
        }
        Err(error) => Err(error),
    }
}

/// Has a tag mean nothing any more, and removes the build that it meant, unless another tag does. A template without any is gone.
async fn remove_tag(app: &App, template: &TemplateRow, tag: &str, build: BuildId) -> ApiResult<()> {
    let mut tags = app.store.tags(template.id).await?;
    tags.retain(|row| row.tag != tag);
    if tags.is_empty() {
        return remove_template(app, template).await;
    }
    let tag = [tag.to_owned()];
    if tags.iter().any(|row| row.build == build) {
        return Ok(app.store.untag(template.id, &tag).await?);
    }
    // Its tag goes last, so that who is cut off may ask again.
    let snapshot = app.store.build(build).await?.and_then(|build| build.snapshot);
    if let Some(id) = snapshot
        && let Some(row) = app.store.snapshot(id).await?
    {
        remove_snapshot(app, &row).await?;
    }
    app.store.untag(template.id, &tag).await?;
    Ok(app.store.forget_build(build).await?)
}

async fn remove_template(app: &App, template: &TemplateRow) -> ApiResult<()> {
    // A build that is under way sees that it is over, and removes what it made.
    let why = reason(None, "the template was removed meanwhile");
    app.store.fail_builds_of(template.id, &why, now_unix_ms()).await?;
    app.builds.stop(template.id, &why.message);
    for snapshot in app.store.snapshots_of_template(template.id).await? {
        match app.store.snapshot(snapshot).await? {
            // That is somebody's who is at it: a build, or whoever removes what is superseded.
            Some(row) if matches!(row.state, SnapshotState::Making | SnapshotState::Removing) => {}
            Some(row) => remove_snapshot(app, &row).await?,
            None => {}
        }
    }
    Ok(app.store.remove_template(template.id).await?)
}

/// Removes a snapshot. What is cut off is finished at the next start.
pub(crate) async fn remove_snapshot(app: &App, row: &SnapshotRow) -> ApiResult<()> {
    if !app.store.begin_snapshot_removal(row.id).await? {
        return Err(ApiError::new(
            ProblemCode::StateConflict,
            format!("snapshot {} is still being made; ask again", row.id),
        ));
    }
    snapshots::warm::forget(app, row.id).await;
    match app.node.remove_snapshot(row.id).await {
        Ok(()) => {}
        // What the node does not know is gone.
        Err(error) if error.kind == ErrorKind::NotFound => {}
        Err(error) => {
            app.store.cancel_snapshot_removal(row.id).await?;
            return Err(error.into());
        }
    }
    Ok(app.store.forget_snapshot(row.id).await?)
}
