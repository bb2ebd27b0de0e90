//! What all handlers share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
};

use hearth_api::ProblemCode;
use hearth_domain::DriverKind;
use hearth_ids::{KeyId, MachineId, ProjectId, SandboxId};
use hearth_image::ImageStore;
use hearth_kernel::KernelStore;
use hearth_node_api::{MachineStatus, NodeService};
use hearth_store::{EventRecord, Lookup, MachineRow, Store, StoreError, Tombstone};
use tokio::sync::{OnceCell, Semaphore, broadcast, mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;
use zeroize::Zeroizing;

use crate::{
    ControlConfig,
    caller::Tenant,
    error::{ApiError, ApiResult},
    functions::{calls::Calls, plane::Plane},
    ready::Ready,
    sandboxes::{Measurements, Sandboxes},
    snapshots::warm::WarmMachines,
    templates::Builds,
    tenancy::limit::Limits,
    time::now_unix_ms,
};

/// Builds that have machines at once: each has one as large as a small server.
const BUILDS_AT_ONCE: usize = 2;

/// Events that a slow listener may be behind before it has to read the store.
const EVENT_BACKLOG: usize = 1024;
/// Handlers that wait for the observer at once.
const FLUSH_QUEUE: usize = 256;

/// What all handlers share.
pub(crate) struct App {
    pub(crate) config: ControlConfig,
    pub(crate) node: Arc<dyn NodeService>,
    pub(crate) images: ImageStore,
    pub(crate) kernels: Arc<KernelStore>,
    pub(crate) store: Store,
    /// Events as they are stored.
    pub(crate) events: broadcast::Sender<EventRecord>,
    /// Ends streams and sessions.
    pub(crate) shutdown: CancellationToken,
    /// Web sockets.
    pub(crate) sessions: TaskTracker,
    /// Requests per second, by project.
    pub(crate) limits: Limits,
    /// The last calls of functions.
    pub(crate) calls: Calls,
    /// Sandboxes.
    pub(crate) sandboxes: Sandboxes,
    /// What sandboxes use.
    pub(crate) measurements: Measurements,
    /// Builds of templates, and ends of sandboxes, that are under way.
    pub(crate) tasks: TaskTracker,
    /// What ends builds that are under way.
    pub(crate) builds: Builds,
    /// A turn for each build that has machines; the others wait.
    pub(crate) building: Semaphore,
    /// Builds of one project, which share layers, take turns.
    pub(crate) project_builds: Mutex<HashMap<ProjectId, Arc<tokio::sync::Mutex<()>>>>,
    /// Machines of snapshots that wait.
    pub(crate) warm: WarmMachines,
    /// What makes and calls instances of functions; set once, when the server opens.
    pub(crate) plane: OnceLock<Plane>,
    /// Whether all of it can do its work.
    pub(crate) ready: Ready,
    flush: mpsc::Sender<oneshot::Sender<()>>,
    default_driver: OnceCell<DriverKind>,
    snapshotters: OnceCell<Vec<DriverKind>>,
}

/// A request to the observer: answered once all news up to now is stored.
pub(crate) type Flush = oneshot::Sender<()>;

impl App {
    pub(crate) fn new(
        config: ControlConfig,
        node: Arc<dyn NodeService>,
        images: ImageStore,
        kernels: Arc<KernelStore>,
        store: Store,
    ) -> (Self, mpsc::Receiver<Flush>) {
        let (flush, flushes) = mpsc::channel(FLUSH_QUEUE);
        let app = Self {
            warm: WarmMachines::new(config.functions.warm_memory_mib),
            config,
            node,
            images,
            kernels,
            store,
            events: broadcast::Sender::new(EVENT_BACKLOG),
            shutdown: CancellationToken::new(),
            sessions: TaskTracker::new(),
            limits: Limits::new(),
            calls: Calls::default(),
            sandboxes: Sandboxes::default(),
            measurements: Measurements::default(),
            tasks: TaskTracker::new(),
            builds: Builds::default(),
            building: Semaphore::new(BUILDS_AT_ONCE),
            project_builds: Mutex::default(),
            plane: OnceLock::new(),
            ready: Ready::default(),
            flush,
            default_driver: OnceCell::new(),
            snapshotters: OnceCell::new(),
        };
        (app, flushes)
    }

    /// What makes and calls instances.
    #[expect(clippy::expect_used, reason = "it is set before the first request is taken")]
    pub(crate) fn plane(&self) -> &Plane {
        self.plane.get().expect("the server is open")
    }

    /// The tenant's machine that a path names: by name, ID, or a beginning of an ID that only one has.
    pub(crate) async fn find(&self, tenant: &Tenant, text: &str) -> ApiResult<MachineRow> {
        match self.store.find_machine(tenant.project, text).await? {
            Lookup::One(row) => Ok(*row),
            Lookup::None => Err(no_machine(text)),
            Lookup::Ambiguous => Err(ApiError::new(
                ProblemCode::Ambiguous,
                format!("{text:?} is the beginning of more than one machine's ID; give more of it, or the name"),
            )),
        }
    }

    /// Machines' names for their IDs. What is no machine's ID, or no machine's any more, stays as it is.
    pub(crate) async fn names_of(&self, ids: Vec<String>) -> Result<Vec<String>, StoreError> {
        let mut names = Vec::with_capacity(ids.len());
        for id in ids {
            let row = match id.parse() {
                Ok(id) => self.store.machine(id).await?,
                Err(_) => None,
            };
            names.push(row.map_or(id, |row| row.spec.name.to_string()));
        }
        Ok(names)
    }

    /// Those of these machines' IDs that the tenant may know of.
    pub(crate) async fn visible(&self, tenant: &Tenant, ids: Vec<String>) -> Result<Vec<String>, StoreError> {
        if tenant.host {
            return Ok(ids);
        }
        let mut visible = Vec::new();
        for id in ids {
            let row = match id.parse() {
                Ok(id) => self.store.machine(id).await?,
                Err(_) => None,
            };
            if row.is_some_and(|row| tenant.sees(row.spec.project)) {
                visible.push(id);
            }
        }
        Ok(visible)
    }

    /// What clients that sign as AWS does sign with, for a key.
    pub(crate) fn sigv4_secret(&self, key: KeyId) -> Zeroizing<String> {
        self.config.seal.sigv4_secret(key)
    }

    /// What requests to a sandbox's ports show where its maker wished so.
    pub(crate) fn traffic_token(&self, sandbox: SandboxId) -> String {
        self.config
            .seal
            .token("sandbox-traffic", &sandbox.to_string())
            .to_string()
    }

    /// The domain below which sandboxes have host names, as clients write it.
    pub(crate) fn sandbox_domain(&self) -> Option<String> {
        Some(self.plane.get()?.sandbox_domain())
    }

    /// What the node says of a machine.
    pub(crate) fn status(&self, id: MachineId) -> Option<MachineStatus> {
        self.node.status(id)
    }

    /// The driver of machines that name none; it stays the same for as long as the node runs.
    pub(crate) async fn default_driver(&self) -> ApiResult<DriverKind> {
        let asked = || async { self.node.info().await.map(|info| info.default_driver) };
        Ok(*self.default_driver.get_or_try_init(asked).await?)
    }

    /// Whether machines of a driver can go to disk; it stays so for as long as the node runs.
    pub(crate) async fn makes_snapshots(&self, driver: DriverKind) -> ApiResult<bool> {
        let asked = || async {
            let info = self.node.info().await?;
            let able = info.drivers.into_iter().filter(|driver| driver.snapshot);
            ApiResult::Ok(able.map(|driver| driver.kind).collect())
        };
        let able: &Vec<_> = self.snapshotters.get_or_try_init(asked).await?;
        Ok(able.contains(&driver))
    }

    /// Tells listeners of an event.
    pub(crate) fn publish(&self, event: EventRecord) {
        // Nobody listens: that is fine, it is stored.
        let _ = self.events.send(event);
    }

    /// Waits until all news that the node has told by now is stored.
    pub(crate) async fn flush(&self) {
        let (done, stored) = oneshot::channel();
        if self.flush.send(done).await.is_ok() {
            // It fails when the observer is gone, and then there is nothing to wait for.
            let _ = stored.await;
        }
    }

    /// Forgets a machine that the node has destroyed. Idempotent.
    pub(crate) async fn forget(&self, id: MachineId) -> Result<(), StoreError> {
        let Some(row) = self.store.machine(id).await? else {
            return Ok(());
        };
        let tombstone = Tombstone {
            id,
            project: row.spec.project,
            name: row.spec.name.to_string(),
            state: row.state,
            reason: row.reason,
            exit: row.exit,
        };
        if let Some(event) = self.store.remove_machine(&tombstone, now_unix_ms()).await? {
            self.publish(event);
        }
        Ok(())
    }

    /// Runs what blocks, such as the image and kernel stores, beside the runtime.
    pub(crate) async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> ApiResult<T> {
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            warn!(%error, "a task of ours broke");
            ApiError::internal("a task of the server broke; its log tells more")
        })
    }
}

pub(crate) fn no_machine(text: &str) -> ApiError {
    let text: String = text.chars().take(80).collect();
    ApiError::new(
        ProblemCode::MachineNotFound,
        format!("there is no machine {text:?}; `hearth ps -a` lists those there are"),
    )
}
