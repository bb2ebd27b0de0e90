//! A state folder, a fake driver, and stores that are told what they have.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use hearth_domain::{
    Allocation, DriverKind, MachineSpec, MemoryMib, NetworkMode, Overcommit, RecoverPolicy, Resources, RestartPolicy,
    StateWord, Workload,
};
use hearth_driver::{KernelFiles, fake::FakeDriver};
use hearth_ids::MachineId;
use hearth_network::NoNetwork;
use hearth_node::{HeldRoot, Holder, Kernels, Node, NodeConfig, NodeParts, ProvisionError, RootConfig, Roots};
use hearth_node_api::{ErrorKind, NodeService};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// Images that are there, but for the one called `gone`.
#[derive(Debug, Default)]
pub(crate) struct FakeRoots(Mutex<BTreeSet<Holder>>);

impl FakeRoots {
    pub(crate) fn hold_for(&self, machine: MachineId) {
        self.0.lock().unwrap().insert(Holder::Machine(machine));
    }
}

impl Roots for FakeRoots {
    fn hold(&self, image_id: &str, layers: &[String], holder: Holder) -> Result<HeldRoot, ProvisionError> {
        self.0.lock().unwrap().insert(holder);
        if image_id == "gone" || layers.iter().any(|layer| layer == "gone") {
            return Err("no such image".into());
        }
        let file = PathBuf::from("/dev/null");
        Ok(HeldRoot {
            layers: vec![file.clone(); layers.len()],
            path: file,
            config: RootConfig::default(),
        })
    }

    fn release(&self, holder: Holder) -> Result<(), ProvisionError> {
        self.0.lock().unwrap().remove(&holder);
        Ok(())
    }

    fn holders(&self) -> Result<Vec<Holder>, ProvisionError> {
        Ok(self.0.lock().unwrap().iter().copied().collect())
    }
}

struct FakeKernels;

impl Kernels for FakeKernels {
    fn files(&self, _: &str, _: DriverKind) -> Result<KernelFiles, ProvisionError> {
        Ok(KernelFiles {
            bzimage: "/dev/null".into(),
            vmlinux: "/dev/null".into(),
            pvh: false,
            initramfs: "/dev/null".into(),
            cmdline: String::new(),
        })
    }

    fn agent_version(&self) -> &'static str {
        "0"
    }

    fn memory_min_mib(&self, _: &str) -> Result<u64, ProvisionError> {
        Ok(0)
    }
}

/// What nodes are opened over, one after another.
pub(crate) struct World {
    folder: TempDir,
    pub(crate) driver: FakeDriver,
    pub(crate) roots: Arc<FakeRoots>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            driver: FakeDriver::default(),
            roots: Arc::default(),
        }
    }

    /// The same folder, in a process that has no machines.
    pub(crate) fn after_a_crash(self) -> Self {
        Self {
            driver: FakeDriver::default(),
            ..self
        }
    }

    pub(crate) async fn open(&self) -> Arc<Node> {
        let config = NodeConfig {
            default_driver: Some(DriverKind::Fake),
            overcommit: Overcommit {
                cpu: 1000.0,
                memory: 1.0,
                disk: 1.0,
            },
            ..NodeConfig::new(self.folder.path())
        };
        let parts = NodeParts {
            roots: self.roots.clone(),
            kernels: Arc::new(FakeKernels),
            network: Arc::new(NoNetwork),
            no_network: Arc::new(NoNetwork),
            secrets: Arc::new(hearth_seal::Seal::new([5; 32])),
            volumes: Arc::new(
                hearth_volume::Volumes::open(&self.folder.path().join("volumes"), b"secret", 1 << 30).unwrap(),
            ),
            drivers: vec![Arc::new(self.driver.clone())],
        };
        Node::open(config, parts).await.unwrap()
    }

    pub(crate) fn machines_dir(&self) -> PathBuf {
        self.folder.path().join("machines")
    }

    pub(crate) fn snapshots_dir(&self) -> PathBuf {
        self.folder.path().join("snapshots")
    }

    pub(crate) fn folders(&self) -> Vec<String> {
        let entries = fs::read_dir(self.machines_dir()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    pub(crate) async fn running(&self, node: &Node, spec: MachineSpec) -> MachineId {
        let id = spec.id;
        node.create(spec).await.unwrap();
        node.start(id).await.unwrap();
        self.is(node, id, StateWord::Running).await;
        id
    }

    /// Waits until a machine is in a state.
    pub(crate) async fn is(&self, node: &Node, id: MachineId, word: StateWord) {
        let mut watched = node.watch(id).unwrap();
        let reached = watched.wait_for(|status| status.state.word() == word);
        let reached = tokio::time::timeout(PATIENCE, reached).await.map(|found| found.is_ok());
        assert_eq!(reached.ok(), Some(true), "{:?}", node.status(id));
    }

    /// Waits until a machine's vCPUs run.
    pub(crate) async fn goes_on(&self, machine: MachineId) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.driver.paused(machine) != Some(false) {
            assert!(tokio::time::Instant::now() < deadline, "it stands still");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until a machine is gone.
    pub(crate) async fn is_gone(&self, node: &Node, id: MachineId) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while node.status(id).is_some() {
            assert!(tokio::time::Instant::now() < deadline, "{:?}", node.status(id));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Asks for a start again and again until the machine is gone: each time it is refused as a conflict, or there is
    /// no such machine any more.
    pub(crate) async fn is_gone_or_conflicts(&self, node: &Node, id: MachineId) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match tokio::time::timeout(PATIENCE, node.start(id)).await.unwrap() {
                // It runs still.
                Ok(()) => {}
                Err(error) if error.kind == ErrorKind::NotFound => return,
                Err(error) => assert_eq!(error.kind, ErrorKind::Conflict, "{error}"),
            }
            assert!(tokio::time::Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Machines at rest hold nothing but their folder and image.
    pub(crate) async fn nothing_is_held(&self, node: &Node) {
        assert_eq!(node.info().await.unwrap().allocation, Allocation::default());
        assert_eq!(self.driver.living(), 0);
    }

    pub(crate) async fn nothing_is_left(&self, node: &Node) {
        for spec in node.machines() {
            self.is_gone(node, spec.id).await;
        }
        self.nothing_is_held(node).await;
        assert_eq!(self.folders(), Vec::<String>::new());
        assert_eq!(self.roots.holders().unwrap(), []);
        assert_eq!(fs::read_dir(self.snapshots_dir()).unwrap().count(), 0);
    }
}

pub(crate) fn memory(mib: u64) -> MemoryMib {
    mib.try_into().unwrap()
}

pub(crate) fn spec() -> MachineSpec {
    let id = MachineId::new();
    MachineSpec {
        id,
        name: id.to_string().try_into().unwrap(),
        image: "test:latest".to_owned(),
        image_id: "test".to_owned(),
        layers: Vec::new(),
        project: hearth_ids::ProjectId::DEFAULT,
        owner: None,
        kernel_id: "test".to_owned(),
        resources: Resources {
            vcpus: 1.try_into().unwrap(),
            memory_mib: memory(16),
            disk_mib: None,
        },
        workload: Workload::default(),
        network: NetworkMode::Default,
        egress: hearth_domain::EgressRules::default(),
        ports: Vec::new(),
        driver: DriverKind::Fake,
        restart: RestartPolicy::No,
        recover: RecoverPolicy::No,
        stop_timeout_ms: 1000,
        auto_remove: false,
        snapshot: None,
        boots: false,
        volumes: Vec::new(),
    }
}

/// A place in a disk that no file system writes to by itself.
const MARK_AT: u64 = 15 << 20;

/// A machine with a disk of its own.
pub(crate) fn with_disk() -> MachineSpec {
    let mut spec = spec();
    spec.resources.disk_mib = Some(16.try_into().unwrap());
    spec
}

/// Where a machine's disk is.
pub(crate) fn disk(world: &World, machine: MachineId) -> PathBuf {
    world.machines_dir().join(machine.to_string()).join("disk.ext4")
}

/// Writes to a disk behind its file system's back.
pub(crate) fn mark(disk: &Path, mark: [u8; 4]) {
    let file = fs::OpenOptions::new().write(true).open(disk).unwrap();
    file.write_all_at(&mark, MARK_AT).unwrap();
}

/// What was written so.
pub(crate) fn marked(disk: &Path) -> [u8; 4] {
    let mut mark = [0; 4];
    File::open(disk).unwrap().read_exact_at(&mut mark, MARK_AT).unwrap();
    mark
}

/// Changes one byte of a file, as a failing disk or a stranger would.
pub(crate) fn spoil(path: &Path) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    let at = file.metadata().unwrap().len() / 2;
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}
