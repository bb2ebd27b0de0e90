//! The last of a build before its snapshot: the template's start command runs, and its ready command says when it is.
//!
//! By E2B's rule: the ready command is tried every two seconds for up to ten minutes; without one, a start command is given
//! twenty seconds; with neither there is nothing to wait for.

use std::time::Duration;

use futures::StreamExt as _;
use hearth_api::ProblemCode;
use hearth_domain::BuildPlan;
use hearth_ids::MachineId;
use hearth_node_api::{ExecEvent, ExecRequest, ExecSession};
use hearth_store::SnapshotRow;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    command,
    log::BuildLog,
    machine::Builder,
    steps::{Reason, Setting},
};
use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

const READY_TIMEOUT: Duration = Duration::from_mins(10);
const READY_STEP: Duration = Duration::from_secs(2);
/// How long one try may take.
const TRY_TIMEOUT: Duration = Duration::from_mins(1);
/// What a start command has of whose being ready nobody tells.
const START_GRACE: Duration = Duration::from_secs(20);

/// Starts what the plan says, and returns when it is ready.
pub(super) async fn until_ready(
    builder: &Builder,
    setting: &Setting,
    plan: &BuildPlan,
    log: &BuildLog,
) -> Result<(), Reason> {
    let mut started = None;
    if let Some(command) = &plan.start_cmd {
        log.line("info", &format!("starting: {command}"));
        let session = builder.launch(setting.shell(command, None)).await;
        started = Some(session.map_err(|error| error.to_string())?);
    }
    let follow = async {
        match started.as_mut() {
            Some(session) => follow(session, log).await,
            None => std::future::pending().await,
        }
    };
    let waiting = async {
        match (&plan.ready_cmd, &plan.start_cmd) {
            (Some(command), _) => {
                log.line("info", &format!("waiting until ready: {command}"));
                tried_until(&builder.app, builder.spec.id, &setting.shell(command, None)).await
            }
            (None, Some(_)) => {
                sleep(START_GRACE).await;
                Ok(())
            }
            (None, None) => Ok(()),
        }
    };
    tokio::select! {
        waited = waiting => waited,
        reason = follow => Err(reason),
    }
}

/// Passes on what the start command says. Gives why the build has failed, if it ends badly; one that ends well has done its work.
async fn follow(session: &mut ExecSession, log: &BuildLog) -> Reason {
    while let Some(event) = session.output.next().await {
        match event {
            Ok(ExecEvent::Stdout(bytes)) => say(log, "info", &bytes),
            Ok(ExecEvent::Stderr(bytes)) => say(log, "warn", &bytes),
            Ok(ExecEvent::Exited(status)) if status.code == 0 => break,
            Ok(ExecEvent::Exited(status)) => {
                return format!("the start command ended with exit code {}", status.code);
            }
            Err(error) => return format!("the start command cannot be followed: {error}"),
        }
    }
    std::future::pending().await
}

fn say(log: &BuildLog, level: &str, bytes: &[u8]) {
    for line in String::from_utf8_lossy(bytes).lines() {
        log.line(level, line);
    }
}

/// Returns when a machine that booted with a template's disk is ready, by the template's ready command. Its start command runs
/// by itself.
pub(crate) async fn until_ready_again(app: &App, machine: MachineId, snapshot: &SnapshotRow) -> ApiResult<()> {
    let build = app.store.build_of(snapshot.id).await?;
    let Some(command) = build.and_then(|build| build.plan.ready_cmd) else {
        return Ok(());
    };
    // The machine brings environment, user and folder.
    let ready = tried_until(app, machine, &Setting::default().shell(&command, None)).await;
    ready.map_err(|why| ApiError::new(ProblemCode::Timeout, why))
}

/// Runs a command until it ends well.
async fn tried_until(app: &App, machine: MachineId, request: &ExecRequest) -> Result<(), Reason> {
    let deadline = Instant::now() + READY_TIMEOUT;
    let mut last = String::new();
    loop {
        let tried = command::run(app, machine, request.clone(), TRY_TIMEOUT, |_, line| {
            line.clone_into(&mut last);
        });
        match timeout_at(deadline, tried).await {
            Ok(Ok(0)) => return Ok(()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(format!("the ready command cannot be run: {error}")),
            Err(_) => break,
        }
        if Instant::now() + READY_STEP > deadline {
            break;
        }
        sleep(READY_STEP).await;
    }
    Err(format!(
        "the template was not ready within {} s; the ready command said last: {last}",
        READY_TIMEOUT.as_secs()
    ))
}
