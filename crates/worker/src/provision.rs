//! From a request to an instance that serves.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures::StreamExt as _;
use hearth_coord::{Claim, Instance, InstanceKey, ProvisionRequest};
use hearth_domain::{Contract, MachineState};
use hearth_ids::MachineId;
use hearth_node_api::{ErrorKind, LogQuery, NodeError};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tracing::{Instrument as _, debug, info, info_span, warn};

use crate::{
    BlueprintError, ProvisionFailure, fault, meters,
    ready::{Refusal, ready},
    spans,
    turns::{Turns, Whose},
    worker::{Entry, Inner, unix_now_ms},
};

/// After that a request is another worker's: longer than a boot and an initialisation may take together.
const VISIBILITY: Duration = Duration::from_mins(10);
/// The wait after a queue that could not be reached.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How often to look for overdue claims where so many wait that no more are taken.
const OVERDUE_LOOK: Duration = Duration::from_secs(1);
/// How much of what a program wrote is told when it failed to start.
const LAST_WORDS_LINES: u64 = 8;
const LAST_WORDS_CHARS: usize = 1000;
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

impl Inner {
    /// Serves the queue until told to stop: as many requests at a time as there is room for.
    pub(crate) async fn serve_queue(self: Arc<Self>) {
        let mut turns = Turns::new(self.config.provisions_max);
        let (done, mut ended) = mpsc::channel(self.config.provisions_max.max(1));
        loop {
            self.drop_overdue(turns.overdue(unix_now_ms()));
            while let Some(claim) = turns.next() {
                self.begin(claim, done.clone());
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                Some(whose) = ended.recv() => turns.ended(whose),
                () = sleep(OVERDUE_LOOK), if !turns.has_room() => {}
                taken = self.parts.queue.take(&self.config.id, VISIBILITY), if turns.has_room() => match taken {
                    Ok(claim) => {
                        fault::point("provision.taken");
                        turns.came(claim);
                    }
                    Err(error) => {
                        warn!(%error, "cannot take from the provision queue; trying again");
                        sleep(RETRY_PAUSE).await;
                    }
                },
            }
        }
    }

    fn begin(self: &Arc<Self>, claim: Claim, done: mpsc::Sender<Whose>) {
        let inner = Arc::clone(self);
        let request = &claim.request;
        let span = info_span!("provision", request = %request.request_id, function = %request.function_id);
        let whose = Whose::of(request);
        let turn = Turn { whose, done };
        self.tasks
            .spawn(async move { inner.serve(claim, turn).await }.instrument(span));
    }

    /// Says of claims that nobody waits for that they are done with. Whoever asked has given up by itself.
    fn drop_overdue(self: &Arc<Self>, overdue: VecDeque<Claim>) {
        if overdue.is_empty() {
            return;
        }
        let inner = Arc::clone(self);
        self.tasks.spawn(async move {
            for claim in overdue {
                debug!(request = %claim.request.request_id, function = %claim.request.function_id, "nobody waits for this instance any more");
                inner.say_done(&claim).await;
            }
        });
    }

    async fn say_done(&self, claim: &Claim) {
        if let Err(error) = self.parts.queue.done(claim).await {
            warn!(%error, "cannot say that a request is served");
        }
    }

    async fn serve(self: &Arc<Self>, claim: Claim, turn: Turn) {
        let request = &claim.request;
        let taken = SystemTime::now();
        let placed = self.forgetting_placed(request);
        meters::taken(request);
        let outcome = self.provision(request, turn).await;
        meters::ended(request, &outcome);
        spans::provisioned(&*self.parts.node, request, taken, &outcome);
        if let Err(failure) = &outcome {
            warn!(function = %request.function_id, version = request.version, failure = %hearth_domain::one_line(failure), "no instance");
        }
        self.say_done(&claim).await;
        drop(placed);
        self.parts.outcomes.provisioned(request, outcome);
    }

    async fn provision(
        self: &Arc<Self>,
        request: &ProvisionRequest,
        turn: Turn,
    ) -> Result<InstanceKey, ProvisionFailure> {
        if let Some(key) = self.adopt(request).await {
            return Ok(key);
        }
        let blueprint = self
            .parts
            .blueprints
            .blueprint(request.function_id, request.version)
            .await
            .map_err(|error| match error {
                BlueprintError::Gone => ProvisionFailure::Broken(error.to_string()),
                BlueprintError::NoRoom(reason) => ProvisionFailure::NoRoom(reason),
                BlueprintError::Broken(reason) => ProvisionFailure::Broken(reason),
            })?;
        let id = blueprint.spec.id;
        let key = InstanceKey {
            function: request.function_id,
            machine: id,
        };
        self.lock().insert(id, Entry::Starting(key.clone(), blueprint.version));
        let plan = Plan {
            key: key.clone(),
            version: blueprint.version,
            contract: blueprint.contract,
            port: blueprint.port,
            new: true,
        };
        let began = Instant::now();
        // Before the node has it on its books, lest it be counted twice.
        self.place(request);
        let made = async {
            if let Err(error) = self.parts.node.create(blueprint.spec).await {
                self.parts.blueprints.withdraw(id).await;
                return Err(error);
            }
            fault::point("provision.created");
            if self.is_unwanted(&plan).await {
                return Err(NodeError::new(ErrorKind::Conflict, "it is not wanted any more"));
            }
            self.parts.node.start(id).await?;
            fault::point("provision.started");
            meters::phase("create", began.elapsed());
            Ok(())
        };
        let outcome = match made.await {
            Ok(()) => self.bring_into_service(&plan, Some(turn)).await,
            Err(error) => Err(failure_of(error)),
        };
        if outcome.is_err() {
            self.give_up(&plan);
        }
        outcome.map(|()| key)
    }

    /// Whether the function, or its version, went while the machine was made, or the instance was ended.
    async fn is_unwanted(&self, plan: &Plan) -> bool {
        let starting = matches!(self.lock().get(&plan.key.machine), Some(Entry::Starting(..)));
        !starting
            || self
                .parts
                .blueprints
                .contract(plan.key.function, plan.version)
                .await
                .is_none()
    }

    /// Ends an instance that did not come to serve. Whoever ended it before may have found no machine yet.
    fn give_up(self: &Arc<Self>, plan: &Plan) {
        let (id, key) = (plan.key.machine, plan.key.clone());
        self.lock()
            .entry(id)
            .or_insert_with(|| Entry::Starting(key.clone(), plan.version));
        self.retire(key);
    }

    /// Waits until an instance can be called, and registers it. The turn in which it is made, if it is, is over before.
    pub(crate) async fn bring_into_service(
        self: &Arc<Self>,
        plan: &Plan,
        turn: Option<Turn>,
    ) -> Result<(), ProvisionFailure> {
        let instance = self.await_ready(plan, turn).await?;
        fault::point("provision.ready");
        let id = plan.key.machine;
        if plan.new
            && let Some(status) = self.parts.node.status(id)
        {
            meters::ready(&status);
        }
        let began = Instant::now();
        {
            let mut instances = self.lock();
            // Retired meanwhile, or its machine ended.
            if !matches!(instances.get(&id), Some(Entry::Starting(..))) {
                return Err(ProvisionFailure::Broken("it was ended before it was ready".into()));
            }
            instances.insert(id, Entry::Serving(instance.clone()));
        }
        info!(function = %plan.key.function, version = plan.version, machine = %id, "instance serves");
        self.register(instance)
            .await
            .map_err(|error| ProvisionFailure::Broken(format!("it cannot be registered: {error}")))?;
        fault::point("provision.registered");
        // It may have ended before it was known to serve, and so unheard.
        if self.has_ended(id) {
            self.machine_ended(id);
            return Err(ProvisionFailure::Broken(
                "its machine ended as soon as it was ready".into(),
            ));
        }
        if plan.new {
            meters::phase("register", began.elapsed());
        }
        Ok(())
    }

    async fn await_ready(&self, plan: &Plan, turn: Option<Turn>) -> Result<Instance, ProvisionFailure> {
        let id = plan.key.machine;
        let broken = |reason: String| ProvisionFailure::Broken(reason);
        let mut status = self
            .parts
            .node
            .watch(id)
            .ok_or_else(|| broken("its machine was removed".into()))?;
        let up = status
            .wait_for(|status| status.state == MachineState::Running || status.state.is_at_rest())
            .await
            .map_err(|_| broken("its machine was removed".into()))?
            .clone();
        // A turn is for what costs the host something. The program may be as slow as it likes to be ready, and has no part in
        // how long its machine takes to boot.
        drop(turn);
        if up.state != MachineState::Running {
            return Err(broken(self.ending(id, &up.state).await));
        }
        let address = up.address.as_deref().and_then(|address| address.parse().ok());
        let ip = address.ok_or_else(|| broken("its machine has no address".into()))?;
        let ended = async {
            let ended = status.wait_for(|status| status.state.is_at_rest()).await;
            ended.map_or(MachineState::Destroyed, |status| status.state.clone())
        };
        let address = SocketAddr::new(ip, plan.port);
        let asked = tokio::select! {
            asked = timeout(self.config.ready_timeout, ready(address, plan.contract)) => Ok(asked),
            state = ended => Err(state),
        };
        let asked = match asked {
            Ok(asked) => asked,
            Err(state) => return Err(broken(self.ending(id, &state).await)),
        };
        match asked {
            Ok(Ok(())) => Ok(Instance {
                key: plan.key.clone(),
                worker_ip: self.config.ip.unwrap_or(ip),
                proxy_port: plan.port,
                internal_vm_ip: ip,
                version: plan.version,
                worker_id: self.config.id.clone(),
            }),
            Ok(Err(Refusal { reason, ended: false })) => Err(broken(reason)),
            Ok(Err(Refusal { reason, ended: true })) => {
                // All that it wrote has been read when its machine is at rest.
                let _ = timeout(LAST_WORDS_TIMEOUT, status.wait_for(|status| status.state.is_at_rest())).await;
                Err(broken(format!("{reason}{}", self.last_words(id).await)))
            }
            Err(_) => Err(broken(self.silent(plan).await)),
        }
    }

    async fn silent(&self, plan: &Plan) -> String {
        let seconds = self.config.ready_timeout.as_secs();
        let what = match plan.contract {
            Contract::Http { port } => format!("nothing listens on its port {port} (the one that $PORT names)"),
            Contract::Lambda => "its runtime has not asked for an event".into(),
        };
        format!(
            "{what} {seconds} s after its start{}",
            self.last_words(plan.key.machine).await
        )
    }

    /// How a machine ended that was to serve, for the function's owner.
    async fn ending(&self, id: MachineId, state: &MachineState) -> String {
        let what = match state {
            MachineState::Stopped { exit } if exit.oom_killed => {
                "its program ran out of memory before it was ready".into()
            }
            MachineState::Stopped { exit } => format!("its program ended with code {} before it was ready", exit.code),
            MachineState::Failed { reason } => return format!("its machine failed: {reason}"),
            _ => return "its machine was removed before it was ready".into(),
        };
        format!("{what}{}", self.last_words(id).await)
    }

    async fn last_words(&self, id: MachineId) -> String {
        let query = LogQuery {
            tail: Some(LAST_WORDS_LINES),
            ..LogQuery::default()
        };
        let read = async {
            let mut log = self.parts.node.logs(id, query).await.ok()?;
            let mut text = String::new();
            while let Some(Ok(chunk)) = log.next().await {
                text.push_str(&String::from_utf8_lossy(&chunk.bytes));
            }
            Some(text)
        };
        let text = timeout(LAST_WORDS_TIMEOUT, read)
            .await
            .ok()
            .flatten()
            .unwrap_or_default();
        let text = text.trim();
        if text.is_empty() {
            return "; it wrote nothing".into();
        }
        let skip = text.chars().count().saturating_sub(LAST_WORDS_CHARS);
        format!("; its last words:\n{}", text.chars().skip(skip).collect::<String>())
    }
}

/// A request's turn, which ends when it is dropped: also where whoever serves it panics, so that others have theirs.
pub(crate) struct Turn {
    whose: Whose,
    done: mpsc::Sender<Whose>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // There is room for as many as have a turn. Nobody counts any more when we go down.
        let _ = self.done.try_send(self.whose);
    }
}

/// An instance that is to serve.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) key: InstanceKey,
    pub(crate) version: u32,
    pub(crate) contract: Contract,
    pub(crate) port: u16,
    /// Whether it is just being made, and not taken up.
    pub(crate) new: bool,
}

fn failure_of(error: NodeError) -> ProvisionFailure {
    match error.kind {
        ErrorKind::NoCapacity => ProvisionFailure::NoRoom(error.message),
        _ => ProvisionFailure::Broken(format!("its machine cannot be made: {}", error.message)),
    }
}
