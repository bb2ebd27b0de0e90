//! Templates that are snapshots of sandboxes: one build each time one is made, which is ready at once.

use hearth_api::ProblemCode;
use hearth_domain::{BuildFrom, BuildPlan, BuildReason, DiskMib, MachineSpec};
use hearth_ids::{BuildId, SnapshotId, TemplateId};
use hearth_node_api::SnapshotRequest;
use hearth_store::{
    BuildRow, BuildState, DEFAULT_TAG, NewSnapshot, NewTemplate, SandboxRow, SnapshotRow, StoreError, TemplateRow,
};

use super::{name::tags, prune};
use crate::{
    app::App,
    error::{ApiError, ApiResult},
    fault, sandboxes,
    snapshots::{change, view},
    time::now_unix_ms,
};

/// Makes a template of a sandbox as it is now, or a further build of the one of that name, which the tag means from then on. The
/// sandbox's turn is the caller's. Gives the template, and the tag.
/// Without memory its sandboxes boot with a copy of its disk.
pub(crate) async fn of_sandbox(
    app: &App,
    sandbox: &SandboxRow,
    name: Option<(String, Option<String>)>,
    memory: bool,
) -> ApiResult<(TemplateRow, String)> {
    let (name, tag) = name.unzip();
    let tag = tag.flatten().unwrap_or_else(|| DEFAULT_TAG.to_owned());
    let absent = || sandboxes::no_sandbox(&sandbox.id.to_string());
    let spec = app.node.spec(sandbox.machine).ok_or_else(absent)?;
    let resources = spec.resources;
    let disk_mib = resources.disk_mib.map_or_else(|| DiskMib::try_from(1), Ok);
    let source = match spec.snapshot {
        Some(id) => app.store.build_of(id).await?,
        None => None,
    };
    let (start_cmd, ready_cmd) = source
        .map(|build| (build.plan.start_cmd, build.plan.ready_cmd))
        .unwrap_or_default();
    let plan = BuildPlan {
        vcpus: resources.vcpus,
        memory_mib: resources.memory_mib,
        disk_mib: disk_mib.map_err(|error| ApiError::internal(error.to_string()))?,
        from: Some(BuildFrom::Sandbox(sandbox.id)),
        user: None,
        stages: Vec::new(),
        steps: Vec::new(),
        force: false,
        start_cmd,
        ready_cmd,
        tags: tags(vec![tag.clone()], None)?,
    };
    let template = app.store.upsert_template(&new(sandbox, name)).await?;
    let build = BuildRow {
        id: BuildId::new(),
        template: template.id,
        // As under way, so that what is cut off is found to have failed.
        state: BuildState::Building,
        plan,
        reason: None,
        snapshot: None,
        created_unix_ms: now_unix_ms(),
        finished_unix_ms: None,
    };
    app.store.insert_build(&build).await?;
    let made = save(app, SnapshotId::new(), spec, build.id, memory).await;
    let finished = match made {
        Ok(snapshot) => finish(app, &build, snapshot).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &finished {
        let reason = BuildReason {
            message: error.problem.detail.clone(),
            step: None,
        };
        app.store.fail_build(build.id, &reason, now_unix_ms()).await?;
        forget_empty(app, &template).await?;
    }
    prune::superseded(app, &template).await;
    finished.map(|()| (template, tag))
}

async fn finish(app: &App, build: &BuildRow, snapshot: SnapshotId) -> ApiResult<()> {
    fault::point("build.snapshot");
    let removed = || {
        ApiError::new(
            ProblemCode::StateConflict,
            "the template was removed while its snapshot was made",
        )
    };
    let why = match app.store.finish_build(build, snapshot, now_unix_ms()).await {
        Ok(true) => return Ok(()),
        Ok(false) => removed(),
        Err(error) => error.into(),
    };
    prune::snapshot(app, snapshot).await;
    Err(why)
}

/// Makes a snapshot of a machine for a build, or of its disk alone. It is there whole, or not at all.
pub(super) async fn save(
    app: &App,
    id: SnapshotId,
    spec: MachineSpec,
    build: BuildId,
    memory: bool,
) -> ApiResult<SnapshotId> {
    let machine = spec.id;
    let new = NewSnapshot {
        id,
        name: None,
        spec: spec.without_volumes(),
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
async fn forget_empty(app: &App, template: &TemplateRow) -> Result<(), StoreError> {
    if app.store.has_only_failed(template.id).await? {
        app.store.remove_template(template.id).await?;
    }
    Ok(())
}

/// Whether machines of any size can boot with a snapshot's disk: whether all that was written is on it.
pub(crate) async fn boots(app: &App, snapshot: &SnapshotRow) -> ApiResult<bool> {
    if !snapshot.has_memory() {
        return Ok(true);
    }
    // A build by a plan sees to it; a sandbox that runs has written what it has in memory still.
    let build = app.store.build_of(snapshot.id).await?;
    let plans = |from| matches!(from, BuildFrom::Image(_) | BuildFrom::Template(_));
    Ok(build.and_then(|build| build.plan.from).is_some_and(plans))
}
