//! What `docker save` writes: `manifest.json` names the configuration and the layers by their names in the tar.

use serde::Deserialize;

use super::archive::Archive;
use super::{Plan, shown};
use crate::config::ImageConfig;
use crate::error::{ImageError, ImportError};
use crate::manifest::{CONFIG_MAX_BYTES, LAYERS_MAX, MANIFEST_MAX_BYTES, ManifestError, null_as_default};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::Layer;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    #[serde(default, deserialize_with = "null_as_default")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    layers: Vec<String>,
}

pub(super) fn plan(archive: &Archive, platform: &Platform) -> Result<Plan, ImageError> {
    let bytes = archive.document("manifest.json", MANIFEST_MAX_BYTES as u64)?;
    let images: Vec<SavedImage> = serde_json::from_slice(&bytes).map_err(|source| ImportError::Document {
        name: "manifest.json".into(),
        source,
    })?;
    let image = single(images)?;
    if image.layers.len() > LAYERS_MAX {
        let count = image.layers.len();
        return Err(ManifestError::TooMany {
            what: "layers",
            count,
            limit: LAYERS_MAX,
        }
        .into());
    }
    let document = archive.document(&image.config, CONFIG_MAX_BYTES as u64)?;
    let config = ImageConfig::parse(&document)?;
    config.check(platform, image.layers.len())?;
    let layers = image.layers.iter().zip(&config.diff_ids).map(|(name, diff_id)| {
        let (size_bytes, open) = archive.part(name)?;
        // The configuration's digest of the unpacked layer is all there is to check it by, and enough.
        Ok(Layer {
            label: diff_id.short(),
            open,
            size_bytes,
            digest: None,
            diff_id: Some(*diff_id),
        })
    });
    let layers = layers.collect::<Result<_, ImportError>>()?;
    let name = image.repo_tags.iter().find_map(|tag| tag.parse::<Reference>().ok());
    Ok(Plan {
        document: Some(document),
        layers,
        name,
    })
}

fn single(mut images: Vec<SavedImage>) -> Result<SavedImage, ImportError> {
    match images.len() {
        0 => Err(ImportError::Missing("image".into())),
        1 => Ok(images.swap_remove(0)),
        count => {
            let names: Vec<_> = images.into_iter().flat_map(|image| image.repo_tags).collect();
            Err(ImportError::Several {
                count,
                names: shown(&names),
            })
        }
    }
}
