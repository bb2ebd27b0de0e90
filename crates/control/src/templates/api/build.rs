//! Building templates.

use std::sync::Arc;

use axum::{Json, extract::State};
use hearth_api::{BuildTemplate, TemplateBuild, TemplateStage, TemplateStep};
use hearth_domain::{Action, BuildFrom, BuildPlan, BuildStage, BuildStep, DiskMib, MemoryMib, Vcpus};
use http::StatusCode;

use super::view;
use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::ApiBody,
    templates::{
        self,
        name::{DEFAULT_CPUS, DEFAULT_DISK_MIB, DEFAULT_MEMORY_MIB, name_and_tag, number, tags},
    },
    time::now_unix_ms,
};

/// Begins to build a template, which is made if there is none of the name. What its steps copy must have been put before.
#[utoipa::path(post, path = "/v1/templates", tag = "templates", operation_id = "build_template",
    request_body = BuildTemplate,
    responses((status = 202, description = "The build is under way", body = TemplateBuild), Problems))]
pub(crate) async fn build(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: ApiBody,
) -> ApiResult<(StatusCode, Json<TemplateBuild>)> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let request: BuildTemplate = body.json().await?;
    let (name, tag) = name_and_tag(&tenant, &request.name)?;
    let public = request.public;
    let mut plan = plan(request, tag)?;
    // Before anything is noted: a template of which no build can be begun is not to be there.
    templates::check(&app, &tenant, &mut plan, None).await?;
    let (template, row) = templates::book(&app, &tenant, name, plan).await?;
    if let Some(public) = public {
        app.store.publish_template(template.id, public, now_unix_ms()).await?;
    }
    let seen = view::build(row.clone(), Vec::new());
    templates::start(&app, &tenant, template, row, None).await?;
    let state = hearth_api::BuildState::Building;
    Ok((StatusCode::ACCEPTED, Json(TemplateBuild { state, ..seen })))
}

fn plan(request: BuildTemplate, tag: Option<String>) -> ApiResult<BuildPlan> {
    let from = match (request.image, request.template) {
        (Some(image), None) => BuildFrom::Image(image),
        (None, Some(template)) => BuildFrom::Template(template),
        _ => {
            return Err(ApiError::field(
                "image",
                "a build begins with an image or a template: name one of image and template",
            ));
        }
    };
    let filled = |command: Option<String>| command.filter(|command| !command.is_empty());
    Ok(BuildPlan {
        vcpus: number("cpus", request.cpus.unwrap_or(DEFAULT_CPUS), Vcpus::try_from)?,
        memory_mib: number(
            "memory_mib",
            request.memory_mib.unwrap_or(DEFAULT_MEMORY_MIB),
            MemoryMib::try_from,
        )?,
        disk_mib: number(
            "disk_mib",
            request.disk_mib.unwrap_or(DEFAULT_DISK_MIB),
            DiskMib::try_from,
        )?,
        from: Some(from),
        user: None,
        stages: request.stages.into_iter().map(stage).collect(),
        steps: request.steps.into_iter().map(step).collect(),
        force: request.force,
        start_cmd: filled(request.start_cmd),
        ready_cmd: filled(request.ready_cmd),
        tags: tags(request.tags, tag)?,
    })
}

fn step(step: TemplateStep) -> BuildStep {
    BuildStep {
        kind: step.kind.as_str().to_owned(),
        args: step.args,
        force: false,
        files_hash: step.files,
        stage: step.stage,
    }
}

fn stage(stage: TemplateStage) -> BuildStage {
    BuildStage {
        name: stage.name,
        image: stage.image,
        steps: stage.steps.into_iter().map(step).collect(),
    }
}
