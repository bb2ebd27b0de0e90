//! Taking sandboxes up after a start.
//!
//! A row without a machine is nobody's: the machine was never made, or its removal was cut off. One whose removal was begun is
//! finished by the reaper, and so is one whose creation nobody was told of: it ends when its time is over.

use hearth_domain::{SandboxState, StateWord};
use hearth_store::{Desired, SandboxRow, StoreError};
use tracing::{info, warn};

use super::egress;
use crate::{app::App, time::now_unix_ms};

/// Takes up those that there are. Store and node are together by now.
pub(crate) async fn run(app: &App) -> Result<(), StoreError> {
    for row in app.store.sandboxes(None).await? {
        if app.node.spec(row.machine).is_none() {
            info!(id = %row.id, machine = %row.machine, "a sandbox's machine is gone, and so is the sandbox");
            forget(app, &row).await?;
            continue;
        }
        settle(app, &row).await?;
        set_network(app, &row).await;
        app.sandboxes.add(&row);
    }
    Ok(())
}

/// Has the machine's rules be the row's: a change may have been cut off before it came to the node.
async fn set_network(app: &App, row: &SandboxRow) {
    let is = app.node.spec(row.machine).map(|spec| spec.egress);
    let Ok(wanted) = egress(&row.settings.network) else {
        return;
    };
    if is.is_some_and(|is| is != wanted)
        && let Err(error) = app.node.set_egress(row.machine, wanted).await
    {
        warn!(id = %row.id, %error, "cannot give a sandbox the rules of its network");
    }
}

/// Forgets one whose machine is gone. Of one that the node never had nobody was told: who asked for it may ask again, by the
/// same key.
async fn forget(app: &App, row: &SandboxRow) -> Result<(), StoreError> {
    app.forget(row.machine).await?;
    let last = app.store.tombstone_of(row.machine).await?.map(|gone| gone.state);
    if last == Some(StateWord::Pending) {
        app.store.withdraw_machine(row.machine).await?;
    }
    app.store.forget_sandbox(row.id).await
}

/// Notes what a pause or a resume has done that was cut off before it was noted. One that runs again has its whole time,
/// where its end is of the time before it was paused.
async fn settle(app: &App, row: &SandboxRow) -> Result<(), StoreError> {
    let Some(status) = app.status(row.machine) else {
        return Ok(());
    };
    let now = now_unix_ms();
    match (row.state, status.state.word()) {
        (SandboxState::Running, StateWord::Paused) => {
            app.store.set_sandbox_state(row.id, SandboxState::Paused).await?;
        }
        (
            SandboxState::Paused | SandboxState::Stopped,
            StateWord::Pending | StateWord::Preparing | StateWord::Starting | StateWord::Running,
        ) => {
            app.store.set_desired(row.machine, Desired::Running).await?;
            let ends = if row.ends_unix_ms > now {
                row.ends_unix_ms
            } else {
                now.saturating_add(row.timeout_ms)
            };
            app.store.note_sandbox_resumed(row.id, now, ends).await?;
        }
        _ => {}
    }
    Ok(())
}
