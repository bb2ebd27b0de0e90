//! What is done to a sandbox that is there. Each takes the sandbox's turn, notes what should be, and then sees to it.

use std::time::Duration;

use hearth_api::ProblemCode;
use hearth_domain::{OnTimeout, SandboxSettings, SandboxState, StateWord};
use hearth_node_api::{ErrorKind, NodeError, PauseMode};
use hearth_store::{Desired, SandboxRow};
use tokio::time::timeout;

use super::{Sandbox, find::no_sandbox};
use crate::{
    app::App,
    error::{ApiError, ApiResult},
    fault,
    machines::run,
    snapshots::warm,
    time::now_unix_ms,
};

/// How long the guest has to write its disks before a sandbox is stopped for its disk alone.
const STOP_MS: u64 = 5_000;
/// How long an agent may take to show that it is well.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// Ends a machine without its being asked.
const SIGKILL: i32 = 9;

/// Whether a resume had anything to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// It ran already.
    Ran,
    /// It goes on, or has booted.
    Now,
}

/// How a sandbox is to stand still.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pause {
    /// With its memory, or its disk alone.
    pub(crate) memory: bool,
    /// Only if its agent answers.
    pub(crate) if_healthy: bool,
}

/// How a sandbox is to go on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resume {
    /// How long it lasts from then on.
    pub(crate) timeout_ms: u64,
    /// With the memory that it was paused with; or from its disk alone: what was not written to that is lost.
    pub(crate) memory: bool,
    /// Whether it is paused when its time is over, where that is said anew.
    pub(crate) auto_pause: Option<bool>,
}

impl Resume {
    /// Where it was, for so long.
    pub(crate) fn lasting(timeout_ms: u64) -> Self {
        Self {
            timeout_ms,
            memory: true,
            auto_pause: None,
        }
    }
}

/// Has a sandbox stand still. One that does already is a conflict.
pub(crate) async fn pause(app: &App, sandbox: &Sandbox, how: Pause) -> ApiResult<()> {
    let _turn = sandbox.turn.lock().await;
    let row = read(app, sandbox).await?;
    if row.state.is_paused() {
        return Err(conflict(sandbox, "is paused already"));
    }
    if how.if_healthy && !answers(app, sandbox).await {
        return Err(ApiError::new(
            ProblemCode::Unavailable,
            format!(
                "the agent of sandbox {} does not answer, so the sandbox was not paused and goes on; try again, \
                 or pause it with its memory and without requireHealthyGuest",
                sandbox.id
            ),
        ));
    }
    pause_in_turn(app, sandbox, how.memory).await
}

/// Whether the agent in a sandbox answers. One that is slow is waited for, and not for long.
async fn answers(app: &App, sandbox: &Sandbox) -> bool {
    let asked = timeout(HEALTH_TIMEOUT, app.node.stats(sandbox.machine)).await;
    matches!(asked, Ok(Ok(stats)) if stats.guest.is_some())
}

/// The same by whoever has the turn.
pub(super) async fn pause_in_turn(app: &App, sandbox: &Sandbox, memory: bool) -> ApiResult<()> {
    let machine = sandbox.machine;
    if memory {
        let paused = app.node.pause(machine, PauseMode::Disk).await;
        paused.map_err(|error| unpaused(app, sandbox, error))?;
        fault::point("sandbox.paused");
        app.store.set_sandbox_state(sandbox.id, SandboxState::Paused).await?;
        return Ok(());
    }
    // Noted first: a machine that rests is a sandbox that has ended, unless this is said.
    app.store.set_sandbox_state(sandbox.id, SandboxState::Stopped).await?;
    app.store.set_desired(machine, Desired::Stopped).await?;
    fault::point("sandbox.stopping");
    if let Err(error) = app.node.stop(machine, Some(STOP_MS)).await {
        // One that goes down all the same is paused, though its pause has failed.
        if app
            .status(machine)
            .is_some_and(|status| status.state.word() == StateWord::Running)
        {
            app.store.set_sandbox_state(sandbox.id, SandboxState::Running).await?;
            app.store.set_desired(machine, Desired::Running).await?;
        }
        return Err(error.into());
    }
    Ok(())
}

/// Why one that runs by its row does not stand still. A conflict would say that it does already.
fn unpaused(app: &App, sandbox: &Sandbox, error: NodeError) -> ApiError {
    let has_ended = app
        .status(sandbox.machine)
        .is_none_or(|status| status.state.is_at_rest());
    if has_ended {
        return no_sandbox(&sandbox.id.to_string()).caused_by(error);
    }
    refused(sandbox, error)
}

/// Has a paused sandbox go on, for so long from now. One that runs is left as it is, but for its end, which is put off if that
/// is nearer.
pub(crate) async fn resume(app: &App, sandbox: &Sandbox, how: Resume) -> ApiResult<(Resumed, SandboxRow)> {
    let _turn = sandbox.turn.lock().await;
    let row = read(app, sandbox).await?;
    let now = now_unix_ms();
    let ends = now.saturating_add(how.timeout_ms);
    let running = app
        .status(sandbox.machine)
        .is_some_and(|status| status.state.word() == StateWord::Running);
    if row.state == SandboxState::Running && running {
        if ends > row.ends_unix_ms {
            app.store.set_sandbox_end(sandbox.id, ends).await?;
            app.sandboxes.changed.notify_one();
        }
        return Ok((Resumed::Ran, read(app, sandbox).await?));
    }
    if let Some(auto_pause) = how.auto_pause {
        set_auto_pause(app, &row, auto_pause).await?;
    }
    // Before it goes on: its old end is over perhaps, and who takes it up after a death goes by what stands there.
    app.store.set_sandbox_end(sandbox.id, ends).await?;
    let woken = go_on(app, sandbox, &row, how).await;
    if let Err(error) = woken {
        if how.auto_pause.is_some() {
            app.store.set_sandbox_settings(row.id, &row.settings).await?;
        }
        return Err(error);
    }
    fault::point("sandbox.resumed");
    let noted = app
        .store
        .note_sandbox_resumed(sandbox.id, now, now_unix_ms().saturating_add(how.timeout_ms));
    if !noted.await? {
        return Err(no_sandbox(&sandbox.id.to_string()));
    }
    app.sandboxes.changed.notify_one();
    Ok((Resumed::Now, read(app, sandbox).await?))
}

/// Says whether a sandbox is paused when its time is over. One that was to be paused with its disk alone still is.
async fn set_auto_pause(app: &App, row: &SandboxRow, auto_pause: bool) -> ApiResult<()> {
    let on_timeout = match (auto_pause, row.settings.on_timeout) {
        (false, _) => OnTimeout::Kill,
        (true, OnTimeout::Kill) => OnTimeout::Pause,
        (true, pauses) => pauses,
    };
    let settings = SandboxSettings {
        on_timeout,
        ..row.settings.clone()
    };
    if !app.store.set_sandbox_settings(row.id, &settings).await? {
        return Err(no_sandbox(&row.id.to_string()));
    }
    Ok(())
}

async fn go_on(app: &App, sandbox: &Sandbox, row: &SandboxRow, how: Resume) -> ApiResult<()> {
    // One that is being made, or comes back by itself, is no sandbox that has anything to give up.
    if !how.memory && row.state.is_paused() {
        give_up_memory(app, sandbox, row.state).await?;
    }
    wake(app, sandbox).await
}

/// Gives up what a paused sandbox has in memory, so that it boots from its disk. It keeps that where there is no room for a boot.
async fn give_up_memory(app: &App, sandbox: &Sandbox, was: SandboxState) -> ApiResult<()> {
    let id = sandbox.machine;
    if app.status(id).is_some_and(|status| status.state.is_at_rest()) {
        return Ok(());
    }
    let spec = app.node.spec(id).ok_or_else(|| no_sandbox(&sandbox.id.to_string()))?;
    let fits = async || warm::fits(app, &spec.resources);
    warm::with_room(app, &spec.resources, fits).await?;
    // Noted first: a machine that rests is a sandbox that has ended, unless this is said.
    app.store.set_sandbox_state(sandbox.id, SandboxState::Stopped).await?;
    if let Err(error) = app.node.kill(id, SIGKILL).await {
        // It is as it was.
        app.store.set_sandbox_state(sandbox.id, was).await?;
        return Err(refused(sandbox, error));
    }
    fault::point("sandbox.rebooting");
    Ok(())
}

/// Has the machine run again: from its memory, or by a boot.
async fn wake(app: &App, sandbox: &Sandbox) -> ApiResult<()> {
    let id = sandbox.machine;
    let spec = app.node.spec(id).ok_or_else(|| no_sandbox(&sandbox.id.to_string()))?;
    let rests = app.status(id).is_some_and(|status| status.state.is_at_rest());
    let node = &app.node;
    let woken = if rests {
        app.store.set_desired(id, Desired::Running).await?;
        warm::with_room(app, &spec.resources, || node.start(id)).await
    } else {
        warm::with_room(app, &spec.resources, || node.resume(id)).await
    };
    woken.map_err(|error| refused(sandbox, error))?;
    run::until_running(app, id)
        .await
        .map_err(|error| refused(sandbox, error))
}

fn refused(sandbox: &Sandbox, error: NodeError) -> ApiError {
    match error.kind {
        ErrorKind::NotFound => no_sandbox(&sandbox.id.to_string()).caused_by(error),
        // A conflict is for clients what they may do without: here it is not as they wished.
        ErrorKind::Conflict => ApiError::new(ProblemCode::Unavailable, error.message.clone()).caused_by(error),
        _ => error.into(),
    }
}

/// Says when a sandbox's time is over: so long from now, and not before if it may only be put off.
pub(crate) async fn set_end(app: &App, sandbox: &Sandbox, timeout_ms: u64, only_later: bool) -> ApiResult<()> {
    let _turn = sandbox.turn.lock().await;
    let row = read(app, sandbox).await?;
    let ends = now_unix_ms().saturating_add(timeout_ms);
    if !only_later || ends > row.ends_unix_ms {
        app.store.set_sandbox_end(sandbox.id, ends).await?;
        if !only_later {
            sandbox.forget_requests();
        }
        app.sandboxes.changed.notify_one();
    }
    Ok(())
}

/// Removes a sandbox with everything of it. Idempotent.
pub(crate) async fn kill(app: &App, sandbox: &Sandbox) -> ApiResult<()> {
    // Noted before its turn comes, so that nobody who has it now resumes what is to be gone.
    app.store.set_sandbox_state(sandbox.id, SandboxState::Killed).await?;
    let _turn = sandbox.turn.lock().await;
    let killed = kill_in_turn(app, sandbox).await;
    if killed.is_err() {
        // The reaper tries again.
        app.sandboxes.changed.notify_one();
    }
    killed
}

/// The same by whoever has the turn.
pub(super) async fn kill_in_turn(app: &App, sandbox: &Sandbox) -> ApiResult<()> {
    let machine = sandbox.machine;
    app.store.set_sandbox_state(sandbox.id, SandboxState::Killed).await?;
    app.store.set_desired(machine, Desired::Removed).await?;
    fault::point("sandbox.killing");
    match app.node.remove(machine, true).await {
        Ok(()) => {}
        Err(error) if error.kind == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    app.flush().await;
    app.forget(machine).await?;
    app.store.forget_sandbox(sandbox.id).await?;
    app.sandboxes.remove(sandbox.id);
    app.measurements.forget(sandbox.id);
    Ok(())
}

/// The row of a sandbox that is not to be gone.
pub(crate) async fn read(app: &App, sandbox: &Sandbox) -> ApiResult<SandboxRow> {
    let row = app.store.sandbox(sandbox.id).await?;
    let row = row.filter(|row| row.state != SandboxState::Killed);
    row.ok_or_else(|| no_sandbox(&sandbox.id.to_string()))
}

fn conflict(sandbox: &Sandbox, why: &str) -> ApiError {
    ApiError::new(ProblemCode::StateConflict, format!("sandbox {} {why}", sandbox.id))
}
