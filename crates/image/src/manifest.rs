//! Manifests and indexes of both families (OCI, docker schema 2), from untrusted bytes.
//!
//! Parsing is pure and bounded; a document that could be read as both a manifest and an index is refused, since another reader might see another
//! image in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::digest::{Digest, clip};
use crate::platform::Platform;

/// Largest manifest or index accepted.
pub const MANIFEST_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Largest image configuration accepted.
pub const CONFIG_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Most layers an image may have.
pub const LAYERS_MAX: usize = 512;
/// Most entries an index may have.
pub(crate) const INDEX_ENTRIES_MAX: usize = 1024;

/// What clients say they accept.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

const INDEX_TYPES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
const MANIFEST_TYPES: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
const CONFIG_TYPES: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];
const LAYER_TYPES: [&str; 5] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
];

/// Why a manifest or index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Beyond [`MANIFEST_MAX_BYTES`].
    #[error("the manifest has {0} bytes, more than the {MANIFEST_MAX_BYTES} allowed")]
    TooLarge(usize),
    /// Not JSON of the expected shape.
    #[error("the manifest is malformed")]
    Malformed(#[source] serde_json::Error),
    /// Both a manifest and an index.
    #[error("the manifest has both layers and manifests, so it could be read in two ways")]
    Ambiguous,
    /// Of a kind that holds no image.
    #[error("the manifest is of type {0:?}, which is not an image; push it again with a current tool")]
    UnknownType(String),
    /// Something else in image's clothing, such as a chart.
    #[error("this is not an image that can run: its configuration is of type {0:?}")]
    NotAnImage(String),
    /// A layer whose bytes lie elsewhere.
    #[error("layer {digest} is to be fetched from a URL outside the registry, which is refused")]
    ForeignLayer {
        /// The layer.
        digest: Digest,
    },
    /// A layer that is not a tar.
    #[error("layer {digest} is of unknown type {media_type:?}")]
    LayerType {
        /// The layer.
        digest: Digest,
        /// What it says it is.
        media_type: String,
    },
    /// More layers than [`LAYERS_MAX`], or an index of more than 1024 entries.
    #[error("the manifest lists {count} {what}, more than the {limit} allowed")]
    TooMany {
        /// Layers or manifests.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many may be.
        limit: usize,
    },
    /// A configuration beyond [`CONFIG_MAX_BYTES`].
    #[error("the image's configuration has {0} bytes, more than the {CONFIG_MAX_BYTES} allowed")]
    ConfigTooLarge(u64),
    /// Nothing for this platform.
    #[error("the image is not made for {wanted}, only for {}", list(.available))]
    NoPlatform {
        /// What was looked for.
        wanted: Platform,
        /// What there is.
        available: Vec<Platform>,
    },
}

fn list(platforms: &[Platform]) -> String {
    const SHOWN: usize = 20;
    if platforms.is_empty() {
        return "no platform at all".into();
    }
    let names: Vec<_> = platforms.iter().take(SHOWN).map(Platform::to_string).collect();
    let more = if platforms.len() > SHOWN { ", …" } else { "" };
    names.join(", ") + more
}

/// Points at bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// What the bytes are.
    pub media_type: String,
    /// Their address.
    pub digest: Digest,
    /// How many there are.
    pub size_bytes: u64,
}

/// An image of one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
}

/// One line of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The manifest, or another index.
    pub descriptor: Descriptor,
    /// What it is for, if said.
    pub platform: Option<Platform>,
    /// Names given to it in an OCI layout.
    pub annotations: BTreeMap<String, String>,
}

/// Images for several platforms, or of several names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// In the order of the document.
    pub entries: Vec<IndexEntry>,
}

/// What a registry gives for a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// A choice.
    Index(Index),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    #[serde(default)]
    schema_version: Option<u64>,
    #[serde(default, deserialize_with = "null_as_default")]
    media_type: String,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default, deserialize_with = "null_as_default")]
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default, deserialize_with = "null_as_default")]
    urls: Vec<String>,
    #[serde(default)]
    platform: Option<RawPlatform>,
    #[serde(default, deserialize_with = "null_as_default")]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default, deserialize_with = "null_as_default")]
    os: String,
    #[serde(default, deserialize_with = "null_as_default")]
    architecture: String,
    #[serde(default, deserialize_with = "null_as_default")]
    variant: String,
}

/// Writers of Go leave `null` where they mean "empty".
pub(crate) fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Document {
    /// Reads a manifest or index. `media_type` is what the registry or layout called it; the document's own word counts more.
    pub fn parse(bytes: &[u8], media_type: Option<&str>) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_MAX_BYTES {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        let raw: RawDocument = serde_json::from_slice(bytes).map_err(ManifestError::Malformed)?;
        if raw.manifests.is_some() && (raw.layers.is_some() || raw.config.is_some()) {
            return Err(ManifestError::Ambiguous);
        }
        let told = if raw.media_type.is_empty() {
            media_type.unwrap_or_default()
        } else {
            &raw.media_type
        };
        let named_index = INDEX_TYPES.contains(&told);
        let named_manifest = MANIFEST_TYPES.contains(&told);
        let unnamed = !named_index && !named_manifest && !told.contains("vnd.");
        match raw {
            RawDocument {
                schema_version: Some(1),
                ..
            } => Err(ManifestError::UnknownType("docker schema 1".into())),
            RawDocument {
                manifests: Some(manifests),
                ..
            } if named_index || unnamed => Index::new(manifests).map(Self::Index),
            RawDocument {
                config: Some(config),
                layers,
                ..
            } if named_manifest || unnamed => Manifest::new(config, layers.unwrap_or_default()).map(Self::Manifest),
            _ => Err(ManifestError::UnknownType(clip(told))),
        }
    }
}

impl Manifest {
    fn new(config: RawDescriptor, layers: Vec<RawDescriptor>) -> Result<Self, ManifestError> {
        if !CONFIG_TYPES.contains(&config.media_type.as_str()) {
            return Err(ManifestError::NotAnImage(clip(&config.media_type)));
        }
        if config.size > CONFIG_MAX_BYTES as u64 {
            return Err(ManifestError::ConfigTooLarge(config.size));
        }
        bounded("layers", layers.len(), LAYERS_MAX)?;
        let layers = layers.into_iter().map(layer).collect::<Result<_, _>>()?;
        Ok(Self {
            config: config.into(),
            layers,
        })
    }
}

fn layer(raw: RawDescriptor) -> Result<Descriptor, ManifestError> {
    let foreign = raw.media_type.contains("nondistributable") || raw.media_type.contains("foreign");
    if foreign || !raw.urls.is_empty() {
        return Err(ManifestError::ForeignLayer { digest: raw.digest });
    }
    if !LAYER_TYPES.contains(&raw.media_type.as_str()) {
        return Err(ManifestError::LayerType {
            digest: raw.digest,
            media_type: clip(&raw.media_type),
        });
    }
    Ok(raw.into())
}

fn bounded(what: &'static str, count: usize, limit: usize) -> Result<(), ManifestError> {
    if count > limit {
        Err(ManifestError::TooMany { what, count, limit })
    } else {
        Ok(())
    }
}

impl From<RawDescriptor> for Descriptor {
    fn from(raw: RawDescriptor) -> Self {
        Self {
            media_type: raw.media_type,
            digest: raw.digest,
            size_bytes: raw.size,
        }
    }
}

impl From<RawPlatform> for Platform {
    fn from(raw: RawPlatform) -> Self {
        Self {
            os: raw.os,
            architecture: raw.architecture,
            variant: raw.variant,
        }
    }
}

impl Index {
    fn new(manifests: Vec<RawDescriptor>) -> Result<Self, ManifestError> {
        bounded("manifests", manifests.len(), INDEX_ENTRIES_MAX)?;
        let entries = manifests.into_iter().map(|mut raw| IndexEntry {
            platform: raw.platform.take().map(Platform::from),
            annotations: std::mem::take(&mut raw.annotations),
            descriptor: raw.into(),
        });
        Ok(Self {
            entries: entries.collect(),
        })
    }

    /// The entry for `wanted`: the first that says it fits, else the only one there is when that says nothing.
    pub fn select(&self, wanted: &Platform) -> Result<&IndexEntry, ManifestError> {
        let images: Vec<_> = self.entries.iter().filter(|entry| entry.is_image()).collect();
        let fitting = images
            .iter()
            .find(|entry| entry.platform.as_ref().is_some_and(|platform| wanted.runs(platform)));
        match (fitting, images.as_slice()) {
            (Some(entry), _) => Ok(entry),
            (None, [only]) if only.platform.is_none() => Ok(only),
            (None, _) => Err(ManifestError::NoPlatform {
                wanted: wanted.clone(),
                available: images.iter().filter_map(|entry| entry.platform.clone()).collect(),
            }),
        }
    }
}

impl IndexEntry {
    /// Build attestations lie in the index like images, for platform `unknown/unknown`.
    fn is_image(&self) -> bool {
        let known = |media_type: &str| {
            media_type.is_empty() || INDEX_TYPES.contains(&media_type) || MANIFEST_TYPES.contains(&media_type)
        };
        known(&self.descriptor.media_type)
            && self.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
            && !self.annotations.contains_key("vnd.docker.reference.type")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn descriptor(media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": Digest::of(media_type.as_bytes()).to_string(), "size": 3})
    }

    fn manifest(layers: &[Value]) -> Value {
        json!({"schemaVersion": 2, "mediaType": MANIFEST_TYPES[0], "config": descriptor(CONFIG_TYPES[0]), "layers": layers})
    }

    fn parse(document: &Value) -> Result<Document, ManifestError> {
        Document::parse(document.to_string().as_bytes(), None)
    }

    fn entry(architecture: &str) -> Value {
        let mut entry = descriptor(MANIFEST_TYPES[1]);
        entry["platform"] =
            json!({"os": if architecture == "unknown" { "unknown" } else { "linux" }, "architecture": architecture});
        entry
    }

    #[test]
    fn both_families_of_manifest_are_read() {
        let oci = manifest(&LAYER_TYPES.map(descriptor));
        let Document::Manifest(parsed) = parse(&oci).unwrap() else {
            panic!("an index?")
        };
        assert_eq!(parsed.layers.len(), 5);
        assert!(parsed.layers.iter().all(|layer| layer.size_bytes == 3));
        let docker = json!({"schemaVersion": 2, "config": descriptor(CONFIG_TYPES[1]), "layers": null});
        for media_type in [None, Some(MANIFEST_TYPES[1]), Some("application/json")] {
            assert!(matches!(
                Document::parse(docker.to_string().as_bytes(), media_type),
                Ok(Document::Manifest(Manifest { layers, .. })) if layers.is_empty()
            ));
        }
    }

    #[test]
    fn what_could_harm_or_mislead_is_refused() {
        use ManifestError as E;
        let mut both = manifest(&[]);
        both["manifests"] = json!([]);
        assert!(matches!(parse(&both), Err(E::Ambiguous)));
        let mut mislabelled = manifest(&[]);
        mislabelled["mediaType"] = json!(INDEX_TYPES[0]);
        assert!(matches!(parse(&mislabelled), Err(E::UnknownType(_))));
        let mut foreign = descriptor(LAYER_TYPES[1]);
        foreign["urls"] = json!(["https://elsewhere.example/layer"]);
        assert!(matches!(parse(&manifest(&[foreign])), Err(E::ForeignLayer { .. })));
        let chart = descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip");
        assert!(matches!(
            parse(&manifest(std::slice::from_ref(&chart))),
            Err(E::LayerType { .. })
        ));
        assert!(matches!(
            parse(&json!({"config": chart, "layers": []})),
            Err(E::NotAnImage(_))
        ));
        assert!(matches!(
            parse(&manifest(&vec![descriptor(LAYER_TYPES[0]); 513])),
            Err(E::TooMany { .. })
        ));
        assert!(matches!(
            parse(&json!({"schemaVersion": 1, "fsLayers": []})),
            Err(E::UnknownType(_))
        ));
        assert!(matches!(
            Document::parse(&vec![b' '; MANIFEST_MAX_BYTES + 1], None),
            Err(E::TooLarge(_))
        ));
        assert!(matches!(Document::parse(b"{", None), Err(E::Malformed(_))));
        let mut huge = manifest(&[]);
        huge["config"]["size"] = json!(CONFIG_MAX_BYTES + 1);
        assert!(matches!(parse(&huge), Err(E::ConfigTooLarge(_))));
    }

    #[test]
    fn the_index_entry_of_the_platform_is_taken_or_the_others_are_named() {
        let document = json!({"manifests": [entry("unknown"), entry("arm64"), entry("s390x")]});
        let Ok(Document::Index(index)) = parse(&document) else {
            panic!("no index")
        };
        assert_eq!(index.select(&Platform::linux("arm64")).unwrap(), &index.entries[1]);
        let message = index.select(&Platform::linux("amd64")).unwrap_err().to_string();
        assert_eq!(
            message,
            "the image is not made for linux/amd64, only for linux/arm64, linux/s390x"
        );
    }

    #[test]
    fn a_lone_entry_without_a_platform_is_taken() {
        let document = json!({"manifests": [descriptor(MANIFEST_TYPES[0])]});
        let Ok(Document::Index(index)) = parse(&document) else {
            panic!("no index")
        };
        assert!(index.select(&Platform::host()).is_ok());
    }
}
