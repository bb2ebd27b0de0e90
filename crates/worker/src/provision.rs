//! From a request to an instance that serves.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use hearth_coord::{Claim, Instance, InstanceKey, ProvisionRequest};
use hearth_domain::{Contract, MachineSpec};
use hearth_ids::{FunctionId, SnapshotId};
use hearth_node_api::{ErrorKind, NodeError, SnapshotRequest};
use tokio::{sync::mpsc, time::sleep};
use tracing::{Instrument as _, debug, info, info_span, warn};

use crate::{
    Blueprint, BlueprintError, ProvisionFailure, fault, meters,
    ready::{WaitsFor, go_on},
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
        self.note_wanted(request);
        if let Some(key) = self.adopt(request).await {
            return Ok(key);
        }
        if let Some(key) = self.take_warm(request).await {
            return Ok(key);
        }
        self.make_new(request, turn).await
    }

    async fn make_new(
        self: &Arc<Self>,
        request: &ProvisionRequest,
        turn: Turn,
    ) -> Result<InstanceKey, ProvisionFailure> {
        let mut turn = Some(turn);
        let (template, outcome) = self.make_one(request, &mut turn).await;
        let (Some(template), Err(ProvisionFailure::Broken(reason))) = (template, &outcome) else {
            return outcome;
        };
        // Its like would come up no more than it did; a boot may. What only hindered it says nothing of the template.
        warn!(function = %request.function_id, snapshot = %template, reason = hearth_domain::one_line(reason), "no instance came up from its template; booting one");
        self.parts.blueprints.template_failed(template).await;
        self.make_one(request, &mut turn).await.1
    }

    /// Makes an instance, and says what template it went on from.
    async fn make_one(
        self: &Arc<Self>,
        request: &ProvisionRequest,
        turn: &mut Option<Turn>,
    ) -> (Option<SnapshotId>, Result<InstanceKey, ProvisionFailure>) {
        let blueprint = match self.blueprint(request.function_id, request.version).await {
            Ok(blueprint) => blueprint,
            Err(failure) => {
                // Those that wait count as well: but what one project may have is none of the others' business.
                if matches!(failure, ProvisionFailure::NoRoom(_)) {
                    self.make_room_in(request.project_id);
                }
                return (None, Err(failure));
            }
        };
        let template = blueprint.spec.snapshot;
        (template, self.make(request, blueprint, turn).await)
    }

    pub(crate) async fn blueprint(
        &self,
        function: FunctionId,
        version: Option<u32>,
    ) -> Result<Blueprint, ProvisionFailure> {
        let blueprint = self.parts.blueprints.blueprint(function, version).await;
        blueprint.map_err(|error| match error {
            BlueprintError::Gone => ProvisionFailure::Broken(error.to_string()),
            BlueprintError::NoRoom(reason) => ProvisionFailure::NoRoom(reason),
            BlueprintError::Lacking(reason) | BlueprintError::Broken(reason) => ProvisionFailure::Broken(reason),
        })
    }

    /// What is to become of a blueprint, which is known to be on its way from now on.
    pub(crate) fn plan_of(&self, function: FunctionId, blueprint: &Blueprint) -> Plan {
        let (id, version) = (blueprint.spec.id, blueprint.version);
        let key = InstanceKey { function, machine: id };
        self.lock().insert(id, Entry::Starting(key.clone(), version));
        Plan {
            key,
            version,
            contract: blueprint.contract,
            port: blueprint.port,
            new: true,
            template: blueprint.spec.snapshot,
            make_template: blueprint.make_template,
        }
    }

    async fn make(
        self: &Arc<Self>,
        request: &ProvisionRequest,
        blueprint: Blueprint,
        turn: &mut Option<Turn>,
    ) -> Result<InstanceKey, ProvisionFailure> {
        let plan = self.plan_of(request.function_id, &blueprint);
        // Before the node has it on its books, lest it be counted twice.
        self.place(request);
        let outcome = match self.create_and_start(&plan, blueprint.spec).await {
            Ok(()) => self.bring_into_service(&plan, turn.take()).await,
            Err(failure) => {
                if matches!(failure, ProvisionFailure::NoRoom(_)) {
                    self.make_room();
                    self.parts.blueprints.make_room().await;
                }
                Err(failure)
            }
        };
        if outcome.is_err()
            && let Some(template) = plan.make_template
        {
            // It may be made all the same; then this says nothing new.
            self.parts.blueprints.template_made(template, false).await;
        }
        if outcome.is_err() {
            self.give_up(&plan);
        }
        outcome.map(|()| plan.key)
    }

    pub(crate) async fn create_and_start(&self, plan: &Plan, spec: MachineSpec) -> Result<(), ProvisionFailure> {
        let (id, began) = (plan.key.machine, Instant::now());
        if let Err(error) = self.parts.node.create(spec).await {
            self.parts.blueprints.withdraw(id).await;
            return Err(not_made(error));
        }
        fault::point("provision.created");
        if self.is_unwanted(plan).await {
            return Err(ProvisionFailure::Hindered("it is not wanted any more".into()));
        }
        self.parts.node.start(id).await.map_err(not_started)?;
        fault::point("provision.started");
        meters::phase("create", began.elapsed());
        Ok(())
    }

    /// Whether the function, or its version, went while the machine was made, or the instance was ended.
    async fn is_unwanted(&self, plan: &Plan) -> bool {
        !self.is_starting(plan.key.machine)
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
        let (mut instance, waits_for) = self.await_ready(plan, turn).await?;
        self.make_template(plan).await;
        if waits_for == WaitsFor::Snapshot {
            go_on(SocketAddr::new(instance.internal_vm_ip, instance.proxy_port)).await;
            (instance, _) = self.await_ready(plan, None).await?;
        }
        fault::point("provision.ready");
        if plan.new
            && let Some(status) = self.parts.node.status(plan.key.machine)
        {
            meters::ready(&status);
        }
        let began = Instant::now();
        self.enter_service(plan, instance).await?;
        if plan.new {
            meters::phase("register", began.elapsed());
        }
        Ok(())
    }

    /// Registers an instance that can be called.
    pub(crate) async fn enter_service(
        self: &Arc<Self>,
        plan: &Plan,
        instance: Instance,
    ) -> Result<(), ProvisionFailure> {
        let id = plan.key.machine;
        {
            let mut instances = self.lock();
            // Retired meanwhile, or its machine ended.
            if !matches!(instances.get(&id), Some(Entry::Starting(..))) {
                return Err(ProvisionFailure::Hindered("it was ended before it was ready".into()));
            }
            instances.insert(id, Entry::Serving(instance.clone()));
        }
        info!(function = %plan.key.function, version = plan.version, machine = %id, "instance serves");
        self.register(instance)
            .await
            .map_err(|error| ProvisionFailure::Hindered(format!("it cannot be registered: {error}")))?;
        fault::point("provision.registered");
        // It may have ended before it was known to serve, and so unheard.
        if self.has_ended(id) {
            self.machine_ended(id);
            return Err(ProvisionFailure::Broken(
                "its machine ended as soon as it was ready".into(),
            ));
        }
        Ok(())
    }

    /// Makes a template of an instance that is ready and was not called yet. It serves whether or not that works.
    async fn make_template(&self, plan: &Plan) {
        let Some(template) = plan.make_template else { return };
        let began = Instant::now();
        let request = SnapshotRequest {
            id: template,
            machine: plan.key.machine,
            memory: true,
        };
        let made = self.parts.node.snapshot(request).await;
        fault::point("template.made");
        if let Err(error) = &made {
            warn!(function = %plan.key.function, version = plan.version, %error, "cannot make a template; instances boot");
        } else {
            meters::phase("template", began.elapsed());
        }
        self.parts.blueprints.template_made(template, made.is_ok()).await;
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
    /// The template that it went on from.
    pub(crate) template: Option<SnapshotId>,
    /// The template that is to be made of it.
    pub(crate) make_template: Option<SnapshotId>,
}

fn not_made(error: NodeError) -> ProvisionFailure {
    match error.kind {
        // What it was to be made of is gone, or of no use here.
        ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::InvalidInput => {
            ProvisionFailure::Broken(format!("its machine cannot be made: {}", error.message))
        }
        _ => not_started(error),
    }
}

/// A start is refused before anything of the machine is looked at.
fn not_started(error: NodeError) -> ProvisionFailure {
    match error.kind {
        ErrorKind::NoCapacity => ProvisionFailure::NoRoom(error.message),
        _ => ProvisionFailure::Hindered(format!("its machine cannot be made: {}", error.message)),
    }
}
