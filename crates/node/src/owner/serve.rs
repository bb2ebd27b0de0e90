//! While the program runs: its output to the log, commands to it, and the end.

use std::{sync::Arc, time::Duration};

use hearth_domain::{ExitStatus, MachineEvent, StateWord};
use hearth_driver::{VmmExit, VmmHandle};
use hearth_node_api::{NodeError, PauseMode};
use tokio::time::timeout;

use super::{
    Command, Departure, Life, Owner, Reply, answer,
    command::paused,
    follow::{Follower, drain},
    not_at_rest,
    snapshot::hand_over,
};
use crate::{fault, guest_link, held, record::End, services::chain};

/// How long whoever resumes a machine waits until its guest knows the time.
const TELLING_TIMEOUT: Duration = Duration::from_secs(2);

impl Owner {
    /// Serves the running machine until it is over; gives nothing if it fell asleep.
    pub(super) async fn serve(&mut self) -> Option<Departure> {
        let Some(handle) = self.life.record().handle.clone() else {
            return Some(Departure::Ended(End::Failed("its record names no VMM".to_owned())));
        };
        let guest = self.life.guest_client();
        self.life.publish_guest(guest.clone());
        let mut follower = Follower::new(guest);
        let driver = Arc::clone(&self.life.driver);
        let mut gone = std::pin::pin!(driver.wait(&handle));
        let mut recoverable = self.keep_recoverable();
        let mut clock_jumps = self.life.services.clock_jumps.subscribe();
        loop {
            let paused = self.life.record().state.word() == StateWord::Paused;
            let from = self.life.log.guest_next();
            let command = if let Some(command) = self.later.pop_front() {
                command
            } else {
                tokio::select! {
                    record = follower.next(from), if !paused => {
                        if let Some(exit) = self.life.take_record(record) {
                            fault::point("exit.seen");
                            return Some(Departure::Ended(End::Exited(exit)));
                        }
                        continue;
                    }
                    exit = &mut gone => return Some(self.vmm_gone(exit, &mut follower, &handle).await),
                    Ok(()) = clock_jumps.changed() => {
                        self.life.tell_time();
                        continue;
                    }
                    Some(command) = self.commands.recv() => command,
                }
            };
            let departure = self.obey(command, &handle).await;
            if departure.is_some() || self.life.record().is_asleep() {
                return departure;
            }
            // It may have been claimed, and be another now.
            recoverable = recoverable.or_else(|| self.keep_recoverable());
        }
    }

    /// Does what is asked of a running machine; gives the departure that this leads to, if any.
    async fn obey(&mut self, command: Command, handle: &VmmHandle) -> Option<Departure> {
        match command {
            Command::Start(reply) if self.life.record().state.word() == StateWord::Paused => {
                answer(reply, Err(paused()));
            }
            Command::Start(reply) => answer(reply, Ok(())),
            Command::Stop { timeout_ms, reply } => {
                self.at_rest.push(reply);
                return Some(Departure::Stop { timeout_ms });
            }
            Command::Restart { timeout_ms, reply } => {
                self.again.want(reply);
                return Some(Departure::Stop { timeout_ms });
            }
            Command::Kill { signal: 9, reply } => {
                self.at_rest.push(reply);
                return Some(Departure::Kill);
            }
            Command::Kill { signal, reply } => self.life.signal(signal, reply),
            Command::Pause {
                mode: PauseMode::Memory,
                held,
                reply,
            } => answer(reply, self.life.pause(handle, held).await),
            Command::Pause {
                mode: PauseMode::Disk,
                held,
                reply,
            } => {
                let suspended = self.life.suspend(handle, held).await;
                // Answered once its memory is given back.
                if suspended.is_ok() {
                    self.life.fall_asleep().await;
                }
                answer(reply, suspended);
            }
            Command::Snapshot { order, taken, reply } => {
                let outcome = if order.memory {
                    self.life.snapshot(handle, order).await
                } else {
                    self.life.snapshot_disk(Some(handle), order).await
                };
                hand_over(outcome, taken, reply);
            }
            // Of a course that has ended since: its folder is gone.
            Command::KeepRecovery { reply, .. } if reply.is_closed() => {}
            Command::KeepRecovery { point, reply } => answer(reply, self.life.keep_recovery(point).await),
            Command::SetEgress { rules, reply } => answer(reply, self.life.set_egress(rules).await),
            Command::Claim { spec, reply } => answer(reply, self.life.claim(*spec, handle).await),
            Command::Rollback { staged, reply } => return self.begin_rollback(staged, reply),
            Command::Resume(reply) => self.life.resume(handle, reply).await,
            Command::Remove { force: true, reply } => {
                self.removal.push(reply);
                return Some(Departure::Kill);
            }
            Command::Remove { force: false, reply } => {
                answer(reply, Err(not_at_rest(self.life.record().state.word())));
            }
        }
        None
    }

    /// The VMM went without being asked: what its guest had still sent tells whether the program had ended.
    async fn vmm_gone(&mut self, exit: VmmExit, follower: &mut Follower, handle: &VmmHandle) -> Departure {
        let life = &mut self.life;
        if !life.driver.capabilities().guest {
            return Departure::Ended(match exit.signal {
                None => End::Exited(ExitStatus::default()),
                Some(signal) => End::Failed(format!("its VMM was killed by signal {signal}")),
            });
        }
        if let Some(exit) = drain(life, follower).await {
            return Departure::Ended(End::Exited(exit));
        }
        let console = life.driver.console_tail(&handle.folder, 800).await;
        let console = super::boot::printable(&console);
        let tail = if console.is_empty() {
            String::new()
        } else {
            format!("; its console ends with:\n{console}")
        };
        Departure::Ended(End::Failed(format!(
            "its VMM (pid {}) ended unexpectedly{tail}",
            handle.pid
        )))
    }
}

impl Life {
    /// Passes a signal on. The guest may be slow, and its owner must not be: hence a task, which its deadline ends.
    fn signal(&self, signal: i32, reply: super::Reply) {
        let Some(guest) = self.guest_client() else {
            return answer(reply, Err(guest_link::no_guest(self.spec.driver)));
        };
        tokio::spawn(async move {
            let outcome = guest.workload_signal(signal).await;
            answer(
                reply,
                outcome.map_err(|error| guest_link::node_error("signal the program", &error)),
            );
        });
    }

    async fn pause(&mut self, handle: &VmmHandle, held: bool) -> Result<(), NodeError> {
        if self.record().state.word() == StateWord::Paused {
            return Ok(());
        }
        self.driver
            .pause(handle)
            .await
            .map_err(|error| guest_link::driver_error("pause the machine", error))?;
        self.enter(MachineEvent::Pause);
        self.paused_held = held;
        if let Some(guest) = self.published_guest() {
            guest.stand_still();
        }
        Ok(())
    }

    async fn resume(&mut self, handle: &VmmHandle, reply: Reply) {
        if self.record().state.word() == StateWord::Running {
            return answer(reply, Ok(()));
        }
        if self.is_claimed() {
            return answer(reply, self.complete_claim(handle).await);
        }
        if let Err(error) = self.driver.resume(handle).await {
            return answer(reply, Err(guest_link::driver_error("resume the machine", error)));
        }
        self.enter(MachineEvent::Resume);
        self.paused_held = false;
        if let Some(guest) = self.published_guest() {
            guest.go_on();
        }
        // Its clock stood still with it. Whoever wants it to go on may call it next, and is to find it right.
        let told = self.time_told();
        let released = self.holds.take().then(|| self.programs_released());
        self.services.finishing.spawn(async move {
            let _ = timeout(TELLING_TIMEOUT, told).await;
            // They stand still since the pause, or since a snapshot of which they did not hear that it was made.
            if let Some(released) = released {
                released.await;
            }
            answer(reply, Ok(()));
        });
    }

    /// Lets programs go on that stand still for a snapshot that is made already. In a task, for the guest may be slow.
    pub(super) fn release_programs(&self) {
        self.services.finishing.spawn(self.programs_released());
    }

    /// The same, for whoever waits for it; those of a machine that waits are to stand still.
    fn programs_released(&self) -> impl Future<Output = ()> + use<> {
        let guest = self.published_guest().filter(|_| !self.spec.is_warm());
        async move {
            if let Some(guest) = guest {
                held::release(&guest).await;
            }
        }
    }

    /// Sets the guest's clock to the host's. The guest may be slow, and its owner must not be: hence a task, which its
    /// deadline ends.
    pub(super) fn tell_time(&self) {
        if self.record().state.word() != StateWord::Paused {
            tokio::spawn(self.time_told());
        }
    }

    fn time_told(&self) -> impl Future<Output = ()> + use<> {
        let (guest, machine) = (self.published_guest(), self.spec.id);
        async move {
            let Some(guest) = guest else { return };
            if let Err(error) = guest.set_clock(guest_link::clock_unix_ns()).await {
                // An agent of an earlier release cannot.
                tracing::debug!(%machine, error = %chain(&error), "the guest's clock is not set");
            }
        }
    }
}
