//! The end of sandboxes: those whose time is over are killed or paused, and those whose machine has ended are gone.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use hearth_domain::{OnTimeout, SandboxState, put_off};
use hearth_store::SandboxRow;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{Sandbox, act};
use crate::{app::App, error::ApiResult, time::now_unix_ms};

/// The longest wait between two looks: a clock that was set, or news that was missed, costs no more.
const LOOK_MAX: Duration = Duration::from_secs(30);
/// What could not be ended is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Sees to it that sandboxes end in time, until told to stop.
pub(crate) async fn run(app: Weak<App>, stop: CancellationToken) {
    let Some(mut news) = app.upgrade().map(|app| app.node.events()) else {
        return;
    };
    while let Some(strong) = app.upgrade() {
        let wait = look(&strong).await.unwrap_or(AGAIN);
        let changed = Arc::clone(&strong);
        drop(strong);
        let changed = async move { changed.sandboxes.changed.notified().await };
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(wait) => {}
            () = changed => {}
            // A machine may have ended. What was missed is seen as well, since all are looked at.
            () = ended(&mut news) => {}
        }
    }
}

/// Returns when some machine has come to rest.
async fn ended(news: &mut tokio::sync::broadcast::Receiver<hearth_node_api::NodeEvent>) {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        match news.recv().await {
            Ok(event) if !event.state.is_at_rest() => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// Ends those whose time is over. Gives how long nobody's is.
async fn look(app: &Arc<App>) -> ApiResult<Duration> {
    let rows = app.store.sandboxes(None).await?;
    let now = now_unix_ms();
    let mut next = now + u64::try_from(LOOK_MAX.as_millis()).unwrap_or(u64::MAX);
    for row in rows {
        let Some(sandbox) = app.sandboxes.get(row.id) else {
            continue;
        };
        if is_due(app, &sandbox, &row, now) {
            begin(app, sandbox);
        } else if row.state == SandboxState::Running {
            let ends = ends(&sandbox, &row);
            next = next.min(ends);
            // Who comes after this daemon knows of no requests.
            if ends > row.ends_unix_ms {
                app.store.put_off_sandbox_end(&row, ends).await?;
            }
        }
    }
    Ok(Duration::from_millis(next.saturating_sub(now_unix_ms())))
}

/// Ends one beside the others, unless that is under way: a slow one is not to hold up those whose time comes next.
fn begin(app: &Arc<App>, sandbox: Arc<Sandbox>) {
    if sandbox.ending.swap(true, Ordering::AcqRel) {
        return;
    }
    let of_task = Arc::clone(app);
    app.tasks.spawn(async move {
        let app = of_task;
        if end(&app, &sandbox).await.is_err() {
            tokio::select! {
                () = sleep(AGAIN) => {}
                () = app.shutdown.cancelled() => return,
            }
        }
        sandbox.ending.store(false, Ordering::Release);
        app.sandboxes.changed.notify_one();
    });
}

fn ends(sandbox: &Sandbox, row: &SandboxRow) -> u64 {
    put_off(row.ends_unix_ms, sandbox.last_request(), row.timeout_ms)
}

fn is_due(app: &App, sandbox: &Sandbox, row: &SandboxRow, now: u64) -> bool {
    match row.state {
        SandboxState::Killed => true,
        SandboxState::Running => ends(sandbox, row) <= now || has_ended(app, row),
        SandboxState::Paused | SandboxState::Stopped => false,
    }
}

/// Whether its machine came to rest by itself, or is gone.
fn has_ended(app: &App, row: &SandboxRow) -> bool {
    app.status(row.machine)
        .is_none_or(|status| status.state.is_at_rest() && !status.comes_back)
}

/// Does with one what was asked for when its time is over; looked at once more in its turn.
async fn end(app: &App, sandbox: &Sandbox) -> ApiResult<()> {
    let _turn = sandbox.turn.lock().await;
    let Some(row) = app.store.sandbox(sandbox.id).await? else {
        return Ok(());
    };
    if !is_due(app, sandbox, &row, now_unix_ms()) {
        return Ok(());
    }
    let (id, machine) = (sandbox.id, sandbox.machine);
    let on_timeout = if row.state == SandboxState::Killed || has_ended(app, &row) {
        OnTimeout::Kill
    } else {
        row.settings.on_timeout
    };
    let ended = match on_timeout {
        OnTimeout::Kill => act::kill_in_turn(app, sandbox).await,
        OnTimeout::Pause => act::pause_in_turn(app, sandbox, true).await,
        OnTimeout::PauseDisk => act::pause_in_turn(app, sandbox, false).await,
    };
    match &ended {
        Ok(()) => info!(%id, %machine, ?on_timeout, "a sandbox's time is over"),
        Err(error) => {
            warn!(%id, %machine, error = error.problem.detail, "cannot end a sandbox whose time is over; it is tried again");
            debug!(cause = error.chain(), "why");
        }
    }
    ended
}
