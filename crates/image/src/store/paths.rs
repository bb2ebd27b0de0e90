//! The store's folder, and writing into it so that a crash leaves either the old or the new.
//!
//! ```text
//! lock                      held for the moment of a change
//! locks/{image,blob}-XX     held for as long as a conversion or download takes (XX: first byte of the digest)
//! blobs/sha256/<hex>        verified compressed layers, kept until converted; <hex>.partial: begun downloads
//! images/<hex>.erofs        roots; <hex>.json beside it makes the image visible
//! refs/<hex>.json           a name and its image, filed under the name's digest
//! holders/<hex>/<holder>    empty files: who needs the image
//! tmp/<session>/            what a living process is making; `lock` in it tells that it lives
//! ```

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::digest::{Digest, ImageId};
use crate::error::StoreError;
use crate::reference::Reference;

#[derive(Clone, Debug)]
pub(crate) struct Paths {
    root: PathBuf,
}

impl Paths {
    /// Makes the folders that are not there yet.
    pub(crate) fn create(root: &Path) -> Result<Self, StoreError> {
        let paths = Self { root: root.to_owned() };
        for folder in [
            paths.blobs(),
            paths.images(),
            paths.refs(),
            paths.holders(),
            paths.tmp(),
            paths.locks(),
        ] {
            fs::create_dir_all(&folder).map_err(StoreError::file("create folder", &folder))?;
        }
        // Images may hold secrets, and their IDs are no secret. VMMs get the roots as open files.
        let private = Permissions::from_mode(0o700);
        fs::set_permissions(root, private).map_err(StoreError::file("protect folder", root))?;
        Ok(paths)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(crate) fn blob(&self, digest: Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub(crate) fn partial(&self, digest: Digest) -> PathBuf {
        self.blobs().join(format!("{}.partial", digest.hex()))
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn image(&self, id: ImageId) -> PathBuf {
        self.images().join(format!("{}.erofs", id.digest().hex()))
    }

    pub(crate) fn record(&self, id: ImageId) -> PathBuf {
        self.images().join(format!("{}.json", id.digest().hex()))
    }

    pub(crate) fn refs(&self) -> PathBuf {
        self.root.join("refs")
    }

    /// A name may be longer than a file name, so its digest stands for it.
    pub(crate) fn name(&self, reference: &Reference) -> PathBuf {
        let digest = Digest::of(reference.canonical().as_bytes());
        self.refs().join(format!("{}.json", digest.hex()))
    }

    pub(crate) fn holders(&self) -> PathBuf {
        self.root.join("holders")
    }

    pub(crate) fn holders_of(&self, id: ImageId) -> PathBuf {
        self.holders().join(id.digest().hex())
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    pub(crate) fn store_lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn image_lock(&self, id: ImageId) -> PathBuf {
        self.locks().join(format!("image-{:02x}", id.digest().first_byte()))
    }

    pub(crate) fn blob_lock(&self, digest: Digest) -> PathBuf {
        self.locks().join(format!("blob-{:02x}", digest.first_byte()))
    }
}

/// Writes `bytes` to `target` by way of a file in `tmp` (on the same file system).
pub(crate) fn write_atomic(tmp: &Path, target: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let failed = || StoreError::file("write", target);
    let mut file = tempfile::NamedTempFile::new_in(tmp).map_err(failed())?;
    file.write_all(bytes).map_err(failed())?;
    file.as_file().sync_all().map_err(failed())?;
    file.persist(target).map_err(|error| error.error).map_err(failed())?;
    sync_parent(target)
}

/// Makes a rename or removal in the parent folder last.
pub(crate) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let parent = path.parent().unwrap_or(path);
    File::open(parent)
        .and_then(|folder| folder.sync_all())
        .map_err(StoreError::file("sync folder", parent))
}

/// Removes a file; one that is not there is fine. Gives the bytes that this freed.
pub(crate) fn remove_file(path: &Path) -> Result<u64, StoreError> {
    // Roots have holes.
    let freed = fs::symlink_metadata(path).map_or(0, |metadata| metadata.blocks().saturating_mul(512));
    match fs::remove_file(path) {
        Ok(()) => Ok(freed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(StoreError::file("remove", path)(error)),
    }
}

/// Opens a regular file for reading; links, pipes and devices are refused without waiting for them.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

/// A whole small file; one longer than `max_bytes` is an error.
pub(crate) fn read_small(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 <= max_bytes {
        return Ok(bytes);
    }
    Err(io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!("longer than {max_bytes} bytes"),
    ))
}

/// The names in a folder; a folder that is not there has none.
pub(crate) fn names_in(folder: &Path) -> Result<Vec<String>, StoreError> {
    let failed = || StoreError::file("list", folder);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed()(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(failed())?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

/// Bytes that can still be written below `path`.
pub(crate) fn available_bytes(path: &Path) -> Result<u64, StoreError> {
    let space =
        rustix::fs::statvfs(path).map_err(|error| StoreError::file("ask the free space of", path)(error.into()))?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}
