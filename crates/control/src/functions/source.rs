//! Sources: what is laid over a runtime's image.
//!
//! An image of its own, pinned by the version that it belongs to. One that was uploaded and never deployed goes with the
//! next prune.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
};
use futures::TryStreamExt as _;
use hearth_api::{FunctionSource, ProblemCode};
use hearth_domain::{Action, VersionSpec};
use hearth_image::{ImportSource, ProgressSink, SourceOptions};
use tokio_util::io::StreamReader;
use tracing::warn;

use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiPath, chunks},
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
    caller.may(&app, Action::FunctionWrite).await?;
    super::plan::name(&name)?;
    let pieces = chunks(request.into_body()).map_err(std::io::Error::other);
    let source = ImportSource::Stream(Box::pin(StreamReader::new(pieces)));
    import(&app, source).await.map(Json)
}

/// Makes a source of an archive.
pub(crate) async fn import(app: &App, archive: ImportSource) -> ApiResult<FunctionSource> {
    let record = app
        .images
        .import_source(archive, SourceOptions::default(), ProgressSink::none())
        .await?;
    Ok(FunctionSource {
        source: record.id.to_string(),
        size_bytes: record.size_bytes,
    })
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

/// Keeps the images of a version: nothing that is pinned is pruned.
pub(crate) async fn pin(app: &App, version: &VersionSpec) -> ApiResult<()> {
    let (images, owner) = (app.images.clone(), owner(version));
    let wanted: Vec<String> = version.layers.iter().chain([&version.image_id]).cloned().collect();
    app.blocking(move || {
        for image in wanted {
            let (id, _) = images.find(&image)?;
            images.pin(&id, &owner)?;
        }
        Ok::<_, hearth_image::ImageError>(())
    })
    .await??;
    Ok(())
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

/// Whether a holder of an image is a version of a function.
pub(crate) fn is_owner(holder: &str) -> bool {
    holder.starts_with(OWNER)
}
