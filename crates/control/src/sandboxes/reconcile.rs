//! Taking sandboxes up after a start.
//!
//! A row without a machine is nobody's: the machine was never made, or its removal was cut off. One whose removal was begun is
//! finished by the reaper, and so is one whose creation nobody was told of: it ends when its time is over.

use hearth_domain::{SandboxState, StateWord};
use hearth_store::{SandboxRow, StoreError};
use tracing::info;

use crate::app::App;

/// Takes up those that there are. Store and node are together by now.
pub(crate) async fn run(app: &App) -> Result<(), StoreError> {
    for row in app.store.sandboxes(None).await? {
        if app.node.spec(row.machine).is_none() {
            info!(id = %row.id, machine = %row.machine, "a sandbox's machine is gone, and so is the sandbox");
            app.forget(row.machine).await?;
            app.store.forget_sandbox(row.id).await?;
            continue;
        }
        if let Some(state) = found(app, &row) {
            app.store.set_sandbox_state(row.id, state).await?;
        }
        app.sandboxes.add(&row);
    }
    Ok(())
}

/// What a pause or a resume has done that was cut off before it was noted.
fn found(app: &App, row: &SandboxRow) -> Option<SandboxState> {
    let word = app.status(row.machine)?.state.word();
    match (row.state, word) {
        (SandboxState::Running, StateWord::Paused) => Some(SandboxState::Paused),
        (SandboxState::Paused, StateWord::Running) => Some(SandboxState::Running),
        _ => None,
    }
}
