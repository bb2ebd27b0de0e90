//! Where clients put what a build copies, before it is started. They lie beside those that E2B's clients put.

use std::sync::Arc;

use axum::{Json, body::Body, extract::State};
use hearth_api::TemplateFiles;
use hearth_domain::Action;
use http::StatusCode;

use crate::{
    api_doc::Problems, app::App, caller::Caller, error::ApiResult, extract::ApiPath, templates::files::StepFiles,
};

/// Whether the project has files of a hash. Those that it has stay for the next days.
#[utoipa::path(get, path = "/v1/template-files/{hash}", tag = "templates", operation_id = "get_template_files",
    params(("hash" = String, Path, description = "SHA-256 of the files' names, modes and contents, in hexadecimal digits")),
    responses((status = 200, description = "Whether they are there", body = TemplateFiles), Problems))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(hash): ApiPath,
) -> ApiResult<Json<TemplateFiles>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let present = StepFiles::of(&app, tenant.project).has(&hash).await?;
    Ok(Json(TemplateFiles { present }))
}

/// Puts files that a build of the project will copy: a tar archive, compressed by gzip or not. Those that no build uses go after
/// a week.
#[utoipa::path(put, path = "/v1/template-files/{hash}", tag = "templates", operation_id = "put_template_files",
    params(("hash" = String, Path, description = "SHA-256 of the files' names, modes and contents, in hexadecimal digits")),
    request_body(content = Vec<u8>, content_type = "application/x-tar"),
    responses((status = 204, description = "They are kept"), Problems))]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(hash): ApiPath,
    body: Body,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    StepFiles::of(&app, tenant.project).put(&hash, body).await?;
    Ok(StatusCode::NO_CONTENT)
}
