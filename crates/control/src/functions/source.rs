//! Sources: what is laid over a runtime's image.
//!
//! An image of its own, held for the project that uploaded it ([`owned`]), and pinned by the versions that it belongs to.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
};
use futures::TryStreamExt as _;
use hearth_api::{FunctionSource, ProblemCode};
use hearth_domain::{Action, VersionSpec};
use hearth_ids::FunctionId;
use hearth_image::{ErrorKind, ImageError, ImportSource, ProgressSink, SourceOptions};
use tokio_util::io::StreamReader;
use tracing::warn;

use super::owned;
use crate::{
    api_doc::Problems,
    app::App,
    caller::{Caller, Tenant},
    error::{ApiError, ApiResult},
    extract::{ApiPath, chunks},
    fault,
};

/// How the names begin by which versions hold images.
const OWNER: &str = "fn.";

/// Takes a function's source: a tar of its folder, or a zip.
#[utoipa::path(post, path = "/v1/functions/{function}/source", tag = "functions", operation_id = "upload_source",
    params(("function" = String, Path, description = "Name; the function need not be there yet")),
    request_body(content = Vec<u8>, content_type = "application/x-tar"),
    responses((status = 200, description = "The source's digest", body = FunctionSource), Problems))]
pub(crate) async fn upload(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(name): ApiPath,
    request: Request,
) -> ApiResult<Json<FunctionSource>> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    super::plan::name(&name)?;
    let pieces = chunks(request.into_body()).map_err(std::io::Error::other);
    let source = ImportSource::Stream(Box::pin(StreamReader::new(pieces)));
    import(&app, &tenant, source).await.map(Json)
}

/// Makes a source of an archive, for the tenant's project.
pub(crate) async fn import(app: &App, tenant: &Tenant, archive: ImportSource) -> ApiResult<FunctionSource> {
    owned::admit_upload(app, tenant.project).await?;
    let options = SourceOptions {
        owner: Some(owned::upload_holder(tenant.project)),
        ..SourceOptions::default()
    };
    let record = app
        .images
        .import_source(archive, options, ProgressSink::none())
        .await
        .map_err(refused)?;
    Ok(FunctionSource {
        source: record.id.to_string(),
        size_bytes: record.size_bytes,
    })
}

/// What is wrong with an archive is wrong with the source.
fn refused(error: ImageError) -> ApiError {
    match error.kind() {
        ErrorKind::InvalidInput => {
            ApiError::new(ProblemCode::SourceInvalid, hearth_domain::chain(&error)).caused_by(error)
        }
        _ => error.into(),
    }
}

/// Refuses a source that is not here, or is another project's.
pub(crate) async fn check(app: &App, tenant: &Tenant, source: &str) -> ApiResult<()> {
    let (images, wanted) = (app.images.clone(), source.to_owned());
    let absent = || {
        let detail = format!("source {source:?} is not here; upload it first");
        ApiError::new(ProblemCode::SourceInvalid, detail)
    };
    let record = app.blocking(move || images.resolve(&wanted)).await?;
    let record = record.map_err(|error| absent().caused_by(error))?;
    if record.is_source() && owned::has(app, tenant, &record.holders).await? {
        return Ok(());
    }
    Err(absent())
}

/// Keeps the images of a version: nothing that is pinned is pruned.
pub(crate) async fn pin(app: &App, version: &VersionSpec) -> ApiResult<()> {
    let (images, owner) = (app.images.clone(), owner(version));
    let wanted: Vec<String> = of_version(version).cloned().collect();
    app.blocking(move || {
        for image in wanted {
            let (id, _) = images.find(&image)?;
            images.pin(&id, &owner)?;
            fault::point("deploy.pinned");
        }
        Ok::<_, hearth_image::ImageError>(())
    })
    .await??;
    Ok(())
}

/// The images that a version is made of.
pub(crate) fn of_version(version: &VersionSpec) -> impl Iterator<Item = &String> {
    version.layers.iter().chain([&version.image_id])
}

/// Lets the images of a version that is gone go with it.
pub(crate) async fn unpin(app: &App, version: &VersionSpec) {
    let (images, owner) = (app.images.clone(), owner(version));
    if let Ok(Err(error)) = app.blocking(move || images.unpin(&owner)).await {
        warn!(function = %version.function, version = version.number, %error, "cannot let go of the images of a version that is gone");
    }
}

/// By what name a version holds its images.
pub(crate) fn owner(version: &VersionSpec) -> String {
    format!("{OWNER}{}.{}", version.function, version.number)
}

/// Of which function a version holds an image, if this holder is one.
pub(crate) fn function_of(holder: &str) -> Option<FunctionId> {
    let (function, _) = holder.strip_prefix(OWNER)?.rsplit_once('.')?;
    function.parse().ok()
}

/// Whether a holder of an image is a version of a function.
pub(crate) fn is_owner(holder: &str) -> bool {
    holder.starts_with(OWNER)
}
