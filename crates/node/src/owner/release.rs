//! After the end: everything that the machine held goes back, in an order that a crash at any line leaves repeatable.

use std::time::Duration;

use futures::future::BoxFuture;
use hearth_domain::{MachineEvent, StateWord};
use hearth_driver::VmmHandle;
use hearth_ids::MachineId;
use tokio::time::sleep;

use super::Life;
use crate::{fault, provisions::Holder, record::End, services::chain};

/// The wait before something that could not be given back is tried again, first and longest.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LONGEST: Duration = Duration::from_secs(30);
/// Tries before the machine is called at rest all the same; the next daemon tries again.
const TRIES_MAX: u32 = 5;
/// A VMM is never given up: as long as it lives it holds all that the machine holds, and the machine is not at rest.
const FOR_EVER: u32 = u32::MAX;

impl Life {
    /// Gives everything back and comes to rest. Every step may be taken twice. A disk that nobody keeps is not flushed: that
    /// takes the guest, which may not want to.
    pub(super) async fn release(&mut self, disk_is_kept: bool) {
        self.publish_guest(None);
        if disk_is_kept {
            self.flush_disk().await;
        }
        self.release_vmm().await;
        fault::point("release.vmm");
        self.release_slot().await;
        fault::point("release.slot");
        self.release_cgroup().await;
        fault::point("release.cgroup");
        self.services.ledger.release(self.spec.id);
        self.log.set_closed(true);
        let end = self.record().end.clone();
        self.change(|record| {
            record.handle = None;
            record.end = None;
            record.stop_timeout_ms = None;
            record.greeting = None;
            if record.is_asleep() {
                record.saved = None;
            }
        });
        if self.record().saved.is_none() {
            self.remove_saved().await;
        }
        match end.unwrap_or_else(|| End::Failed("it ended, and nothing tells how".to_owned())) {
            End::Exited(exit) => {
                self.forget_recovery().await;
                if self.record().state.word() != StateWord::Stopping {
                    self.enter(MachineEvent::Stop);
                }
                self.enter(MachineEvent::Exit(exit));
            }
            End::Failed(reason) => self.enter(MachineEvent::Fail(reason)),
        }
        fault::point("release.recorded");
    }

    pub(super) async fn release_vmm(&mut self) {
        self.release_vmm_of(self.record().handle.clone()).await;
    }

    /// Ends a VMM, and clears away what it and others before it left.
    pub(super) async fn release_vmm_of(&self, handle: Option<VmmHandle>) {
        if let Some(handle) = handle {
            let driver = self.driver.clone();
            retry("end the VMM", self.spec.id, FOR_EVER, || {
                let (driver, handle) = (driver.clone(), handle.clone());
                Box::pin(async move { driver.kill(&handle).await.map_err(|e| chain(&e)) })
            })
            .await;
        }
        let (driver, folder, id) = (self.driver.clone(), self.folder.vmm(), self.spec.id);
        retry("clean up after the VMM", id, TRIES_MAX, || {
            let (driver, folder) = (driver.clone(), folder.clone());
            Box::pin(async move { driver.clean(id, &folder).await.map_err(|e| chain(&e)) })
        })
        .await;
    }

    async fn release_slot(&mut self) {
        self.end_volumes().await;
        let (network, id) = (self.network().clone(), self.spec.id);
        retry("give the slot back", id, TRIES_MAX, || {
            let network = network.clone();
            Box::pin(async move { network.release(id).await.map_err(|e| chain(&e)) })
        })
        .await;
        self.set_slot(None);
    }

    pub(super) async fn release_cgroup(&self) {
        if !self.driver.capabilities().outlives {
            return;
        }
        let (services, id) = (&self.services, self.spec.id);
        retry("remove the cgroup", id, TRIES_MAX, || {
            let cgroups = services.cgroups.clone();
            blocking(move || cgroups.remove(id).map_err(|error| chain(&error)))
        })
        .await;
    }

    /// Forgets the machine: image, folder, and all that a look could find.
    pub(super) async fn destroy(&mut self) {
        let (services, id) = (self.services.clone(), self.spec.id);
        retry("let go of the image", id, TRIES_MAX, || {
            let roots = services.roots.clone();
            blocking(move || roots.release(Holder::Machine(id)).map_err(|e| chain(&*e)))
        })
        .await;
        fault::point("remove.image");
        services.ledger.forget(id);
        // Not where a daemon was killed right after.
        if self.record().state.word() != StateWord::Destroyed {
            self.enter(MachineEvent::Destroy);
        }
        let folder = self.folder.clone();
        retry("remove the machine's folder", id, TRIES_MAX, || {
            let folder = folder.clone();
            blocking(move || folder.remove().map_err(|error| error.to_string()))
        })
        .await;
        services.uids.give_back(self.record().vmm_uid);
    }
}

/// Tries until it works, or so many times; each failure is logged.
async fn retry(
    what: &str,
    machine: MachineId,
    tries: u32,
    action: impl Fn() -> BoxFuture<'static, Result<(), String>>,
) {
    let mut delay = RETRY_FIRST;
    for attempt in 1..=tries {
        match action().await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%machine, attempt, error, "cannot {what}"),
        }
        sleep(delay).await;
        delay = (delay * 4).min(RETRY_LONGEST);
    }
    tracing::error!(%machine, "gave up to {what}; the next start of the daemon tries again");
}

/// Runs what blocks where it may.
fn blocking(action: impl FnOnce() -> Result<(), String> + Send + 'static) -> BoxFuture<'static, Result<(), String>> {
    Box::pin(async move {
        match tokio::task::spawn_blocking(action).await {
            Ok(outcome) => outcome,
            Err(error) => Err(error.to_string()),
        }
    })
}
