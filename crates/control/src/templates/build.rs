//! A build, from its start to its end. One that is cut off has failed, and is to be started anew; what it kept is of use then.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use hearth_api::ProblemCode;
use hearth_domain::{BuildFrom, BuildPlan, BuildReason};
use hearth_ids::{BuildId, ProjectId};
use hearth_image::Credentials;
use hearth_store::{BuildRow, SnapshotRow, TemplateRow};
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::{
    find,
    image::Image,
    log::BuildLog,
    prune, stages,
    stop::Stop,
    words::{BASE, FINALIZE},
    work::Work,
};
use crate::{
    app::App,
    caller::Tenant,
    error::{ApiError, ApiResult},
    fault,
    time::now_unix_ms,
};

/// How long one build may take, without what it waits for others.
const BUILD_TIMEOUT: Duration = Duration::from_hours(2);

/// Why a build failed that nobody finished.
pub(super) const CUT_OFF: &str = "the server went down during the build; start it again";

/// Starts a build that waits, by its plan. The credentials are for the registry of its image, and are kept nowhere.
pub(crate) async fn start(
    app: &Arc<App>,
    tenant: &Tenant,
    template: TemplateRow,
    mut build: BuildRow,
    credentials: Option<Credentials>,
) -> ApiResult<()> {
    let begin = check(app, tenant, &mut build.plan, credentials).await?;
    // Before it is started: whoever removes the template finds it.
    let stop = app.builds.begin(template.id, &app.shutdown);
    if !app.store.start_build(build.id, &build.plan).await? {
        return Err(ApiError::new(
            ProblemCode::StateConflict,
            format!("build {} was started before; ask for a new one", build.id),
        ));
    }
    let (app_of_task, tenant) = (Arc::clone(app), tenant.clone());
    app.tasks.spawn(async move {
        let app = app_of_task;
        let log = BuildLog::open(app.store.clone(), build.id);
        let outcome = run(&app, &tenant, (&template, &stop), &mut build, begin, &log).await;
        match outcome {
            Ok(()) => info!(id = %build.id, template = %template.id, "a template is built"),
            Err(reason) => {
                fail(&app, build.id, &log, reason).await;
                prune::superseded(&app, &template).await;
            }
        }
    });
    Ok(())
}

/// What a build begins with, looked up.
pub(crate) enum Begin {
    /// An image, which boots.
    Image(Box<Image>),
    /// A template's snapshot, from which the build goes on.
    Snapshot(Box<SnapshotRow>),
}

/// Refuses what cannot be built, before anything is begun. What is built on a template has its disk's size, and its start and
/// ready command unless it brings one.
pub(crate) async fn check(
    app: &App,
    tenant: &Tenant,
    plan: &mut BuildPlan,
    credentials: Option<Credentials>,
) -> ApiResult<Begin> {
    stages::check(app, tenant, plan).await?;
    match &plan.from {
        Some(BuildFrom::Image(image)) => {
            let image = Image::look_up(app, tenant, image, credentials).await?;
            Ok(Begin::Image(Box::new(image)))
        }
        Some(BuildFrom::Template(name)) => {
            let source = find::resolve(app, tenant, name).await?;
            plan.disk_mib = source.snapshot.spec.resources.disk_mib.unwrap_or(plan.disk_mib);
            if plan.start_cmd.is_none()
                && plan.ready_cmd.is_none()
                && let Some(build) = app.store.build_of(source.snapshot.id).await?
            {
                plan.start_cmd = build.plan.start_cmd;
                plan.ready_cmd = build.plan.ready_cmd;
            }
            Ok(Begin::Snapshot(Box::new(source.snapshot)))
        }
        None | Some(BuildFrom::Sandbox(_)) => Err(ApiError::field(
            "fromImage",
            "name what the build begins with: fromImage or fromTemplate",
        )),
    }
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

/// The turn that the builds of a project take.
fn turn_of(app: &App, project: ProjectId) -> Arc<Mutex<()>> {
    let mut turns = app.project_builds.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(turns.entry(project).or_default())
}

async fn run(
    app: &Arc<App>,
    tenant: &Tenant,
    (template, stop): (&TemplateRow, &Arc<Stop>),
    build: &mut BuildRow,
    mut begin: Begin,
    log: &BuildLog,
) -> Result<(), BuildReason> {
    let of_project = turn_of(app, template.project);
    let _alone = stop.unless(of_project.lock()).await?;
    let since = Instant::now();
    log.at(BASE);
    if let Begin::Image(image) = &begin {
        // Before it is the build's turn: others need not wait for a registry.
        let fetching = stop.unless(Box::pin(image.fetch(app, log)));
        let fetched = stop.within(BUILD_TIMEOUT, fetching).await?;
        fetched.map_err(|error| reason(Some(BASE), error.problem.detail))?;
    }
    // What it waits for others is not its own time.
    let left = BUILD_TIMEOUT.saturating_sub(since.elapsed());
    let turn = stop.unless(app.building.acquire()).await?;
    let _turn = turn.map_err(|_| reason(None, CUT_OFF))?;
    if let Begin::Snapshot(_) = begin {
        // It may have been built anew while it was the turn of others.
        let again = check(app, tenant, &mut build.plan, None).await;
        begin = again.map_err(|error| reason(Some(BASE), error.problem.detail))?;
    }
    let build = &*build;
    let made = async {
        let plan = stages::filled(app, (template, build), tenant, log, stop).await?;
        let work = Work {
            app,
            template,
            build,
            log,
            stop,
            plan: &plan,
            stage: None,
        };
        work.make(&begin).await
    };
    let snapshot = stop.within(left, Box::pin(made)).await?;
    fault::point("build.snapshot");
    log.line("info", "the template is ready");
    log.flush().await;
    let failed = |why: String| reason(Some(FINALIZE), why);
    match app.store.finish_build(build, snapshot, now_unix_ms()).await {
        Ok(true) => prune::superseded(app, template).await,
        Ok(false) => {
            prune::snapshot(app, snapshot).await;
            return Err(failed("the template was removed meanwhile".to_owned()));
        }
        Err(error) => {
            prune::snapshot(app, snapshot).await;
            return Err(failed(error.to_string()));
        }
    }
    Ok(())
}

/// Why a build failed, at a step or as a whole.
pub(super) fn reason(step: Option<&str>, message: impl Into<String>) -> BuildReason {
    BuildReason {
        message: message.into(),
        step: step.map(ToOwned::to_owned),
    }
}
