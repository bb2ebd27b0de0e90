//! Removing what nothing keeps.

use serde::{Deserialize, Serialize};

use super::ImageStore;
use super::catalog::Catalog;
use super::lock::FileLock;
use super::paths::{names_in, remove_file};
use crate::digest::{Digest, ImageId};
use crate::error::{ImageError, StoreError};
use crate::reference::Reference;

/// What a prune removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneReport {
    /// Images.
    pub deleted: Vec<ImageId>,
    /// Their names, where named ones were asked for too.
    pub untagged: Vec<Reference>,
    /// Downloads, whole and begun.
    pub blobs: usize,
    /// What all of it took.
    pub freed_bytes: u64,
}

impl ImageStore {
    /// Removes downloads that are not in use, and images with neither name nor holder; with `all`, named ones without a holder too.
    pub fn prune(&self, all: bool) -> Result<PruneReport, ImageError> {
        let catalog = &self.inner.catalog;
        let mut report = PruneReport::default();
        prune_blobs(catalog, &mut report)?;
        let _change = catalog.lock()?;
        for id in catalog.ids()? {
            let names = catalog.names_of(id)?;
            let kept = !catalog.holders(id)?.is_empty() || (!all && !names.is_empty());
            if kept {
                continue;
            }
            for name in &names {
                catalog.remove_name(name)?;
            }
            report.freed_bytes += catalog.remove_image(id)?;
            report.untagged.extend(names);
            report.deleted.push(id);
        }
        prune_dangling_names(catalog)?;
        Ok(report)
    }
}

/// A blob whose lock is taken is being downloaded.
fn prune_blobs(catalog: &Catalog, report: &mut PruneReport) -> Result<(), StoreError> {
    let paths = &catalog.paths;
    for name in names_in(&paths.blobs())? {
        let digest = Digest::from_hex(name.strip_suffix(".partial").unwrap_or(&name));
        let lock = digest
            .ok()
            .map(|digest| FileLock::try_take(&paths.blob_lock(digest)))
            .transpose()?;
        if matches!(lock, Some(None)) {
            continue;
        }
        report.freed_bytes += remove_file(&paths.blobs().join(&name))?;
        report.blobs += 1;
    }
    Ok(())
}

/// Names of images whose removal was cut short between the two.
fn prune_dangling_names(catalog: &Catalog) -> Result<(), StoreError> {
    for (name, id) in catalog.names()? {
        if catalog.image(id)?.is_none() {
            catalog.remove_name(&name)?;
        }
    }
    Ok(())
}
