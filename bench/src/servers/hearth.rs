//! The gateway alone, on one thread, in a process of its own: this program, called with [`GATEWAY_COMMAND`].

use std::{collections::BTreeMap, net::SocketAddr, process::Command, sync::Arc, time::Duration};

use anyhow::Context as _;
use async_trait::async_trait;
use hearth_coord::{EmbeddedQueue, EmbeddedRegistry, Instance, InstanceKey, InstanceRegistry as _};
use hearth_domain::{Contract, FunctionSpec, ScaleRule, Traffic};
use hearth_gateway::{
    AsyncCall, AsyncInvocations, CallObserver, CallRecord, Denied, Gateway, GatewayConfig, GatewayListener,
    GatewayParts, InstanceHost, KeyCheck, NoSandboxes, NodeRoom, NotAccepted, RateLimit, RetireReason, Route,
    RouteTable, VersionFacts,
};
use hearth_ids::{FunctionId, InvocationId, MachineId, ProjectId};
use tokio_util::sync::CancellationToken;

use super::{Server, free_address};

/// The first argument that makes this program a gateway.
pub(crate) const GATEWAY_COMMAND: &str = "serve-gateway";
/// What leads to the function.
pub(crate) const PATH: &str = "/fn/bench/f";
const TTL: Duration = Duration::from_hours(24);

/// Passes everything below [`PATH`] on.
pub(crate) fn proxy(to: SocketAddr) -> anyhow::Result<Server> {
    let address = free_address()?;
    let this = std::env::current_exe().context("cannot find this program")?;
    let arguments = [GATEWAY_COMMAND.to_owned(), address.to_string(), to.to_string()];
    Server::start(Command::new(this).args(arguments), address)
}

/// Is the gateway, until it is killed.
pub(crate) fn run_gateway(listen: &str, to: &str) -> anyhow::Result<()> {
    let (listen, to): (SocketAddr, SocketAddr) = (listen.parse()?, to.parse()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let registry = Arc::new(EmbeddedRegistry::new());
        let nobody = Arc::new(Nobody);
        let parts = GatewayParts {
            registry: registry.clone(),
            queue: Arc::new(EmbeddedQueue::new(1)),
            keys: nobody.clone(),
            invocations: nobody.clone(),
            hosts: nobody.clone(),
            nodes: nobody.clone(),
            rates: nobody.clone(),
            observer: nobody,
            sandboxes: Arc::new(NoSandboxes),
        };
        let gateway = Gateway::new(GatewayConfig::default(), parts);
        let route = route("f");
        let function = route.function.id;
        gateway.set_routes(RouteTable::new("localhost", vec![route]));
        let instance = Instance {
            key: InstanceKey {
                function,
                machine: MachineId::new(),
            },
            worker_ip: to.ip(),
            proxy_port: to.port(),
            internal_vm_ip: to.ip(),
            version: 1,
            worker_id: "bench".to_owned(),
        };
        let lease = registry.grant(TTL).await?;
        registry.register(lease, instance).await?;
        let listener = tokio::net::TcpListener::bind(listen).await?;
        let listeners = vec![GatewayListener { listener, tls: None }];
        gateway.serve(listeners, CancellationToken::new()).await;
        Ok(())
    })
}

/// A public function of project `bench`.
pub(crate) fn route(name: &str) -> Route {
    let facts = VersionFacts {
        contract: Contract::Http { port: 8080 },
        timeout_ms: 60_000,
        cpu: 1,
        memory_mb: 128,
    };
    #[expect(clippy::expect_used, reason = "names of benchmarks are names")]
    let name = name.parse().expect("a name");
    Route {
        function: FunctionSpec {
            id: FunctionId::new(),
            project: ProjectId::DEFAULT,
            name,
            public: true,
            scale: ScaleRule {
                min: 0,
                max: 1,
                concurrency: 1000,
                idle_ms: 3_600_000,
            },
        },
        project_name: "bench".to_owned(),
        live: Some(Traffic::all_to(1)),
        aliases: BTreeMap::new(),
        versions: BTreeMap::from([(1, facts)]),
    }
}

/// Whom the gateway never asks here.
struct Nobody;

#[async_trait]
impl KeyCheck for Nobody {
    async fn check(&self, _: &str, _: ProjectId, _: FunctionId) -> Result<(), Denied> {
        Err(Denied::Unknown)
    }
}

#[async_trait]
impl AsyncInvocations for Nobody {
    async fn accept(&self, _: AsyncCall) -> Result<InvocationId, NotAccepted> {
        Err(NotAccepted::Full)
    }
}

#[async_trait]
impl InstanceHost for Nobody {
    async fn retire(&self, _: InstanceKey, _: RetireReason) {}
}

impl RateLimit for Nobody {
    fn take(&self, _: ProjectId) -> Result<(), Duration> {
        Ok(())
    }
}

impl NodeRoom for Nobody {}

impl CallObserver for Nobody {
    fn finished(&self, _: CallRecord) {}
}
