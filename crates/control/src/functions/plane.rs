//! What makes and calls instances: gateway, queue, registry and worker, put together and kept with the store.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::PathBuf,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use hearth_coord::{
    InstanceKey, ProvisionRequest,
    embedded::{EmbeddedQueue, EmbeddedRegistry},
};
use hearth_domain::{Action, FunctionSpec, MachineOwner, MachineSpec, ProjectName};
use hearth_gateway::{
    CallObserver, CallRecord, Denied, Gateway, GatewayConfig, GatewayParts, InstanceHost, KeyCheck, RateLimit,
    RetireReason, Route, RouteTable, VersionFacts,
};
use hearth_ids::{FunctionId, ProjectId, SandboxId};
use hearth_node_api::{LogChunk, NodeError};
use hearth_store::{AliasRow, FunctionRow, LIVE, StoreError, VersionRow};
use hearth_worker::{KnownInstance, LogArchive, Outcomes, ProvisionFailure, Worker, WorkerConfig, WorkerParts};
use tokio::{
    sync::{Mutex, Notify, Semaphore},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{
    archive::Archive,
    blueprint::StoredBlueprints,
    room::OwnNode,
    templates::{self, Templates},
};
use crate::{OpenError, app::App, invocations::accept::Keeper, key, metrics, sandboxes::Door};

/// Requests for instances that wait at most.
const QUEUE_MAX: usize = 10_000;
/// Instances that are made at a time: each is a boot, which keeps a CPU busy.
const PROVISIONS_MAX: usize = 16;
/// Functions' logs that are read at a time.
const GATHERING_MAX: usize = 4;
/// How long work on instances may take to end when the server goes down.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// How functions are served.
#[derive(Debug, Clone)]
pub struct FunctionsConfig {
    /// Folder for the logs of instances that are gone.
    pub logs_dir: PathBuf,
    /// How the gateway works.
    pub gateway: GatewayConfig,
    /// Where clients reach the gateway, such as `http://127.0.0.1:8080`; without one, functions are called by the API.
    pub base_url: Option<String>,
    /// How long an instance may take from its program's start until it can be called.
    pub ready_timeout: Duration,
    /// Memory for instances that wait, paused, to be wanted, in MiB; 0: none does.
    pub warm_memory_mib: u64,
}

/// What makes and calls instances.
pub(crate) struct Plane {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) archive: Archive,
    pub(crate) keeper: Arc<Keeper>,
    /// Whoever reads a function's log holds one.
    pub(crate) gathering: Semaphore,
    /// Wakes whoever runs triggers.
    pub(crate) triggers_changed: Arc<Notify>,
    pub(crate) worker: Arc<Worker>,
    pub(crate) queue: Arc<EmbeddedQueue>,
    pub(crate) templates: Arc<Templates>,
    domain: String,
    base_url: Option<String>,
    background: TaskTracker,
    stop_background: CancellationToken,
    /// Of two changes of the routes the later must win.
    publishing: Mutex<()>,
}

impl Plane {
    /// Takes up the instances that there are, and serves what the store has.
    pub(crate) async fn open(app: &Arc<App>, config: FunctionsConfig) -> Result<Self, OpenError> {
        let queue = Arc::new(EmbeddedQueue::new(QUEUE_MAX));
        let registry = Arc::new(EmbeddedRegistry::new());
        let archive = Archive::new(config.logs_dir);
        let weak = Arc::downgrade(app);
        let keeper = Arc::new(Keeper::new(app.store.clone()));
        let told = Arc::new(Told::default());
        let templates = Arc::new(Templates::default());
        templates::take_up(app, &templates).await;
        // Before the gateway: it is to find the instances that there are, rather than want new ones.
        let worker = Worker::open(
            WorkerConfig {
                id: "local".into(),
                ip: None,
                provisions_max: PROVISIONS_MAX,
                ready_timeout: config.ready_timeout,
                warm_memory_mib: config.warm_memory_mib,
            },
            WorkerParts {
                node: app.node.clone(),
                queue: queue.clone(),
                registry: registry.clone(),
                blueprints: Arc::new(StoredBlueprints::new(weak.clone(), templates.clone())),
                outcomes: told.clone(),
                archive: Arc::new(OfKnown {
                    app: weak.clone(),
                    archive: archive.clone(),
                }),
            },
        )
        .await?;
        let worker = Arc::new(worker);
        let ties = Arc::new(Ties {
            app: weak,
            worker: worker.clone(),
        });
        let nodes = Arc::new(OwnNode {
            books: app.node.books(),
            worker: worker.clone(),
            queue: queue.clone(),
        });
        let domain = config.gateway.domain.clone();
        let gateway = Gateway::new(
            config.gateway,
            GatewayParts {
                registry,
                queue: queue.clone(),
                keys: ties.clone(),
                invocations: keeper.clone(),
                hosts: ties.clone(),
                nodes,
                rates: ties.clone(),
                observer: ties.clone(),
                sandboxes: Arc::new(Door(Arc::downgrade(app))),
            },
        );
        gateway.set_routes(RouteTable::new(&domain, routes(app).await?));
        // It is empty until here.
        let _ = told.0.set(Arc::downgrade(&gateway));
        let (background, stop_background) = (TaskTracker::new(), CancellationToken::new());
        let (weak, stop) = (Arc::downgrade(app), stop_background.clone());
        background.spawn(templates::keep_current(weak, templates.clone(), stop));
        Ok(Self {
            gateway,
            archive,
            keeper,
            gathering: Semaphore::new(GATHERING_MAX),
            triggers_changed: Arc::default(),
            worker,
            queue,
            templates,
            domain,
            base_url: config.base_url,
            background,
            stop_background,
            publishing: Mutex::default(),
        })
    }

    /// Tells the gateway of what the store has now.
    pub(crate) async fn routes_changed(&self, app: &App) -> Result<(), StoreError> {
        let _one_at_a_time = self.publishing.lock().await;
        let routes = routes(app).await?;
        let live = series_of(&routes);
        self.gateway.set_routes(RouteTable::new(&self.domain, routes));
        // What is not there any more is not told any more.
        metrics::forget_functions(&live);
        Ok(())
    }

    /// The domain below which sandboxes have host names, with the port where clients have to name one.
    pub(crate) fn sandbox_domain(&self) -> String {
        let port = self.base_url.as_deref().and_then(|base| base.rsplit_once(':'));
        match port {
            Some((_, port)) if !self.domain.contains(':') && !["80", "443"].contains(&port) => {
                format!("{}:{port}", self.domain)
            }
            _ => self.domain.clone(),
        }
    }

    /// Where a sandbox's ports are; `PORT` stands for the number of one.
    pub(crate) fn sandbox_url(&self, id: SandboxId) -> Option<String> {
        let (scheme, _) = self.base_url.as_deref()?.split_once("://")?;
        Some(format!("{scheme}://PORT-{id}.{}", self.sandbox_domain()))
    }

    /// Where a function is called.
    pub(crate) fn urls(&self, project: &ProjectName, function: &FunctionSpec) -> Vec<String> {
        let Some(base) = &self.base_url else {
            return Vec::new();
        };
        let label = function.name.label();
        vec![
            format!("{base}/fn/{project}/{label}/"),
            format!("{base}/run/{}", function.id),
        ]
    }

    /// How many instances of a function serve.
    pub(crate) fn serving(&self, function: FunctionId) -> u32 {
        let instances = self.worker.instances(function);
        let serving = instances.iter().filter(|instance| instance.serving).count();
        u32::try_from(serving).unwrap_or(u32::MAX)
    }

    /// The instances of a function.
    pub(crate) fn instances(&self, function: FunctionId) -> Vec<KnownInstance> {
        self.worker.instances(function)
    }

    /// Ends the instances of a function, or of one of its versions, that do not serve yet; the gateway ends the others,
    /// once their calls are answered.
    pub(crate) fn retire_starting(&self, function: FunctionId, version: Option<u32>) {
        self.worker.retire_starting(function, version);
    }

    /// Removes the logs of a function that is gone. Those of instances that are just ending may come after.
    pub(crate) async fn forget_logs(&self, function: FunctionId) {
        let archive = self.archive.clone();
        let forgotten = tokio::task::spawn_blocking(move || archive.forget(function)).await;
        if let Ok(Err(error)) = forgotten {
            warn!(%function, %error, "cannot remove the logs of a function");
        }
    }

    /// Ends all work; instances are left alone.
    pub(crate) async fn close(&self) {
        self.stop_background.cancel();
        self.background.close();
        if timeout(CLOSE_GRACE, self.background.wait()).await.is_err() {
            warn!("looking after templates did not end in time");
        }
        self.worker.close(CLOSE_GRACE).await;
        self.gateway.close().await;
        self.keeper.close().await;
    }
}

/// What the metrics of versions are labelled with, as [`metrics::forget_functions`] wants it.
fn series_of(routes: &[Route]) -> HashSet<[String; 3]> {
    let of_versions = routes.iter().flat_map(|route| {
        let names = (route.project_name.clone(), route.function.name.to_string());
        let versions = route.versions.keys();
        versions.map(move |version| [names.0.clone(), names.1.clone(), version.to_string()])
    });
    of_versions.collect()
}

/// All functions as the gateway wants them.
async fn routes(app: &App) -> Result<Vec<Route>, StoreError> {
    let served = app.store.served().await?;
    for project in &served.projects {
        app.limits.learn(project.id, project.quotas.rate());
    }
    let names: HashMap<_, _> = served
        .projects
        .iter()
        .map(|project| (project.id, &project.name))
        .collect();
    let routes = served.functions.into_iter().filter_map(|row| {
        let name = names.get(&row.spec.project)?.to_string();
        Some(route(row, name, &served.versions, &served.aliases))
    });
    Ok(routes.collect())
}

fn route(row: FunctionRow, project_name: String, versions: &[VersionRow], aliases: &[AliasRow]) -> Route {
    let id = row.spec.id;
    // Both lists are sorted by function.
    let versions = of_function(versions, id, |row| row.spec.function);
    let aliases = of_function(aliases, id, |row| row.function);
    let live = aliases.iter().find(|alias| alias.name == LIVE);
    Route {
        project_name,
        live: live.map(|alias| alias.traffic.clone()),
        aliases: aliases
            .iter()
            .map(|alias| (alias.name.clone(), alias.traffic.clone()))
            .collect(),
        versions: versions.iter().map(|row| (row.spec.number, facts(row))).collect(),
        function: row.spec,
    }
}

fn of_function<T>(sorted: &[T], id: FunctionId, function: impl Fn(&T) -> FunctionId) -> &[T] {
    let from = sorted.partition_point(|row| function(row) < id);
    let to = sorted.partition_point(|row| function(row) <= id);
    sorted.get(from..to).unwrap_or_default()
}

fn facts(row: &VersionRow) -> VersionFacts {
    VersionFacts {
        contract: row.spec.contract,
        timeout_ms: row.spec.timeout_ms,
        cpu: row.spec.resources.vcpus.get().into(),
        memory_mb: row.spec.resources.memory_mib.get(),
    }
}

/// What the gateway asks of the application. Held loosely: the application holds the gateway.
struct Ties {
    app: Weak<App>,
    worker: Arc<Worker>,
}

#[async_trait]
impl KeyCheck for Ties {
    async fn check(&self, token: &str, project: ProjectId, _function: FunctionId) -> Result<(), Denied> {
        let app = self.app.upgrade().ok_or(Denied::Unavailable)?;
        let row = key::of_token(&app, token).await.map_err(|error| {
            if error.problem.status >= 500 {
                Denied::Unavailable
            } else {
                Denied::Unknown
            }
        })?;
        if row.project == project && row.role.may(Action::FunctionInvoke) {
            Ok(())
        } else {
            Err(Denied::Forbidden)
        }
    }
}

#[async_trait]
impl InstanceHost for Ties {
    async fn retire(&self, key: InstanceKey, reason: RetireReason) {
        debug!(machine = %key.machine, ?reason, "the gateway lets an instance go");
        self.worker.retire(key);
    }
}

impl RateLimit for Ties {
    fn take(&self, project: ProjectId) -> Result<(), Duration> {
        let taken = self.app.upgrade().map_or(Ok(()), |app| app.limits.take_known(project));
        taken.map_err(|wait| Duration::from_millis(wait.0))
    }
}

impl CallObserver for Ties {
    fn finished(&self, call: CallRecord) {
        let Some(app) = self.app.upgrade() else { return };
        app.calls.note(&call);
    }
}

/// Keeps the logs of functions that are there: one that was removed leaves nothing.
struct OfKnown {
    app: Weak<App>,
    archive: Archive,
}

#[async_trait]
impl LogArchive for OfKnown {
    async fn archive(
        &self,
        spec: &MachineSpec,
        log: BoxStream<'static, Result<LogChunk, NodeError>>,
    ) -> Result<(), io::Error> {
        let (Some(app), Some(MachineOwner::Function { function, .. })) = (self.app.upgrade(), &spec.owner) else {
            return Ok(());
        };
        match app.store.function(*function).await {
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(_) => self.archive.archive(spec, log).await,
        }
    }
}

/// Tells the gateway what became of its requests. Before there is one there are none.
#[derive(Default)]
struct Told(OnceLock<Weak<Gateway>>);

impl Outcomes for Told {
    fn provisioned(&self, request: &ProvisionRequest, outcome: Result<InstanceKey, ProvisionFailure>) {
        let gateway = self.0.get().and_then(Weak::upgrade);
        let (Some(gateway), Err(failure)) = (gateway, outcome) else {
            return;
        };
        let failure = match failure {
            ProvisionFailure::NoRoom(_) => hearth_gateway::ProvisionFailure::NoRoom,
            ProvisionFailure::Broken(reason) | ProvisionFailure::Hindered(reason) => {
                hearth_gateway::ProvisionFailure::Failed(reason)
            }
        };
        gateway.provision_failed(request.function_id, request.request_id, &failure);
    }
}
