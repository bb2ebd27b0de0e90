//! A build under way: machine, steps, start command, snapshot. One that is cut off has failed, and is to be started anew.
//!
//! ```text
//! base: a machine boots ──► steps, in their order ──► finalize: start command, until ready ──► snapshot ──► tags
//! ```

use std::sync::Arc;

use hearth_api::ProblemCode;
use hearth_domain::{BuildFrom, BuildPlan, BuildReason, MachineSpec};
use hearth_ids::{BuildId, SnapshotId};
use hearth_node_api::SnapshotRequest;
use hearth_store::{BuildRow, NewSnapshot, SnapshotRow, StoreError, TemplateRow};
use tracing::{info, warn};

use super::{
    files::StepFiles,
    find,
    log::BuildLog,
    machine::Builder,
    ready,
    steps::{self, Setting, Step},
};
use crate::{
    app::App,
    caller::Tenant,
    error::{ApiError, ApiResult},
    fault,
    machines::create as machine,
    snapshots::{change, view},
    time::now_unix_ms,
};

/// The step at which nothing of the plan is carried out yet, as the SDKs name it.
const BASE: &str = "base";
/// The one at which all of it was.
const FINALIZE: &str = "finalize";

/// Starts a build that waits, by its plan.
pub(crate) async fn start(
    app: &Arc<App>,
    tenant: &Tenant,
    template: TemplateRow,
    mut build: BuildRow,
) -> ApiResult<()> {
    let begin = check(app, tenant, &mut build.plan).await?;
    if !app.store.start_build(build.id, &build.plan).await? {
        return Err(ApiError::new(
            ProblemCode::StateConflict,
            format!("build {} was started before; ask for a new one", build.id),
        ));
    }
    let app_of_task = Arc::clone(app);
    app.builds.spawn(async move {
        let app = app_of_task;
        let log = BuildLog::open(app.store.clone(), build.id);
        let outcome = run(&app, &template, &build, &begin, &log).await;
        match outcome {
            Ok(()) => info!(id = %build.id, template = %template.id, "a template is built"),
            Err(reason) => fail(&app, build.id, &log, reason).await,
        }
    });
    Ok(())
}

/// What a build begins with, looked up.
pub(crate) enum Begin {
    /// An image, which boots.
    Image(String),
    /// A template's snapshot, from which the build goes on.
    Snapshot(Box<SnapshotRow>),
}

/// Refuses what cannot be built, before anything is begun. What goes on from a template has its CPUs, memory and disk.
pub(crate) async fn check(app: &App, tenant: &Tenant, plan: &mut BuildPlan) -> ApiResult<Begin> {
    if plan.steps.len() > steps::STEPS_MAX {
        return Err(ApiError::field(
            "steps",
            format!("{} steps are too many: at most {}", plan.steps.len(), steps::STEPS_MAX),
        ));
    }
    for (at, step) in plan.steps.iter().enumerate() {
        Step::parse(step).map_err(|reason| ApiError::field(format!("steps[{at}]"), reason))?;
    }
    match &plan.from {
        Some(BuildFrom::Image(image)) => {
            let driver = app.default_driver().await?;
            machine::facts_of(app, image, None, driver, tenant.host).await?;
            Ok(Begin::Image(image.clone()))
        }
        Some(BuildFrom::Template(name)) => {
            let source = find::resolve(app, tenant, name).await?;
            let resources = source.snapshot.spec.resources;
            plan.vcpus = resources.vcpus;
            plan.memory_mib = resources.memory_mib;
            plan.disk_mib = resources.disk_mib.unwrap_or(plan.disk_mib);
            Ok(Begin::Snapshot(Box::new(source.snapshot)))
        }
        None => Err(ApiError::field(
            "fromImage",
            "name what the build begins with: fromImage or fromTemplate",
        )),
    }
}

/// Notes the builds that a daemon left which is gone.
pub(crate) async fn recover(app: &App) -> Result<(), StoreError> {
    for build in app.store.builds_under_way().await? {
        let why = reason(None, "the server went down during the build; start it again");
        app.store.fail_build(build.id, &why, now_unix_ms()).await?;
    }
    Ok(())
}

async fn fail(app: &App, id: BuildId, log: &BuildLog, reason: BuildReason) {
    warn!(%id, reason = reason.message, step = reason.step, "a build failed");
    log.line("error", &reason.message);
    // Whoever sees that it failed sees all that it said.
    log.flush().await;
    if let Err(error) = app.store.fail_build(id, &reason, now_unix_ms()).await {
        warn!(%id, %error, "cannot note that a build failed; it is noted at the next start");
    }
}

async fn run(
    app: &Arc<App>,
    template: &TemplateRow,
    build: &BuildRow,
    begin: &Begin,
    log: &BuildLog,
) -> Result<(), BuildReason> {
    log.at(BASE);
    let builder = base(app, template, build, begin, log).await;
    let builder = builder.map_err(|error| reason(Some(BASE), error.problem.detail))?;
    let made = tokio::select! {
        made = make(app, template, build, &builder, log) => made,
        () = app.shutdown.cancelled() => Err(reason(None, "the server went down during the build; start it again")),
    };
    builder.remove().await;
    let snapshot = made?;
    fault::point("build.snapshot");
    log.line("info", "the template is ready");
    log.flush().await;
    let noted = app.store.finish_build(build, snapshot, now_unix_ms()).await;
    noted.map_err(|error| reason(Some(FINALIZE), error.to_string()))
}

/// The machine that the build begins with.
async fn base(
    app: &Arc<App>,
    template: &TemplateRow,
    build: &BuildRow,
    begin: &Begin,
    log: &BuildLog,
) -> ApiResult<Builder> {
    let plan = &build.plan;
    match begin {
        Begin::Image(image) => {
            log.line("info", &format!("FROM {image}"));
            let driver = app.default_driver().await?;
            let facts = machine::facts_of(app, image, None, driver, true).await?;
            Ok(Builder::boot(app, template.project, build.id, plan, image, facts, driver).await?)
        }
        Begin::Snapshot(snapshot) => {
            log.line(
                "info",
                &format!(
                    "FROM a template, with its {} CPUs, {} MiB of memory and {} MiB of disk",
                    plan.vcpus, plan.memory_mib, plan.disk_mib
                ),
            );
            Ok(Builder::restore(app, template.project, build.id, snapshot).await?)
        }
    }
}

/// Carries the plan out, and makes the snapshot.
async fn make(
    app: &Arc<App>,
    template: &TemplateRow,
    build: &BuildRow,
    builder: &Builder,
    log: &BuildLog,
) -> Result<SnapshotId, BuildReason> {
    let files = StepFiles::of(app, template.project);
    let (mut setting, total) = (Setting::of(&builder.spec.workload), build.plan.steps.len());
    for (at, step) in (1..).zip(&build.plan.steps) {
        let number = at.to_string();
        let failed = |why| reason(Some(&number), why);
        let step = Step::parse(step).map_err(failed)?;
        log.at(&number);
        log.line("info", &format!("[{at}/{total}] {}", step.words()));
        steps::carry_out(builder, &mut setting, &step, &files, log)
            .await
            .map_err(failed)?;
    }
    log.at(FINALIZE);
    let failed = |why: String| reason(Some(FINALIZE), why);
    ready::until_ready(builder, &setting, &build.plan, log)
        .await
        .map_err(failed)?;
    let made = snapshot(app, build, builder, &setting, log).await;
    made.map_err(|error| reason(Some(FINALIZE), error.problem.detail))
}

/// Makes the snapshot that sandboxes are made of.
async fn snapshot(
    app: &App,
    build: &BuildRow,
    builder: &Builder,
    setting: &Setting,
    log: &BuildLog,
) -> ApiResult<SnapshotId> {
    log.line("info", "making the snapshot");
    let mut spec: MachineSpec = builder.spec.clone();
    setting.apply(&mut spec.workload);
    save(app, spec, build.id, true).await
}

/// Makes a snapshot of a machine for a build, or of its disk alone. It is there whole, or not at all.
pub(super) async fn save(app: &App, spec: MachineSpec, build: BuildId, memory: bool) -> ApiResult<SnapshotId> {
    let machine = spec.id;
    let new = NewSnapshot {
        id: SnapshotId::new(),
        name: None,
        spec,
        args: Vec::new(),
        created_unix_ms: now_unix_ms(),
        key: None,
        build: Some(build),
    };
    app.store.insert_snapshot(&new).await?;
    let request = SnapshotRequest {
        id: new.id,
        machine,
        memory,
    };
    match app.node.snapshot(request).await {
        Ok(info) => {
            app.store.note_snapshot_made(new.id, &view::facts(info)).await?;
            Ok(new.id)
        }
        Err(error) => {
            change::withdraw(app, new.id).await;
            Err(error.into())
        }
    }
}

fn reason(step: Option<&str>, message: impl Into<String>) -> BuildReason {
    BuildReason {
        message: message.into(),
        step: step.map(ToOwned::to_owned),
    }
}
