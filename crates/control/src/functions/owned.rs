//! Whose a source is. The store of images is one for all projects, and names a source by its digest alone; so each upload
//! is held for its project, by a holder that says when it came, until a version holds it or [`UNDEPLOYED_MS`] are over.
//!
//! Invariant: a source that neither a version nor a recent upload holds is no project's, and goes.

use hearth_domain::QuotaExceeded;
use hearth_ids::{FunctionId, ProjectId};
use hearth_image::{ImageError, ImageRecord, ImageStore};
use tracing::warn;

use super::source;
use crate::{
    app::App,
    caller::Tenant,
    error::{ApiError, ApiResult},
    time::now_unix_ms,
};

/// How the names begin by which projects hold what they uploaded: then the project, `.`, and when, in ms since the epoch.
const UPLOAD: &str = "src.";
/// How long an upload waits for its deployment.
const UNDEPLOYED_MS: u64 = 3_600_000;
/// What a project may have uploaded and not deployed, in bytes; one upload may pass it.
const UNDEPLOYED_MAX_BYTES: u64 = 1 << 30;
/// So many sources go at once, at most; more go with the next upload.
const SWEEP_MAX: usize = 256;

/// By what name a project holds what it uploads now.
pub(crate) fn upload_holder(project: ProjectId) -> String {
    format!("{UPLOAD}{project}.{}", now_unix_ms())
}

/// An upload's project, and when it came.
fn upload(holder: &str) -> Option<(ProjectId, u64)> {
    let (project, at_unix_ms) = holder.strip_prefix(UPLOAD)?.split_once('.')?;
    Some((project.parse().ok()?, at_unix_ms.parse().ok()?))
}

/// Whether a source with these holders is the tenant's: uploaded in its project, or of a version of a function there.
pub(crate) async fn has(app: &App, tenant: &Tenant, holders: &[String]) -> ApiResult<bool> {
    if tenant.host || holders.iter().any(|holder| is_upload_of(tenant.project, holder)) {
        return Ok(true);
    }
    for function in holders.iter().filter_map(|holder| source::function_of(holder)) {
        if is_function_of(app, tenant.project, function).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_upload_of(project: ProjectId, holder: &str) -> bool {
    upload(holder).is_some_and(|(owner, _)| owner == project)
}

async fn is_function_of(app: &App, project: ProjectId, function: FunctionId) -> ApiResult<bool> {
    let row = app.store.function(function).await?;
    Ok(row.is_some_and(|row| row.spec.project == project))
}

/// Refuses an upload of a project that has too much waiting; first, what waited for too long goes.
pub(crate) async fn admit_upload(app: &App, project: ProjectId) -> ApiResult<()> {
    sweep(app).await?;
    let images = app.images.clone();
    let records = app.blocking(move || images.list()).await??;
    let held = records.iter().filter(|record| waits(record, project));
    let held: u64 = held.map(|record| record.size_bytes).sum();
    if held < UNDEPLOYED_MAX_BYTES {
        return Ok(());
    }
    let exceeded = QuotaExceeded {
        what: "bytes of sources that are not deployed",
        field: "source",
        limit: UNDEPLOYED_MAX_BYTES,
        held,
        wanted: 1,
    };
    Err(ApiError::from(exceeded).retry_after_ms(UNDEPLOYED_MS))
}

fn waits(record: &ImageRecord, project: ProjectId) -> bool {
    let holders = &record.holders;
    record.is_source()
        && holders.iter().any(|holder| is_upload_of(project, holder))
        && !holders.iter().any(|holder| source::is_owner(holder))
}

/// A project's uploads of these sources need not be held any more: a version holds them.
pub(crate) async fn deployed(app: &App, project: ProjectId, sources: &[String]) -> ApiResult<()> {
    let (images, sources) = (app.images.clone(), sources.to_vec());
    let work = move || {
        for (id, holder) in images.holders()? {
            if is_upload_of(project, &holder) && sources.contains(&id.to_string()) {
                images.unpin(&holder)?;
            }
        }
        Ok::<_, ImageError>(())
    };
    app.blocking(work).await??;
    Ok(())
}

/// Lets go of uploads that nobody deployed, and of sources that nothing holds.
pub(crate) async fn sweep(app: &App) -> ApiResult<()> {
    let images = app.images.clone();
    let now = now_unix_ms();
    app.blocking(move || sweep_images(&images, now)).await??;
    Ok(())
}

/// Blocks.
fn sweep_images(images: &ImageStore, now_unix_ms: u64) -> Result<(), ImageError> {
    let late = |holder: &String| upload(holder).is_some_and(|(_, at)| now_unix_ms.saturating_sub(at) >= UNDEPLOYED_MS);
    let holders = images.holders()?.into_iter().map(|(_, holder)| holder).filter(late);
    for holder in holders.take(SWEEP_MAX) {
        images.unpin(&holder)?;
    }
    let unheld = |record: &ImageRecord| record.is_source() && record.holders.is_empty();
    for source in images.list()?.into_iter().filter(unheld).take(SWEEP_MAX) {
        // Somebody else may have removed it, or hold it by now: then it stays.
        if let Err(error) = images.remove(&source.id.to_string(), false) {
            warn!(source = %source.id, %error, "a source stays that nothing seemed to hold");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hearth_image::{ImportSource, ProgressSink, SourceOptions, StoreConfig};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_nobody_deployed_goes_and_what_a_version_has_stays() {
        let folder = tempfile::tempdir().unwrap();
        let images = ImageStore::open(folder.path(), StoreConfig::default()).await.unwrap();
        let project = ProjectId::new();
        let now = now_unix_ms();
        let mut kept = Vec::new();
        for (text, at, deployed) in [
            (b"late", now - UNDEPLOYED_MS, false),
            (b"used", now - UNDEPLOYED_MS, true),
            (b"soon", now - 1, false),
        ] {
            let mut archive = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(4);
            header.set_mode(0o644);
            archive.append_data(&mut header, "main.py", text.as_slice()).unwrap();
            let options = SourceOptions {
                owner: Some(format!("{UPLOAD}{project}.{at}")),
                ..SourceOptions::default()
            };
            let bytes = std::io::Cursor::new(archive.into_inner().unwrap());
            let source = ImportSource::Stream(Box::pin(bytes));
            let record = images
                .import_source(source, options, ProgressSink::none())
                .await
                .unwrap();
            assert!(record.is_source() && waits(&record, project) && !waits(&record, ProjectId::DEFAULT));
            if deployed {
                images.pin(&record.id, &format!("fn.{}.1", FunctionId::new())).unwrap();
            }
            if text != b"late" {
                kept.push(record.id);
            }
        }
        sweep_images(&images, now).unwrap();
        let mut left: Vec<_> = images.list().unwrap().into_iter().map(|record| record.id).collect();
        left.sort();
        kept.sort();
        assert_eq!(left, kept);
    }
}
