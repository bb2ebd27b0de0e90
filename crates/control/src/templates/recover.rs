//! After a start: builds that a daemon left which is gone. Each has failed; what it kept as layers is of use to the next, and what
//! else it had made by then is nobody's.

use hearth_domain::BuildReason;
use hearth_store::{BuildRow, StoreError};

use super::{build::CUT_OFF, prune, snapshot::forget_empty};
use crate::{app::App, time::now_unix_ms};

/// Ends the builds that were under way, and removes what came to nothing. Store and node are together by now.
pub(crate) async fn recover(app: &App) -> Result<(), StoreError> {
    for build in app.store.builds_under_way().await? {
        end(app, &build).await?;
    }
    for snapshot in app.store.stray_snapshots().await? {
        prune::snapshot(app, snapshot).await;
    }
    Ok(())
}

async fn end(app: &App, build: &BuildRow) -> Result<(), StoreError> {
    let why = BuildReason {
        message: CUT_OFF.to_owned(),
        step: None,
    };
    app.store.fail_build(build.id, &why, now_unix_ms()).await?;
    // A snapshot of a sandbox is not begun anew: who asked was not told its name.
    let template = app.store.template(build.template).await?;
    match template.filter(|template| template.sandbox.is_some()) {
        Some(template) => forget_empty(app, &template).await,
        None => Ok(()),
    }
}
