//! From a reference to an image: resolve, download, convert, publish. [`ImageStore::build_once`] is also the second half of every import.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use super::catalog::{Catalog, NameClaim, Naming, StoredImage};
use super::convert::{CancelOnDrop, Converted, Layer, convert};
use super::flight::Turn;
use super::lock::FileLock;
use super::paths::{available_bytes, remove_file};
use super::{ImageRecord, ImageStore};
use crate::config::{ConfigError, ImageConfig};
use crate::credentials::{Credentials, DockerConfig};
use crate::digest::{Digest, ImageId};
use crate::error::{ImageError, StoreError};
use crate::fault;
use crate::manifest::{CONFIG_MAX_BYTES, Descriptor, Manifest};
use crate::progress::{Meter, Phase, ProgressSink};
use crate::reference::Reference;
use crate::registry::{Reach, Repository, Transfer};

/// Layers fetched at the same time.
const PARALLEL_LAYERS: usize = 4;

/// What one pull brings.
#[derive(Clone, Debug, Default)]
pub struct PullOptions {
    /// Who to be; without it docker's configuration is asked, if the store knows one.
    pub credentials: Option<Credentials>,
    /// On whose behalf the image is named; without it, on the host's, whose names move.
    pub claim: Option<NameClaim>,
    /// What may be spoken to.
    pub reach: Reach,
}

impl PullOptions {
    /// On behalf of who administers the host.
    pub fn of_host() -> Self {
        Self {
            reach: Reach::Host,
            ..Self::default()
        }
    }
}

/// What the catalogue is to say about an image.
pub(crate) struct Label {
    pub(crate) name: Option<Naming>,
    pub(crate) source: String,
    pub(crate) document: Vec<u8>,
    /// Who pins the image as it appears.
    pub(crate) owner: Option<String>,
}

impl ImageStore {
    /// Fetches the image that `reference` names for this host, unless it is here already, and names it so.
    pub async fn pull(
        &self,
        reference: &Reference,
        options: PullOptions,
        progress: ProgressSink,
    ) -> Result<ImageRecord, ImageError> {
        let what = format!("pulling {reference}");
        let image = self
            .within_time(&what, self.pull_image(reference, options, &progress))
            .await?;
        progress.emit(Phase::Done, &reference.to_string(), image.size_bytes, image.size_bytes);
        self.describe(image)
    }

    pub(crate) async fn within_time<T>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, ImageError>>,
    ) -> Result<T, ImageError> {
        let limit = Duration::from_millis(self.inner.config.timeout_ms);
        let late = |_| ImageError::TimedOut {
            what: what.to_owned(),
            seconds: limit.as_secs(),
        };
        tokio::time::timeout(limit, work).await.map_err(late)?
    }

    async fn pull_image(
        &self,
        reference: &Reference,
        options: PullOptions,
        progress: &ProgressSink,
    ) -> Result<StoredImage, ImageError> {
        let inner = &*self.inner;
        progress.emit(Phase::Resolving, &reference.to_string(), 0, 0);
        let credentials = match options.credentials {
            Some(credentials) => credentials,
            None => self.known_credentials(reference.registry()).await?,
        };
        let repository = inner.client.connect(reference, credentials, options.reach).await?;
        let manifest = repository.resolve(reference, &inner.config.platform).await?.manifest;
        let id = ImageId::new(manifest.config.digest);
        let naming = Naming {
            name: reference.clone(),
            claim: options.claim,
        };
        if let Some(image) = self.adopt(id, Some(&naming)).await? {
            return Ok(image);
        }
        let document = repository.small_blob(&manifest.config, CONFIG_MAX_BYTES).await?;
        let config = ImageConfig::parse(&document)?;
        config.check(&inner.config.platform, manifest.layers.len())?;

        let turn = self.take_turn(id, progress).await?;
        if let Some(image) = self.adopt(id, Some(&naming)).await? {
            return Ok(image);
        }
        let progress = turn.progress();
        self.check_space(&reference.to_string(), &manifest.layers)?;
        let work = inner.catalog.session.work_folder()?;
        let files = self
            .download(&repository, &manifest.layers, work.path(), &progress)
            .await?;
        let label = Label {
            name: Some(naming),
            source: reference.canonical(),
            document,
            owner: None,
        };
        let layers = layers_of(files, &manifest, &config);
        let result = self.build(work, layers, label, &progress).await;
        // Converted or damaged: either way nobody needs them. A pull that shares a layer has its own link to it.
        for layer in &manifest.layers {
            remove_file(&inner.catalog.paths.blob(layer.digest))?;
        }
        result
    }

    async fn known_credentials(&self, registry: &str) -> Result<Credentials, ImageError> {
        match &self.inner.config.docker_config {
            None => Ok(Credentials::Anonymous),
            Some(path) => Ok(DockerConfig::load(path).await?.find(registry).await?),
        }
    }

    /// Refuses early what cannot end well: the layers must fit beside the root, which is hardly smaller than they are.
    fn check_space(&self, image: &str, layers: &[Descriptor]) -> Result<(), ImageError> {
        let paths = &self.inner.catalog.paths;
        let mut needed_bytes = 0_u64;
        for layer in layers {
            let there = |path: PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
            let had = there(paths.blob(layer.digest)).max(there(paths.partial(layer.digest)));
            needed_bytes = needed_bytes
                .saturating_add(layer.size_bytes)
                .saturating_add(layer.size_bytes.saturating_sub(had));
        }
        self.require_space(image, needed_bytes)
    }

    pub(crate) fn require_space(&self, image: &str, needed_bytes: u64) -> Result<(), ImageError> {
        let path = self.inner.catalog.paths.root();
        let available_bytes = available_bytes(path)?;
        if needed_bytes <= available_bytes {
            return Ok(());
        }
        Err(ImageError::NoSpace {
            image: image.to_owned(),
            needed_bytes,
            available_bytes,
            path: path.to_owned(),
        })
    }

    /// Brings all layers into `folder`, some at a time, in order.
    async fn download(
        &self,
        repository: &Repository,
        layers: &[Descriptor],
        folder: &Path,
        progress: &ProgressSink,
    ) -> Result<Vec<PathBuf>, ImageError> {
        let targets: Vec<_> = (0..layers.len())
            .map(|index| folder.join(format!("layer-{index}")))
            .collect();
        // Made one by one rather than by a closure within the stream: such a stream would not be `Send`.
        let mut fetches = Vec::with_capacity(layers.len());
        for (layer, target) in layers.iter().zip(&targets) {
            fetches.push(self.fetch_layer(repository, layer, target, progress));
        }
        let () = stream::iter(fetches).buffered(PARALLEL_LAYERS).try_collect().await?;
        Ok(targets)
    }

    /// One layer, into `target`, which nobody else removes: taken from the blobs, or fetched by way of them.
    async fn fetch_layer(
        &self,
        repository: &Repository,
        layer: &Descriptor,
        target: &Path,
        progress: &ProgressSink,
    ) -> Result<(), ImageError> {
        let paths = &self.inner.catalog.paths;
        let item = layer.digest.short();
        let mut verifying = Meter::new(progress, Phase::Verifying, &item, layer.size_bytes);
        let mut downloading = Meter::new(progress, Phase::Downloading, &item, layer.size_bytes);
        let patience = Duration::from_millis(self.inner.config.layer_wait_ms);
        let lock = tokio::time::timeout(patience, FileLock::wait(&paths.blob_lock(layer.digest))).await;
        let lock = lock.ok().transpose()?;
        if link_blob(&paths.blob(layer.digest), layer.size_bytes, target)? {
            downloading.set(layer.size_bytes);
            return Ok(());
        }
        let on_bytes = |transfer| match transfer {
            Transfer::Found(current) => verifying.set(current),
            Transfer::Received(current) => downloading.set(current),
        };
        if lock.is_none() {
            // Another pull is at it, for too long: nobody waits for a registry that is not the own one.
            return Ok(repository.download(layer, target, on_bytes).await?);
        }
        let (partial, blob) = (paths.partial(layer.digest), paths.blob(layer.digest));
        repository.download(layer, &partial, on_bytes).await?;
        fault::point("image.layer.fetched");
        // The link first: as soon as the blob is there, another pull that is done with it may remove it.
        fs::hard_link(&partial, target).map_err(StoreError::file("link", target))?;
        fault::point("image.layer.linked");
        fs::rename(&partial, &blob).map_err(StoreError::file("store", &blob))?;
        fault::point("image.layer.stored");
        Ok(())
    }

    /// Builds an image whose configuration has been checked, unless it is there by the time that it is our turn.
    pub(crate) async fn build_once(
        &self,
        work: tempfile::TempDir,
        layers: Vec<Layer>,
        label: Label,
        progress: &ProgressSink,
    ) -> Result<StoredImage, ImageError> {
        let id = ImageId::new(Digest::of(&label.document));
        let turn = self.take_turn(id, progress).await?;
        if let Some(image) = self.adopt(id, label.name.as_ref()).await? {
            return Ok(image);
        }
        self.build(work, layers, label, &turn.progress()).await
    }

    async fn take_turn(&self, id: ImageId, progress: &ProgressSink) -> Result<Turn, ImageError> {
        let lock = self.inner.catalog.paths.image_lock(id);
        let patience = Duration::from_millis(self.inner.config.image_wait_ms);
        Ok(self.inner.flights.join(id, progress).turn(&lock, patience).await?)
    }

    /// Names an image that is there already; `None` if it is not.
    async fn adopt(&self, id: ImageId, naming: Option<&Naming>) -> Result<Option<StoredImage>, ImageError> {
        let naming = naming.cloned();
        self.change(move |catalog| catalog.adopt(id, naming.as_ref())).await
    }

    /// A change of the catalogue waits for the disk, so it happens on a blocking thread.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Catalog) -> Result<T, ImageError> + Send + 'static,
    ) -> Result<T, ImageError> {
        let catalog = self.inner.catalog.clone();
        let changed = tokio::task::spawn_blocking(move || change(&catalog)).await;
        changed.map_err(|_| ImageError::Interrupted("a change of the image store"))?
    }

    async fn build(
        &self,
        work: tempfile::TempDir,
        layers: Vec<Layer>,
        label: Label,
        progress: &ProgressSink,
    ) -> Result<StoredImage, ImageError> {
        let (_work, converted) = self.convert(work, layers, progress).await?;
        self.publish(converted, label).await
    }

    /// Makes a root visible under its label.
    pub(crate) async fn publish(&self, converted: Converted, label: Label) -> Result<StoredImage, ImageError> {
        let Label {
            name,
            source,
            document,
            owner,
        } = label;
        let image = StoredImage {
            id: ImageId::new(Digest::of(&document)),
            size_bytes: converted.size_bytes,
            stored_at: Timestamp::now(),
            source,
            document: String::from_utf8(document).map_err(|_| ConfigError::NotText)?,
        };
        self.change(move |catalog| catalog.publish(converted.root, image, name.as_ref(), owner.as_deref()))
            .await
    }

    /// The conversion alone. Who stops waiting for it stops it.
    pub(crate) async fn convert(
        &self,
        work: tempfile::TempDir,
        layers: Vec<Layer>,
        progress: &ProgressSink,
    ) -> Result<(tempfile::TempDir, Converted), ImageError> {
        let cancel = CancelOnDrop::default();
        let cancelled = cancel.flag();
        let progress = progress.clone();
        let limits = hearth_erofs::Limits {
            image_bytes: self.inner.config.image_max_bytes,
            ..hearth_erofs::Limits::default()
        };
        let conversion = tokio::task::spawn_blocking(move || {
            let converted = convert(work.path(), layers, limits, &progress, &cancelled)?;
            Ok::<_, ImageError>((work, converted))
        });
        let result = conversion
            .await
            .map_err(|_| ImageError::Interrupted("the conversion"))?;
        drop(cancel);
        result
    }
}

/// Links a layer that is among the blobs to `target`; false if it is not there, or not whole.
fn link_blob(blob: &Path, size_bytes: u64, target: &Path) -> Result<bool, StoreError> {
    match fs::hard_link(blob, target) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(StoreError::file("link", target)(error)),
    }
    let linked = fs::metadata(target).map_err(StoreError::file("read", target))?;
    if linked.len() == size_bytes {
        return Ok(true);
    }
    remove_file(target)?;
    Ok(false)
}

/// The downloaded files as layers to be converted.
fn layers_of(files: Vec<PathBuf>, manifest: &Manifest, config: &ImageConfig) -> Vec<Layer> {
    let layers = files.into_iter().zip(&manifest.layers).zip(&config.diff_ids);
    let layers = layers.map(|((path, layer), diff_id)| Layer {
        label: layer.digest.short(),
        open: Box::new(move || Ok(Box::new(fs::File::open(path)?))),
        size_bytes: layer.size_bytes,
        // Checked as it came; the unpacked digest is checked over the file as it is now.
        digest: None,
        diff_id: Some(*diff_id),
    });
    layers.collect()
}
