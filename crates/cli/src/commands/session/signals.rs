//! Signals to this program that concern the other.

use tokio::signal::unix::{Signal, SignalKind, signal};

pub(super) const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGTERM: i32 = 15;
const SIGHUP: i32 = 1;

/// All that are passed on.
pub(super) struct Signals {
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    hang_up: Signal,
    window: Option<Signal>,
}

impl Signals {
    pub(super) fn listen(tty: bool) -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            window: if tty {
                Some(signal(SignalKind::window_change())?)
            } else {
                None
            },
        })
    }

    /// The next signal; `None` is a change of the window's size.
    pub(super) async fn next(&mut self) -> Option<i32> {
        let window = async {
            match &mut self.window {
                Some(window) => window.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Some(SIGINT),
            _ = self.quit.recv() => Some(SIGQUIT),
            _ = self.terminate.recv() => Some(SIGTERM),
            _ = self.hang_up.recv() => Some(SIGHUP),
            _ = window => None,
        }
    }

    /// The next signal that asks us to end.
    pub(super) async fn next_to_end(&mut self) -> i32 {
        loop {
            if let Some(number) = self.next().await {
                return number;
            }
        }
    }
}
