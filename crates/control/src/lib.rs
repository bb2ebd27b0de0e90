//! The API server.
//!
//! ```text
//!  socket, TCP ──► server ──► layers (request ID, guard, problems) ──► handlers ──► node, images, kernels
//!                                                                         │            │
//!                                                                       store ◄── observer (news, in batches)
//! ```
//!
//! Invariants:
//! - The node owns machines; the store says what should be and remembers what was seen. A machine's state is read from
//!   the node, and from the store only where the node does not know it.
//! - There is no task and no memory for each machine: one observer writes the news of all of them.
//! - Whatever went wrong leaves as a problem, written in one place ([`layers`]), from codes given in one place
//!   ([`error`]).
//! - On opening, store and node are brought together ([`reconcile`]): the same steps as in normal life.

mod api_doc;
mod app;
mod caller;
mod e2b;
mod error;
mod events;
mod extract;
mod fault;
mod functions;
mod images;
mod invocations;
mod kernels;
mod key;
mod lambda;
mod layers;
mod listen;
mod machines;
mod made_before;
mod metrics;
mod node;
mod observer;
mod peer;
mod ready;
mod reconcile;
mod sandboxes;
mod server;
mod snapshots;
mod spans;
mod stream;
mod templates;
mod tenancy;
mod time;
mod tls;
mod triggers;
mod volumes;

use std::sync::{Arc, atomic::Ordering};

pub use api_doc::openapi_json;
use axum::Router;
pub use e2b::OPERATIONS as E2B_OPERATIONS;
pub use fault::{POINTS as FAULT_POINTS, SANDBOX_POINTS, SNAPSHOT_POINTS};
pub use functions::plane::FunctionsConfig;
use functions::plane::Plane;
use hearth_domain::Role;
use hearth_gateway::GatewayListener;
use hearth_ids::ProjectId;
use hearth_image::ImageStore;
use hearth_kernel::KernelStore;
use hearth_node_api::NodeService;
use hearth_seal::Seal;
use hearth_store::{Store, StoreError};
use hearth_volume::Volumes;
pub use lambda::OPERATIONS as LAMBDA_OPERATIONS;
pub use listen::{GROUP, ListenError, Listener};
pub use node::check_list;
use thiserror::Error;
pub use tls::{Identity, TlsError};
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use crate::{app::App, peer::PeerRule};

/// The name of the key that a new host begins with.
const FIRST_KEY: &str = "first";
/// How long sessions may take to say good-bye.
const SESSIONS_GRACE: std::time::Duration = std::time::Duration::from_secs(5);

/// What the server needs to know of its surroundings.
#[derive(Debug, Clone)]
pub struct ControlConfig {
    /// Folder for uploads on their way; on the same disk as the images, and emptied by whoever makes it.
    pub tmp_dir: std::path::PathBuf,
    /// Folder where files wait that templates are built of.
    pub template_files_dir: std::path::PathBuf,
    /// Folder where built kernels are kept.
    pub kernel_cache_dir: std::path::PathBuf,
    /// Folders that sandboxes share.
    pub volumes: Arc<Volumes>,
    /// What closes secrets.
    pub seal: Arc<Seal>,
    /// Group whose members may use the socket.
    pub group: String,
    /// How functions are served.
    pub functions: FunctionsConfig,
}

/// The API server.
pub struct Control {
    app: Arc<App>,
    rule: Arc<PeerRule>,
    first_key: Option<String>,
    observer: JoinHandle<()>,
    stop_observer: CancellationToken,
    /// What runs kept calls and triggers, and the calls that they run.
    background: TaskTracker,
    stop_background: CancellationToken,
}

/// Why the server cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The store failed.
    #[error("cannot bring the store and the node together")]
    Store(#[from] StoreError),
    /// The host has no randomness.
    #[error("cannot make the first key")]
    Random(#[from] rand::rand_core::OsError),
    /// The queue or the registry failed.
    #[error("cannot take up the instances of functions")]
    Functions(#[from] hearth_coord::CoordError),
}

impl Control {
    /// Brings store and node together and begins to listen to the node.
    pub async fn open(
        config: ControlConfig,
        node: Arc<dyn NodeService>,
        images: ImageStore,
        kernels: Arc<KernelStore>,
        store: Store,
    ) -> Result<Self, OpenError> {
        // Before anything takes a handle of a metric.
        hearth_telemetry::install();
        let rule = Arc::new(PeerRule::new(&config.group));
        let news = node.events();
        let functions = config.functions.clone();
        let (app, flushes) = App::new(config, node, images, kernels, store);
        let app = Arc::new(app);
        snapshots::reconcile::run(&app).await?;
        reconcile::run(&app).await?;
        sandboxes::reconcile(&app).await?;
        templates::recover(&app).await?;
        volumes::recover(&app).await?;
        templates::files::prune(&app, true).await;
        let first_key = first_key(&app).await?;
        for project in app.store.projects().await? {
            app.limits.learn(project.id, project.quotas.rate());
        }
        let stop_observer = CancellationToken::new();
        let observer = tokio::spawn(observer::run(Arc::clone(&app), news, flushes, stop_observer.clone()));
        let plane = Plane::open(&app, functions).await?;
        // It is empty until here.
        let _ = app.plane.set(plane);
        functions::reconcile::run(&app).await;
        let (background, stop_background) = (TaskTracker::new(), CancellationToken::new());
        invocations::resume::run(&app).await?;
        let weak = Arc::downgrade(&app);
        background.spawn(invocations::run::run(
            weak.clone(),
            background.clone(),
            stop_background.clone(),
        ));
        background.spawn(triggers::run::run(weak.clone(), stop_background.clone()));
        background.spawn(sandboxes::measure_all(weak.clone(), stop_background.clone()));
        background.spawn(sandboxes::reap(weak.clone(), stop_background.clone()));
        background.spawn(snapshots::warm::keep(weak.clone(), stop_background.clone()));
        background.spawn(snapshots::warm::make_room_for_restarts(
            weak.clone(),
            stop_background.clone(),
        ));
        background.spawn(templates::files::keep_pruned(weak.clone(), stop_background.clone()));
        background.spawn(functions::calls::write(weak, stop_background.clone()));
        Ok(Self {
            app,
            rule,
            first_key,
            observer,
            stop_observer,
            background,
            stop_background,
        })
    }

    /// The first key, which administers the host: of the first opening alone, and told once.
    pub fn take_first_key(&mut self) -> Option<String> {
        self.first_key.take()
    }

    /// The routes, for a server of one's own; requests must carry who their peer is, which [`Control::serve`] sees to.
    fn router(&self) -> Router {
        let guard = Arc::new(layers::Guard {
            rule: Arc::clone(&self.rule),
            app: Arc::clone(&self.app),
        });
        api_doc::routes()
            .merge(lambda::routes())
            .merge(e2b::routes())
            .fallback(layers::not_found)
            .method_not_allowed_fallback(layers::method_not_allowed)
            .with_state(Arc::clone(&self.app))
            .layer(axum::middleware::from_fn_with_state(guard, layers::around))
            .layer(axum::middleware::from_fn(layers::finish_changes))
    }

    /// The routes of a listener that asks for no key.
    fn watching_router(&self) -> Router {
        api_doc::watching_routes()
            .fallback(layers::not_found)
            .method_not_allowed_fallback(layers::method_not_allowed)
            .with_state(Arc::clone(&self.app))
            .layer(axum::middleware::from_fn(layers::around_watching))
    }

    /// Serves the API and the gateway until told to stop; then ends sessions and streams, writes what is left, and closes the
    /// store. Machines are left alone.
    pub async fn serve(self, listeners: Vec<Listener>, gateway: Vec<GatewayListener>, shutdown: CancellationToken) {
        let plane = self.app.plane();
        let calls = Arc::clone(&plane.gateway);
        let gateway = tokio::spawn({
            let shutdown = shutdown.clone();
            let app = Arc::clone(&self.app);
            async move {
                let serves = !gateway.is_empty();
                calls.serve(gateway, shutdown.clone()).await;
                let ended = serves && !shutdown.is_cancelled();
                app.ready.gateway_ended.store(ended, Ordering::SeqCst);
            }
        });
        let (router, watching) = (self.router(), self.watching_router());
        let servers = listeners
            .into_iter()
            .map(|listener| {
                let router = match listener {
                    Listener::Watching(_) => watching.clone(),
                    Listener::Unix(_) | Listener::Tcp(_) | Listener::Tls(..) => router.clone(),
                };
                tokio::spawn(server::serve(listener, router, shutdown.clone()))
            })
            .collect::<Vec<_>>();
        shutdown.cancelled().await;
        self.app.shutdown.cancel();
        // No kept call is begun any more.
        self.stop_background.cancel();
        for server in servers {
            if let Err(error) = server.await {
                warn!(%error, "a server ended badly");
            }
        }
        if let Err(error) = gateway.await {
            warn!(%error, "the gateway ended badly");
        }
        self.app.sessions.close();
        if tokio::time::timeout(SESSIONS_GRACE, self.app.sessions.wait())
            .await
            .is_err()
        {
            warn!(left = self.app.sessions.len(), "sessions did not end in time");
        }
        self.background.close();
        // Kept calls that run on are tried again after the next start.
        if tokio::time::timeout(SESSIONS_GRACE, self.background.wait())
            .await
            .is_err()
        {
            warn!(
                left = self.background.len(),
                "kept calls are broken off; they are tried again"
            );
        }
        // Their machines are removed, unless that takes too long; the next start does it then.
        self.app.tasks.close();
        if tokio::time::timeout(SESSIONS_GRACE, self.app.tasks.wait())
            .await
            .is_err()
        {
            warn!(left = self.app.tasks.len(), "builds of templates are broken off");
        }
        plane.close().await;
        self.app.write_runs().await;
        // They did not bring us down: these tries do not count.
        if let Err(error) = self.app.store.give_back_invocations(time::now_unix_ms()).await {
            warn!(%error, "the tries of kept calls that are broken off count");
        }
        self.stop_observer.cancel();
        if let Err(error) = self.observer.await {
            warn!(%error, "the observer ended badly");
        }
        self.app.store.close().await;
    }
}

/// Makes the key that a new host begins with.
async fn first_key(app: &App) -> Result<Option<String>, OpenError> {
    let key = key::make(ProjectId::DEFAULT, FIRST_KEY.to_owned(), Role::Admin, None)?;
    let made = app.store.insert_first_key(&key.row).await?;
    Ok(made.then_some(key.token))
}
