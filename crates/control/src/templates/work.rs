//! The work of a build, in two machines.
//!
//! ```text
//! builder:           boots with the last layer that is there ──► the other steps, each layer kept ──► its disk
//! template's own:    boots with that disk, in its own size ──► start command, until ready ──► snapshot with memory
//! ```
//! So the builder has the size that building needs, the template the one that was asked for, and nothing that a step left
//! running is in it, whether the step was carried out or taken from before.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hearth_domain::{BuildPlan, BuildReason, MachineSpec, MemoryMib, Resources, Vcpus};
use hearth_ids::SnapshotId;
use hearth_node_api::NodeError;
use hearth_store::{BuildRow, TemplateRow};

use super::{
    base::Base,
    build::Begin,
    files::StepFiles,
    layers::{Found, Layers, keys},
    log::BuildLog,
    machine::{self, Builder},
    ready, snapshot,
    steps::{self, Setting, Step},
    stop::Stop,
    words::{BASE, FINALIZE},
};
use crate::{app::App, error::ApiResult, machines::input::environment_length};

/// A builder's vCPUs and memory, where the template has not more. A node with little memory gives it half.
const BUILDER_VCPUS: u64 = 2;
const BUILDER_MEMORY_MIB: u64 = 4096;

/// Work of less than that is not worth a layer of its own.
const WORTH_KEEPING: Duration = Duration::from_secs(2);

/// A build under way.
pub(super) struct Work<'a> {
    pub(super) app: &'a Arc<App>,
    pub(super) template: &'a TemplateRow,
    pub(super) build: &'a BuildRow,
    pub(super) log: &'a BuildLog,
    pub(super) stop: &'a Arc<Stop>,
    /// Its own, or a stage's.
    pub(super) plan: &'a BuildPlan,
    /// Whose steps these are, where they are not the template's own.
    pub(super) stage: Option<&'a str>,
}

/// What steps lead to.
#[derive(Debug, Clone, Copy)]
enum Disk {
    /// Nothing that the base has not.
    OfBase,
    /// A layer of an earlier build.
    Found(Found),
    /// A layer of this one.
    Made(SnapshotId),
}

impl Disk {
    fn id(self) -> Option<SnapshotId> {
        match self {
            Self::OfBase => None,
            Self::Found(found) => Some(found.disk),
            Self::Made(disk) => Some(disk),
        }
    }
}

impl Work<'_> {
    /// Carries the plan out, and makes the template's snapshot.
    pub(super) async fn make(&self, begin: &Begin) -> Result<SnapshotId, BuildReason> {
        let base = self.base(begin).await?;
        let layers = self.layers(&base);
        let mut setting = base.setting();
        let machine = self.reach(&base, &layers, &mut setting).await?;
        machine.during(Box::pin(self.save(&machine, &setting))).await
    }

    pub(super) fn layers(&self, base: &Base) -> Layers<'_> {
        Layers {
            app: self.app,
            project: self.template.project,
            build: self.build.id,
            keys: keys(base.key, self.plan),
        }
    }

    /// Has the steps carried out, and a machine run with the disk that they lead to.
    pub(super) async fn reach(
        &self,
        base: &Base,
        layers: &Layers<'_>,
        setting: &mut Setting,
    ) -> Result<Builder, BuildReason> {
        loop {
            *setting = base.setting();
            let disk = self.steps(base, layers, setting).await?;
            self.at(FINALIZE);
            let error = match self.own_machine(base, disk.id()).await {
                Ok(machine) => return Ok(machine),
                Err(error) => error,
            };
            let Disk::Found(found) = disk else {
                return Err(self.reason(FINALIZE, error.to_string()));
            };
            self.give_up(layers, found, &error).await?;
        }
    }

    /// Carries out the steps that were not before. Gives the disk that they lead to.
    async fn steps(&self, base: &Base, layers: &Layers<'_>, setting: &mut Setting) -> Result<Disk, BuildReason> {
        let plan = self.plan;
        loop {
            let found = layers.find(plan).await.map_err(self.failed(BASE))?;
            let done = found.map_or(0, |found| found.steps);
            let rest = &plan.steps[done..];
            let begun = found.is_some() || (base.whole.is_none() && base.user.is_none());
            if rest.is_empty() && begun {
                self.pass(done, setting)?;
                return Ok(found.map_or(Disk::OfBase, Disk::Found));
            }
            let spec = self.builder(base, found).await.map_err(self.failed(BASE))?;
            let builder = match (Builder::start(self.app, self.stop, spec).await, found) {
                (Ok(builder), _) => builder,
                (Err(error), None) => return Err(self.reason(BASE, error.to_string())),
                (Err(error), Some(found)) => {
                    self.give_up(layers, found, &error).await?;
                    continue;
                }
            };
            self.pass(done, setting)?;
            let disk = found.map(|found| found.disk);
            let work = self.carry_out(&builder, base, layers, (done, disk), setting);
            return builder.during(Box::pin(work)).await;
        }
    }

    /// Takes over what so many steps say, which are on the disk already.
    fn pass(&self, steps: usize, setting: &mut Setting) -> Result<(), BuildReason> {
        for (at, step) in (1..).zip(&self.plan.steps[..steps]) {
            let number = at.to_string();
            let step = Step::parse(step).map_err(|why| self.reason(&number, why))?;
            self.at(&number);
            self.say_step(at, &format!("CACHED {}", step.words()));
            setting.note(&step);
        }
        Ok(())
    }

    /// Carries out the steps after the first `done`, with whose `disk` the builder began.
    async fn carry_out(
        &self,
        builder: &Builder,
        base: &Base,
        layers: &Layers<'_>,
        (done, mut disk): (usize, Option<SnapshotId>),
        setting: &mut Setting,
    ) -> Result<Disk, BuildReason> {
        let files = StepFiles::of(self.app, self.template.project);
        let steps = &self.plan.steps;
        let (mut since, mut written) = (Instant::now(), disk.is_none() && base.whole.is_some());
        if let (None, Some(user)) = (disk, &base.user) {
            written |= builder.ensure_user(user).await.map_err(|why| self.reason(BASE, why))?;
        }
        for (at, step) in (1..).zip(steps).skip(done) {
            let number = at.to_string();
            let failed = |why| self.reason(&number, why);
            let step = Step::parse(step).map_err(failed)?;
            self.at(&number);
            self.say_step(at, &step.words());
            steps::carry_out(builder, setting, &step, &files, self.log)
                .await
                .map_err(failed)?;
            written |= step.writes();
            let last = at == steps.len();
            if written && (last || since.elapsed() >= WORTH_KEEPING) {
                let kept = self.stop.whole(Box::pin(layers.keep(builder.spec.clone(), at))).await;
                disk = Some(kept.map_err(|error| failed(error.problem.detail))?);
                (since, written) = (Instant::now(), false);
            }
        }
        if written {
            // There are no steps: what the base holds in memory is still to be on a disk.
            let kept = self.stop.whole(Box::pin(layers.keep(builder.spec.clone(), 0))).await;
            disk = Some(kept.map_err(self.failed(BASE))?);
        }
        Ok(disk.map_or(Disk::OfBase, Disk::Made))
    }

    /// Forgets a layer that is of no use to the node any more: it is made again.
    async fn give_up(&self, layers: &Layers<'_>, found: Found, error: &NodeError) -> Result<(), BuildReason> {
        let what = format!("what was kept of {} steps cannot be used: {error}", found.steps);
        self.say("warn", &what);
        layers.forget(found).await.map_err(self.failed(BASE))
    }

    /// The machine that the steps are carried out in.
    async fn builder(&self, base: &Base, found: Option<Found>) -> ApiResult<MachineSpec> {
        if let (None, Some(whole)) = (found, base.whole) {
            return Ok(machine::going_on(&base.spec, whole));
        }
        let capacity = self.app.node.info().await?.capacity;
        let is = base.spec.resources;
        let memory = BUILDER_MEMORY_MIB
            .min(capacity.memory_mib / 2)
            .max(is.memory_mib.into());
        let vcpus = BUILDER_VCPUS.min(capacity.cpu_millis / 1000).max(is.vcpus.into());
        let resources = Resources {
            vcpus: Vcpus::try_from(vcpus).unwrap_or(is.vcpus),
            memory_mib: MemoryMib::try_from(memory).unwrap_or(is.memory_mib),
            ..is
        };
        Ok(machine::booting(&base.spec, resources, found.map(|found| found.disk)))
    }

    /// Boots the template's own machine, in its own size.
    async fn own_machine(&self, base: &Base, disk: Option<SnapshotId>) -> Result<Builder, NodeError> {
        let plan = self.plan;
        let resources = Resources {
            vcpus: plan.vcpus,
            memory_mib: plan.memory_mib,
            disk_mib: Some(plan.disk_mib),
        };
        Builder::start(self.app, self.stop, machine::booting(&base.spec, resources, disk)).await
    }

    /// Has the template's machine ready, and makes the snapshot that sandboxes are made of.
    async fn save(&self, machine: &Builder, setting: &Setting) -> Result<SnapshotId, BuildReason> {
        let plan = self.plan;
        let failed = |why: String| self.reason(FINALIZE, why);
        ready::until_ready(machine, setting, plan, self.log)
            .await
            .map_err(failed)?;
        self.say("info", "making the snapshot");
        // What a login shell reads is in memory then, in every sandbox.
        machine.rehearse(setting.shell("true", None)).await;
        // So that machines of another size may boot with the disk.
        machine.sync().await;
        let mut spec = machine.spec.clone();
        setting.apply(&mut spec.workload);
        let variables = spec.workload.env.iter();
        environment_length("ENV", variables.map(|(name, value)| name.len() + value.len()).sum())
            .map_err(self.failed(FINALIZE))?;
        spec.workload.cmd = plan
            .start_cmd
            .as_deref()
            .map(|cmd| setting.boot(cmd))
            .unwrap_or_default();
        let made = snapshot::save(self.app, SnapshotId::new(), spec, self.build.id, true);
        let made = self.stop.whole(Box::pin(made)).await;
        made.map_err(self.failed(FINALIZE))
    }
}
