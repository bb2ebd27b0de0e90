//! The node: its machines' owners, how they are found again, and the calls that control makes.

mod pause;
mod recovery;
mod snapshots;
mod warm;

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use hearth_domain::{DriverKind, MachineOwner, MachineSpec};
use hearth_driver::{CheckOutcome, Driver};
use hearth_ids::{MachineId, NodeId};
use hearth_network::Network;
use hearth_node_api::{ErrorKind, NodeError, NodeEvent};
use hearth_volume::Volumes;
pub use recovery::machines_under_way;
use thiserror::Error;
use tokio::sync::{broadcast, mpsc::error::TrySendError, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{
    Instrument as _, Span,
    field::{Empty, display},
    info_span,
};

use crate::{
    cgroup::Cgroups,
    clock,
    config::NodeConfig,
    fault, guest_link, host,
    ledger::Ledger,
    owner::{Command, Ended, Life, OwnerHandle, Reply},
    provisions::{Holder, Kernels, Roots, Secrets},
    record::{MachineFolder, MachineRecord, Saved},
    services::{Services, UidPool, chain, now_ms},
    snapshot::{Snapshots, Staged},
};

/// Events that a slow listener may be behind.
const EVENTS_MAX: usize = 4096;

/// Why a node could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The state folder cannot be used.
    #[error("cannot use state folder {path:?}")]
    StateDir {
        /// The folder, or what in it.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The wanted driver is not there.
    #[error("driver {0} is not to be had on this node")]
    NoDriver(DriverKind),
}

/// What a node is put together from.
pub struct NodeParts {
    /// Roots by image.
    pub roots: Arc<dyn Roots>,
    /// Kernels by bundle.
    pub kernels: Arc<dyn Kernels>,
    /// Slots for guests.
    pub network: Arc<dyn Network>,
    /// Slots for drivers without guests.
    pub no_network: Arc<dyn Network>,
    /// What opens machines' secrets.
    pub secrets: Arc<dyn Secrets>,
    /// Folders that machines share.
    pub volumes: Arc<Volumes>,
    /// What starts machines.
    pub drivers: Vec<Arc<dyn Driver>>,
}

/// A node. Cheap to share; the daemon has one.
pub struct Node {
    pub(crate) id: NodeId,
    pub(crate) services: Arc<Services>,
    pub(crate) default_driver: DriverKind,
    machines: Arc<RwLock<HashMap<MachineId, OwnerHandle>>>,
    owners: TaskTracker,
    shutdown: CancellationToken,
}

impl Node {
    /// Opens a node and puts an owner to each machine that its state folder holds.
    pub async fn open(config: NodeConfig, parts: NodeParts) -> Result<Arc<Self>, OpenError> {
        let machines_dir = config.state_dir.join("machines");
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::StateDir { path, source }
        };
        fs::create_dir_all(&machines_dir).map_err(at(&machines_dir))?;
        // VMMs walk through to their own folders, and see no others.
        fs::set_permissions(&machines_dir, Permissions::from_mode(0o711)).map_err(at(&machines_dir))?;
        let id = node_id(&config.state_dir).map_err(at(&config.state_dir))?;
        let drivers: BTreeMap<DriverKind, Arc<dyn Driver>> = parts
            .drivers
            .into_iter()
            .map(|driver| (driver.kind(), driver))
            .collect();
        let default_driver = choose_driver(config.default_driver, &drivers).await?;
        if let Some(Err(unusable)) = usable(&drivers, default_driver).await {
            tracing::warn!(driver = %default_driver, %unusable, "machines that name no driver cannot start");
        }
        let capacity = host::detect_capacity();
        let snapshot_memory_mib = config.snapshot_memory_mib.unwrap_or(capacity.memory_mib / 4);
        let snapshots = Snapshots::open(&config.state_dir, snapshot_memory_mib << 20)
            .map_err(at(&config.state_dir.join("snapshots")))?;
        let services = Arc::new(Services {
            snapshots,
            ledger: Ledger::new(capacity, config.overcommit, machines_dir.clone()),
            uids: UidPool::new(config.first_vmm_uid),
            cgroups: Cgroups::detect(&cgroup_parent(id)),
            events: broadcast::Sender::new(EVENTS_MAX),
            clock_jumps: watch::Sender::new(0),
            finishing: TaskTracker::new(),
            roots: parts.roots,
            kernels: parts.kernels,
            network: parts.network,
            no_network: parts.no_network,
            secrets: parts.secrets,
            volumes: parts.volumes,
            drivers,
            machines_dir,
            config,
        });
        let node = Arc::new(Self {
            id,
            services,
            default_driver,
            machines: Arc::default(),
            owners: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        });
        let (jumps, shutdown) = (node.services.clock_jumps.clone(), node.shutdown.clone());
        node.owners.spawn(clock::watch_jumps(jumps, shutdown));
        node.find_machines().await.map_err(at(&node.services.machines_dir))?;
        Ok(node)
    }

    /// Leaves all machines as they are and ends their owners; returns when they have ended.
    pub async fn close(&self) {
        self.shutdown.cancel();
        self.owners.close();
        self.owners.wait().await;
        self.services.finishing.close();
        self.services.finishing.wait().await;
        self.services.cgroups.remove_parent();
    }

    fn put_owner(&self, spec: Arc<MachineSpec>, driver: Arc<dyn Driver>, record: MachineRecord) -> io::Result<()> {
        let id = spec.id;
        let span = owner_span(&spec);
        let (owner, handle) = Life::take(Arc::clone(&self.services), spec, driver, record)?;
        self.machines
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, handle);
        let (machines, shutdown) = (Arc::clone(&self.machines), self.shutdown.clone());
        let owning = async move {
            // An owner that ends by itself has destroyed its machine.
            if owner.run(shutdown).await == Ended::Destroyed {
                machines.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
            }
        };
        self.owners.spawn(owning.instrument(span));
        Ok(())
    }

    pub(crate) fn owner(&self, id: MachineId) -> Result<OwnerHandle, NodeError> {
        let machines = self.machines.read().unwrap_or_else(PoisonError::into_inner);
        machines.get(&id).cloned().ok_or_else(|| NodeError::no_machine(id))
    }

    pub(crate) fn owners(&self) -> Vec<OwnerHandle> {
        self.machines
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<NodeEvent> {
        self.services.events.subscribe()
    }

    fn driver(&self, wanted: DriverKind) -> Result<Arc<dyn Driver>, NodeError> {
        self.services.drivers.get(&wanted).cloned().ok_or_else(|| {
            let there: Vec<&str> = self.services.drivers.keys().map(|kind| kind.as_str()).collect();
            let message = format!(
                "driver {wanted} is not to be had on this node; it has: {}",
                there.join(", ")
            );
            NodeError::new(ErrorKind::InvalidInput, message)
        })
    }

    /// Refuses a driver that can start nothing here, before anything is made for it.
    pub(crate) async fn check_usable(&self, wanted: DriverKind) -> Result<(), NodeError> {
        let Err(unusable) = self.driver(wanted)?.usable().await else {
            return Ok(());
        };
        let mut others = Vec::new();
        for (kind, driver) in &self.services.drivers {
            if *kind != wanted && driver.usable().await.is_ok() {
                others.push(kind.as_str());
            }
        }
        let other = if others.is_empty() {
            String::new()
        } else {
            format!(", or use another driver (--driver {})", others.join(" or --driver "))
        };
        let message = format!("driver {wanted} cannot be used on this node: {unusable}{other}");
        Err(NodeError::new(ErrorKind::Unavailable, message))
    }

    /// Refuses ports that somebody has: one of our machines, or another program of the host.
    pub(crate) async fn check_ports(&self, spec: &MachineSpec) -> Result<(), NodeError> {
        if spec.ports.is_empty() || self.owner(spec.id).is_ok() {
            return Ok(());
        }
        self.services.ledger.check_ports(&spec.ports)?;
        let services = &self.services;
        let network = if self.driver(spec.driver)?.capabilities().guest {
            &services.network
        } else {
            &services.no_network
        };
        let checked = network.check_ports(&spec.ports).await;
        checked.map_err(|error| NodeError::new(ErrorKind::Conflict, chain(&error)))
    }

    /// Writes the machine's folder and puts an owner to it.
    pub(crate) fn make(&self, spec: MachineSpec, staged: Option<Staged>) -> Result<(), NodeError> {
        let id = spec.id;
        if self
            .machines
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(&id)
        {
            return Ok(());
        }
        check_layers(&spec)?;
        let driver = self.driver(spec.driver)?;
        self.services.check_memory(&spec, &*driver)?;
        if spec.recover.interval_s().is_some() {
            guest_link::check_can_save(&*driver, "recover the machine from snapshots")?;
            snapshots::check_network(&spec)?;
        }
        let spec = Arc::new(spec);
        self.services.ledger.reserve(&spec)?;
        let uid = self.services.uids.take();
        let made = self.make_folder(spec, driver, uid, staged);
        if made.is_err() {
            self.services.ledger.forget(id);
            self.services.uids.give_back(uid);
            let _ = self.services.roots.release(Holder::Machine(id));
        }
        made
    }

    fn make_folder(
        &self,
        spec: Arc<MachineSpec>,
        driver: Arc<dyn Driver>,
        uid: u32,
        staged: Option<Staged>,
    ) -> Result<(), NodeError> {
        let roots = &self.services.roots;
        let holder = Holder::Machine(spec.id);
        roots.hold(&spec.image_id, &spec.layers, holder).map_err(|error| {
            NodeError::new(
                ErrorKind::NotFound,
                format!("image {} is not to be had: {}", spec.image, chain(&*error)),
            )
        })?;
        let mut record = MachineRecord::new(now_ms(), crate::owner::new_token(), uid);
        match &staged {
            Some(Staged::Whole(_)) => record.saved = Some(Saved::Snapshot),
            Some(Staged::Disk { parents, .. }) => {
                record.parents.clone_from(parents);
                record.copied_disk = true;
            }
            None => {}
        }
        let io_error = |error: io::Error| {
            let message = format!("cannot write the folder of machine {}: {error}", spec.name);
            let kind = if error.kind() == io::ErrorKind::StorageFull {
                ErrorKind::NoCapacity
            } else {
                ErrorKind::Internal
            };
            NodeError::new(kind, message).caused_by(error)
        };
        let folder = MachineFolder::create(&self.services.machines_dir, &spec, &record, staged).map_err(io_error)?;
        fault::point("create.recorded");
        let (id, name) = (spec.id, spec.name.clone());
        self.put_owner(spec, driver, record).map_err(|error| {
            // Its number, image and share go back, so there must be nothing left that holds them.
            if let Err(error) = folder.remove() {
                tracing::error!(machine = %id, %error, "cannot remove the folder of a machine that could not be made");
            }
            NodeError::new(
                ErrorKind::Internal,
                format!("cannot take machine {name} in hand: {error}"),
            )
            .caused_by(error)
        })
    }

    /// Sends a command to a machine's owner and waits for its answer.
    pub(crate) async fn command(&self, id: MachineId, make: impl FnOnce(Reply) -> Command) -> Result<(), NodeError> {
        let owner = self.owner(id)?;
        let (reply, answer) = oneshot::channel();
        match owner.commands.try_send(make(reply)) {
            Err(TrySendError::Full(refused)) => refused.refuse(),
            Err(TrySendError::Closed(late)) if !self.shutdown.is_cancelled() => late.come_too_late(&owner.spec.name),
            // An owner that ends with the node answers nothing more.
            Err(TrySendError::Closed(_)) | Ok(()) => {}
        }
        answer.await.unwrap_or_else(|_| {
            Err(NodeError::new(
                ErrorKind::Unavailable,
                "the node is closing, or the machine is gone".to_owned(),
            ))
        })
    }
}

fn check_layers(spec: &MachineSpec) -> Result<(), NodeError> {
    let (count, max) = (spec.layers.len(), MachineSpec::LAYERS_MAX);
    if count <= max {
        return Ok(());
    }
    let message = format!(
        "machine {} has {count} images over its root, more than the {max} that a VMM has drives for: put some together into one",
        spec.name
    );
    Err(NodeError::new(ErrorKind::InvalidInput, message))
}

async fn usable(
    drivers: &BTreeMap<DriverKind, Arc<dyn Driver>>,
    kind: DriverKind,
) -> Option<Result<(), hearth_driver::Unusable>> {
    Some(drivers.get(&kind)?.usable().await)
}

/// The driver for machines that name none: the wanted one, or the first that finds all it needs.
pub(crate) async fn choose_driver(
    wanted: Option<DriverKind>,
    drivers: &BTreeMap<DriverKind, Arc<dyn Driver>>,
) -> Result<DriverKind, OpenError> {
    if let Some(wanted) = wanted {
        return drivers
            .contains_key(&wanted)
            .then_some(wanted)
            .ok_or(OpenError::NoDriver(wanted));
    }
    let in_order = [DriverKind::Firecracker, DriverKind::Qemu, DriverKind::Fake];
    let there: Vec<&Arc<dyn Driver>> = in_order.iter().filter_map(|kind| drivers.get(kind)).collect();
    for driver in &there {
        if driver
            .probe()
            .await
            .iter()
            .all(|check| check.outcome != CheckOutcome::Failed)
        {
            return Ok(driver.kind());
        }
    }
    // None works now; what is missing may come.
    let fallback = drivers.get(&DriverKind::Qemu).or(there.first().copied());
    fallback
        .map(|driver| driver.kind())
        .ok_or(OpenError::NoDriver(DriverKind::Qemu))
}

/// The node's identity, made at the first opening of its state folder.
fn node_id(state_dir: &Path) -> io::Result<NodeId> {
    let path = state_dir.join("node-id");
    match fs::read_to_string(&path) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = NodeId::new();
            fs::write(state_dir.join("node-id.next"), id.to_string())?;
            fs::rename(state_dir.join("node-id.next"), &path)?;
            Ok(id)
        }
        Err(error) => Err(error),
    }
}

/// The name of our cgroup: the end of the node's ID is its random part.
fn cgroup_parent(id: NodeId) -> String {
    let id = id.to_string();
    format!("hearth-{}", &id[id.len() - 8..])
}

/// What all lines of a machine's owner are marked with; it outlives the request that made the machine.
fn owner_span(spec: &MachineSpec) -> Span {
    let span = info_span!(parent: None, "owner", machine = %spec.id, project = %spec.project, function = Empty, version = Empty);
    if let Some((function, version)) = spec.owner.as_ref().and_then(MachineOwner::function) {
        span.record("function", display(function)).record("version", version);
    }
    span
}
