//! A gateway on a port of its own, with what it needs.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};

use hearth_coord::{
    Claim, EmbeddedQueue, EmbeddedRegistry, Instance, InstanceKey, InstanceRegistry as _, LeaseId, ProvisionQueue as _,
};
use hearth_domain::{Contract, FunctionSpec, ScaleRule, Traffic};
use hearth_gateway::{
    Gateway, GatewayConfig, GatewayListener, GatewayParts, NoSandboxes, Route, RouteTable, Sandboxes, VersionFacts,
};
use hearth_ids::{FunctionId, MachineId, ProjectId};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    client::Client,
    doubles::{Places, Told, told},
    instance::FakeInstance,
};

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(20);
const TTL: Duration = Duration::from_hours(1);

pub(crate) struct World {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) registry: Arc<EmbeddedRegistry>,
    pub(crate) queue: Arc<EmbeddedQueue>,
    pub(crate) nodes: Arc<Places>,
    pub(crate) told: Arc<Told>,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: JoinHandle<()>,
    lease: LeaseId,
}

impl World {
    pub(crate) async fn new(routes: Vec<Route>) -> Self {
        Self::with(GatewayConfig::default(), routes).await
    }

    pub(crate) async fn with(config: GatewayConfig, routes: Vec<Route>) -> Self {
        Self::of(config, routes, Arc::new(NoSandboxes)).await
    }

    pub(crate) async fn of(config: GatewayConfig, routes: Vec<Route>, sandboxes: Arc<dyn Sandboxes>) -> Self {
        let (registry, queue, told) = (
            Arc::new(EmbeddedRegistry::new()),
            Arc::new(EmbeddedQueue::new(10_000)),
            told(),
        );
        let nodes = Arc::new(Places {
            free: watch::Sender::new(None),
            asked: AtomicU32::default(),
            queue: queue.clone(),
        });
        let parts = GatewayParts {
            registry: registry.clone(),
            queue: queue.clone(),
            keys: told.clone(),
            invocations: told.clone(),
            hosts: told.clone(),
            nodes: nodes.clone(),
            rates: told.clone(),
            observer: told.clone(),
            sandboxes,
        };
        let gateway = Gateway::new(config, parts);
        gateway.set_routes(RouteTable::new("localhost", routes));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = {
            let (gateway, shutdown) = (Arc::clone(&gateway), shutdown.clone());
            let listeners = vec![GatewayListener { listener, tls: None }];
            tokio::spawn(async move { gateway.serve(listeners, shutdown).await })
        };
        let lease = registry.grant(TTL).await.unwrap();
        Self {
            gateway,
            registry,
            queue,
            nodes,
            told,
            address,
            shutdown,
            serving,
            lease,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Enters an instance of the function's version.
    pub(crate) async fn register(&self, function: FunctionId, version: u32, at: SocketAddr) -> InstanceKey {
        let key = InstanceKey {
            function,
            machine: MachineId::new(),
        };
        let instance = Instance {
            key: key.clone(),
            worker_ip: at.ip(),
            proxy_port: at.port(),
            internal_vm_ip: at.ip(),
            version,
            worker_id: "node".to_owned(),
        };
        self.registry.register(self.lease, instance).await.unwrap();
        key
    }

    /// Takes the next wanted instance from the queue, as a node does.
    pub(crate) async fn wanted(&self) -> Claim {
        let taken = timeout(LONG, self.queue.take("node", TTL)).await;
        taken.expect("no instance is wanted").unwrap()
    }

    /// Says how many more instances the node has places for.
    pub(crate) fn has_room(&self, free: u32) {
        self.nodes.free.send_replace(Some(free));
    }

    /// Makes the instance that is wanted next.
    pub(crate) async fn provision(&self, instance: &FakeInstance) -> Claim {
        let claim = self.wanted().await;
        // It takes its place, and is asked for no more.
        self.nodes.free.send_if_modified(|free| match free {
            Some(free) => {
                *free -= 1;
                true
            }
            None => false,
        });
        let version = claim.request.version.unwrap();
        self.register(claim.request.function_id, version, instance.address)
            .await;
        self.queue.done(&claim).await.unwrap();
        claim
    }
}

/// A public function `NAME` in project `acme` with one version that speaks HTTP.
pub(crate) fn route(name: &str) -> Route {
    let facts = VersionFacts {
        contract: Contract::Http { port: 8080 },
        timeout_ms: 10_000,
        cpu: 1,
        memory_mb: 128,
    };
    Route {
        function: FunctionSpec {
            id: FunctionId::new(),
            project: ProjectId::new(),
            name: name.parse().unwrap(),
            public: true,
            scale: ScaleRule {
                min: 0,
                max: 10,
                concurrency: 1000,
                idle_ms: 60_000,
            },
        },
        project_name: "acme".to_owned(),
        live: Some(Traffic::all_to(1)),
        aliases: BTreeMap::new(),
        versions: BTreeMap::from([(1, facts)]),
    }
}
