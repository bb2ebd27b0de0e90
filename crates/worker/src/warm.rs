//! Instances that wait, restored and paused: whoever wants one has it as soon as its vCPUs go on.
//!
//! How many wait is the pool's to say ([`WarmPool`]). What becomes of one that was taken out is whoever took it's to see to: it
//! serves, or it is ended.
//!
//! One that waits is what an instance made now would be: it went on from the template from which that one would. When
//! something changes that instances are made of, such as a secret, the kernel or the agent, there is another template or none,
//! and those that wait are ended. They are looked at when they are wanted, and now and then.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hearth_coord::{InstanceKey, ProvisionRequest};
use hearth_domain::{StateWord, WarmPool};
use hearth_ids::{FunctionId, ProjectId, SnapshotId};
use hearth_node_api::PauseMode;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::{
    ProvisionFailure, fault, meters,
    provision::Plan,
    worker::{Entry, Inner},
};

/// How often it is looked how many should wait.
const LOOK: Duration = Duration::from_secs(1);
/// For so long it is known whose project a version is that was wanted: longer than the pool has another made for it.
const REMEMBERED: Duration = Duration::from_mins(15);

type Version = (FunctionId, u32);

/// Those that wait, and whose projects' those are that will be wanted.
#[derive(Debug, Default)]
pub(crate) struct Warm {
    pool: WarmPool<Version, Plan>,
    /// Of versions that were wanted lately, and when that was.
    projects: HashMap<Version, (ProjectId, Instant)>,
}

/// For each version of which some waited, the template from which instances go on now.
type Templates = HashMap<Version, Option<SnapshotId>>;

impl Plan {
    /// Whether an instance that was made so is as one made now, of this template.
    fn is_as_of(&self, template: Option<SnapshotId>) -> bool {
        self.template.is_some() && self.template == template
    }
}

impl Inner {
    fn warm(&self) -> MutexGuard<'_, Warm> {
        self.warm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an instance is wanted.
    pub(crate) fn note_wanted(&self, request: &ProvisionRequest) {
        let (Some(version), true) = (request.version, self.config.warm_memory_mib > 0) else {
            return;
        };
        let key = (request.function_id, version);
        let mut warm = self.warm();
        warm.pool.note_wanted(key, request.memory_mb.into(), self.since_start());
        if let Some(project) = request.project_id {
            warm.projects.insert(key, (project, Instant::now()));
        }
    }

    fn since_start(&self) -> Duration {
        self.started.elapsed()
    }

    /// Somebody found no room: those that wait make some. How many did.
    pub(crate) fn make_room(self: &Arc<Self>) -> usize {
        let waiting = self.warm().pool.make_room(self.since_start());
        let count = waiting.len();
        if count > 0 {
            info!(count, "the node is short of room: instances that wait go");
        }
        for plan in waiting {
            self.retire(plan.key);
        }
        count
    }

    /// Memory in which instances wait, in MiB.
    pub(crate) fn warm_memory_mib(&self) -> u64 {
        self.warm().pool.memory_mib()
    }

    /// A project may have no more: those of it that wait make some room.
    pub(crate) fn make_room_in(self: &Arc<Self>, project: Option<ProjectId>) {
        let mut room = Vec::new();
        {
            let mut warm = self.warm();
            let of_project = warm.projects.iter().filter(|(_, (of, _))| project == Some(*of));
            let versions: Vec<Version> = of_project.map(|(version, _)| *version).collect();
            for version in versions {
                warm.pool.hold_off(version, self.since_start());
                room.extend(std::iter::from_fn(|| warm.pool.take(version)));
            }
        }
        for plan in room {
            self.retire(plan.key);
        }
    }

    /// An instance that waited, and serves now. None if none waits.
    pub(crate) async fn take_warm(self: &Arc<Self>, request: &ProvisionRequest) -> Option<InstanceKey> {
        let version = (request.function_id, request.version?);
        if !self.versions_waiting().contains(&version) {
            return None;
        }
        let began = Instant::now();
        let template = self.parts.blueprints.template(version.0, version.1).await;
        loop {
            let plan = self.warm().pool.take(version)?;
            if !plan.is_as_of(template) {
                self.retire(plan.key);
                continue;
            }
            fault::point("warm.taken");
            let id = plan.key.machine;
            {
                let mut instances = self.lock();
                // Retired meanwhile.
                let Some(entry @ Entry::Warm(..)) = instances.get_mut(&id) else {
                    continue;
                };
                *entry = Entry::Starting(plan.key.clone(), plan.version);
            }
            self.place(request);
            match self.wake(&plan).await {
                Ok(()) => {
                    meters::phase("warm", began.elapsed());
                    return Some(plan.key);
                }
                Err(failure) => {
                    warn!(machine = %id, failure = %hearth_domain::one_line(failure), "an instance that waited does not serve");
                    self.retire(plan.key);
                }
            }
        }
    }

    /// Has an instance that waited serve. It could be called when it began to wait, and has not moved since: so nobody asks.
    async fn wake(self: &Arc<Self>, plan: &Plan) -> Result<(), ProvisionFailure> {
        let broken = |reason: &str| ProvisionFailure::Broken(reason.to_owned());
        let id = plan.key.machine;
        let resumed = self.parts.node.resume(id).await;
        resumed.map_err(|error| broken(&error.message))?;
        let status = self.parts.node.status(id);
        let status = status.ok_or_else(|| broken("its machine was removed"))?;
        let instance = self.instance_of(plan, &status)?;
        fault::point("provision.ready");
        self.enter_service(plan, instance).await
    }

    /// Takes up an instance that waits since before this process. Gives it back if nothing is to wait.
    pub(crate) fn take_up_warm(&self, plan: Plan) -> Option<Plan> {
        if self.config.warm_memory_mib == 0 {
            return Some(plan);
        }
        self.lock()
            .insert(plan.key.machine, Entry::Warm(plan.key.clone(), plan.version));
        self.warm().pool.put((plan.key.function, plan.version), plan);
        None
    }

    /// Sees to it that as many wait as should.
    pub(crate) async fn keep_warm(self: Arc<Self>) {
        if self.config.warm_memory_mib == 0 {
            return;
        }
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = sleep(LOOK) => {}
            }
            let templates = self.templates().await;
            let (missing, spare) = self.compare(&templates);
            for plan in spare {
                debug!(machine = %plan.key.machine, "an instance waits for nobody any more");
                self.retire(plan.key);
            }
            // One at a time, and none before whoever waits for one is served: a CPU that restores is one that does not answer.
            let Some(version) = missing else { continue };
            let made = self.make_warm(version).await;
            if !matches!(made, Ok(true)) {
                self.warm().pool.hold_off(version, self.since_start());
            }
            if let Err(failure) = made {
                debug!(function = %version.0, version = version.1, failure = %hearth_domain::one_line(&failure), "no instance waits");
            }
        }
    }

    async fn templates(&self) -> Templates {
        let mut templates = Templates::new();
        for version in self.versions_waiting() {
            let template = self.parts.blueprints.template(version.0, version.1).await;
            templates.insert(version, template);
        }
        templates
    }

    fn versions_waiting(&self) -> HashSet<Version> {
        let instances = self.lock();
        let waiting = instances
            .values()
            .filter(|entry| matches!(entry, Entry::Warm(..)))
            .map(|entry| (entry.key().function, entry.version()));
        waiting.collect()
    }

    /// A version of which one more should wait, and those that need not wait any more.
    fn compare(&self, templates: &Templates) -> (Option<Version>, Vec<Plan>) {
        // Those that ended by themselves, or were retired.
        let gone = |plan: &Plan| {
            let waits = matches!(self.lock().get(&plan.key.machine), Some(Entry::Warm(..)));
            let status = self.parts.node.status(plan.key.machine);
            !waits || status.is_none_or(|status| status.state.word() != StateWord::Paused)
        };
        // One that came to wait since the templates were looked at is looked at the next time.
        let old =
            |version: &Version, plan: &Plan| templates.get(version).is_some_and(|template| !plan.is_as_of(*template));
        let mut warm = self.warm();
        warm.projects.retain(|_, (_, wanted)| wanted.elapsed() < REMEMBERED);
        warm.pool
            .look(self.config.warm_memory_mib, self.since_start(), |version, plan| {
                gone(plan) || old(version, plan)
            })
    }

    /// Makes one that waits, of a template: to boot one for nobody costs too much. Whether there is a template.
    async fn make_warm(self: &Arc<Self>, version: Version) -> Result<bool, ProvisionFailure> {
        if self.parts.blueprints.template(version.0, version.1).await.is_none() {
            return Ok(false);
        }
        let blueprint = self.blueprint(version.0, Some(version.1)).await?;
        if blueprint.spec.snapshot.is_none() {
            if let Some(template) = blueprint.make_template {
                self.parts.blueprints.template_made(template, false).await;
            }
            self.parts.blueprints.withdraw(blueprint.spec.id).await;
            return Ok(false);
        }
        let template = blueprint.spec.snapshot;
        let plan = self.plan_of(version.0, &blueprint);
        let waits = self.make_and_pause(&plan, blueprint).await;
        if let Err(failure) = &waits {
            self.retire(plan.key.clone());
            if let (ProvisionFailure::Broken(_), Some(template)) = (failure, template) {
                self.parts.blueprints.template_failed(template).await;
            }
        }
        waits.map(|()| true)
    }

    async fn make_and_pause(&self, plan: &Plan, blueprint: crate::Blueprint) -> Result<(), ProvisionFailure> {
        self.create_and_start(plan, blueprint.spec).await?;
        self.await_ready(plan, None).await?;
        let id = plan.key.machine;
        let paused = self.parts.node.pause(id, PauseMode::Memory).await;
        // It was ready: that it went on from its template is not what is wrong.
        paused.map_err(|error| ProvisionFailure::Hindered(error.message))?;
        fault::point("warm.paused");
        {
            let mut instances = self.lock();
            match instances.get_mut(&id) {
                Some(entry @ Entry::Starting(..)) => *entry = Entry::Warm(plan.key.clone(), plan.version),
                // Its version went meanwhile.
                _ => return Err(ProvisionFailure::Hindered("it is not wanted any more".into())),
            }
        }
        self.warm().pool.put((plan.key.function, plan.version), plan.clone());
        Ok(())
    }
}
