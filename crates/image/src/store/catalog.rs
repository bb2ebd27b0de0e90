//! What the store holds, always read from its folder: nothing is cached, so nothing can differ from it after a crash or a change by another process.
//!
//! Readers take no lock: each file is replaced as a whole. Changes hold the store's lock for their moment, so that "is it still used?" and "remove it"
//! are one step.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tempfile::TempPath;

use super::lock::FileLock;
use super::paths::{Paths, names_in, read_small, remove_file, sync_parent, write_atomic};
use super::session::Session;
use crate::config::ImageConfig;
use crate::digest::{Digest, ImageId, clip};
use crate::error::{ImageError, StoreError};
use crate::fault;
use crate::manifest::CONFIG_MAX_BYTES;
use crate::reference::Reference;

const NAME_MAX_BYTES: u64 = 16 * 1024;
/// A record quotes the configuration as a JSON string, which may take up to six times its bytes.
const RECORD_MAX_BYTES: u64 = 6 * CONFIG_MAX_BYTES as u64 + 64 * 1024;
const HOLDER_MAX_BYTES: usize = 128;
/// Digits of an ID that are enough to be meant as one.
const PREFIX_MIN: usize = 4;

/// `images/<hex>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredImage {
    pub(crate) id: ImageId,
    /// Of the root file.
    pub(crate) size_bytes: u64,
    pub(crate) stored_at: Timestamp,
    /// Where it came from, for people.
    pub(crate) source: String,
    /// The configuration's bytes, whose digest is the ID.
    pub(crate) document: String,
}

impl StoredImage {
    pub(crate) fn config(&self) -> Result<ImageConfig, ImageError> {
        Ok(ImageConfig::parse(self.document.as_bytes())?)
    }
}

/// `refs/<hex>.json`.
#[derive(Debug, Serialize, Deserialize)]
struct StoredName {
    name: Reference,
    image: ImageId,
    /// Who claimed it; nobody where it is the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
}

/// On whose behalf a name is given, where it is not the host that gives it: all share the names, so that what others made
/// stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameClaim {
    /// Who is to have the name.
    pub owner: String,
    /// Whether a name that the owner has already may move to another image.
    pub may_move: bool,
}

/// A name that an image is to have.
#[derive(Clone, Debug)]
pub(crate) struct Naming {
    pub(crate) name: Reference,
    /// Without it the name moves, whoever had it.
    pub(crate) claim: Option<NameClaim>,
}

impl Naming {
    /// Whether the name may lead to `image`, if it is `there`.
    fn may_give(&self, there: Option<&StoredName>, image: ImageId) -> bool {
        match (&self.claim, there) {
            (None, _) | (_, None) => true,
            (Some(claim), Some(there)) => {
                there.image == image || (claim.may_move && there.owner.as_ref() == Some(&claim.owner))
            }
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    pub(crate) paths: Paths,
    pub(crate) session: Arc<Session>,
    pub(crate) turn: Arc<Mutex<()>>,
}

/// The right to change the catalogue, until it is dropped.
pub(crate) struct Change<'a> {
    // In this order: whoever is next here finds the file's lock free.
    _lock: FileLock,
    _turn: MutexGuard<'a, ()>,
}

impl Catalog {
    /// Those of this process queue up here, since the file's lock is waited for by asking again and again.
    pub(crate) fn lock(&self) -> Result<Change<'_>, StoreError> {
        // It guards no data, so a panic has left nothing half-changed in memory.
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = FileLock::take(&self.paths.store_lock())?;
        Ok(Change {
            _lock: lock,
            _turn: turn,
        })
    }

    pub(crate) fn image(&self, id: ImageId) -> Result<Option<StoredImage>, StoreError> {
        let path = self.paths.record(id);
        let bytes = match read_small(&path, RECORD_MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::file("read", &path)(error)),
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| StoreError::Record { path, source })
    }

    /// IDs of all images that are visible.
    pub(crate) fn ids(&self) -> Result<Vec<ImageId>, StoreError> {
        let names = names_in(&self.paths.images())?;
        let digests = names
            .iter()
            .filter_map(|name| Digest::from_hex(name.strip_suffix(".json")?).ok());
        Ok(digests.map(ImageId::new).collect())
    }

    /// Every name with its image. A damaged file names nothing.
    pub(crate) fn names(&self) -> Result<Vec<(Reference, ImageId)>, StoreError> {
        let folder = self.paths.refs();
        let mut found = Vec::new();
        for file in names_in(&folder)? {
            let Ok(bytes) = read_small(&folder.join(&file), NAME_MAX_BYTES) else {
                continue;
            };
            match serde_json::from_slice(&bytes) {
                Ok(StoredName { name, image, .. }) => found.push((name, image)),
                Err(error) => tracing::warn!(%file, %error, "skipping a damaged image name"),
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    pub(crate) fn names_of(&self, id: ImageId) -> Result<Vec<Reference>, StoreError> {
        Ok(self
            .names()?
            .into_iter()
            .filter(|(_, image)| *image == id)
            .map(|(name, _)| name)
            .collect())
    }

    pub(crate) fn named(&self, name: &Reference) -> Result<Option<ImageId>, StoreError> {
        Ok(self.stored_name(name)?.map(|stored| stored.image))
    }

    fn stored_name(&self, name: &Reference) -> Result<Option<StoredName>, StoreError> {
        let path = self.paths.name(name);
        match read_small(&path, NAME_MAX_BYTES) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(stored) => Ok(Some(stored)),
                Err(source) => Err(StoreError::Record { path, source }),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::file("read", &path)(error)),
        }
    }

    pub(crate) fn holders(&self, id: ImageId) -> Result<Vec<String>, StoreError> {
        names_in(&self.paths.holders_of(id))
    }

    /// A name, a full ID, or the start of one.
    pub(crate) fn resolve(&self, text: &str) -> Result<StoredImage, ImageError> {
        let id = match (text.parse::<ImageId>(), text.parse::<Reference>()) {
            (Ok(id), _) => Some(id),
            (_, Ok(name)) => match self.named(&name)? {
                Some(id) => Some(id),
                None => self.by_prefix(text)?,
            },
            _ => self.by_prefix(text)?,
        };
        let image = id.map(|id| self.image(id)).transpose()?.flatten();
        image.ok_or_else(|| ImageError::NotFound(clip(text)))
    }

    fn by_prefix(&self, text: &str) -> Result<Option<ImageId>, ImageError> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if digits.len() < PREFIX_MIN || !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(None);
        }
        let fitting: Vec<_> = self
            .ids()?
            .into_iter()
            .filter(|id| id.digest().hex().starts_with(digits))
            .collect();
        match fitting.as_slice() {
            [] => Ok(None),
            [only] => Ok(Some(*only)),
            several => Err(ImageError::Ambiguous {
                prefix: text.to_owned(),
                count: several.len(),
            }),
        }
    }

    /// Makes a finished root visible, under `name` and pinned by `owner` if given. An image that is there already stays as it is.
    pub(crate) fn publish(
        &self,
        root: TempPath,
        image: StoredImage,
        naming: Option<&Naming>,
        owner: Option<&str>,
    ) -> Result<StoredImage, ImageError> {
        let _change = self.lock()?;
        if let Some(naming) = naming {
            self.check_naming(naming, image.id)?;
        }
        if let Some(owner) = owner {
            check_holder(owner)?;
            // First, since an image without it may be pruned; a pin without an image is nothing.
            self.write_pin(image.id, owner)?;
        }
        let image = match self.image(image.id)? {
            Some(there) => there,
            None => self.store_root(root, image)?,
        };
        if let Some(naming) = naming {
            self.set_name(naming, image.id)?;
        }
        Ok(image)
    }

    /// The record after the root, each safe on disk before the next: whoever sees the record finds the root.
    fn store_root(&self, root: TempPath, image: StoredImage) -> Result<StoredImage, StoreError> {
        let target = self.paths.image(image.id);
        let readable = Permissions::from_mode(0o444);
        fs::set_permissions(&root, readable).map_err(StoreError::file("protect", &target))?;
        root.persist(&target)
            .map_err(|error| StoreError::file("store", &target)(error.error))?;
        fault::point("image.publish.root");
        let record = self.paths.record(image.id);
        let document = serde_json::to_vec(&image).map_err(|source| StoreError::Record {
            path: record.clone(),
            source,
        })?;
        sync_parent(&target)?;
        write_atomic(self.session.folder(), &record, &document)?;
        fault::point("image.publish.record");
        Ok(image)
    }

    /// Names an image that is there already; `None` if it is not. A name that the image could not have is refused
    /// either way.
    pub(crate) fn adopt(&self, id: ImageId, naming: Option<&Naming>) -> Result<Option<StoredImage>, ImageError> {
        let _change = self.lock()?;
        let image = self.image(id)?;
        if let Some(naming) = naming {
            self.check_naming(naming, id)?;
            if image.is_some() {
                self.set_name(naming, id)?;
            }
        }
        Ok(image)
    }

    fn check_naming(&self, naming: &Naming, image: ImageId) -> Result<(), ImageError> {
        if naming.may_give(self.stored_name(&naming.name)?.as_ref(), image) {
            return Ok(());
        }
        Err(ImageError::NameTaken(naming.name.clone()))
    }

    /// The caller holds the lock and has checked the naming.
    fn set_name(&self, naming: &Naming, image: ImageId) -> Result<(), StoreError> {
        let Naming { name, claim } = naming;
        if claim.is_some() && self.named(name)? == Some(image) {
            // Whoever had it keeps it.
            return Ok(());
        }
        let path = self.paths.name(name);
        let bytes = serde_json::to_vec(&StoredName {
            name: name.clone(),
            image,
            owner: claim.as_ref().map(|claim| claim.owner.clone()),
        })
        .map_err(|source| StoreError::Record {
            path: path.clone(),
            source,
        })?;
        write_atomic(self.session.folder(), &path, &bytes)?;
        fault::point("image.publish.name");
        Ok(())
    }

    /// Forgets a name. The caller holds the lock.
    pub(crate) fn remove_name(&self, name: &Reference) -> Result<(), StoreError> {
        let path = self.paths.name(name);
        remove_file(&path)?;
        sync_parent(&path)?;
        fault::point("image.remove.name");
        Ok(())
    }

    /// Removes record and root, in that order, so that no record is without its root. The caller holds the lock and knows that nobody needs it.
    pub(crate) fn remove_image(&self, id: ImageId) -> Result<u64, StoreError> {
        let record = self.paths.record(id);
        remove_file(&record)?;
        sync_parent(&record)?;
        fault::point("image.remove.record");
        let freed = remove_file(&self.paths.image(id))?;
        fault::point("image.remove.root");
        let holders = self.paths.holders_of(id);
        match fs::remove_dir(&holders) {
            Ok(()) => Ok(freed),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(freed),
            Err(error) => Err(StoreError::file("remove", &holders)(error)),
        }
    }

    /// Records that `holder` needs the image, until [`Catalog::release`].
    ///
    /// Not synced, as what its holder then writes of itself is not: a crash of the host that loses the one, loses the
    /// other, which comes later, as well.
    pub(crate) fn hold(&self, id: ImageId, holder: &str) -> Result<StoredImage, ImageError> {
        check_holder(holder)?;
        let _change = self.lock()?;
        let image = self.image(id)?.ok_or_else(|| ImageError::NotFound(id.to_string()))?;
        let root = self.paths.image(id);
        let actual_bytes = fs::metadata(&root).map_err(StoreError::file("find", &root))?.len();
        if actual_bytes != image.size_bytes {
            return Err(ImageError::Damaged {
                id,
                expected_bytes: image.size_bytes,
                actual_bytes,
            });
        }
        let folder = self.paths.holders_of(id);
        fs::create_dir_all(&folder).map_err(StoreError::file("create folder", &folder))?;
        let file = folder.join(holder);
        if !file.exists() {
            fs::write(&file, b"").map_err(StoreError::file("write", &file))?;
        }
        fault::point("image.hold.recorded");
        Ok(image)
    }

    /// Records as [`Catalog::hold`] does, and is on disk when it returns.
    pub(crate) fn pin(&self, id: ImageId, owner: &str) -> Result<(), ImageError> {
        self.hold(id, owner)?;
        let _change = self.lock()?;
        Ok(self.write_pin(id, owner)?)
    }

    /// The caller holds the lock.
    fn write_pin(&self, id: ImageId, owner: &str) -> Result<(), StoreError> {
        let folder = self.paths.holders_of(id);
        fs::create_dir_all(&folder).map_err(StoreError::file("create folder", &folder))?;
        let file = folder.join(owner);
        fs::File::create(&file)
            .and_then(|file| file.sync_all())
            .map_err(StoreError::file("write", &file))?;
        sync_parent(&file)?;
        sync_parent(&folder)?;
        Ok(())
    }

    /// `holder` needs no image any more. Not synced: a hold that comes back is one whose holder is gone.
    pub(crate) fn release(&self, holder: &str) -> Result<(), ImageError> {
        check_holder(holder)?;
        let _change = self.lock()?;
        for image in names_in(&self.paths.holders())? {
            let file = self.paths.holders().join(image).join(holder);
            remove_file(&file)?;
        }
        fault::point("image.release.recorded");
        Ok(())
    }
}

/// Holders become file names, so only what is harmless as one may be one.
fn check_holder(holder: &str) -> Result<(), ImageError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !holder.is_empty() && holder.len() <= HOLDER_MAX_BYTES && !holder.starts_with('.') && holder.bytes().all(plain) {
        return Ok(());
    }
    Err(ImageError::Holder(clip(holder)))
}
