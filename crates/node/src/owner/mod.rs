//! One task owns one machine, from its making until it is destroyed.
//!
//! ```text
//!             commands (bounded queue)
//!                   │
//!   ┌───────────────▼───────────────────────────────────────────┐
//!   │ rest ──start──► bring up ──ready──► serve ──end──► release │──► rest, or restart by policy
//!   └───────────────┬───────────────────────────────────────────┘
//!                   ▼
//!       status, guest, log (watches)
//! ```
//!
//! Each step is written to the machine's folder before it is taken, and each can be taken twice. So a daemon that
//! finds the folder of a machine whose owner died puts a new owner to it, which goes on where the record says: what
//! it does after a crash is what it does every day.

mod boot;
mod command;
mod disk;
mod egress;
mod follow;
mod life;
mod recovery;
mod release;
mod restore;
mod serve;
mod sleep;
mod snapshot;
mod stillness;
mod stop;
mod volumes;
mod warm;

use std::{collections::VecDeque, sync::Arc};

pub(crate) use boot::new_token;
use command::{Again, answer, answer_all, conflict, not_at_rest};
pub(crate) use command::{Command, Reply, SnapshotOrder};
use hearth_domain::{MachineEvent, MachineSpec, MachineState, RestartPlan, StateWord, plan_restart};
use hearth_guest_api::GuestClient;
use hearth_node_api::{ErrorKind, MachineStatus, NodeError};
pub(crate) use life::Life;
pub(crate) use sleep::save_error;
pub(crate) use snapshot::Taken;
pub(crate) use stop::killed;
use tokio::{
    sync::{mpsc, watch},
    time::{Duration, Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    held::Holds,
    log::LogSource,
    record::{End, MachineRecord},
    services::{chain, now_ms},
};

/// How long a machine that removes itself stays, if the daemon found it when it came: whoever was attached to it shall
/// come back in time to read the rest of what it wrote.
const LINGER: Duration = Duration::from_secs(5);
/// Commands that may wait for an owner; more are refused.
pub(crate) const COMMANDS_MAX: usize = 16;

/// The way to an owner, and what it lets be seen.
#[derive(Debug, Clone)]
pub(crate) struct OwnerHandle {
    pub(crate) spec: Arc<MachineSpec>,
    /// Whether its driver starts guests that can be spoken to.
    pub(crate) has_guest: bool,
    /// Opens its guest's files and processes.
    pub(crate) access_token: Arc<str>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) status: watch::Receiver<MachineStatus>,
    pub(crate) guest: watch::Receiver<Option<GuestClient>>,
    pub(crate) holds: Holds,
    pub(crate) log: LogSource,
}

/// Why an owner ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The machine is no more.
    Destroyed,
    /// The node is closing; the machine is left as it is.
    Closed,
}

/// Why a boot is over, or must be.
#[derive(Debug)]
enum Departure {
    /// It ended by itself.
    Ended(End),
    /// It is to be stopped, with time for the guest.
    Stop { timeout_ms: Option<u64> },
    /// It is to end at once.
    Kill,
}

/// The owner of one machine.
pub(crate) struct Owner {
    life: Life,
    commands: mpsc::Receiver<Command>,
    /// For those of the owner's own who ask like others. It does not keep the owner from hearing that all others have gone.
    way_in: mpsc::WeakSender<Command>,
    /// Those who wait until the machine is at rest.
    at_rest: Vec<Reply>,
    /// Who wants it to run again once it is at rest.
    again: Again,
    /// Who wants it removed once it is at rest.
    removal: Vec<Reply>,
    /// Commands that came while it was stopping, or woke it, for when it is at rest or runs again. No more than
    /// [`COMMANDS_MAX`] and one.
    later: VecDeque<Command>,
    /// Until when a machine that removes itself stays though it has ended.
    lingers_until: Option<Instant>,
}

impl Owner {
    pub(crate) fn new(life: Life, commands: mpsc::Receiver<Command>, way_in: mpsc::WeakSender<Command>) -> Self {
        let found = life.record().state.word() != StateWord::Pending;
        let lingers = found && life.spec().auto_remove;
        Self {
            lingers_until: lingers.then(|| Instant::now() + LINGER),
            life,
            commands,
            way_in,
            at_rest: Vec::new(),
            again: Again::default(),
            removal: Vec::new(),
            later: VecDeque::new(),
        }
    }

    /// Owns the machine until it is destroyed, or until the daemon ends: then the machine is left as it is.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Ended {
        let whole = async {
            // What was to follow the end of a boot is done by the successor, if nobody came to it.
            if self.life.record().state.is_at_rest() && !self.life.record().removing {
                self.rest_reached().await;
            }
            while !self.life.record().removing {
                if self.life.is_under_way() {
                    // Boxed: most owners are at rest most of the time, and then need no room for this.
                    Box::pin(self.live()).await;
                    self.rest_reached().await;
                } else if self.rest().await.is_none() {
                    return Ended::Closed;
                }
            }
            self.destroy().await;
            Ended::Destroyed
        };
        tokio::select! {
            () = shutdown.cancelled() => Ended::Closed,
            ended = whole => ended,
        }
    }

    /// One boot: from the first preparation until all is given back.
    async fn live(&mut self) {
        let departure = if self.life.record().end.is_some() {
            None
        } else {
            Some(if self.life.record().rollback {
                Departure::Kill
            } else {
                self.course().await
            })
        };
        if let Some(departure) = departure {
            self.conclude(departure).await;
        }
        let disk_is_kept = self.removal.is_empty();
        self.life.release(disk_is_kept).await;
    }

    /// What a boot consists of: coming up, running, and perhaps sleeping in between.
    async fn course(&mut self) -> Departure {
        loop {
            let up = if self.life.record().is_asleep() {
                self.asleep().await
            } else {
                self.bring_up().await
            };
            if let Err(departure) = up {
                return departure;
            }
            if let Some(departure) = self.serve().await {
                return departure;
            }
        }
    }

    /// Lets the boot end. Whoever loses patience with a guest that takes its time may still have it killed.
    async fn conclude(&mut self, departure: Departure) {
        let Self {
            life,
            commands,
            at_rest,
            again,
            removal,
            later,
            ..
        } = self;
        again.note(life);
        let mut stays = false;
        let cut_short = {
            let mut concluded = std::pin::pin!(life.conclude(departure));
            loop {
                let command = tokio::select! {
                    () = &mut concluded => break false,
                    Some(command) = commands.recv() => command,
                };
                match command {
                    Command::Kill { signal: 9, reply } => {
                        at_rest.push(reply);
                        stays = true;
                        break true;
                    }
                    Command::Remove { force: true, reply } => {
                        removal.push(reply);
                        stays = true;
                        break true;
                    }
                    Command::Stop { reply, .. } => {
                        at_rest.push(reply);
                        stays = true;
                    }
                    command if later.len() < COMMANDS_MAX => later.push_back(command),
                    command => command.refuse(),
                }
            }
        };
        if stays {
            again.cancel(life);
        }
        if cut_short {
            life.conclude(Departure::Kill).await;
        }
    }

    /// Forgets the machine. Whoever comes from here on comes too late, and is told so.
    async fn destroy(&mut self) {
        self.commands.close();
        let mut late: Vec<Command> = self.later.drain(..).collect();
        while let Ok(command) = self.commands.try_recv() {
            late.push(command);
        }
        for command in late {
            match command {
                Command::Remove { reply, .. } => self.removal.push(reply),
                command => command.come_too_late(&self.life.spec.name),
            }
        }
        self.life.destroy().await;
        answer_all(&mut self.at_rest, || Ok(()));
        answer_all(&mut self.removal, || Ok(()));
    }

    /// Brings the machine up while it listens to commands, some of which cut that short.
    async fn bring_up(&mut self) -> Result<(), Departure> {
        let Self {
            life,
            commands,
            at_rest,
            again,
            removal,
            ..
        } = self;
        if life.record().state.word() == StateWord::Stopping {
            let timeout_ms = life.record().stop_timeout_ms;
            return Err(Departure::Stop { timeout_ms });
        }
        if matches!(life.record().state.word(), StateWord::Running | StateWord::Paused) {
            life.heal_egress().await;
            life.heal_volumes().await;
            life.take_over().await;
            return Ok(());
        }
        let mut boot = std::pin::pin!(life.bring_up());
        loop {
            let command = tokio::select! {
                outcome = &mut boot => return outcome.map_err(|reason| Departure::Ended(End::Failed(reason))),
                Some(command) = commands.recv() => command,
            };
            match command {
                Command::Start(reply) => answer(reply, Ok(())),
                Command::Stop { timeout_ms, reply } => {
                    at_rest.push(reply);
                    return Err(Departure::Stop { timeout_ms });
                }
                Command::Restart { timeout_ms, reply } => {
                    again.want(reply);
                    return Err(Departure::Stop { timeout_ms });
                }
                Command::Kill { signal: 9, reply } => {
                    at_rest.push(reply);
                    return Err(Departure::Kill);
                }
                Command::Remove { force: true, reply } => {
                    removal.push(reply);
                    return Err(Departure::Kill);
                }
                Command::Remove { force: false, reply } => answer(reply, Err(not_at_rest(StateWord::Starting))),
                Command::Pause { reply, .. }
                | Command::Resume(reply)
                | Command::SetEgress { reply, .. }
                | Command::Kill { reply, .. }
                | Command::Snapshot { reply, .. }
                | Command::KeepRecovery { reply, .. }
                | Command::Claim { reply, .. }
                | Command::Rollback { reply, .. } => {
                    answer(reply, Err(conflict("the machine is still starting")));
                }
            }
        }
    }

    /// Waits, at rest, for a command or for the time of a restart. `None` once the node is closed.
    async fn rest(&mut self) -> Option<()> {
        let delay = self.life.restart_delay_ms();
        let restart = async {
            match delay {
                Some(delay_ms) => sleep(Duration::from_millis(delay_ms)).await,
                None => std::future::pending().await,
            }
        };
        let lingers_until = self.lingers_until;
        let lingered = async {
            match lingers_until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let command = if let Some(command) = self.later.pop_front() {
            command
        } else {
            tokio::select! {
                command = self.commands.recv() => command?,
                () = restart => {
                    self.life.restart_by_policy().await;
                    return Some(());
                }
                () = lingered => {
                    self.life.accept_removal();
                    return Some(());
                }
            }
        };
        match command {
            Command::Start(reply) | Command::Restart { reply, .. } => {
                answer(reply, self.life.start_from_rest().await);
            }
            Command::Stop { reply, .. } | Command::Kill { signal: 9, reply } => {
                // A machine that waits for its restart is not to be started any more.
                self.life.give_up_recovery().await;
                self.life.change(|record| {
                    record.wanted = false;
                    record.again = false;
                });
                answer(reply, Ok(()));
            }
            Command::Rollback { staged, reply } => {
                let started = self.life.start_from(staged).await;
                if let Err(error) = &started {
                    self.again.fail(&mut self.life, error);
                }
                answer(reply, started);
            }
            Command::SetEgress { rules, reply } => answer(reply, self.life.set_egress(rules).await),
            Command::Snapshot { order, taken, reply } if !order.memory => {
                let outcome = self.life.snapshot_disk(None, order).await;
                snapshot::hand_over(outcome, taken, reply);
            }
            Command::Pause { reply, .. }
            | Command::Resume(reply)
            | Command::Kill { reply, .. }
            | Command::Snapshot { reply, .. }
            | Command::Claim { reply, .. }
            | Command::KeepRecovery { reply, .. } => {
                let word = self.life.record().state.word();
                answer(reply, Err(conflict(format!("the machine is {word}, not running"))));
            }
            Command::Remove { reply, .. } => {
                self.removal.push(reply);
                self.life.accept_removal();
            }
        }
        Some(())
    }

    /// Answers those who waited for rest, and goes on to a restart or to removal where that is wanted.
    async fn rest_reached(&mut self) {
        answer_all(&mut self.at_rest, || Ok(()));
        if let Err(error) = self.life.finish_rollback().await {
            tracing::error!(machine = %self.life.spec.id, error = %chain(&error), "cannot take the machine back");
            self.again.fail(&mut self.life, &error);
        }
        if self.removal.is_empty() {
            self.again.begin(&mut self.life);
        }
        let stays = self.life.record().state.is_at_rest() && self.life.restart_delay_ms().is_none();
        let lingers = self.lingers_until.is_some_and(|until| until > Instant::now());
        if !self.removal.is_empty() || (self.life.spec().auto_remove && stays && !lingers) {
            self.life.accept_removal();
        }
    }
}

impl Life {
    /// Whether the machine is on its way somewhere, or runs.
    fn is_under_way(&self) -> bool {
        match self.record().state {
            MachineState::Pending => self.record().wanted,
            MachineState::Stopped { .. } | MachineState::Failed { .. } | MachineState::Destroyed => false,
            _ => true,
        }
    }

    /// When the policy wants the machine, now at rest, to be started again.
    fn restart_delay_ms(&self) -> Option<u64> {
        self.record().wanted.then(|| self.restart_plan().delay_ms()).flatten()
    }

    fn restart_plan(&self) -> RestartPlan {
        let record = self.record();
        let recoveries = record.recovery.map(|_| record.recoveries);
        plan_restart(
            self.spec().restart,
            recoveries,
            &record.state,
            record.attempts,
            record.ran_ms(now_ms()),
        )
    }

    /// Goes on with a machine that a predecessor left running or paused.
    async fn take_over(&mut self) {
        self.publish_guest(self.guest_client());
        if self.is_claimed()
            && let Some(handle) = self.record().handle.clone()
            && let Err(error) = self.complete_claim(&handle).await
        {
            tracing::warn!(machine = %self.spec.id, error = %chain(&error), "a machine that was claimed does not go on");
        }
        if self.record().state.word() == StateWord::Running
            && let Some(handle) = self.record().handle.clone()
        {
            // It may have stood still for a snapshot when the predecessor died.
            if self.driver.capabilities().snapshot {
                self.go_on(&handle).await;
                self.release_programs();
                self.thaw_disk();
            } else {
                // The clock may have jumped while no daemon was there.
                self.tell_time();
            }
            let greeted = match self.hold_root() {
                Ok(held) => self.greet(&held.config).await,
                Err(reason) => Err(reason),
            };
            if let Err(reason) = greeted {
                tracing::warn!(machine = %self.spec.id, reason, "the machine goes on, and cannot be told so");
            }
        }
    }

    /// Starts the machine for somebody who looked after it: its policy counts anew.
    async fn start_from_rest(&mut self) -> Result<(), NodeError> {
        if self.record().wanted && matches!(self.restart_plan(), RestartPlan::Recover { .. }) {
            match self.recover(0, 1).await {
                Err(error) if self.record().recovery.is_none() => {
                    tracing::warn!(machine = %self.spec().id, error = %chain(&error), "the machine boots instead");
                }
                outcome => return outcome,
            }
        }
        self.give_up_recovery().await;
        // One that could not be taken back to the end begins there.
        self.finish_rollback().await?;
        self.accept_start(0)
    }

    async fn restart_by_policy(&mut self) {
        let (attempt, started) = match self.restart_plan() {
            RestartPlan::Stay => return,
            RestartPlan::Restart { attempt, .. } => {
                self.give_up_recovery().await;
                (attempt, self.accept_start(attempt))
            }
            RestartPlan::Recover { attempt, recovery, .. } => (attempt, self.recover(attempt, recovery).await),
        };
        if let Err(error) = started {
            // No room now. It stays wanted, and the next attempt comes later.
            if error.kind == ErrorKind::NoCapacity {
                self.services.ledger.note_turned_away(&self.spec);
            }
            self.change(|record| {
                record.attempts = attempt;
                record.again = false;
                // Else it would count as well for as long as it ran before, and never wait longer.
                record.ran = false;
            });
            tracing::warn!(machine = %self.spec().id, error = %chain(&error), "cannot restart the machine");
        }
    }

    /// Takes the machine's share, and notes that it is to run: as that many a restart in a row by policy.
    fn accept_start(&mut self, attempts: u32) -> Result<(), NodeError> {
        self.reserve()?;
        let wanted = |record: &mut MachineRecord| {
            record.wanted = true;
            record.again = false;
            record.attempts = attempts;
            if attempts == 0 {
                record.recoveries = 0;
            }
        };
        if self.record().state.is_at_rest() {
            self.enter_with(MachineEvent::Restart, wanted);
        } else {
            self.change(wanted);
        }
        Ok(())
    }

    fn accept_removal(&mut self) {
        self.change(|record| {
            record.wanted = false;
            record.removing = true;
        });
        crate::fault::point("remove.recorded");
    }
}
