//! What a process that died may have left half done: bringing images and logs together with the store. Templates are looked at
//! before, by whoever makes instances.

use std::collections::HashSet;

use hearth_ids::FunctionId;
use tracing::{info, warn};

use super::source;
use crate::{app::App, error::ApiResult};

/// Pins the images of all versions, lets go of those of versions that are gone, and of the logs of functions that are.
/// What fails is left for the next start.
pub(crate) async fn run(app: &App) {
    if let Err(error) = images(app).await {
        warn!(
            detail = error.problem.detail,
            cause = error.chain(),
            "cannot bring images and functions together"
        );
    }
    if let Err(error) = logs(app).await {
        warn!(
            detail = error.problem.detail,
            cause = error.chain(),
            "cannot bring logs and functions together"
        );
    }
}

async fn images(app: &App) -> ApiResult<()> {
    let images = app.images.clone();
    let held = app.blocking(move || images.holders()).await??;
    let held: HashSet<(String, String)> = held.into_iter().map(|(id, owner)| (id.to_string(), owner)).collect();
    let mut owners = HashSet::new();
    for version in app.store.versions(None).await? {
        let owner = source::owner(&version.spec);
        // It has several, which are pinned one after the other.
        let whole = source::of_version(&version.spec).all(|image| held.contains(&(image.clone(), owner.clone())));
        if !whole && let Err(error) = source::pin(app, &version.spec).await {
            // Its instances will say so, too.
            warn!(owner, detail = error.problem.detail, "the images of a version are gone");
        }
        owners.insert(owner);
    }
    let stale = held
        .into_iter()
        .map(|(_, owner)| owner)
        .filter(|owner| source::is_owner(owner) && !owners.contains(owner));
    for owner in stale.collect::<HashSet<_>>() {
        info!(owner, "letting go of the images of a version that is gone");
        let images = app.images.clone();
        app.blocking(move || images.unpin(&owner)).await??;
    }
    super::owned::sweep(app).await
}

async fn logs(app: &App) -> ApiResult<()> {
    let known: HashSet<FunctionId> = app
        .store
        .all_functions()
        .await?
        .into_iter()
        .map(|row| row.spec.id)
        .collect();
    let archive = app.plane().archive.clone();
    let there = app.blocking(move || archive.functions()).await?;
    for function in there.into_iter().filter(|function| !known.contains(function)) {
        app.plane().forget_logs(function).await;
    }
    Ok(())
}
