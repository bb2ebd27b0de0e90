//! Who holds what of the node. One lock, never held over an await.
//!
//! CPUs, memory and published ports are held from a machine's making or start until it is at rest, and a disk for as
//! long as the machine exists: its file stays.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hearth_domain::{
    Allocation, Capacity, DiskMib, DiskRoom, MachineSpec, Overcommit, PortMapping, Refusal, admit, admit_disk,
};
use hearth_ids::MachineId;
use hearth_node_api::{ErrorKind, NodeBooks, NodeError, TurnedAway};
use tokio::sync::watch;

use crate::record::MachineFolder;

/// Blocks of a file, as `stat` counts them, in a MiB.
const BLOCKS_PER_MIB: u64 = 2048;

/// The books.
#[derive(Debug)]
pub(crate) struct Ledger {
    capacity: Capacity,
    overcommit: Overcommit,
    machines_dir: PathBuf,
    held: Mutex<Held>,
    /// Told under the lock, so in the order in which it happened.
    told: watch::Sender<NodeBooks>,
}

#[derive(Debug, Default)]
struct Held {
    allocation: Allocation,
    machines: HashMap<MachineId, Arc<MachineSpec>>,
    /// Paused on disk: they hold nothing but their ports.
    asleep: HashMap<MachineId, Arc<MachineSpec>>,
    disks: HashMap<MachineId, DiskMib>,
}

impl Ledger {
    /// Empty books of a node whose machines lie in `machines_dir`.
    pub(crate) fn new(capacity: Capacity, overcommit: Overcommit, machines_dir: PathBuf) -> Self {
        Self {
            capacity,
            overcommit,
            machines_dir,
            held: Mutex::default(),
            told: watch::Sender::new(NodeBooks {
                capacity,
                overcommit,
                allocation: Allocation::default(),
                turned_away: TurnedAway::default(),
            }),
        }
    }

    /// Takes what a machine wants, if it is there. A machine that holds already holds no more.
    pub(crate) fn reserve(&self, spec: &Arc<MachineSpec>) -> Result<(), NodeError> {
        let mut held = self.held();
        if held.machines.contains_key(&spec.id) {
            return Ok(());
        }
        let was_asleep = held.asleep.contains_key(&spec.id);
        if !was_asleep {
            held.check_ports(&spec.ports)?;
        }
        let allocation = admit(&self.capacity, self.overcommit, held.allocation, &spec.resources)
            .map_err(|refusal| no_room(&refusal))?;
        if let Some(wanted) = spec.resources.disk_mib
            && !held.disks.contains_key(&spec.id)
        {
            let room = disk_room(&self.machines_dir, &held.disks);
            admit_disk(room, self.overcommit, wanted).map_err(|refusal| no_room(&refusal))?;
            held.disks.insert(spec.id, wanted);
        }
        self.allocate(&mut held, allocation);
        held.asleep.remove(&spec.id);
        held.machines.insert(spec.id, Arc::clone(spec));
        Ok(())
    }

    /// Whether no machine that holds anything publishes one of the ports.
    pub(crate) fn check_ports(&self, ports: &[PortMapping]) -> Result<(), NodeError> {
        self.held().check_ports(ports)
    }

    /// Notes that a machine found no CPUs or no memory that nobody asks for who could make room.
    pub(crate) fn note_turned_away(&self, spec: &MachineSpec) {
        let held = self.held();
        if admit(&self.capacity, self.overcommit, held.allocation, &spec.resources).is_err() {
            let wanted = Allocation::default().plus(&spec.resources);
            self.told.send_modify(|books| {
                books.turned_away = TurnedAway {
                    times: books.turned_away.times + 1,
                    wanted,
                };
            });
        }
    }

    /// Takes what a machine has already, whether or not it still fits.
    pub(crate) fn adopt(&self, spec: &Arc<MachineSpec>) {
        let mut held = self.held();
        if held.machines.insert(spec.id, Arc::clone(spec)).is_none() {
            let allocation = held.allocation.plus(&spec.resources);
            self.allocate(&mut held, allocation);
        }
    }

    /// Gives back all but disk and ports, until it is reserved again. Idempotent.
    pub(crate) fn fall_asleep(&self, spec: &Arc<MachineSpec>) {
        let mut held = self.held();
        self.release_from(&mut held, spec.id);
        held.asleep.insert(spec.id, Arc::clone(spec));
    }

    /// Notes the disk of a machine that was found.
    pub(crate) fn adopt_disk(&self, spec: &MachineSpec) {
        if let Some(disk) = spec.resources.disk_mib {
            self.held().disks.insert(spec.id, disk);
        }
    }

    /// Gives back all but the disk. Idempotent.
    pub(crate) fn release(&self, machine: MachineId) {
        self.release_from(&mut self.held(), machine);
    }

    fn release_from(&self, held: &mut Held, machine: MachineId) {
        held.asleep.remove(&machine);
        if let Some(spec) = held.machines.remove(&machine) {
            let allocation = held.allocation.minus(&spec.resources);
            self.allocate(held, allocation);
        }
    }

    /// Gives back all, of a machine that is no more. Idempotent.
    pub(crate) fn forget(&self, machine: MachineId) {
        self.release(machine);
        self.held().disks.remove(&machine);
    }

    /// What there is and what is held, as it changes.
    pub(crate) fn watch(&self) -> watch::Receiver<NodeBooks> {
        self.told.subscribe()
    }

    fn allocate(&self, held: &mut Held, allocation: Allocation) {
        held.allocation = allocation;
        self.told.send_modify(|books| books.allocation = allocation);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn check_ports(&self, ports: &[PortMapping]) -> Result<(), NodeError> {
        let clash = ports.iter().find_map(|port| {
            let mut machines = self.machines.values().chain(self.asleep.values());
            let holder = machines.find(|spec| spec.ports.iter().any(|taken| taken.clashes_with(port)))?;
            Some((port.host_port, holder))
        });
        let Some((port, holder)) = clash else { return Ok(()) };
        let name = &holder.name;
        Err(NodeError::new(
            ErrorKind::Conflict,
            format!("port {port} of the node is in use by machine {name}: publish another one, or stop that machine"),
        ))
    }
}

fn no_room(refusal: &Refusal) -> NodeError {
    NodeError::new(ErrorKind::NoCapacity, refusal.to_string())
}

fn disk_room(machines_dir: &Path, disks: &HashMap<MachineId, DiskMib>) -> DiskRoom {
    // A file system that says nothing of itself is no reason to refuse.
    let free_mib =
        rustix::fs::statvfs(machines_dir).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize) >> 20);
    let unwritten = disks.iter().map(|(machine, size)| {
        let file = fs::metadata(MachineFolder::of(machines_dir, *machine).disk());
        let written_mib = file.map_or(0, |file| file.blocks() / BLOCKS_PER_MIB);
        u64::from(size.get()).saturating_sub(written_mib)
    });
    DiskRoom {
        free_mib,
        promised_mib: unwritten.sum(),
    }
}
