//! OCI layouts: `index.json` leads to manifests, which lead to blobs by digest.

use super::archive::Archive;
use super::{Plan, checked, shown};
use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::error::{ImageError, ImportError};
use crate::manifest::{
    CONFIG_MAX_BYTES, Descriptor, Document, Index, IndexEntry, MANIFEST_MAX_BYTES, Manifest, ManifestError,
};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::Layer;

/// Full names, as containerd writes them; then names or mere tags, as everybody does.
const NAME_KEYS: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
const DEPTH_MAX: usize = 4;

pub(super) fn plan(archive: &Archive, platform: &Platform) -> Result<Plan, ImageError> {
    let bytes = archive.document("index.json", MANIFEST_MAX_BYTES as u64)?;
    let Document::Index(index) = Document::parse(&bytes, None)? else {
        return Err(ImportError::Malformed("index.json is not an index".into()).into());
    };
    check_single(&index)?;
    let name = index.entries.iter().find_map(reference);
    let manifest = follow(archive, index, platform)?;
    let document = checked(
        archive,
        &blob(manifest.config.digest),
        CONFIG_MAX_BYTES as u64,
        Some(manifest.config.digest),
    )?;
    let config = ImageConfig::parse(&document)?;
    config.check(platform, manifest.layers.len())?;
    let layers = manifest
        .layers
        .iter()
        .zip(&config.diff_ids)
        .map(|(layer, diff_id)| open_layer(archive, layer, *diff_id));
    Ok(Plan {
        document: Some(document),
        layers: layers.collect::<Result<_, _>>()?,
        name,
    })
}

/// Where a layout keeps a blob. Made of hexadecimal digits only, so that it leads nowhere else.
fn blob(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn open_layer(archive: &Archive, layer: &Descriptor, diff_id: Digest) -> Result<Layer, ImportError> {
    let name = blob(layer.digest);
    let (size_bytes, open) = archive.part(&name)?;
    if size_bytes != layer.size_bytes {
        let expected = layer.size_bytes;
        return Err(ImportError::Malformed(format!(
            "{name} has {size_bytes} bytes instead of {expected}"
        )));
    }
    let label = layer.digest.short();
    Ok(Layer {
        label,
        open,
        size_bytes,
        digest: Some(layer.digest),
        diff_id: Some(diff_id),
    })
}

fn names(entry: &IndexEntry) -> impl Iterator<Item = &String> {
    NAME_KEYS.iter().filter_map(|key| entry.annotations.get(*key))
}

/// A mere tag ("latest") names no image.
fn reference(entry: &IndexEntry) -> Option<Reference> {
    names(entry)
        .filter(|name| name.contains([':', '/']))
        .find_map(|name| name.parse().ok())
}

/// Refuses an index whose entries have several names; those of one image may differ in their platforms.
fn check_single(index: &Index) -> Result<(), ImportError> {
    let mut all: Vec<_> = index
        .entries
        .iter()
        .filter_map(|entry| names(entry).next().cloned())
        .collect();
    all.sort_unstable();
    all.dedup();
    if all.len() > 1 {
        return Err(ImportError::Several {
            count: all.len(),
            names: shown(&all),
        });
    }
    Ok(())
}

fn follow(archive: &Archive, mut index: Index, platform: &Platform) -> Result<Manifest, ImageError> {
    for _ in 0..DEPTH_MAX {
        let entry = index.select(platform)?.descriptor.clone();
        let bytes = checked(
            archive,
            &blob(entry.digest),
            MANIFEST_MAX_BYTES as u64,
            Some(entry.digest),
        )?;
        match Document::parse(&bytes, Some(&entry.media_type))? {
            Document::Manifest(manifest) => return Ok(manifest),
            Document::Index(inner) => index = inner,
        }
    }
    Err(ManifestError::UnknownType("index in an index in an index".into()).into())
}
