//! Stopping: the agent is asked, then the power button is pressed, and whoever is still there is killed.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use hearth_domain::{ExitStatus, MachineEvent, StateWord};
use hearth_driver::{Driver, VmmHandle};
use hearth_guest_api::{GuestClient, GuestError, guest::ShutdownRequest};
use tokio::time::{sleep, timeout};

use super::{
    Departure, Life,
    follow::{Follower, drain},
};
use crate::{
    fault, guest_link,
    record::{End, MachineRecord},
    services::chain,
};

/// What a guest has, beyond the stop timeout, to unmount and reset.
const RESET_TIMEOUT: Duration = Duration::from_secs(5);
/// What a guest that did not hear its agent has after its power button was pressed.
const POWER_BUTTON_TIMEOUT: Duration = Duration::from_secs(5);

impl Life {
    /// Turns a departure into an end, with all the time that the guest was promised, and writes that down.
    pub(super) async fn conclude(&mut self, departure: Departure) {
        let end = match departure {
            Departure::Ended(end) => end,
            Departure::Stop { timeout_ms } => {
                self.begin_stop(|record| record.stop_timeout_ms = timeout_ms);
                End::Exited(self.stop_guest(timeout_ms).await)
            }
            Departure::Kill => {
                // With its end: a successor then kills as well, and asks nobody.
                return self.begin_stop(|record| record.end = Some(End::Exited(killed("killed"))));
            }
        };
        self.change(|record| record.end = Some(end));
    }

    /// Notes that it is to stop, and how, in one write.
    fn begin_stop(&mut self, how: impl FnOnce(&mut MachineRecord)) {
        let note = |record: &mut MachineRecord| {
            record.wanted = false;
            how(record);
        };
        if self.record().state.word() == StateWord::Stopping {
            self.change(note);
        } else {
            self.enter_with(MachineEvent::Stop, note);
        }
        fault::point("stop.recorded");
    }

    /// Asks the agent, then presses the power button; whoever is still there then is killed when all is released.
    async fn stop_guest(&mut self, timeout_ms: Option<u64>) -> ExitStatus {
        let Some(handle) = self.record().handle.clone() else {
            return killed("stopped before its program ran");
        };
        self.resume_to_stop(&handle).await;
        let Some(guest) = self.guest_client() else {
            return killed("killed");
        };
        let timeout_ms = timeout_ms.unwrap_or(self.spec.stop_timeout_ms);
        let signal = self.stop_signal();
        tracing::info!(machine = %self.spec.id, signal, timeout_ms, "asking the guest to stop");
        let request = ShutdownRequest { signal, timeout_ms };
        let asked = ask_to_stop(
            Arc::clone(&self.driver),
            handle.clone(),
            guest.clone(),
            request,
            self.spec.id.to_string(),
        );
        fault::point("stop.asked");
        self.listen_until(asked, guest, &handle).await
    }

    /// A guest that stands still hears nothing.
    async fn resume_to_stop(&self, handle: &VmmHandle) {
        let mut steps = self.record().history.iter().rev();
        let before = steps.find(|step| step.to != StateWord::Stopping);
        if before.is_some_and(|step| step.to == StateWord::Paused)
            && let Err(error) = self.driver.resume(handle).await
        {
            tracing::warn!(machine = %self.spec.id, error = %chain(&error), "cannot resume the machine to stop it");
        }
    }

    /// Keeps the log and looks for the exit status while the guest goes down.
    async fn listen_until(
        &mut self,
        mut asked: BoxFuture<'static, ()>,
        guest: GuestClient,
        handle: &VmmHandle,
    ) -> ExitStatus {
        let mut follower = Follower::new(Some(guest));
        let driver = Arc::clone(&self.driver);
        let mut gone = std::pin::pin!(driver.wait(handle));
        let mut exit = None;
        let unheard = loop {
            let from = self.log.guest_next();
            tokio::select! {
                // First, since with the VMM the asking ends as well.
                biased;
                _ = &mut gone => {
                    exit = drain(self, &mut follower).await.or(exit);
                    break "it went down, but how its program ended was not heard";
                }
                record = follower.next(from) => exit = self.take_record(record).or(exit),
                () = &mut asked => break "killed, since it did not stop in time",
            }
        };
        exit.unwrap_or_else(|| killed(unheard))
    }

    fn stop_signal(&self) -> i32 {
        let of_image = self.hold_root().ok().and_then(|held| held.config.stop_signal);
        let name = self.spec.workload.stop_signal.clone().or(of_image);
        name.and_then(|name| hearth_domain::parse_signal(name.trim()))
            .unwrap_or(guest_link::SIGTERM)
    }

    /// A program's last writes are still in the guest's memory when it ends; a disk that is kept wants them.
    pub(super) async fn flush_disk(&self) {
        // What one that waits has written is nobody's.
        if !matches!(self.record().end, Some(End::Exited(_))) || self.spec.is_warm() {
            return;
        }
        let (Some(_), Some(guest), Some(handle)) = (
            self.spec.resources.disk_mib,
            self.guest_client(),
            self.record().handle.clone(),
        ) else {
            return;
        };
        self.resume_to_stop(&handle).await;
        let request = ShutdownRequest {
            signal: guest_link::SIGTERM,
            timeout_ms: 1000,
        };
        ask_to_stop(
            Arc::clone(&self.driver),
            handle,
            guest,
            request,
            self.spec.id.to_string(),
        )
        .await;
    }
}

/// Agent, then power button; resolves when the VMM is gone or will not go. Each step is logged.
fn ask_to_stop(
    driver: Arc<dyn Driver>,
    handle: VmmHandle,
    guest: GuestClient,
    request: ShutdownRequest,
    machine: String,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let agent_timeout = Duration::from_millis(request.timeout_ms) + RESET_TIMEOUT;
        let asked = async {
            match guest.shutdown(request).await {
                Ok(answer) => {
                    tracing::info!(machine, killed = answer.killed, "the guest's agent is going down");
                    sleep(RESET_TIMEOUT).await;
                }
                Err(error) if went_down(&error) => sleep(RESET_TIMEOUT).await,
                Err(error) => tracing::warn!(machine, error = %chain(&error), "the guest's agent does not stop it"),
            }
        };
        tokio::select! {
            _ = driver.wait(&handle) => return,
            _ = timeout(agent_timeout + RESET_TIMEOUT, asked) => {}
        }
        tracing::warn!(machine, "pressing the guest's power button");
        if let Err(error) = driver.press_power_button(&handle).await {
            tracing::warn!(machine, error = %chain(&error), "cannot press the power button");
            return;
        }
        if timeout(POWER_BUTTON_TIMEOUT, driver.wait(&handle)).await.is_err() {
            tracing::warn!(
                machine,
                "the guest does not heed its power button; its VMM will be killed"
            );
        }
    })
}

/// An agent may be gone before its answer is out.
fn went_down(error: &GuestError) -> bool {
    matches!(error, GuestError::Transport { .. })
}

/// The exit of a program that SIGKILL ended, its VMM's or its own.
pub(crate) fn killed(message: &str) -> ExitStatus {
    ExitStatus {
        code: 137,
        signal: Some(9),
        oom_killed: false,
        message: Some(message.to_owned()),
    }
}
