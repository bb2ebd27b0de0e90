//! While the program runs: its output to the log, commands to it, and the end.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use hearth_domain::{ExitStatus, MachineEvent, StateWord};
use hearth_driver::{Driver, VmmHandle};
use hearth_guest_api::{
    GuestClient, GuestError,
    client::MessageStream,
    guest::{Record, ShutdownRequest, record::Body},
};
use hearth_node_api::NodeError;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Command, Departure, Life, Owner, answer, not_at_rest};
use crate::{
    fault, guest_link,
    record::End,
    services::{chain, now_ms},
};

/// The wait before the guest's records are asked for again, first and longest.
const FOLLOW_RETRY_FIRST: Duration = Duration::from_millis(50);
const FOLLOW_RETRY_LONGEST: Duration = Duration::from_secs(5);
/// What the guest sent before its VMM went is waited for no longer than this.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(300);
/// What a guest has, beyond the stop timeout, to unmount and reset.
const RESET_TIMEOUT: Duration = Duration::from_secs(5);
/// What a guest that did not hear its agent has after its power button was pressed.
const POWER_BUTTON_TIMEOUT: Duration = Duration::from_secs(5);

/// The guest's records, asked for again whenever the stream breaks.
struct Follower {
    guest: Option<GuestClient>,
    stream: Option<MessageStream<Record>>,
    retry_at: Instant,
    delay: Duration,
}

impl Follower {
    fn new(guest: Option<GuestClient>) -> Self {
        Self {
            guest,
            stream: None,
            retry_at: Instant::now(),
            delay: FOLLOW_RETRY_FIRST,
        }
    }

    /// The next record after `from`. Waits for ever where there is no guest. May be dropped and called again.
    async fn next(&mut self, from: u64) -> Record {
        let Some(guest) = &self.guest else {
            return std::future::pending().await;
        };
        loop {
            let trouble = if let Some(stream) = &mut self.stream {
                match stream.next().await {
                    Some(Ok(record)) => {
                        self.delay = FOLLOW_RETRY_FIRST;
                        return record;
                    }
                    Some(Err(error)) => Some(error),
                    None => None,
                }
            } else {
                sleep_until(self.retry_at).await;
                match guest.follow(from).await {
                    Ok(stream) => {
                        self.stream = Some(stream);
                        continue;
                    }
                    Err(error) => Some(error),
                }
            };
            self.stream = None;
            self.retry_at = Instant::now() + self.delay;
            self.delay = (self.delay * 2).min(FOLLOW_RETRY_LONGEST);
            if let Some(error) = trouble {
                tracing::debug!(addr = %guest.addr(), error = %chain(&error), "the guest's records broke off; asking again");
            }
        }
    }
}

impl Owner {
    /// Serves the running machine until it is over.
    pub(super) async fn serve(&mut self) -> Departure {
        let Some(handle) = self.life.record().handle.clone() else {
            return Departure::Ended(End::Failed("its record names no VMM".to_owned()));
        };
        let guest = self.life.guest_client();
        self.life.publish_guest(guest.clone());
        let mut follower = Follower::new(guest);
        let driver = Arc::clone(&self.life.driver);
        let mut gone = std::pin::pin!(driver.wait(&handle));
        let mut clock_jumps = self.life.services.clock_jumps.subscribe();
        loop {
            let paused = self.life.record().state.word() == StateWord::Paused;
            let from = self.life.log.guest_next();
            tokio::select! {
                record = follower.next(from), if !paused => {
                    if let Some(exit) = self.life.take_record(record) {
                        fault::point("exit.seen");
                        return Departure::Ended(End::Exited(exit));
                    }
                }
                _ = &mut gone => return self.vmm_gone(&mut follower, &handle).await,
                Ok(()) = clock_jumps.changed() => self.life.tell_time(),
                Some(command) = self.commands.recv() => {
                    if let Some(departure) = self.obey(command, &handle).await {
                        return departure;
                    }
                }
            }
        }
    }

    /// Does what is asked of a running machine; gives the departure that this leads to, if any.
    async fn obey(&mut self, command: Command, handle: &VmmHandle) -> Option<Departure> {
        match command {
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
            Command::Pause(reply) => answer(reply, self.life.pause(handle).await),
            Command::Resume(reply) => answer(reply, self.life.resume(handle).await),
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
    async fn vmm_gone(&mut self, follower: &mut Follower, handle: &VmmHandle) -> Departure {
        let life = &mut self.life;
        if !life.driver.capabilities().guest {
            return Departure::Ended(End::Exited(ExitStatus::default()));
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

/// Takes what a connection that was open still holds.
async fn drain(life: &mut Life, follower: &mut Follower) -> Option<ExitStatus> {
    follower.stream.as_ref()?;
    timeout(DRAIN_TIMEOUT, async {
        while let Some(stream) = &mut follower.stream {
            match stream.next().await {
                Some(Ok(record)) => {
                    if let Some(exit) = life.take_record(record) {
                        return Some(exit);
                    }
                }
                _ => return None,
            }
        }
        None
    })
    .await
    .ok()
    .flatten()
}

impl Life {
    /// Puts output into the log; gives the exit status once the program has ended.
    fn take_record(&mut self, record: Record) -> Option<ExitStatus> {
        // The guest's clock may say anything, but nothing is from the future.
        let now_ns = now_ms().saturating_mul(1_000_000);
        let unix_ns = u64::try_from(record.unix_ns).unwrap_or(0).min(now_ns);
        match record.body? {
            Body::Chunk(chunk) => {
                let stream = guest_link::log_stream(chunk.stream);
                if let Err(error) = self.log.append(record.seq, unix_ns, stream, &chunk.data) {
                    tracing::warn!(machine = %self.spec.id, %error, "cannot write the machine's log; this piece is lost");
                }
                None
            }
            Body::Gap(gap) => {
                tracing::warn!(machine = %self.spec.id, bytes = gap.lost_bytes, "the machine wrote more than its guest could keep while nobody listened");
                None
            }
            Body::Exited(exited) => Some(guest_link::exit_status(&exited)),
            Body::Started(_) | Body::Keepalive(_) => None,
        }
    }

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

    async fn pause(&mut self, handle: &VmmHandle) -> Result<(), NodeError> {
        if self.record().state.word() == StateWord::Paused {
            return Ok(());
        }
        self.driver
            .pause(handle)
            .await
            .map_err(|error| guest_link::driver_error("pause the machine", error))?;
        self.enter(MachineEvent::Pause);
        Ok(())
    }

    async fn resume(&mut self, handle: &VmmHandle) -> Result<(), NodeError> {
        if self.record().state.word() == StateWord::Running {
            return Ok(());
        }
        self.driver
            .resume(handle)
            .await
            .map_err(|error| guest_link::driver_error("resume the machine", error))?;
        self.enter(MachineEvent::Resume);
        // Its clock stood still with it.
        self.tell_time();
        Ok(())
    }

    /// Sets the guest's clock to the host's. The guest may be slow, and its owner must not be: hence a task, which its
    /// deadline ends.
    pub(super) fn tell_time(&self) {
        if self.record().state.word() == StateWord::Paused {
            return;
        }
        let Some(guest) = self.guest_client() else { return };
        let machine = self.spec.id;
        tokio::spawn(async move {
            let now_ns = i64::try_from(now_ms()).unwrap_or(0).saturating_mul(1_000_000);
            if let Err(error) = guest.set_clock(now_ns).await {
                // An agent of an earlier release cannot.
                tracing::debug!(%machine, error = %chain(&error), "the guest's clock is not set");
            }
        });
    }

    /// Turns a departure into an end, with all the time that the guest was promised, and writes that down.
    pub(super) async fn conclude(&mut self, departure: Departure) {
        let end = match departure {
            Departure::Ended(end) => end,
            Departure::Stop { timeout_ms } => {
                self.change(|record| record.stop_timeout_ms = timeout_ms);
                self.begin_stop();
                End::Exited(self.stop_guest(timeout_ms).await)
            }
            Departure::Kill => {
                // The end first: a successor then kills as well, and asks nobody.
                self.change(|record| record.end = Some(End::Exited(killed("killed"))));
                return self.begin_stop();
            }
        };
        self.change(|record| record.end = Some(end));
    }

    fn begin_stop(&mut self) {
        self.change(|record| record.wanted = false);
        if self.record().state.word() != StateWord::Stopping {
            self.enter(MachineEvent::Stop);
        }
        fault::point("stop.recorded");
    }

    /// Asks the agent, then presses the power button; whoever is still there then is killed when all is released.
    async fn stop_guest(&mut self, timeout_ms: Option<u64>) -> ExitStatus {
        let Some(handle) = self.record().handle.clone() else {
            return killed("stopped before its program ran");
        };
        let was_paused = self
            .record()
            .history
            .iter()
            .rev()
            .find(|step| step.to != StateWord::Stopping);
        if was_paused.is_some_and(|step| step.to == StateWord::Paused)
            && let Err(error) = self.driver.resume(&handle).await
        {
            tracing::warn!(machine = %self.spec.id, error = %chain(&error), "cannot resume the machine to stop it");
        }
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
        loop {
            let from = self.log.guest_next();
            tokio::select! {
                record = follower.next(from) => exit = self.take_record(record).or(exit),
                () = &mut asked => break,
                _ = &mut gone => {
                    exit = drain(self, &mut follower).await.or(exit);
                    break;
                }
            }
        }
        exit.unwrap_or_else(|| killed("killed, since it did not stop in time"))
    }

    fn stop_signal(&self) -> i32 {
        let held = self.services.roots.hold(&self.spec.image_id, self.spec.id);
        let of_image = held.ok().and_then(|(_, config)| config.stop_signal);
        let name = self.spec.workload.stop_signal.clone().or(of_image);
        name.and_then(|name| hearth_domain::parse_signal(name.trim()))
            .unwrap_or(guest_link::SIGTERM)
    }

    /// A program's last writes are still in the guest's memory when it ends; a disk that is kept wants them.
    pub(super) async fn flush_disk(&self) {
        if !matches!(self.record().end, Some(End::Exited(_))) {
            return;
        }
        let (Some(_), Some(guest), Some(handle)) = (
            self.spec.resources.disk_mib,
            self.guest_client(),
            self.record().handle.clone(),
        ) else {
            return;
        };
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

fn killed(message: &str) -> ExitStatus {
    ExitStatus {
        code: 137,
        signal: Some(9),
        oom_killed: false,
        message: Some(message.to_owned()),
    }
}
