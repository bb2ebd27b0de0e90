//! Templates and their builds.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use hearth_api::ProblemCode;
use hearth_domain::{Action, BuildFrom, BuildPlan, BuildReason, BuildStep, DiskMib, MemoryMib, Vcpus};
use hearth_ids::BuildId;
use hearth_image::Credentials;
use hearth_store::{BuildRow, TemplateRow};
use http::StatusCode;

use super::{build_logs, view, wire};
use crate::{
    app::App,
    caller::{Caller, Tenant},
    error::{ApiError, ApiResult},
    extract::{ApiBody, ApiPath, ApiQuery},
    templates::{
        self,
        name::{DEFAULT_CPUS, DEFAULT_DISK_MIB, DEFAULT_MEMORY_MIB, name_and_tag, number, tags},
    },
};

/// Whose the sandboxes' commands are, in E2B's API; templates of images without such a user get one.
const DEFAULT_USER: &str = "user";

/// `POST /v3/templates`: the template of this name, new or not, and a build of it that waits to be started.
pub(super) async fn create(State(app): State<Arc<App>>, caller: Caller, body: ApiBody) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let request: wire::NewTemplate = body.json().await?;
    let given = request.name.as_deref().or(request.alias.as_deref()).unwrap_or_default();
    let (name, tag) = name_and_tag(&tenant, given)?;
    let tags = tags(request.tags.unwrap_or_default(), tag)?;
    let plan = BuildPlan {
        vcpus: number("cpuCount", request.cpu_count.unwrap_or(DEFAULT_CPUS), Vcpus::try_from)?,
        memory_mib: number(
            "memoryMB",
            request.memory_mb.unwrap_or(DEFAULT_MEMORY_MIB),
            MemoryMib::try_from,
        )?,
        // What is asked for is free beside what the steps may write in any template.
        disk_mib: number(
            "minFreeDiskMb",
            u64::from(DEFAULT_DISK_MIB) + u64::from(request.min_free_disk_mb.unwrap_or(0)),
            DiskMib::try_from,
        )?,
        from: None,
        user: Some(DEFAULT_USER.to_owned()),
        stages: Vec::new(),
        steps: Vec::new(),
        force: false,
        start_cmd: None,
        ready_cmd: None,
        tags: tags.clone(),
    };
    let (template, build) = templates::book(&app, &tenant, name, plan).await?;
    let answer = wire::RequestedTemplate {
        template_id: template.id.to_string(),
        build_id: view::build_id(build.id),
        public: template.public,
        names: template.names.clone(),
        aliases: template.names,
        tags,
    };
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// A build of the tenant's, by the IDs that a path has.
pub(super) async fn find(
    app: &App,
    tenant: &Tenant,
    template: &str,
    build: &str,
) -> ApiResult<(TemplateRow, BuildRow)> {
    let template = templates::owned(app, tenant, template).await?;
    let absent = || {
        let build: String = build.chars().take(80).collect();
        ApiError::new(
            ProblemCode::TemplateNotFound,
            format!("template {} has no build {build:?}", template.id),
        )
    };
    let id = uuid::Uuid::parse_str(build).map_err(|_| absent())?;
    let row = app.store.build(BuildId::from_u128(id.as_u128())).await?;
    let row = row.filter(|row| row.template == template.id).ok_or_else(absent)?;
    Ok((template, row))
}

/// `POST /v2/templates/{template}/builds/{build}`: starts a build that waits.
pub(super) async fn start(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((template, build)): Path<(String, String)>,
    body: ApiBody,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let request: wire::StartBuild = body.json().await?;
    let (template, mut row) = find(&app, &tenant, &template, &build).await?;
    let credentials = request.from_image_registry.map(credentials).transpose()?;
    row.plan.from = match (request.from_image, request.from_template) {
        (Some(image), None) => Some(BuildFrom::Image(image)),
        (None, Some(template)) => Some(BuildFrom::Template(template)),
        _ => return Err(ApiError::field("fromImage", "name one of fromImage and fromTemplate")),
    };
    row.plan.steps = request.steps.unwrap_or_default().into_iter().map(step).collect();
    row.plan.force = request.force.unwrap_or(false);
    row.plan.start_cmd = request.start_cmd.filter(|cmd| !cmd.is_empty());
    row.plan.ready_cmd = request.ready_cmd.filter(|cmd| !cmd.is_empty());
    templates::start(&app, &tenant, template, row, credentials).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Google's registries take a service account's key as the password of this user, as
/// <https://cloud.google.com/artifact-registry/docs/docker/authentication#json-key> has it.
const GCP_USER: &str = "_json_key";

fn credentials(registry: wire::Registry) -> ApiResult<Credentials> {
    match registry {
        wire::Registry::General { username, password } => Ok(Credentials::Basic { username, password }),
        wire::Registry::Gcp { service_account_json } => Ok(Credentials::Basic {
            username: GCP_USER.to_owned(),
            password: service_account_json,
        }),
        wire::Registry::Aws {} => Err(ApiError::field(
            "fromImageRegistry",
            "keys of AWS are not taken; its registries take the user AWS with what `aws ecr get-login-password` prints as the password",
        )),
    }
}

fn step(step: wire::Step) -> BuildStep {
    BuildStep {
        kind: step.kind,
        args: step.args,
        force: step.force,
        files_hash: step.files_hash,
        stage: None,
    }
}

/// `GET /templates/{template}/builds/{build}/status`.
pub(super) async fn status(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((template, build)): Path<(String, String)>,
    ApiQuery(query): ApiQuery<build_logs::ByNumber>,
) -> ApiResult<Json<wire::BuildStatus>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let (template, row) = find(&app, &tenant, &template, &build).await?;
    let lines = build_logs::by_number(&app, row.id, &query).await?;
    let reason = match row.reason {
        Some(reason) => Some(explained(&app, row.id, reason).await?),
        None => None,
    };
    Ok(Json(wire::BuildStatus {
        template_id: template.id.to_string(),
        build_id: view::build_id(row.id),
        status: row.state.as_str(),
        logs: lines.iter().map(|line| line.message.clone()).collect(),
        log_entries: lines.into_iter().map(view::line).collect(),
        reason,
    }))
}

/// Why a build failed, with what it said last at the step that failed.
async fn explained(app: &App, build: BuildId, reason: BuildReason) -> ApiResult<wire::Reason> {
    let lines = match &reason.step {
        Some(step) => app.store.build_log_end(build, step, build_logs::LINES_MAX).await?,
        None => Vec::new(),
    };
    // The last of them, in their order.
    let mut lines = build_logs::bounded(lines.into_iter().rev().collect());
    lines.reverse();
    Ok(wire::Reason {
        message: reason.message,
        step: reason.step,
        log_entries: lines.into_iter().map(view::line).collect(),
    })
}

/// `GET /templates`.
pub(super) async fn list(State(app): State<Arc<App>>, caller: Caller) -> ApiResult<Json<Vec<wire::Template>>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let mut listed = Vec::new();
    for row in app.store.templates_of(tenant.project).await? {
        // Snapshots have a list of their own.
        if row.sandbox.is_some() {
            continue;
        }
        let builds = app.store.builds(row.id).await?;
        listed.extend(view::template(&row, &builds));
    }
    Ok(Json(listed))
}

/// `GET /templates/aliases/{alias}`: 403 where the name is that of a template which another project lets everybody use; 404 where
/// there is none, or none that the caller may know of.
pub(super) async fn alias(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<Json<wire::Alias>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let name = wanted.split_once(':').map_or(wanted.as_str(), |(name, _)| name);
    let row = templates::owned_or_taken(&app, &tenant, name).await?;
    Ok(Json(wire::Alias {
        template_id: row.id.to_string(),
        public: row.public,
    }))
}

/// `DELETE /templates/{template}`: a template, or a snapshot, which is one too.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    templates::remove(&app, &tenant, &wanted).await?;
    Ok(StatusCode::NO_CONTENT)
}
