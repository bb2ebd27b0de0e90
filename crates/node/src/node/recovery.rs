//! After a start: finding the machines that a predecessor left, and clearing away what is nobody's.
//!
//! ```text
//!  folder ── spec and record ──► adopted: its VMM lives, or its end is worked through
//!         ── spec alone ───────► failed; what it held is given back, its disk stays
//!         ── neither ──────────► what it held is given back; put aside if it has a disk, or else removed
//! ```

use std::{
    collections::{BTreeSet, HashSet},
    io,
    path::Path,
    sync::Arc,
};

use hearth_domain::MachineSpec;
use hearth_driver::{Driver, Liveness};
use hearth_ids::MachineId;

use super::Node;
use crate::{
    provisions::Holder,
    record::{self, End, MachineFolder, MachineRecord},
    services::{chain, now_ms},
};

/// A machine that was found in the state folder.
struct Found {
    spec: Arc<MachineSpec>,
    record: MachineRecord,
    driver: Arc<dyn Driver>,
}

/// Machines that are not at rest, by what a state folder says: whoever opens the network tells it these.
pub fn machines_under_way(state_dir: &Path) -> Vec<MachineId> {
    let machines_dir = state_dir.join("machines");
    let Ok(ids) = record::scan(&machines_dir) else {
        return Vec::new();
    };
    ids.into_iter()
        .filter(|id| {
            let record = MachineFolder::of(&machines_dir, *id).load_record();
            record.is_ok_and(|record| !record.state.is_at_rest())
        })
        .collect()
}

impl Node {
    pub(super) async fn find_machines(&self) -> io::Result<()> {
        let (mut found, mut lost) = (Vec::new(), Vec::new());
        let mut known = HashSet::new();
        for id in record::scan(&self.services.machines_dir)? {
            let folder = MachineFolder::of(&self.services.machines_dir, id);
            let spec = match folder.load_spec() {
                Ok(spec) => spec,
                Err(error) => {
                    self.clear_unknown(id, &folder, &error).await;
                    continue;
                }
            };
            known.insert(id);
            self.services.ledger.adopt_disk(&spec);
            match folder.load_record() {
                Ok(record) => {
                    self.services.uids.adopt(record.vmm_uid);
                    found.extend(self.look_at(spec, record));
                }
                Err(error) => lost.push((spec, error)),
            }
        }
        // Once all numbers are known that others have.
        for (spec, error) in lost {
            tracing::error!(machine = %spec.id, %error, "the machine's record cannot be read; what it had begun is ended");
            let record = MachineRecord::lost(now_ms(), crate::owner::new_token(), self.services.uids.take(), &error);
            found.extend(self.look_at(spec, record));
        }
        // All of them count before the first may take a new share.
        let groups = self.services.cgroups.machines();
        for machine in &found {
            if machine.record.state.is_at_rest() {
                self.clear_rest(machine, &groups).await;
            } else if machine.record.is_asleep() {
                self.services.ledger.fall_asleep(&machine.spec);
            } else {
                self.services.ledger.adopt(&machine.spec);
            }
        }
        for machine in found {
            let id = machine.spec.id;
            // One machine's trouble, such as a full disk, must not keep the others from their owners.
            if let Err(error) = self.adopt(machine).await {
                tracing::error!(machine = %id, %error, "cannot take the machine in hand; it is left alone");
            }
        }
        self.clear_orphans(&known).await;
        Ok(())
    }

    fn look_at(&self, spec: MachineSpec, record: MachineRecord) -> Option<Found> {
        let Some(driver) = self.services.drivers.get(&spec.driver) else {
            tracing::error!(machine = %spec.id, driver = %spec.driver, "the machine's driver is not to be had now; it is left alone");
            return None;
        };
        Some(Found {
            driver: Arc::clone(driver),
            spec: Arc::new(spec),
            record,
        })
    }

    /// Sees whether a machine's VMM still lives, and puts an owner to it that goes on from there.
    async fn adopt(&self, machine: Found) -> io::Result<()> {
        let Found {
            spec,
            mut record,
            driver,
        } = machine;
        let folder = MachineFolder::of(&self.services.machines_dir, spec.id);
        self.settle_saved(&folder, &mut record, &*driver).await;
        if !record.state.is_at_rest() && !record.is_asleep() && record.end.is_none() {
            let alive = match &record.handle {
                Some(handle) => matches!(driver.recover(handle).await, Ok(Liveness::Alive)),
                None => false,
            };
            match (alive, record.handle.is_some()) {
                (true, _) => tracing::info!(machine = %spec.id, state = %record.state.word(), "adopted the machine"),
                (false, true) => record.end = Some(end_while_away(&record)),
                // Cut off while it was being made ready: what was begun goes, and it begins anew.
                (false, false) => {
                    if let Err(error) = driver.clean(spec.id, &folder.vmm()).await {
                        tracing::error!(machine = %spec.id, error = %chain(&error), "cannot clean up after a start that was cut off");
                    }
                }
            }
            if let Err(error) = folder.save(&record) {
                tracing::error!(machine = %spec.id, %error, "cannot write the machine's state");
            }
        }
        self.put_owner(spec, driver, record)
    }

    /// While something saved is to be gone on from, no VMM may run; and where nothing is, nothing need be kept.
    async fn settle_saved(&self, folder: &MachineFolder, record: &mut MachineRecord, driver: &dyn Driver) {
        if !record.rollback {
            let removed = folder.remove_rollback().and_then(|()| match record.saved {
                None => folder.remove_saved(),
                Some(_) => Ok(()),
            });
            if let Err(error) = removed {
                tracing::warn!(path = %folder.path().display(), %error, "cannot remove what was half saved");
            }
        }
        if record.saved.is_none() {
            return;
        }
        let Some(handle) = record.handle.take() else { return };
        let machine = handle.machine;
        tracing::info!(%machine, "ending a VMM whose machine is on disk");
        if let Err(error) = driver.kill(&handle).await {
            tracing::error!(%machine, error = %chain(&error), "cannot end a VMM whose machine is on disk");
            // Its owner tries again, and does nothing else before.
            record.handle = Some(handle);
        }
    }

    /// A folder that does not say what its machine should be still names it, and that is enough to find what it held.
    /// The folder goes, unless there is a disk in it: that is nobody's but its owner's to throw away.
    async fn clear_unknown(&self, id: MachineId, folder: &MachineFolder, error: &io::Error) {
        for driver in self.services.drivers.values() {
            if let Err(error) = driver.clean(id, &folder.vmm()).await {
                tracing::error!(machine = %id, driver = %driver.kind(), error = %chain(&error), "cannot clean up");
            }
        }
        self.clear_orphan(id).await;
        let gone = if folder.disk().exists() {
            folder.put_aside().map(|aside| {
                tracing::error!(machine = %id, %error, aside = %aside.display(), "the machine's folder cannot be read; it is put aside with its disk");
            })
        } else {
            folder.remove().inspect(|()| {
                tracing::error!(machine = %id, %error, "the machine's folder cannot be read; it is cleared away");
            })
        };
        if let Err(error) = gone {
            tracing::error!(machine = %id, %error, "cannot move the machine's folder");
        }
    }

    /// What a predecessor could not take back from a machine that it called at rest.
    async fn clear_rest(&self, machine: &Found, groups: &[MachineId]) {
        let id = machine.spec.id;
        let vmm = MachineFolder::of(&self.services.machines_dir, id).vmm();
        if vmm.exists()
            && let Err(error) = machine.driver.clean(id, &vmm).await
        {
            tracing::error!(machine = %id, error = %chain(&error), "cannot clean up after the VMM");
        }
        if groups.contains(&id) {
            self.remove_cgroup(id).await;
        }
    }

    /// Groups and images of machines that are no more, or that never came to be.
    async fn clear_orphans(&self, known: &HashSet<MachineId>) {
        let holders = self.services.roots.holders().unwrap_or_else(|error| {
            tracing::error!(error = %chain(&*error), "cannot see who holds images");
            Vec::new()
        });
        let groups = self.services.cgroups.machines();
        let mut left: BTreeSet<MachineId> = groups.into_iter().collect();
        let snapshots = self.services.snapshots.ids();
        for holder in holders {
            match holder {
                Holder::Machine(id) => drop(left.insert(id)),
                Holder::Snapshot(id) if snapshots.contains(&id) => {}
                Holder::Snapshot(_) => self.release_root(holder),
            }
        }
        for id in left.into_iter().filter(|id| !known.contains(id)) {
            tracing::warn!(machine = %id, "clearing away what a machine left that is no more");
            self.clear_orphan(id).await;
        }
    }

    async fn remove_cgroup(&self, id: MachineId) {
        let cgroups = self.services.cgroups.clone();
        match tokio::task::spawn_blocking(move || cgroups.remove(id)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(machine = %id, error = %chain(&error), "cannot remove the cgroup"),
            Err(error) => tracing::error!(machine = %id, %error, "removing the cgroup was cut off"),
        }
    }

    async fn clear_orphan(&self, id: MachineId) {
        self.remove_cgroup(id).await;
        if let Err(error) = self.services.network.release(id).await {
            tracing::error!(machine = %id, error = %chain(&error), "cannot give the slot back");
        }
        self.release_root(Holder::Machine(id));
    }

    pub(super) fn release_root(&self, holder: Holder) {
        if let Err(error) = self.services.roots.release(holder) {
            tracing::error!(%holder, error = %chain(&*error), "cannot let go of the image");
        }
    }
}

/// What to say of a VMM that is gone when the daemon comes back.
fn end_while_away(record: &MachineRecord) -> End {
    if record.state.word() == hearth_domain::StateWord::Stopping {
        return End::Exited(crate::owner::killed("stopped while the daemon was away"));
    }
    End::Failed("its VMM ended while the daemon was away".to_owned())
}
