//! The records of a guest, on their way into the machine's log.

use std::{fmt::Display, time::Duration};

use hearth_domain::ExitStatus;
use hearth_guest_api::{
    GuestClient,
    client::MessageStream,
    guest::{Record, record::Body},
};
use hearth_ids::MachineId;
use tokio::time::{Instant, sleep_until, timeout};

use super::Life;
use crate::{
    guest_link,
    services::{chain, now_ms},
};

/// The wait before the guest's records are asked for again, first and longest.
const FOLLOW_RETRY_FIRST: Duration = Duration::from_millis(50);
const FOLLOW_RETRY_LONGEST: Duration = Duration::from_secs(5);
/// What the guest sent before its VMM went is waited for no longer than this.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(300);
/// Losses are told so often: a guest makes them as fast as it likes, and must not fill the host's own log.
const LOSSES_EVERY: Duration = Duration::from_mins(1);

/// The guest's records, asked for again whenever the stream breaks.
pub(super) struct Follower {
    guest: Option<GuestClient>,
    stream: Option<MessageStream<Record>>,
    retry_at: Instant,
    delay: Duration,
}

impl Follower {
    pub(super) fn new(guest: Option<GuestClient>) -> Self {
        Self {
            guest,
            stream: None,
            retry_at: Instant::now(),
            delay: FOLLOW_RETRY_FIRST,
        }
    }

    /// The next record after `from`. Waits for ever where there is no guest. May be dropped and called again.
    pub(super) async fn next(&mut self, from: u64) -> Record {
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

/// Takes what a connection that was open still holds.
pub(super) async fn drain(life: &mut Life, follower: &mut Follower) -> Option<ExitStatus> {
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
    pub(super) fn take_record(&mut self, record: Record) -> Option<ExitStatus> {
        // The guest's clock may say anything, but nothing is from the future.
        let now_ns = now_ms().saturating_mul(1_000_000);
        let unix_ns = u64::try_from(record.unix_ns).unwrap_or(0).min(now_ns);
        match record.body? {
            Body::Chunk(chunk) => {
                let stream = guest_link::log_stream(chunk.stream);
                if let Err(error) = self.log.append(record.seq, unix_ns, stream, &chunk.data) {
                    self.losses.note(
                        self.spec.id,
                        chunk.data.len() as u64,
                        &format!("cannot write the log: {error}"),
                    );
                }
                None
            }
            Body::Gap(gap) => {
                self.losses.note(
                    self.spec.id,
                    gap.lost_bytes,
                    &"more was written than the guest can keep while nobody listens",
                );
                None
            }
            Body::Exited(_) if self.spec.workload.idle => None,
            Body::Exited(exited) => Some(guest_link::exit_status(&exited)),
            Body::Started(_) | Body::Keepalive(_) => None,
        }
    }
}

/// Output that did not come into the log.
#[derive(Debug, Default)]
pub(super) struct Losses {
    pieces: u64,
    bytes: u64,
    told: Option<Instant>,
}

impl Losses {
    fn note(&mut self, machine: MachineId, bytes: u64, why: &dyn Display) {
        if self.count(bytes, Instant::now()) {
            tracing::warn!(%machine, pieces = self.pieces, bytes = self.bytes, %why, "output of the machine is lost");
            (self.pieces, self.bytes) = (0, 0);
        }
    }

    /// Whether it is time to tell.
    fn count(&mut self, bytes: u64, now: Instant) -> bool {
        self.pieces += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        let due = self.told.is_none_or(|told| now.duration_since(told) >= LOSSES_EVERY);
        if due {
            self.told = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_told_once_a_minute() {
        let (mut losses, start) = (Losses::default(), Instant::now());
        let told = (0..180).filter(|second| losses.count(u64::MAX, start + Duration::from_secs(*second)));
        assert_eq!(told.collect::<Vec<_>>(), [0, 60, 120]);
        assert_eq!((losses.pieces, losses.bytes), (180, u64::MAX));
    }
}
