//! The lease under which this worker's instances are registered.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use hearth_coord::{CoordError, Instance, InstanceKey, LeaseId};
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
            if let Err(error) = self.keep_or_renew().await {
                warn!(%error, "cannot keep this worker's lease; trying again");
                sleep(RETRY_PAUSE).await;
            }
        }
    }

    /// Keeps the lease alive, or takes a new one, and sees to it that every instance that serves is under it: what was
    /// missed before is made up for.
    async fn keep_or_renew(&self) -> Result<(), CoordError> {
        let _one_at_a_time = self.registering.lock().await;
        let lease = self.lease.load(Ordering::SeqCst);
        let kept = match lease {
            0 => Err(CoordError::LeaseGone(0)),
            lease => self.parts.registry.keep_alive(lease).await,
        };
        match kept {
            Ok(()) => {
                self.note_kept();
                self.register_all(lease).await
            }
            Err(CoordError::LeaseGone(_)) => {
                warn!(lease, "the lease of this worker is lost; taking a new one");
                self.renew().await
            }
            Err(error) => Err(error),
        }
    }

    /// Takes a lease and registers all instances that serve under it.
    pub(crate) async fn renew_lease(&self) -> Result<(), CoordError> {
        let _one_at_a_time = self.registering.lock().await;
        self.renew().await
    }

    async fn renew(&self) -> Result<(), CoordError> {
        let lease = self.parts.registry.grant(LEASE_TTL).await?;
        self.lease.store(lease, Ordering::SeqCst);
        self.note_kept();
        self.register_all(lease).await
    }

    /// Whoever takes one out of service afterwards waits to deregister it until we are done.
    async fn register_all(&self, lease: LeaseId) -> Result<(), CoordError> {
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

    /// Registers an instance, unless it has been taken out of service meanwhile.
    pub(crate) async fn register(&self, instance: Instance) -> Result<(), CoordError> {
        let _one_at_a_time = self.registering.lock().await;
        if !self.serves(instance.key.machine) {
            return Ok(());
        }
        let lease: LeaseId = self.lease.load(Ordering::SeqCst);
        match self.parts.registry.register(lease, instance).await {
            // The instance is among those that serve, and so registered with them.
            Err(CoordError::LeaseGone(_)) => self.renew().await,
            registered => registered,
        }
    }

    /// Takes the entry of an instance out of the registry, after whoever may just be registering it.
    pub(crate) async fn deregister(&self, key: &InstanceKey) -> Result<(), CoordError> {
        let _one_at_a_time = self.registering.lock().await;
        self.parts.registry.deregister(key).await
    }
}
