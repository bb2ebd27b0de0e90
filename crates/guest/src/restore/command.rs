//! Running one of the image's programs to its end, within a time, and reading what it says.

use std::cell::RefCell;
use std::time::Duration;

use tokio::sync::watch;

use crate::process::cgroup::Cgroup;
use crate::process::reaper::{self, Exit, Reaper};
use crate::process::spawn::{Io, SpawnError, SpawnPlan, spawn};
use crate::process::{Attached, pump, send_signal};

/// As much of what a program says as is worth keeping; the console is slow.
const MAX_OUTPUT_BYTES: usize = 4096;
const SIGKILL: i32 = 9;

/// Why a program did not end well.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error(transparent)]
    Start(#[from] SpawnError),
    #[error("its pipes cannot be watched: {0}")]
    Watch(std::io::Error),
    #[error("exit status {0}")]
    Status(i32),
    #[error("killed by signal {0}")]
    Signal(i32),
    #[error("not done after {} ms, killed", .0.as_millis())]
    TimedOut(Duration),
}

/// A program that is killed, with what it started, if nobody waits for it any more.
struct Running {
    pid: i32,
    exit: watch::Receiver<Option<Exit>>,
    cgroup: Option<Cgroup>,
}

impl Running {
    fn status(&self) -> Option<Exit> {
        *self.exit.borrow()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.status().is_none() && !self.cgroup.as_ref().is_some_and(Cgroup::kill) {
            // Ended in this moment, which is what is wanted.
            let _ = send_signal(self.pid, SIGKILL, true);
        }
    }
}

/// Runs a program. Its output, whatever became of it, is its beginning.
pub(super) async fn run(
    reaper: &Reaper,
    plan: SpawnPlan,
    cgroup: Option<Cgroup>,
    deadline: Duration,
) -> (Result<(), CommandError>, String) {
    let output = RefCell::new(Vec::new());
    let result = run_collecting(reaper, plan, cgroup, deadline, &output).await;
    (result, String::from_utf8_lossy(&output.borrow()).into_owned())
}

async fn run_collecting(
    reaper: &Reaper,
    mut plan: SpawnPlan,
    cgroup: Option<Cgroup>,
    deadline: Duration,
    output: &RefCell<Vec<u8>>,
) -> Result<(), CommandError> {
    plan.io = Io::Pipes { stdin: false };
    plan.cgroup = cgroup.as_ref().and_then(Cgroup::procs);
    let spawned = spawn(plan)?;
    let exit = reaper.register(spawned.pid);
    let running = Running {
        pid: spawned.pid,
        exit: exit.clone(),
        cgroup,
    };
    let attached = Attached::new(spawned.ends).map_err(CommandError::Watch)?;
    let ended = tokio::time::timeout(deadline, async {
        pump(attached.outputs, exit.clone(), |_, data| {
            let room = MAX_OUTPUT_BYTES - output.borrow().len();
            output.borrow_mut().extend_from_slice(&data[..data.len().min(room)]);
            std::future::ready(())
        })
        .await;
        reaper::exited(exit.clone()).await
    });
    // Past the deadline it may have ended all the same, and left something behind that holds its output open.
    let status = ended.await.ok().or_else(|| running.status());
    match status {
        Some(Exit::Code(0)) => Ok(()),
        Some(Exit::Code(code)) => Err(CommandError::Status(code)),
        Some(Exit::Signal { number, .. }) => Err(CommandError::Signal(number)),
        None => Err(CommandError::TimedOut(deadline)),
    }
}
