//! A function's source as an image that lies over a runtime's: from a tar or a zip, by way of a tar of our own making.
//!
//! ```text
//!  tar, zip ──scan──► Tree (names, sizes, where the bytes are) ──write──► plain tar below a prefix ──► EROFS
//! ```
//!
//! What is made depends on names, contents and the execute bit alone, not on who packed it, when, or in which order: the same
//! source gives the same image. Whatever could mean something outside of the source is refused, and the message names it.

mod error;
mod pack;
mod tar;
mod tree;
mod zip;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

pub use self::error::SourceError;
use self::tree::Tree;
use crate::config::ImageConfig;
use crate::error::{ImageError, ImportError, StoreError};
use crate::import::{ImportSource, spool};
use crate::progress::ProgressSink;
use crate::store::{ImageRecord, ImageStore, Label, Layer, open_regular};

/// Where images that are sources came from.
pub(crate) const SOURCE: &str = "a function's source";
/// Packed bytes that are taken beyond the limit of what they unpack to: headers and padding.
const PACKED_SLACK_BYTES: u64 = 64 << 20;

/// What a source may be, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceOptions {
    /// Folder of the machine that it appears in, absolute.
    pub prefix: String,
    /// Most bytes of all its files together.
    pub max_bytes: u64,
    /// Most files, folders and links.
    pub max_entries: usize,
    /// Who pins the image from its first moment on, until [`ImageStore::unpin`]: a name as [`ImageStore::hold`] takes it. None
    /// leaves an image that the next prune removes.
    pub owner: Option<String>,
}

impl Default for SourceOptions {
    /// As AWS Lambda has it: `/var/task`, 250 MiB.
    fn default() -> Self {
        Self {
            prefix: "/var/task".to_owned(),
            max_bytes: 250 << 20,
            max_entries: 100_000,
            owner: None,
        }
    }
}

impl ImageStore {
    /// Makes an image of a source (a zip, or a tar that may be compressed), unless the same is here already. It has no name; its
    /// configuration says nothing but what it is made of.
    pub async fn import_source(
        &self,
        source: ImportSource,
        options: SourceOptions,
        progress: ProgressSink,
    ) -> Result<ImageRecord, ImageError> {
        let work = self.import_source_image(source, options, &progress);
        self.within_time("the import of the source", work).await
    }

    async fn import_source_image(
        &self,
        source: ImportSource,
        options: SourceOptions,
        progress: &ProgressSink,
    ) -> Result<ImageRecord, ImageError> {
        let work = self.session().work_folder()?;
        let packed_max_bytes = options.max_bytes.saturating_add(PACKED_SLACK_BYTES);
        let (path, shown) = match source {
            ImportSource::Path(path) => (path.clone(), path),
            ImportSource::Stream(stream) => {
                let path = work.path().join("source");
                spool::receive(stream, &path, packed_max_bytes, progress).await?;
                (path, spool::UPLOADED.into())
            }
        };
        self.require_space(
            "of the source",
            options.max_bytes.min(space_of(&path).saturating_mul(2)),
        )?;
        let owner = options.owner.clone();
        let packing = tokio::task::spawn_blocking(move || {
            let packed = pack_source((&path, &shown), work.path(), &options, packed_max_bytes)?;
            Ok::<_, ImageError>((work, packed))
        });
        let (work, packed) = packing
            .await
            .map_err(|_| ImageError::Interrupted("packing the source"))??;
        let (_work, converted) = self.convert(work, vec![layer(packed)], progress).await?;
        let platform = &self.config().platform;
        let config = ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            diff_ids: converted.diff_ids.clone(),
            ..ImageConfig::default()
        };
        let label = Label {
            name: None,
            source: SOURCE.to_owned(),
            document: config.to_document(),
            owner,
        };
        let image = self.publish(converted, label).await?;
        self.describe(image)
    }
}

fn space_of(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

fn layer(path: PathBuf) -> Layer {
    Layer {
        label: "source".to_owned(),
        size_bytes: space_of(&path),
        open: Box::new(move || Ok(Box::new(open_regular(&path)?))),
        digest: None,
        diff_id: None,
    }
}

/// Writes the source at the first of the paths (which is called by the second in messages) as a plain tar into `work`.
fn pack_source(
    (path, shown): (&Path, &Path),
    work: &Path,
    options: &SourceOptions,
    packed_max_bytes: u64,
) -> Result<PathBuf, ImageError> {
    let read_error = |source| ImportError::Read {
        path: shown.to_owned(),
        source,
    };
    let prefix = tree::prefix(&options.prefix)?;
    let file = open_regular(path).map_err(read_error)?;
    let mut tree = Tree::new(options.max_bytes, options.max_entries);
    let file = if is_zip(&file) {
        zip::scan(&file, &mut tree)?;
        file
    } else {
        let compression = spool::Compression::of(&file).map_err(read_error)?;
        let file = match compression {
            spool::Compression::None => file,
            _ => spool::unpack(path, shown, compression, (work, packed_max_bytes))?,
        };
        tar::scan(&file, &mut tree)?;
        file
    };
    if tree.is_empty() {
        return Err(SourceError::Empty.into());
    }
    let target = work.join("packed.tar");
    let out = File::create_new(&target).map_err(StoreError::file("write", &target))?;
    pack::write(&tree, &file, &prefix, out)?;
    Ok(target)
}

/// By the first bytes: an entry's header, or the end of an archive without entries.
fn is_zip(file: &File) -> bool {
    let mut magic = [0; 4];
    let read = file.read_exact_at(&mut magic, 0);
    read.is_ok() && (magic == *b"PK\x03\x04" || magic == *b"PK\x05\x06")
}
