//! A worker and everything around it.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::BoxStream};
use hearth_coord::{
    EmbeddedQueue, EmbeddedRegistry, Instance, InstanceKey, InstanceRegistry as _, ProvisionQueue as _,
    ProvisionRequest,
};
use hearth_domain::{
    Contract, DriverKind, MachineOwner, MachineSpec, NetworkMode, RecoverPolicy, Resources, RestartPolicy, Workload,
};
use hearth_ids::{FunctionId, MachineId, ProjectId, RequestId, SnapshotId};
use hearth_node_api::{LogChunk, NodeError, NodeService as _, fake::FakeNode};
use hearth_worker::{
    Blueprint, BlueprintError, Blueprints, LogArchive, Outcomes, ProvisionFailure, Worker, WorkerConfig, WorkerParts,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
    time::timeout,
};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);
/// How long programs may take to become ready, where that is not what is tested.
pub(crate) const READY_TIMEOUT: Duration = Duration::from_secs(10);

type Outcome = (RequestId, Result<InstanceKey, ProvisionFailure>);

/// How a version is made.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) words: &'static str,
    pub(crate) contract: Contract,
    pub(crate) port: u16,
}

/// What the worker asks and tells.
#[derive(Default)]
pub(crate) struct Around {
    pub(crate) versions: Mutex<HashMap<(FunctionId, u32), Version>>,
    pub(crate) withdrawn: Mutex<Vec<MachineId>>,
    /// Whether the project may have no more.
    pub(crate) quota_reached: Mutex<bool>,
    /// The template that instances go on from.
    pub(crate) template: Mutex<Option<SnapshotId>>,
    /// The template that the next instance is to be made into.
    pub(crate) wanted_template: Mutex<Option<SnapshotId>>,
    /// What was told of templates: whether they are made; nothing of those that failed.
    pub(crate) templates_told: Mutex<Vec<(SnapshotId, Option<bool>)>>,
    pub(crate) outcomes: watch::Sender<Vec<Outcome>>,
    /// The logs that were archived.
    pub(crate) archived: watch::Sender<Vec<(MachineId, String)>>,
}

pub(crate) struct World {
    pub(crate) node: Arc<FakeNode>,
    pub(crate) queue: Arc<EmbeddedQueue>,
    pub(crate) registry: Arc<EmbeddedRegistry>,
    pub(crate) around: Arc<Around>,
    pub(crate) worker: Worker,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::on(FakeNode::new(), Arc::default(), READY_TIMEOUT).await
    }

    /// On a node and with versions that there may have been before; queue and registry are new, as after a restart.
    pub(crate) async fn on(node: Arc<FakeNode>, around: Arc<Around>, ready_timeout: Duration) -> Self {
        let (queue, registry) = (Arc::new(EmbeddedQueue::new(100)), Arc::new(EmbeddedRegistry::new()));
        let config = WorkerConfig {
            id: "here".into(),
            ip: None,
            provisions_max: 4,
            ready_timeout,
            warm_memory_mib: 1024,
        };
        let parts = WorkerParts {
            node: node.clone(),
            queue: queue.clone(),
            registry: registry.clone(),
            blueprints: around.clone(),
            outcomes: around.clone(),
            archive: around.clone(),
        };
        let worker = Worker::open(config, parts).await.unwrap();
        Self {
            node,
            queue,
            registry,
            around,
            worker,
        }
    }

    /// Ends the worker and opens another in its place.
    pub(crate) async fn restarted(self) -> Self {
        self.worker.close(LONG).await;
        Self::on(self.node, self.around, READY_TIMEOUT).await
    }

    /// A function with one version.
    pub(crate) fn function(&self, words: &'static str, contract: Contract, port: u16) -> FunctionId {
        let function = FunctionId::new();
        let version = Version { words, contract, port };
        self.around.versions.lock().unwrap().insert((function, 1), version);
        function
    }

    /// A function of the contract HTTP whose program listens there.
    pub(crate) fn listening(&self, words: &'static str, listener: &TcpListener) -> FunctionId {
        let port = listener.local_addr().unwrap().port();
        self.function(words, Contract::Http { port }, port)
    }

    /// Asks for an instance.
    pub(crate) async fn ask(&self, function: FunctionId) -> RequestId {
        let request = request(function);
        let id = request.request_id;
        self.queue.push(request).await.unwrap();
        id
    }

    /// How a request ended.
    pub(crate) async fn outcome(&self, id: RequestId) -> Result<InstanceKey, ProvisionFailure> {
        let mut outcomes = self.around.outcomes.subscribe();
        let found = outcomes.wait_for(|all| all.iter().any(|(known, _)| *known == id));
        let all = timeout(LONG, found).await.unwrap().unwrap().clone();
        all.into_iter().find(|(known, _)| *known == id).unwrap().1
    }

    /// An instance that serves.
    pub(crate) async fn instance(&self, function: FunctionId) -> InstanceKey {
        let id = self.ask(function).await;
        self.outcome(id).await.unwrap()
    }

    /// The log of a machine, once it is archived.
    pub(crate) async fn archived(&self, machine: MachineId) -> String {
        let mut archived = self.around.archived.subscribe();
        let found = archived.wait_for(|all| all.iter().any(|(known, _)| *known == machine));
        let all = timeout(LONG, found).await.unwrap().unwrap().clone();
        all.into_iter().find(|(known, _)| *known == machine).unwrap().1
    }

    /// What is registered.
    pub(crate) async fn registered(&self) -> Vec<Instance> {
        self.registry.instances().await.unwrap()
    }

    /// Waits until so many are registered.
    pub(crate) async fn until_registered(&self, count: usize) -> Vec<Instance> {
        until(async || Some(self.registered().await).filter(|all| all.len() == count)).await
    }

    /// Waits until a machine is gone from the node, the registry and the worker.
    pub(crate) async fn until_gone(&self, key: &InstanceKey) {
        until(async || {
            let known = self
                .worker
                .instances(key.function)
                .iter()
                .any(|known| known.machine == key.machine);
            let registered = self.registered().await.iter().any(|known| known.key == *key);
            (!known && !registered && self.node.spec(key.machine).is_none()).then_some(())
        })
        .await;
    }
}

/// Asks until there is an answer.
pub(crate) async fn until<T>(asked: impl AsyncFn() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = asked().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, asking).await.unwrap()
}

pub(crate) fn request(function: FunctionId) -> ProvisionRequest {
    ProvisionRequest {
        request_id: RequestId::new(),
        function_id: function,
        project_id: None,
        cpu: 1,
        memory_mb: 64,
        version: Some(1),
        deadline_unix_ms: None,
        traceparent: None,
    }
}

/// A machine of a function.
pub(crate) fn spec(function: FunctionId, version: u32, words: &str) -> MachineSpec {
    let id = MachineId::new();
    MachineSpec {
        id,
        project: ProjectId::DEFAULT,
        owner: Some(MachineOwner::Function { function, version }),
        name: format!("m-{}", &id.to_string()[20..]).parse().unwrap(),
        image: String::new(),
        image_id: String::new(),
        layers: Vec::new(),
        kernel_id: String::new(),
        resources: Resources {
            vcpus: 1.try_into().unwrap(),
            memory_mib: 64.try_into().unwrap(),
            disk_mib: None,
        },
        workload: Workload {
            cmd: words.split(' ').map(str::to_owned).collect(),
            ..Workload::default()
        },
        network: NetworkMode::Default,
        egress: hearth_domain::EgressRules::default(),
        ports: Vec::new(),
        driver: DriverKind::Fake,
        restart: RestartPolicy::No,
        recover: RecoverPolicy::No,
        stop_timeout_ms: 1,
        auto_remove: false,
        snapshot: None,
        boots: false,
        volumes: Vec::new(),
    }
}

pub(crate) async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// An agent that answers whoever asks whether its runtime is ready.
pub(crate) async fn agent(status: &'static str, body: &'static str) -> SocketAddr {
    let listener = listener().await;
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let _ = stream.read(&mut head).await;
            assert!(head.starts_with(b"GET /_hearth/ready "));
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[async_trait]
impl Blueprints for Around {
    async fn blueprint(&self, function: FunctionId, version: Option<u32>) -> Result<Blueprint, BlueprintError> {
        if *self.quota_reached.lock().unwrap() {
            return Err(BlueprintError::NoRoom(
                "the project has as many machines as it may".into(),
            ));
        }
        let number = version.unwrap_or(1);
        let versions = self.versions.lock().unwrap();
        let version = versions.get(&(function, number)).ok_or(BlueprintError::Gone)?;
        Ok(Blueprint {
            spec: MachineSpec {
                snapshot: *self.template.lock().unwrap(),
                ..spec(function, number, version.words)
            },
            version: number,
            contract: version.contract,
            port: version.port,
            make_template: self.wanted_template.lock().unwrap().take(),
        })
    }

    async fn withdraw(&self, machine: MachineId) {
        self.withdrawn.lock().unwrap().push(machine);
    }

    async fn template_made(&self, template: SnapshotId, made: bool) {
        self.templates_told.lock().unwrap().push((template, Some(made)));
    }

    async fn template_failed(&self, template: SnapshotId) {
        self.templates_told.lock().unwrap().push((template, None));
        *self.template.lock().unwrap() = None;
    }

    async fn make_room(&self) {}

    async fn template(&self, function: FunctionId, version: u32) -> Option<SnapshotId> {
        let there = self.versions.lock().unwrap().contains_key(&(function, version));
        self.template.lock().unwrap().filter(|_| there)
    }

    async fn contract(&self, function: FunctionId, version: u32) -> Option<(Contract, u16)> {
        let version = self.versions.lock().unwrap().get(&(function, version))?.clone();
        assert_ne!(version.words, "panic", "as a program of it wishes");
        Some((version.contract, version.port))
    }
}

impl Outcomes for Around {
    fn provisioned(&self, request: &ProvisionRequest, outcome: Result<InstanceKey, ProvisionFailure>) {
        let id = request.request_id;
        self.outcomes.send_modify(|all| all.push((id, outcome)));
    }
}

#[async_trait]
impl LogArchive for Around {
    async fn archive(
        &self,
        spec: &MachineSpec,
        mut log: BoxStream<'static, Result<LogChunk, NodeError>>,
    ) -> Result<(), io::Error> {
        let mut text = String::new();
        while let Some(Ok(chunk)) = log.next().await {
            text += &String::from_utf8_lossy(&chunk.bytes);
        }
        self.archived.send_modify(|all| all.push((spec.id, text)));
        Ok(())
    }
}
