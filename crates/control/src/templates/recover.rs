//! After a start: builds that a daemon left which is gone. Each has failed; what it kept as layers is of use to the next, and what
//! else it had made by then is nobody's.

use hearth_domain::BuildReason;
use hearth_store::StoreError;

use super::{build::CUT_OFF, prune};
use crate::{app::App, time::now_unix_ms};

/// Ends the builds that were under way, and removes what came to nothing. Store and node are together by now. What the builds
/// were to do is not read: there may be much of it.
pub(crate) async fn recover(app: &App) -> Result<(), StoreError> {
    let why = BuildReason {
        message: CUT_OFF.to_owned(),
        step: None,
    };
    app.store.fail_builds_under_way(&why, now_unix_ms()).await?;
    // A snapshot of a sandbox is not begun anew: who asked was not told its name.
    for template in app.store.snapshots_that_failed().await? {
        app.store.remove_template(template).await?;
    }
    prune::waiting(app).await;
    for snapshot in app.store.stray_snapshots().await? {
        prune::snapshot(app, snapshot).await;
    }
    Ok(())
}
