//! The lease under which this worker's instances are registered.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use hearth_coord::{CoordError, Instance, LeaseId};
use tokio::time::sleep;
use tracing::warn;

use crate::worker::Inner;

/// How long entries outlive a worker that died (the contract's).
const LEASE_TTL: Duration = Duration::from_secs(10);
/// How often the lease is kept alive: three times before it would run out.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// The wait after a registry that could not be reached.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

impl Inner {
    /// Keeps the lease alive until told to stop. One that ran out is replaced, and everything registered anew.
    pub(crate) async fn keep_lease(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = sleep(KEEP_ALIVE) => {}
            }
            let kept = match self.lease.load(Ordering::SeqCst) {
                0 => Err(CoordError::LeaseGone(0)),
                lease => self.parts.registry.keep_alive(lease).await,
            };
            if let Err(error) = kept {
                warn!(%error, "the lease of this worker is lost; taking a new one");
                if let Err(error) = self.renew_lease().await {
                    warn!(%error, "cannot take a lease; trying again");
                    sleep(RETRY_PAUSE).await;
                }
            } else {
                self.note_kept();
            }
        }
    }

    /// Takes a lease and registers all instances that serve under it.
    pub(crate) async fn renew_lease(&self) -> Result<(), CoordError> {
        let lease = self.parts.registry.grant(LEASE_TTL).await?;
        self.lease.store(lease, Ordering::SeqCst);
        self.note_kept();
        for instance in self.serving() {
            self.parts.registry.register(lease, instance).await?;
        }
        Ok(())
    }

    fn note_kept(&self) {
        *self.lease_kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether the lease is there, as far as is known.
    pub(crate) fn lease_is_alive(&self) -> bool {
        let kept = *self.lease_kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.is_some_and(|at| at.elapsed() < LEASE_TTL)
    }

    /// Registers an instance; under a new lease, if the old one has run out meanwhile.
    pub(crate) async fn register(&self, instance: Instance) -> Result<(), CoordError> {
        let lease: LeaseId = self.lease.load(Ordering::SeqCst);
        match self.parts.registry.register(lease, instance).await {
            // The instance is among those that serve, and so registered with them.
            Err(CoordError::LeaseGone(_)) => self.renew_lease().await,
            registered => registered,
        }
    }
}
