//! Looking at templates and their builds.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use hearth_api::{BuildQuery, ProblemCode, Template, TemplateBuild, TemplateList};
use hearth_domain::Action;
use hearth_store::TemplateRow;

use super::view;
use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiPath, ApiQuery, page_limit},
    templates,
};

/// Templates of the project.
#[utoipa::path(get, path = "/v1/templates", tag = "templates", operation_id = "list_templates",
    responses((status = 200, description = "All of them", body = TemplateList), Problems))]
pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller) -> ApiResult<Json<TemplateList>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let mut templates = Vec::new();
    for row in app.store.templates_of(tenant.project).await? {
        templates.push(seen(&app, row, false).await?);
    }
    Ok(Json(TemplateList { templates }))
}

/// One template with its builds, by name or ID.
#[utoipa::path(get, path = "/v1/templates/{template}", tag = "templates", operation_id = "get_template",
    params(("template" = String, Path, description = "Name or ID")),
    responses((status = 200, description = "The template", body = Template), Problems))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<Json<Template>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let row = templates::owned(&app, &tenant, &wanted).await?;
    seen(&app, row, true).await.map(Json)
}

/// A template as it is shown.
pub(crate) async fn seen(app: &App, row: TemplateRow, in_full: bool) -> ApiResult<Template> {
    let (tags, builds) = (app.store.tags(row.id).await?, app.store.builds(row.id).await?);
    Ok(view::template(row, tags, builds, in_full))
}

/// One build of a template, with what it says. While it is under way, more comes: ask again with `log_from`.
#[utoipa::path(get, path = "/v1/templates/{template}/builds/{build}", tag = "templates",
    operation_id = "get_template_build",
    params(("template" = String, Path, description = "Name or ID"), ("build" = String, Path, description = "ID"), BuildQuery),
    responses((status = 200, description = "The build", body = TemplateBuild), Problems))]
pub(crate) async fn build(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((template, build)): Path<(String, String)>,
    ApiQuery(query): ApiQuery<BuildQuery>,
) -> ApiResult<Json<TemplateBuild>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let template = templates::owned(&app, &tenant, &template).await?;
    let limit = page_limit(query.limit)?;
    let absent = || {
        let build: String = build.chars().take(80).collect();
        ApiError::new(
            ProblemCode::TemplateNotFound,
            format!(
                "template {} has no build {build:?}; `hearth template get` lists those it has",
                template.id
            ),
        )
    };
    let id = build.parse().map_err(|_| absent())?;
    // Before its log, so that of one that is over nothing is missing.
    let row = app.store.build(id).await?;
    let row = row.filter(|row| row.template == template.id).ok_or_else(absent)?;
    let log = app.store.build_log(id, query.log_from.unwrap_or(0), limit).await?;
    Ok(Json(view::build(row, log)))
}
