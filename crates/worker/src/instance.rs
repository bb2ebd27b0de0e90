//! Instances that are there: taking them up after a restart, seeing them end, ending them.

use std::{
    collections::HashMap,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use hearth_coord::{InstanceKey, ProvisionRequest};
use hearth_domain::{MachineSpec, StateWord, TIMEOUT_MAX_MS};
use hearth_ids::{FunctionId, MachineId};
use hearth_node_api::{LogQuery, NodeEvent};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinHandle,
    time::{Instant, sleep},
};
use tracing::{info, warn};

use crate::{
    fault,
    provision::Plan,
    worker::{Entry, Inner},
};

/// The first waits between tries to end an instance, and all further ones.
const RETRY_PAUSES: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
];
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often it is looked whether an instance of before serves.
const ADOPTION_LOOK: Duration = Duration::from_millis(20);
/// How often instances are looked for whose version is gone.
const ORPHAN_LOOK: Duration = Duration::from_secs(30);
/// Longer than any call may take.
const ORPHAN_AGE: Duration = Duration::from_millis(TIMEOUT_MAX_MS + 60_000);

/// Tasks that take up instances of before.
#[derive(Default)]
pub(crate) struct TakenUp(Vec<JoinHandle<()>>);

impl TakenUp {
    /// Waits for all of them.
    pub(crate) async fn join_all(self) {
        for task in self.0 {
            if let Err(error) = task.await {
                warn!(%error, "taking up an instance broke off");
            }
        }
    }
}

impl Inner {
    /// Takes up what the node has: instances of a process before this one, and what that one was about to make or end.
    /// Gives the tasks that do so. They go on if nobody waits for them.
    pub(crate) async fn take_up(self: &Arc<Self>) -> TakenUp {
        let mut taken_up = TakenUp::default();
        for spec in self.parts.node.machines() {
            let Some((key, version)) = instance_of(&spec) else {
                continue;
            };
            if self.lock().contains_key(&spec.id) {
                continue;
            }
            let rests = self
                .parts
                .node
                .status(spec.id)
                .is_none_or(|status| status.state.is_at_rest() || status.sequence == 0);
            let contract = self.parts.blueprints.contract(key.function, version).await;
            self.lock().insert(spec.id, Entry::Starting(key.clone(), version));
            match contract {
                Some((contract, port)) if !rests => {
                    let plan = Plan {
                        key,
                        version,
                        contract,
                        port,
                        new: false,
                        template: spec.snapshot,
                        make_template: None,
                    };
                    let status = self.parts.node.status(spec.id);
                    if status.is_some_and(|status| status.state.word() == StateWord::Paused) {
                        if let Some(plan) = self.take_up_warm(plan) {
                            self.retire(plan.key);
                        }
                        continue;
                    }
                    self.note_found(&plan);
                    let inner = Arc::clone(self);
                    taken_up
                        .0
                        .push(self.tasks.spawn(async move { inner.take_up_one(plan).await }));
                }
                _ => self.retire(key),
            }
        }
        taken_up
    }

    /// An instance of before that is on its way, for whoever wants one more of this version, once it serves. None if there
    /// is none, or it does not come to serve.
    pub(crate) async fn adopt(&self, request: &ProvisionRequest) -> Option<InstanceKey> {
        let key = self.next_found(request.function_id, request.version?)?;
        self.place(request);
        loop {
            match self.lock().get(&key.machine) {
                Some(Entry::Serving(_)) => return Some(key),
                Some(Entry::Starting(..)) => {}
                Some(Entry::Ending(..) | Entry::Warm(..)) | None => return None,
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return None,
                () = sleep(ADOPTION_LOOK) => {}
            }
        }
    }

    fn note_found(&self, plan: &Plan) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.push((plan.key.clone(), plan.version));
    }

    /// Those of before that are on their way still. Those that serve are known to whoever calls them.
    fn still_found(&self) -> MutexGuard<'_, Vec<(InstanceKey, u32)>> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.retain(|(key, _)| matches!(self.lock().get(&key.machine), Some(Entry::Starting(..))));
        found
    }

    fn next_found(&self, function: FunctionId, version: u32) -> Option<InstanceKey> {
        let mut found = self.still_found();
        let wanted = |(key, its): &(InstanceKey, u32)| key.function == function && *its == version;
        let place = found.iter().position(wanted)?;
        Some(found.swap_remove(place).0)
    }

    pub(crate) fn count_found(&self, function: FunctionId, version: u32) -> u32 {
        let found = self.still_found();
        let wanted = found
            .iter()
            .filter(|(key, its)| key.function == function && *its == version);
        u32::try_from(wanted.count()).unwrap_or(u32::MAX)
    }

    async fn take_up_one(self: Arc<Self>, plan: Plan) {
        if let Err(failure) = self.bring_into_service(&plan, None).await {
            warn!(machine = %plan.key.machine, failure = %hearth_domain::one_line(failure), "an instance of before cannot be taken up");
            self.retire(plan.key);
        }
    }

    /// Ends instances whose machines came to rest by themselves.
    pub(crate) async fn watch_machines(self: Arc<Self>, mut events: Receiver<NodeEvent>) {
        loop {
            let event = tokio::select! {
                () = self.shutdown.cancelled() => return,
                event = events.recv() => event,
            };
            match event {
                Ok(event) if event.state.is_at_rest() => self.machine_ended(event.machine),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => self.look_for_ended(),
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Those that are on their way are seen to by whoever waits for them.
    pub(crate) fn machine_ended(self: &Arc<Self>, id: MachineId) {
        let serving = match self.lock().get(&id) {
            Some(Entry::Serving(instance)) => Some(instance.key.clone()),
            _ => None,
        };
        if let Some(key) = serving {
            info!(machine = %id, "the machine of an instance ended");
            self.retire(key);
        }
    }

    fn look_for_ended(self: &Arc<Self>) {
        for instance in self.serving() {
            let id = instance.key.machine;
            if self.has_ended(id) {
                self.machine_ended(id);
            }
        }
    }

    /// Whether a machine is at rest, or gone.
    pub(crate) fn has_ended(&self, id: MachineId) -> bool {
        let status = self.parts.node.status(id);
        status.is_none_or(|status| status.state.is_at_rest())
    }

    pub(crate) fn retire(self: &Arc<Self>, key: InstanceKey) {
        {
            let mut instances = self.lock();
            match instances.get_mut(&key.machine) {
                // Not ours, gone, or on its way out.
                Some(Entry::Ending(..)) | None => return,
                Some(entry) => *entry = Entry::Ending(key.clone(), entry.version()),
            }
        }
        let inner = Arc::clone(self);
        self.tasks.spawn(async move { inner.end(key).await });
    }

    pub(crate) fn retire_starting(self: &Arc<Self>, function: FunctionId, version: Option<u32>) {
        let starting: Vec<InstanceKey> = {
            let instances = self.lock();
            let wanted = instances.values().filter(|entry| {
                matches!(entry, Entry::Starting(..) | Entry::Warm(..))
                    && entry.key().function == function
                    && version.is_none_or(|version| version == entry.version())
            });
            wanted.map(|entry| entry.key().clone()).collect()
        };
        for key in starting {
            self.retire(key);
        }
    }

    /// Takes an instance out of service and removes its machine. What fails is tried again; what is left when we go down
    /// is taken up at the next start.
    async fn end(self: Arc<Self>, key: InstanceKey) {
        let id = key.machine;
        let mut pauses = RETRY_PAUSES.into_iter();
        loop {
            if let Err(error) = self.try_end(&key).await {
                warn!(machine = %id, error, "cannot end an instance; trying again");
                tokio::select! {
                    () = self.shutdown.cancelled() => return,
                    () = sleep(pauses.next().unwrap_or(RETRY_PAUSE_MAX)) => {}
                }
                continue;
            }
            let known = self.lock().remove(&id);
            // It may have been made just while we saw nothing to end.
            match known.filter(|_| self.parts.node.spec(id).is_some()) {
                None => break,
                Some(entry) => self.lock().insert(id, entry),
            };
        }
        info!(function = %key.function, machine = %id, "instance ended");
    }

    /// Ends instances that nobody calls any more since their version is gone, and that the gateway does not know of: it
    /// ends those that it knows. Their last calls have ended after this time in any case.
    pub(crate) async fn end_orphans(self: Arc<Self>) {
        let mut gone: HashMap<MachineId, Instant> = HashMap::new();
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = sleep(ORPHAN_LOOK) => {}
            }
            let mut still = HashMap::new();
            for instance in self.serving() {
                let contract = self
                    .parts
                    .blueprints
                    .contract(instance.key.function, instance.version)
                    .await;
                if contract.is_some() {
                    continue;
                }
                let since = gone.get(&instance.key.machine).copied().unwrap_or_else(Instant::now);
                still.insert(instance.key.machine, since);
                if since.elapsed() > ORPHAN_AGE {
                    info!(machine = %instance.key.machine, "nobody calls this instance any more");
                    self.retire(instance.key);
                }
            }
            gone = still;
        }
    }

    async fn try_end(&self, key: &InstanceKey) -> Result<(), String> {
        let id = key.machine;
        let node = &self.parts.node;
        self.deregister(key).await.map_err(|error| error.to_string())?;
        fault::point("retire.deregistered");
        let Some(spec) = node.spec(id) else {
            return Ok(());
        };
        node.stop(id, None).await.map_err(|error| error.to_string())?;
        fault::point("retire.stopped");
        // A log that cannot be kept keeps no machine.
        match node.logs(id, LogQuery::default()).await {
            Ok(log) => {
                if let Err(error) = self.parts.archive.archive(&spec, log).await {
                    warn!(machine = %id, %error, "cannot keep the log of an instance");
                }
            }
            Err(error) => warn!(machine = %id, %error, "cannot read the log of an instance"),
        }
        fault::point("retire.archived");
        node.remove(id, true).await.map_err(|error| error.to_string())
    }
}

/// What a machine is an instance of, if it is one.
pub(crate) fn instance_of(spec: &MachineSpec) -> Option<(InstanceKey, u32)> {
    let (function, version) = spec.owner.as_ref()?.function()?;
    let key = InstanceKey {
        function,
        machine: spec.id,
    };
    Some((key, version))
}
