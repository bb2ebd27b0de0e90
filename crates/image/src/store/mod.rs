//! The content store: images on disk, what keeps them, and how they get there.
//!
//! All state lies in the store's folder ([`paths`]); several processes may use one folder. Work that takes long (downloads, conversions) happens in a
//! folder of its own and becomes visible in one short step ([`catalog`]).

mod catalog;
mod convert;
mod flight;
mod lock;
mod paths;
mod prune;
mod pull;
mod session;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::catalog::NameClaim;
pub(crate) use self::catalog::{Naming, StoredImage};
pub(crate) use self::convert::{Layer, Opener};
pub(crate) use self::paths::open_regular;
pub use self::prune::PruneReport;
pub(crate) use self::pull::Label;
pub use self::pull::PullOptions;

use self::catalog::Catalog;
use self::flight::Flights;
use self::paths::Paths;
use self::session::Session;
use crate::config::ImageConfig;
use crate::digest::{ImageId, clip};
use crate::error::{ImageError, StoreError};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::registry::{RegistryClient, RegistryConfig};
use crate::source::SOURCE;

/// How a store works.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// How to speak to registries.
    pub registry: RegistryConfig,
    /// Docker's `config.json`, for credentials that a pull does not bring itself.
    pub docker_config: Option<PathBuf>,
    /// What images must be made for.
    pub platform: Platform,
    /// Longest time for one pull or import.
    pub timeout_ms: u64,
    /// How long a pull waits for another one that fetches the same layer, before it fetches the layer by itself.
    pub layer_wait_ms: u64,
    /// How long a pull or import waits for another one that makes the same image, before it makes the image as well.
    pub image_wait_ms: u64,
    /// Largest archive taken from a stream.
    pub import_max_bytes: u64,
    /// Most bytes of files in one image.
    pub image_max_bytes: u64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            registry: RegistryConfig::default(),
            docker_config: None,
            platform: Platform::host(),
            timeout_ms: 2 * 3_600_000,
            layer_wait_ms: 60_000,
            image_wait_ms: 15 * 60_000,
            import_max_bytes: 64 << 30,
            image_max_bytes: 256 << 30,
        }
    }
}

/// An image as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The digest of its configuration.
    pub id: ImageId,
    /// What it is called here.
    pub names: Vec<Reference>,
    /// Of the read-only root.
    pub size_bytes: u64,
    /// When it was built, if it says so.
    pub created: Option<Timestamp>,
    /// When it came here.
    pub stored_at: Timestamp,
    /// Where it came from.
    pub source: String,
    /// What needs it.
    pub holders: Vec<String>,
    /// How to run it.
    pub config: ImageConfig,
}

impl ImageRecord {
    /// Whether it came by [`ImageStore::import_source`].
    pub fn is_source(&self) -> bool {
        self.source == SOURCE
    }
}

/// An image that stays until its holder releases it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldImage {
    /// Which.
    pub id: ImageId,
    /// The EROFS file.
    pub root_path: PathBuf,
    /// How to run it.
    pub config: ImageConfig,
}

/// What a removal did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveReport {
    /// Names that are gone.
    pub untagged: Vec<Reference>,
    /// The image, if nothing kept it.
    pub deleted: Option<ImageId>,
    /// What its root took.
    pub freed_bytes: u64,
}

/// The images of one folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ImageStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    catalog: Catalog,
    client: RegistryClient,
    config: StoreConfig,
    flights: Flights,
}

impl ImageStore {
    /// Opens the store in `root`, which is made if need be, and removes what dead processes left half-made.
    pub async fn open(root: &Path, config: StoreConfig) -> Result<Self, StoreError> {
        let client =
            RegistryClient::new(config.registry.clone()).map_err(|error| StoreError::Client(Box::new(error)))?;
        let folder = root.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            let paths = Paths::create(&folder)?;
            let session = Arc::new(Session::open(&paths)?);
            Ok(Catalog {
                paths,
                session,
                turn: Arc::default(),
            })
        });
        let catalog = opened
            .await
            .map_err(|error| StoreError::file("open store", root)(error.into()))??;
        Ok(Self {
            inner: Arc::new(Inner {
                catalog,
                client,
                config,
                flights: Flights::default(),
            }),
        })
    }

    /// All images, named ones first, by name. An image whose record is damaged is left out, with a warning in the log.
    pub fn list(&self) -> Result<Vec<ImageRecord>, ImageError> {
        let catalog = &self.inner.catalog;
        let names = catalog.names()?;
        let mut records = Vec::new();
        for id in catalog.ids()? {
            let own = names
                .iter()
                .filter(|(_, image)| *image == id)
                .map(|(name, _)| name.clone());
            match catalog.image(id).map_err(ImageError::from) {
                // Removed since the folder was read.
                Ok(None) => {}
                Ok(Some(image)) => records.extend(self.describe_as(image, own.collect())),
                Err(error) => tracing::warn!(%id, %error, "leaving out a damaged image"),
            }
        }
        records.sort_by(|one, other| {
            let key = |record: &ImageRecord| (record.names.is_empty(), record.names.first().cloned(), record.id);
            key(one).cmp(&key(other))
        });
        Ok(records)
    }

    /// The image of a name, an ID, or the start of an ID that only one image has.
    pub fn resolve(&self, name_or_id: &str) -> Result<ImageRecord, ImageError> {
        self.describe(self.inner.catalog.resolve(name_or_id)?)
    }

    /// The same, as far as a machine needs it: what it costs does not grow with the names and holders of the image.
    pub fn find(&self, name_or_id: &str) -> Result<(ImageId, ImageConfig), ImageError> {
        let image = self.inner.catalog.resolve(name_or_id)?;
        Ok((image.id, image.config()?))
    }

    /// The same, of what is an image in its own right: no function's source.
    pub fn find_image(&self, name_or_id: &str) -> Result<(ImageId, ImageConfig), ImageError> {
        let image = self.inner.catalog.resolve(name_or_id)?;
        if image.source == SOURCE {
            return Err(ImageError::NotFound(clip(name_or_id)));
        }
        Ok((image.id, image.config()?))
    }

    pub(crate) fn config(&self) -> &StoreConfig {
        &self.inner.config
    }

    pub(crate) fn session(&self) -> &Session {
        &self.inner.catalog.session
    }

    pub(crate) fn describe(&self, image: StoredImage) -> Result<ImageRecord, ImageError> {
        let names = self.inner.catalog.names_of(image.id)?;
        self.describe_as(image, names)
    }

    fn describe_as(&self, image: StoredImage, names: Vec<Reference>) -> Result<ImageRecord, ImageError> {
        let config = image.config()?;
        Ok(ImageRecord {
            id: image.id,
            names,
            size_bytes: image.size_bytes,
            created: config.created,
            stored_at: image.stored_at,
            holders: self.inner.catalog.holders(image.id)?,
            source: image.source,
            config,
        })
    }

    /// Gives an image one more name, taking it from the image that had it.
    pub fn tag(&self, name_or_id: &str, name: &Reference) -> Result<ImageRecord, ImageError> {
        let id = self.inner.catalog.resolve(name_or_id)?.id;
        let naming = Naming {
            name: name.clone(),
            claim: None,
        };
        let image = self.inner.catalog.adopt(id, Some(&naming))?;
        self.describe(image.ok_or_else(|| ImageError::NotFound(name_or_id.to_owned()))?)
    }

    /// Removes a name, and with its last name the image; or an image by its ID. An image in use is refused. `force` takes all names from it, and the
    /// root goes now, or (by [`ImageStore::prune`]) once its last holder released it.
    pub fn remove(&self, name_or_id: &str, force: bool) -> Result<RemoveReport, ImageError> {
        let catalog = &self.inner.catalog;
        let _change = catalog.lock()?;
        let id = catalog.resolve(name_or_id)?.id;
        let names = catalog.names_of(id)?;
        let holders = catalog.holders(id)?;
        let meant = name_or_id.parse::<Reference>().ok().filter(|name| names.contains(name));
        let untagged = match meant {
            Some(name) if names.len() > 1 && !force => vec![name],
            None if names.len() > 1 && !force => {
                let names = names.iter().map(Reference::to_string).collect();
                return Err(ImageError::SeveralNames {
                    image: name_or_id.to_owned(),
                    names,
                });
            }
            _ => names.clone(),
        };
        let last = untagged.len() == names.len();
        if last && !holders.is_empty() && !force {
            return Err(ImageError::InUse {
                image: name_or_id.to_owned(),
                holders,
            });
        }
        for name in &untagged {
            catalog.remove_name(name)?;
        }
        if !last || !holders.is_empty() {
            return Ok(RemoveReport {
                untagged,
                ..RemoveReport::default()
            });
        }
        let freed_bytes = catalog.remove_image(id)?;
        Ok(RemoveReport {
            untagged,
            deleted: Some(id),
            freed_bytes,
        })
    }

    /// Keeps the image for `holder` (a machine's ID) until [`ImageStore::release`]; recorded on disk, so it outlives this process.
    pub fn hold(&self, id: &ImageId, holder: &str) -> Result<HeldImage, ImageError> {
        let image = self.inner.catalog.hold(*id, holder)?;
        let config = image.config()?;
        Ok(HeldImage {
            id: *id,
            root_path: self.inner.catalog.paths.image(*id),
            config,
        })
    }

    /// `holder` needs nothing any more. Releasing twice is fine.
    pub fn release(&self, holder: &str) -> Result<(), ImageError> {
        self.inner.catalog.release(holder)
    }

    /// Keeps the image for `owner`, which is no machine, until [`ImageStore::unpin`]. It is a hold that survives a crash of the
    /// host as well: whoever writes down that it has the image does so after this.
    pub fn pin(&self, id: &ImageId, owner: &str) -> Result<(), ImageError> {
        self.inner.catalog.pin(*id, owner)
    }

    /// `owner` needs none of its images any more. Doing so twice is fine. Not synced: a pin that comes back keeps an image too
    /// long, and is found by [`ImageStore::holders`].
    pub fn unpin(&self, owner: &str) -> Result<(), ImageError> {
        self.inner.catalog.release(owner)
    }

    /// Everyone who holds an image, for finding holders that are gone.
    pub fn holders(&self) -> Result<Vec<(ImageId, String)>, ImageError> {
        let catalog = &self.inner.catalog;
        let mut found = Vec::new();
        for id in catalog.ids()? {
            found.extend(catalog.holders(id)?.into_iter().map(|holder| (id, holder)));
        }
        Ok(found)
    }
}
