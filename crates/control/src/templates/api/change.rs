//! Changing and removing templates.

use std::sync::Arc;

use axum::{Json, extract::State};
use hearth_api::{PrunedLayers, Template, UpdateTemplate};
use hearth_domain::Action;
use http::StatusCode;

use super::read;
use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::ApiResult,
    extract::{ApiBody, ApiPath},
    templates::{self, name},
    time::now_unix_ms,
};

/// Says who may make sandboxes of a template, and what its tags mean.
#[utoipa::path(patch, path = "/v1/templates/{template}", tag = "templates", operation_id = "update_template",
    params(("template" = String, Path, description = "Name or ID, and a tag: NAME:TAG")), request_body = UpdateTemplate,
    responses((status = 200, description = "The template", body = Template), Problems))]
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<Json<Template>> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let row = templates::owned(&app, &tenant, &wanted).await?;
    let request: UpdateTemplate = body.json().await?;
    name::check_tags("tag", &request.tag)?;
    name::check_tags("untag", &request.untag)?;
    if !request.tag.is_empty() {
        let (_, build) = templates::tagged(&app, &tenant, &wanted).await?;
        app.store.tag_build(row.id, build, &request.tag, now_unix_ms()).await?;
    }
    app.store.untag(row.id, &request.untag).await?;
    if let Some(public) = request.public {
        app.store.publish_template(row.id, public, now_unix_ms()).await?;
    }
    let row = templates::owned(&app, &tenant, &row.id.to_string()).await?;
    read::seen(&app, row, true).await.map(Json)
}

/// Removes a template with its builds. Sandboxes that were made of it stay.
#[utoipa::path(delete, path = "/v1/templates/{template}", tag = "templates", operation_id = "remove_template",
    params(("template" = String, Path, description = "Name or ID")),
    responses((status = 204, description = "It is gone"), Problems))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let row = templates::owned(&app, &tenant, &wanted).await?;
    templates::remove(&app, &tenant, &row.id.to_string()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes what steps of earlier builds left on the disk. Templates stay; the next builds carry all their steps out.
#[utoipa::path(delete, path = "/v1/template-layers", tag = "templates", operation_id = "prune_template_layers",
    responses((status = 200, description = "How many there were", body = PrunedLayers), Problems))]
pub(crate) async fn prune(State(app): State<Arc<App>>, caller: Caller) -> ApiResult<Json<PrunedLayers>> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let removed = templates::clear_layers(&app, tenant.project).await?;
    Ok(Json(PrunedLayers { removed }))
}
