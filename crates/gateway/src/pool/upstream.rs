//! One instance: how busy it is, whether it is given calls, and its idle connections.

use std::{
    net::SocketAddr,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hearth_coord::Instance;
use tokio::{
    net::TcpStream,
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Conn, address};
use crate::RetireReason;

/// An instance that could not be reached so often in a row is not tried again.
const STRIKES_MAX: u32 = 2;
/// How often an instance is looked at that has calls though it is not registered any more, and how long it may take to
/// take a connection.
const GONE_LOOK: Duration = Duration::from_secs(1);

/// An instance.
pub(crate) struct Upstream {
    pub(crate) instance: Instance,
    pub(crate) address: SocketAddr,
    pub(super) idle: Mutex<Vec<Conn>>,
    in_flight: AtomicU32,
    draining: AtomicBool,
    /// Tells that the last call of a draining instance has ended.
    drained: Notify,
    made: Instant,
    /// Milliseconds since `made`; 0 if it is not suspect.
    suspect_until: AtomicU64,
    /// How often in a row it could not be reached.
    strikes: AtomicU32,
    /// Why it is to be retired, for the scaler to find.
    condemned: OnceLock<RetireReason>,
    /// Cancelled once its machine is known not to be there any more: ends its connections.
    pub(crate) gone: CancellationToken,
}

impl Upstream {
    pub(super) fn new(instance: Instance) -> Self {
        Self {
            address: address(&instance),
            instance,
            idle: Mutex::default(),
            in_flight: AtomicU32::new(0),
            draining: AtomicBool::new(false),
            drained: Notify::new(),
            made: Instant::now(),
            suspect_until: AtomicU64::new(0),
            strikes: AtomicU32::new(0),
            condemned: OnceLock::new(),
            gone: CancellationToken::new(),
        }
    }

    /// Whether it is given calls now.
    pub(crate) fn serves(&self) -> bool {
        self.counts() && !self.is_suspect()
    }

    /// Whether it is one of the pool's instances, though it may be left alone for a moment.
    pub(crate) fn counts(&self) -> bool {
        !self.draining.load(Ordering::SeqCst) && self.condemned.get().is_none()
    }

    fn is_suspect(&self) -> bool {
        let until = self.suspect_until.load(Ordering::Relaxed);
        until != 0 && u128::from(until) > self.made.elapsed().as_millis()
    }

    /// It could not be reached: the second time in a row it is given up.
    pub(super) fn strike(&self) {
        if self.strikes.fetch_add(1, Ordering::Relaxed) + 1 >= STRIKES_MAX {
            self.condemn(RetireReason::Unreachable);
        }
    }

    /// It is left alone for a while.
    pub(super) fn suspect(&self, time: Duration) {
        let until = (self.made.elapsed() + time).as_millis().max(1);
        self.suspect_until
            .store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// It has answered.
    pub(crate) fn trust(&self) {
        if self.suspect_until.load(Ordering::Relaxed) != 0 {
            self.suspect_until.store(0, Ordering::Relaxed);
        }
        if self.strikes.load(Ordering::Relaxed) != 0 {
            self.strikes.store(0, Ordering::Relaxed);
        }
    }

    /// It is to be retired, and is given no more calls.
    pub(super) fn condemn(&self, reason: RetireReason) {
        let _first_reason_stays = self.condemned.set(reason);
    }

    /// Why it is to be retired, if it is.
    pub(crate) fn condemned(&self) -> Option<RetireReason> {
        self.condemned.get().copied()
    }

    /// Calls on it.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// How busy it is, to be compared; most of all if it cannot take a call.
    pub(super) fn load(&self, concurrency: u32) -> u32 {
        let calls = self.in_flight.load(Ordering::Relaxed);
        if calls >= concurrency || !self.serves() {
            return u32::MAX;
        }
        calls
    }

    /// Takes a place, if there is a free one.
    pub(super) fn try_take(&self, concurrency: u32) -> bool {
        if !self.serves() {
            return false;
        }
        let more = |calls: u32| (calls < concurrency).then_some(calls + 1);
        if self
            .in_flight
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .is_err()
        {
            return false;
        }
        // Who drains it looks at the calls after it has said so: one of us two sees the other.
        if !self.counts() {
            self.give_back();
            return false;
        }
        true
    }

    pub(super) fn give_back(&self) {
        let before = self.in_flight.fetch_sub(1, Ordering::SeqCst);
        if before == 1 && self.draining.load(Ordering::SeqCst) {
            self.drained.notify_waiters();
        }
    }

    /// It gets no more calls. Whether that is new.
    pub(crate) fn drain(&self) -> bool {
        let new = !self.draining.swap(true, Ordering::SeqCst);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        new
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Sees to the calls of an instance that is not registered any more. A machine that vanished says nothing, not even
    /// that its connections are closed; one whose worker lost its lease still answers, and is left to.
    pub(super) async fn watch_gone(&self) {
        while self.in_flight() > 0 {
            match timeout(GONE_LOOK, TcpStream::connect(self.address)).await {
                Ok(Ok(_)) => sleep(GONE_LOOK).await,
                Ok(Err(_)) | Err(_) => return self.gone.cancel(),
            }
        }
    }

    /// Waits until it has no calls. To be asked once it drains.
    pub(crate) async fn drained(&self) {
        loop {
            let told = self.drained.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            told.await;
        }
    }
}
