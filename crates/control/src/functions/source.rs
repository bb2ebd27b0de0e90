//! Sources: what is laid over a runtime's image.

use hearth_api::ProblemCode;
use hearth_domain::VersionSpec;

use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

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
