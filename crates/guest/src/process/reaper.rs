//! PID 1's duty: wait for every child, dispatch what is ours, forget the rest.
//!
//! Everything runs on one thread. A child is registered in the same step that forks it, and the reaper only runs between
//! steps, so no exit status can be lost, however short the child lived.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::process::{WaitOptions, WaitStatus};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal { number: i32, core_dumped: bool },
}

impl Exit {
    fn from_status(status: WaitStatus) -> Option<Self> {
        let core_dumped = status.as_raw() & 0x80 != 0;
        let signal = status
            .terminating_signal()
            .map(|number| Self::Signal { number, core_dumped });
        status.exit_status().map(Self::Code).or(signal)
    }

    /// What a shell would report.
    pub(crate) fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal { number, .. } => 128 + number,
        }
    }
}

/// Waits for all children of this process.
#[derive(Clone, Default)]
pub(crate) struct Reaper {
    waiting: Rc<RefCell<HashMap<i32, watch::Sender<Option<Exit>>>>>,
}

impl Reaper {
    /// To be called in the same step as the fork.
    pub(crate) fn register(&self, pid: i32) -> watch::Receiver<Option<Exit>> {
        let (sender, receiver) = watch::channel(None);
        self.waiting.borrow_mut().insert(pid, sender);
        receiver
    }

    /// Reaps until the process ends. The agent's one task that never does.
    pub(crate) async fn run(self) -> std::io::Result<()> {
        let mut child_changed = signal(SignalKind::child())?;
        loop {
            self.reap();
            child_changed.recv().await;
        }
    }

    fn reap(&self) {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => self.dispatch(pid.as_raw_pid(), status),
                Err(Errno::INTR) => {}
                // No child has ended, or there is none.
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn dispatch(&self, pid: i32, status: WaitStatus) {
        let Some(exit) = Exit::from_status(status) else { return };
        if let Some(sender) = self.waiting.borrow_mut().remove(&pid) {
            sender.send_replace(Some(exit));
        }
    }
}

/// Waits for the exit; a reaper that is gone (only at the very end) counts as killed.
pub(crate) async fn exited(mut receiver: watch::Receiver<Option<Exit>>) -> Exit {
    let killed = Exit::Signal {
        number: 9,
        core_dumped: false,
    };
    receiver
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|exit| *exit)
        .unwrap_or(killed)
}
