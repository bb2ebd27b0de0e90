//! Templates that are snapshots of sandboxes: one build each time one is made, which is ready at once.

use hearth_domain::{BuildPlan, BuildReason, DiskMib};
use hearth_ids::{BuildId, TemplateId};
use hearth_store::{BuildRow, BuildState, DEFAULT_TAG, NewTemplate, SandboxRow, TemplateRow};

use super::build;
use crate::{
    app::App,
    error::{ApiError, ApiResult},
    fault, sandboxes,
    time::now_unix_ms,
};

/// Makes a template of a sandbox as it is now, or a further build of the one of that name. The sandbox's turn is the caller's.
/// Without memory its sandboxes boot with a copy of its disk.
pub(crate) async fn of_sandbox(
    app: &App,
    sandbox: &SandboxRow,
    name: Option<String>,
    memory: bool,
) -> ApiResult<TemplateRow> {
    let absent = || sandboxes::no_sandbox(&sandbox.id.to_string());
    let spec = app.node.spec(sandbox.machine).ok_or_else(absent)?;
    let resources = spec.resources;
    let disk_mib = resources.disk_mib.map_or_else(|| DiskMib::try_from(1), Ok);
    let plan = BuildPlan {
        vcpus: resources.vcpus,
        memory_mib: resources.memory_mib,
        disk_mib: disk_mib.map_err(|error| ApiError::internal(error.to_string()))?,
        from: None,
        steps: Vec::new(),
        force: false,
        start_cmd: None,
        ready_cmd: None,
        tags: vec![DEFAULT_TAG.to_owned()],
    };
    let template = app.store.upsert_template(&new(sandbox, name)).await?;
    let build = BuildRow {
        id: BuildId::new(),
        template: template.id,
        state: BuildState::Waiting,
        plan,
        reason: None,
        snapshot: None,
        created_unix_ms: now_unix_ms(),
        finished_unix_ms: None,
    };
    app.store.insert_build(&build).await?;
    // Noted as under way, so that what is cut off is found to have failed.
    app.store.start_build(build.id, &build.plan).await?;
    let made = build::save(app, spec, build.id, memory).await;
    let snapshot = match made {
        Ok(snapshot) => snapshot,
        Err(error) => {
            let reason = BuildReason {
                message: error.problem.detail.clone(),
                step: None,
            };
            app.store.fail_build(build.id, &reason, now_unix_ms()).await?;
            forget_empty(app, &template).await?;
            return Err(error);
        }
    };
    fault::point("build.snapshot");
    app.store.finish_build(&build, snapshot, now_unix_ms()).await?;
    Ok(template)
}

fn new(sandbox: &SandboxRow, name: Option<String>) -> NewTemplate {
    NewTemplate {
        id: TemplateId::new(),
        project: sandbox.project,
        name,
        public: false,
        sandbox: Some(sandbox.id),
        created_unix_ms: now_unix_ms(),
    }
}

/// A template that was made for a snapshot that was not is nobody's.
async fn forget_empty(app: &App, template: &TemplateRow) -> ApiResult<()> {
    let builds = app.store.builds(template.id).await?;
    if builds.iter().all(|build| build.state == BuildState::Error) {
        app.store.remove_template(template.id).await?;
    }
    Ok(())
}
