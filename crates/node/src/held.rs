//! A guest made ready for a snapshot, or for a pause: its programs stand still where they can, and before a snapshot its hooks have
//! run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use hearth_guest_api::{GuestClient, GuestError, connect::Code};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::task::TaskTracker;

use crate::services::chain;

/// How long a guest may take to have its programs stand still for a pause.
const PAUSE_PATIENCE: Duration = Duration::from_secs(2);
/// The guest lets its programs go by itself a little later.
const HELD_MAX: Duration = Duration::from_secs(28);

/// How many hold a machine's programs, or did and could not let them go. Clones are of the same machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holds(Arc<AtomicU32>);

impl Holds {
    /// Those of a machine that a predecessor may have held.
    pub(crate) fn unknown() -> Self {
        Self(Arc::new(AtomicU32::new(1)))
    }

    /// Whether programs may stand still; from here on they do not, since whoever asks lets them go.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(0, Ordering::AcqRel) > 0
    }

    fn begin(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    fn end(&self) {
        // Somebody may have let all go meanwhile.
        let _ = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |holds| holds.checked_sub(1));
    }
}

/// Programs that stand still until this is released or dropped. The guest itself lets them go on if this node cannot.
#[derive(Debug)]
pub(crate) struct Held {
    guest: Option<GuestClient>,
    holds: Holds,
    since: Instant,
    finishing: TaskTracker,
}

impl Held {
    /// Has the guest make itself ready for a snapshot. Without a guest, and where programs cannot be held, they run.
    pub(crate) async fn prepare(
        guest: Option<GuestClient>,
        holds: Holds,
        finishing: TaskTracker,
    ) -> Result<Self, GuestError> {
        let mut held = Self::new(guest, holds, finishing);
        if let Some(guest) = &held.guest {
            let stand_still = guest.prepare_snapshot(true).await?;
            held.note(Some(stand_still));
        }
        Ok(held)
    }

    /// Has the guest's hooks run before its disk alone is copied. Its programs run on, for no copy has any of them; and a guest
    /// that cannot be asked is one whose disk is copied as it is.
    pub(crate) async fn for_disk(
        guest: Option<GuestClient>,
        holds: Holds,
        finishing: TaskTracker,
    ) -> Result<Self, GuestError> {
        if let Some(guest) = guest {
            match hooks_of_disk(&guest).await {
                Err(error) if error.code() == Some(Code::FailedPrecondition) => return Err(error),
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "the guest's hooks do not run before its disk is copied");
                }
                Ok(()) => {}
            }
        }
        Ok(Self::new(None, holds, finishing))
    }

    /// Has programs stand still for a pause, so that those of a copy of the machine as it is then do as well until it is
    /// another machine. A guest that does not do so soon is paused all the same.
    pub(crate) async fn for_pause(guest: Option<GuestClient>, holds: Holds, finishing: TaskTracker) -> Self {
        let mut held = Self::new(guest, holds, finishing);
        if let Some(guest) = &held.guest {
            let asked = timeout(PAUSE_PATIENCE, guest.hold_programs()).await;
            held.note(asked.ok().and_then(Result::ok));
        }
        held
    }

    fn new(guest: Option<GuestClient>, holds: Holds, finishing: TaskTracker) -> Self {
        if guest.is_some() {
            holds.begin();
        }
        Self {
            guest,
            holds,
            since: Instant::now(),
            finishing,
        }
    }

    /// Takes the guest's answer, if there was one: else they may come to stand still yet.
    fn note(&mut self, stand_still: Option<bool>) {
        self.since = Instant::now();
        if stand_still != Some(true) {
            self.guest = None;
        }
        if stand_still == Some(false) {
            self.holds.end();
        }
    }

    /// Whether they stand still.
    pub(crate) fn is_held(&self) -> bool {
        self.guest.is_some() && self.since.elapsed() < HELD_MAX
    }

    /// Lets them go on; gives how long they stood still, if they did.
    pub(crate) async fn release(mut self) -> Option<Duration> {
        let _ = self.let_go()?.await;
        Some(self.since.elapsed())
    }

    /// Leaves them as they are: whoever resumes the machine lets them go.
    pub(crate) fn stay(mut self) {
        self.guest = None;
    }

    /// In a task of its own, which outlives whoever waits for it.
    fn let_go(&mut self) -> Option<JoinHandle<()>> {
        let (guest, holds) = (self.guest.take()?, self.holds.clone());
        let released = async move {
            if release(&guest).await {
                holds.end();
            }
        };
        Some(self.finishing.spawn(released))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.let_go());
    }
}

/// Hooks may take long, so it is seen first whether the guest answers at all.
async fn hooks_of_disk(guest: &GuestClient) -> Result<(), GuestError> {
    guest.metrics().await?;
    guest.prepare_snapshot(false).await.map(drop)
}

/// Lets programs go on that are held for a snapshot. Whether the guest heard that.
pub(crate) async fn release(guest: &GuestClient) -> bool {
    let released = guest.release_programs().await;
    if let Err(error) = &released {
        // It does so by itself before long; and one that is gone, or of an earlier release, has nothing to let go.
        tracing::debug!(error = %chain(error), "the guest's programs are not released by this node");
    }
    released.is_ok()
}
