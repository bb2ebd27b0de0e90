//! Images from files: an OCI layout (folder or tar), a docker archive, or a root file system in a tar; any of the tars may be compressed.
//!
//! Archives are hostile until proven otherwise: names in them are only ever keys of a map, never paths; every part is bounded, and checked against its
//! digest where it has one.

mod archive;
mod docker;
mod kind;
mod layout;
pub(crate) mod spool;
mod tar_index;

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;

use self::archive::Archive;
use self::kind::Opened;
use crate::config::{ConfigOverrides, ImageConfig};
use crate::digest::Digest;
use crate::error::{ImageError, ImportError};
use crate::platform::Platform;
use crate::progress::{Phase, ProgressSink};
use crate::reference::Reference;
use crate::store::{ImageRecord, ImageStore, Label, Layer, NameClaim, Naming, StoredImage};

/// What an archive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImportKind {
    /// A folder or tar with `oci-layout` and `index.json`.
    OciLayout,
    /// What `docker save` writes.
    DockerArchive,
    /// A root file system.
    RootTar,
}

/// Where an archive is.
pub enum ImportSource {
    /// A file, or the folder of an OCI layout.
    Path(PathBuf),
    /// Bytes that come once; they are kept in the store's folder for the time of the import.
    Stream(Pin<Box<dyn AsyncRead + Send>>),
}

impl fmt::Debug for ImportSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(formatter, "Path({})", path.display()),
            Self::Stream(_) => formatter.write_str("Stream(…)"),
        }
    }
}

/// How to import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImportOptions {
    /// What to call the image; without it, what the archive calls it.
    pub name: Option<Reference>,
    /// On whose behalf the image is named; without it, on the host's, whose names move.
    pub claim: Option<NameClaim>,
    /// What the archive is; found out if not given.
    pub kind: Option<ImportKind>,
    /// Changes to the configuration.
    pub overrides: ConfigOverrides,
}

/// What is to be made of an archive.
struct Plan {
    /// The configuration's bytes; none for a root file system, which has none.
    document: Option<Vec<u8>>,
    layers: Vec<Layer>,
    /// What the archive calls the image.
    name: Option<Reference>,
}

impl ImageStore {
    /// Makes an image of an archive, unless the same is here already, and names it.
    pub async fn import(
        &self,
        source: ImportSource,
        options: ImportOptions,
        progress: ProgressSink,
    ) -> Result<ImageRecord, ImageError> {
        options.overrides.check().map_err(ImportError::Env)?;
        let image = self
            .within_time("the import", self.import_image(source, options, &progress))
            .await?;
        progress.emit(Phase::Done, &image.source, image.size_bytes, image.size_bytes);
        self.describe(image)
    }

    async fn import_image(
        &self,
        source: ImportSource,
        options: ImportOptions,
        progress: &ProgressSink,
    ) -> Result<StoredImage, ImageError> {
        let work = self.session().work_folder()?;
        let (path, shown, label) = match source {
            ImportSource::Path(path) => {
                let label = path
                    .file_name()
                    .map_or_else(|| path.display().to_string(), |name| name.display().to_string());
                (path.clone(), path, label)
            }
            ImportSource::Stream(stream) => {
                let path = work.path().join("archive");
                spool::receive(stream, &path, self.config().import_max_bytes, progress).await?;
                (path, spool::UPLOADED.into(), "archive".to_owned())
            }
        };
        progress.emit(Phase::Resolving, &label, 0, 0);
        let (plan, work) = self.plan((path, shown), work, options.kind).await?;
        let needed_bytes = plan
            .layers
            .iter()
            .fold(0_u64, |sum, layer| sum.saturating_add(layer.size_bytes));
        self.require_space(&label, needed_bytes)?;
        let claim = options.claim;
        let name = options.name.or(plan.name).map(|name| Naming { name, claim });
        match plan.document {
            Some(document) => {
                let document = amended(document, &options.overrides)?;
                let label = Label {
                    name,
                    source: format!("import of {label}"),
                    document,
                    owner: None,
                };
                self.build_once(work, plan.layers, label, progress).await
            }
            None => {
                self.build_root(work, plan.layers, name, &label, &options.overrides, progress)
                    .await
            }
        }
    }

    /// Plans for the archive at the first of the paths, which is called by the second in messages.
    async fn plan(
        &self,
        (path, shown): (PathBuf, PathBuf),
        work: tempfile::TempDir,
        kind: Option<ImportKind>,
    ) -> Result<(Plan, tempfile::TempDir), ImageError> {
        let platform = self.config().platform.clone();
        let spool_max_bytes = self.config().import_max_bytes;
        let planned = tokio::task::spawn_blocking(move || {
            let opened = kind::open(&path, &shown, work.path(), kind, spool_max_bytes)?;
            let plan = plan(opened, &path, &platform)?;
            Ok::<_, ImageError>((plan, work))
        });
        planned
            .await
            .map_err(|_| ImageError::Interrupted("reading the archive"))?
    }

    /// A root file system's identity is only known when it has been read.
    async fn build_root(
        &self,
        work: tempfile::TempDir,
        layers: Vec<Layer>,
        name: Option<Naming>,
        label: &str,
        overrides: &ConfigOverrides,
        progress: &ProgressSink,
    ) -> Result<StoredImage, ImageError> {
        let (_work, converted) = self.convert(work, layers, progress).await?;
        let platform = &self.config().platform;
        let config = ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()],
            diff_ids: converted.diff_ids.clone(),
            ..ImageConfig::default()
        };
        let document = config.overridden(overrides).to_document();
        ImageConfig::parse(&document)?;
        let label = Label {
            name,
            source: format!("import of {label}"),
            document,
            owner: None,
        };
        self.publish(converted, label).await
    }
}

/// The configuration with the user's changes. Without changes it stays byte for byte, and so the image's ID.
fn amended(document: Vec<u8>, overrides: &ConfigOverrides) -> Result<Vec<u8>, ImageError> {
    if overrides.is_empty() {
        return Ok(document);
    }
    let changed = ImageConfig::parse(&document)?.overridden(overrides).to_document();
    ImageConfig::parse(&changed)?;
    Ok(changed)
}

fn plan(opened: Opened, path: &Path, platform: &Platform) -> Result<Plan, ImageError> {
    match opened {
        Opened::Layout(archive) => layout::plan(&archive, platform),
        Opened::Docker(archive) => docker::plan(&archive, platform),
        Opened::RootTar { open, size_bytes } => {
            let label = path
                .file_name()
                .map_or_else(|| "root".into(), |name| name.display().to_string());
            let layer = Layer {
                label,
                open,
                size_bytes,
                digest: None,
                diff_id: None,
            };
            Ok(Plan {
                document: None,
                layers: vec![layer],
                name: None,
            })
        }
    }
}

/// A JSON document of an archive, checked against its digest if it has one.
fn checked(archive: &Archive, name: &str, max_bytes: u64, expected: Option<Digest>) -> Result<Vec<u8>, ImportError> {
    let bytes = archive.document(name, max_bytes)?;
    let actual = Digest::of(&bytes);
    match expected {
        Some(expected) if expected != actual => Err(ImportError::Digest {
            name: name.to_owned(),
            expected,
            actual,
        }),
        _ => Ok(bytes),
    }
}

/// Names of images for a message.
fn shown(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let mut shown: Vec<_> = names.iter().take(SHOWN).map(|name| crate::digest::clip(name)).collect();
    if names.len() > SHOWN {
        shown.push("…".into());
    }
    shown.join(", ")
}
