//! What all owners of a node share.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use hearth_domain::{DriverKind, MachineSpec};
use hearth_driver::Driver;
pub(crate) use hearth_driver::chain;
use hearth_network::Network;
use hearth_node_api::{ErrorKind, NodeError, NodeEvent};
use hearth_volume::Volumes;
use tokio::sync::{broadcast, watch};
use tokio_util::task::TaskTracker;

use crate::{
    cgroup::Cgroups,
    config::NodeConfig,
    ledger::Ledger,
    provisions::{Kernels, Roots, Secrets},
    snapshot::Snapshots,
};

/// The node's surroundings and its books.
pub(crate) struct Services {
    pub(crate) config: NodeConfig,
    pub(crate) machines_dir: PathBuf,
    pub(crate) roots: Arc<dyn Roots>,
    pub(crate) kernels: Arc<dyn Kernels>,
    pub(crate) network: Arc<dyn Network>,
    /// For drivers without a guest.
    pub(crate) no_network: Arc<dyn Network>,
    pub(crate) secrets: Arc<dyn Secrets>,
    pub(crate) volumes: Arc<Volumes>,
    pub(crate) drivers: BTreeMap<DriverKind, Arc<dyn Driver>>,
    pub(crate) cgroups: Cgroups,
    pub(crate) snapshots: Snapshots,
    pub(crate) ledger: Ledger,
    pub(crate) uids: UidPool,
    pub(crate) events: broadcast::Sender<NodeEvent>,
    /// What goes on though an owner ended; the node waits for it before it closes.
    pub(crate) finishing: TaskTracker,
    /// Counts the jumps of the host's clock.
    pub(crate) clock_jumps: watch::Sender<u64>,
}

impl Services {
    /// Refuses what no guest boots in. Where there is no guest, any memory will do.
    pub(crate) fn check_memory(&self, spec: &MachineSpec, driver: &dyn Driver) -> Result<(), NodeError> {
        if !driver.capabilities().guest {
            return Ok(());
        }
        let min_mib = self.kernels.memory_min_mib(&spec.kernel_id).map_err(|error| {
            let message = format!("kernel {} is not to be had: {}", spec.kernel_id, chain(&*error));
            NodeError::new(ErrorKind::NotFound, message)
        })?;
        let memory_mib = spec.resources.memory_mib.get();
        if u64::from(memory_mib) >= min_mib {
            return Ok(());
        }
        let kernel = spec.kernel_id.get(..12).unwrap_or(&spec.kernel_id);
        let message = format!(
            "memory {memory_mib} MiB is too little: kernel {kernel} with its initramfs fills {min_mib} MiB before it can say a word, and needs more to boot; give it more with --memory"
        );
        Err(NodeError::new(ErrorKind::InvalidInput, message))
    }
}

/// User IDs for VMMs: the lowest that no machine of this node has.
#[derive(Debug)]
pub(crate) struct UidPool {
    first: u32,
    taken: Mutex<BTreeSet<u32>>,
}

impl UidPool {
    pub(crate) fn new(first: u32) -> Self {
        Self {
            first,
            taken: Mutex::default(),
        }
    }

    pub(crate) fn take(&self) -> u32 {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.first;
        for uid in taken.iter() {
            if *uid != free {
                break;
            }
            free += 1;
        }
        taken.insert(free);
        free
    }

    pub(crate) fn adopt(&self, uid: u32) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(uid);
    }

    pub(crate) fn give_back(&self, uid: u32) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// Runs what blocks where it may. It goes on though whoever waits for it goes.
pub(crate) async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<tokio::task::JoinError> + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_of_one_machine_and_come_back() {
        let pool = UidPool::new(100);
        assert_eq!((pool.take(), pool.take(), pool.take()), (100, 101, 102));
        pool.give_back(101);
        pool.adopt(103);
        assert_eq!((pool.take(), pool.take()), (101, 104));
    }
}
