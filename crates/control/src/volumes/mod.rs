//! Volumes: shared folders that outlive the sandboxes that mount them.
//!
//! A volume is there once its row is. Its folder is made before and removed after; what a crash leaves without a row is removed at the
//! next start. One that is removed is gone at once, also for sandboxes that mount it: these get errors, as E2B's do.

mod mounts;

use std::{collections::HashSet, sync::Arc};

use hearth_api::ProblemCode;
use hearth_ids::{ProjectId, VolumeId};
use hearth_store::{NewVolumeError, StoreError, VolumeRow};
use hearth_volume::{Folder, VolumeError, Volumes};
pub(crate) use mounts::mounts;
use tracing::error;
use zeroize::Zeroizing;

use crate::{
    app::App,
    caller::Tenant,
    error::{ApiError, ApiResult},
    time::now_unix_ms,
};

/// What the tokens open.
const PURPOSE: &str = "volume";
const NAME_MAX: usize = 128;

/// Makes a volume.
pub(crate) async fn create(app: &App, tenant: &Tenant, name: &str) -> ApiResult<VolumeRow> {
    check_name(name)?;
    let row = VolumeRow {
        id: VolumeId::new(),
        project: tenant.project,
        name: name.to_owned(),
        created_unix_ms: now_unix_ms(),
    };
    let id = row.id;
    on_disk(app, move |volumes| volumes.create(id)).await?;
    if let Err(error) = app.store.insert_volume(&row).await {
        on_disk(app, move |volumes| volumes.remove(id)).await?;
        return Err(refused(error));
    }
    Ok(row)
}

fn refused(error: NewVolumeError) -> ApiError {
    match error {
        NewVolumeError::NameTaken(_) => ApiError::new(ProblemCode::NameTaken, error.to_string()),
        NewVolumeError::TooMany => ApiError::new(ProblemCode::QuotaExceeded, error.to_string()),
        NewVolumeError::Store(error) => error.into(),
    }
}

fn check_name(name: &str) -> ApiResult<()> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(is_word) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    let detail = format!("name {shown:?} is not valid: use 1 to {NAME_MAX} letters, digits, '_' and '-'");
    Err(ApiError::field("name", detail))
}

/// The tenant's volume of an ID. What is of another project is not there.
pub(crate) async fn find(app: &App, tenant: &Tenant, text: &str) -> ApiResult<VolumeRow> {
    let id = text.parse().map_err(|_| no_volume(text))?;
    let row = app.store.volume(id).await?;
    row.filter(|row| row.project == tenant.project)
        .ok_or_else(|| no_volume(text))
}

/// There is none, or none that the caller may know of.
pub(crate) fn no_volume(text: &str) -> ApiError {
    let text: String = text.chars().take(80).collect();
    ApiError::new(ProblemCode::VolumeNotFound, format!("there is no volume {text:?}"))
}

/// Removes a volume. It is gone at once, though what was in it takes its time.
pub(crate) async fn remove(app: &App, id: VolumeId) -> ApiResult<()> {
    if !app.store.forget_volume(id).await? {
        return Err(no_volume(&id.to_string()));
    }
    app.config.volumes.remove_slowly(id).await.map_err(failed)
}

/// What opens the files of a volume, and nothing else.
pub(crate) fn token(app: &App, id: VolumeId) -> Zeroizing<String> {
    app.config.seal.token(PURPOSE, &id.to_string())
}

/// The folder of a volume that is there.
pub(crate) async fn folder(app: &App, row: &VolumeRow) -> ApiResult<Arc<Folder>> {
    let id = row.id;
    let found = on_disk(app, move |volumes| volumes.get(id)).await?;
    if let Some(folder) = found {
        return Ok(folder);
    }
    let (volumes, store) = (Arc::clone(&app.config.volumes), app.store.clone());
    // A client that goes away must not leave it half done.
    let making =
        tokio::spawn(async move { made_again(&volumes, id, async || Ok(store.volume(id).await?.is_some())).await });
    let folder = making
        .await
        .map_err(|error| ApiError::internal("work on a volume was cut off").caused_by(error))??;
    folder.ok_or_else(|| no_volume(&id.to_string()))
}

/// Makes a folder that is lost: the disk was put back from a copy that is older than the row. None if the volume is not known any
/// more then: whoever removed it meanwhile may have looked for the folder before it was there.
async fn made_again(
    volumes: &Arc<Volumes>,
    id: VolumeId,
    is_known: impl AsyncFnOnce() -> ApiResult<bool>,
) -> ApiResult<Option<Arc<Folder>>> {
    on_disk_of(volumes, move |volumes| volumes.create(id)).await?;
    if is_known().await? {
        return on_disk_of(volumes, move |volumes| volumes.get(id)).await;
    }
    on_disk_of(volumes, move |volumes| volumes.remove(id)).await?;
    Ok(None)
}

async fn on_disk<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&Volumes) -> Result<T, VolumeError> + Send + 'static,
) -> ApiResult<T> {
    on_disk_of(&app.config.volumes, work).await
}

async fn on_disk_of<T: Send + 'static>(
    volumes: &Arc<Volumes>,
    work: impl FnOnce(&Volumes) -> Result<T, VolumeError> + Send + 'static,
) -> ApiResult<T> {
    let volumes = Arc::clone(volumes);
    let done = tokio::task::spawn_blocking(move || work(&volumes)).await;
    done.map_err(|error| ApiError::internal("work on a volume was cut off").caused_by(error))?
        .map_err(failed)
}

fn failed(error: VolumeError) -> ApiError {
    ApiError::internal("the host's disk failed a volume").caused_by(error)
}

/// Removes folders without a row. Where that fails they stay until the next start.
pub(crate) async fn recover(app: &App) -> Result<(), StoreError> {
    let known: HashSet<VolumeId> = app.store.volumes(None).await?.iter().map(|row| row.id).collect();
    let volumes = Arc::clone(&app.config.volumes);
    let swept = tokio::task::spawn_blocking(move || volumes.keep_only(&known)).await;
    if let Ok(Err(error)) = swept {
        error!(
            error = &error as &dyn std::error::Error,
            "folders of volumes that are gone stay"
        );
    }
    Ok(())
}

/// The volumes of a project, the oldest first.
pub(crate) async fn list(app: &App, project: ProjectId) -> ApiResult<Vec<VolumeRow>> {
    Ok(app.store.volumes(Some(project)).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_volume_that_is_removed_meanwhile_does_not_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let volumes = Arc::new(Volumes::open(folder.path(), b"secret", 1 << 20).unwrap());
        let (lost, removed) = (VolumeId::new(), VolumeId::new());
        assert!(made_again(&volumes, lost, async || Ok(true)).await.unwrap().is_some());
        assert!(
            made_again(&volumes, removed, async || Ok(false))
                .await
                .unwrap()
                .is_none()
        );
        let is_there = |id: VolumeId| folder.path().join(id.to_string()).exists();
        assert!(is_there(lost) && !is_there(removed));
    }
}
