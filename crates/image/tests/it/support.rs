//! Stores and registries for tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use hearth_image::registry::{RegistryConfig, RetryPolicy};
use hearth_image::{
    ErrorKind, ImageError, ImageRecord, ImageStore, Phase, ProgressSink, PullOptions, Reference, StoreConfig,
};
use hearth_testkit::images::{Image, Layout};
use hearth_testkit::registry::{Registry, RegistryOptions};

/// Impatient, so that tests of what fails do not take long.
pub(crate) fn config() -> StoreConfig {
    let retry = RetryPolicy {
        attempts_max: 4,
        base_ms: 10,
        ceiling_ms: 40,
        retry_after_max_ms: 2_000,
    };
    let registry = RegistryConfig {
        connect_timeout_ms: 5_000,
        idle_timeout_ms: 5_000,
        retry,
        ..RegistryConfig::default()
    };
    StoreConfig {
        registry,
        timeout_ms: 60_000,
        ..StoreConfig::default()
    }
}

/// A store in a folder of its own.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: ImageStore,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(config()).await
    }

    pub(crate) async fn with(config: StoreConfig) -> Self {
        let folder = tempfile::Builder::new().prefix("hearth-image-").tempdir().unwrap();
        let store = ImageStore::open(&folder.path().join("store"), config).await.unwrap();
        Self { folder, store }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// An OCI layout beside the store.
    pub(crate) fn layout(&self, image: &Image, name: &str) -> Layout {
        Layout::with_image(&self.folder.path().join("layout"), image, name).unwrap()
    }

    pub(crate) async fn pull(&self, name: &str) -> Result<ImageRecord, ImageError> {
        self.pull_with(name, PullOptions::of_host()).await
    }

    pub(crate) async fn pull_with(&self, name: &str, options: PullOptions) -> Result<ImageRecord, ImageError> {
        self.store.pull(&reference(name), options, ProgressSink::none()).await
    }

    /// Nothing visible, nothing in the making.
    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.store.list().unwrap(), []);
        for folder in ["images", "refs", "blobs/sha256"] {
            assert_eq!(files(&self.root().join(folder)), Vec::<String>::new(), "{folder}");
        }
        self.assert_nothing_in_the_making();
    }

    pub(crate) fn assert_nothing_in_the_making(&self) {
        for session in files(&self.root().join("tmp")) {
            assert_eq!(files(&self.root().join("tmp").join(session)), ["lock"]);
        }
    }
}

pub(crate) fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) fn reference(name: &str) -> Reference {
    name.parse().unwrap()
}

/// A plain registry that has `image` as `app:1`.
pub(crate) fn registry_with(image: &Image) -> Option<Registry> {
    let registry = Registry::start(RegistryOptions::default()).unwrap()?;
    push(&registry, image, "app:1");
    Some(registry)
}

pub(crate) fn push(registry: &Registry, image: &Image, target: &str) {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::with_image(folder.path(), image, "x").unwrap();
    registry.push(layout.folder(), "x", target).unwrap();
}

/// An image whose second layer is `bytes` bytes that do not compress.
pub(crate) fn bulky(bytes: usize) -> Image {
    let mut image = Image::busybox("bulky").unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(bytes)
    .collect();
    let file = hearth_testkit::images::File::plain("noise", &noise);
    image.layers.push(hearth_testkit::images::tar_of(&[file]).unwrap());
    image
}

type Events = Arc<Mutex<Vec<(Phase, String)>>>;

/// Collects the phases that were reported, with their items.
pub(crate) fn recorder() -> (ProgressSink, Events) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let sink = ProgressSink::new(move |event| seen.lock().unwrap().push((event.phase, event.item)));
    (sink, events)
}

pub(crate) fn assert_kind<T: std::fmt::Debug>(result: Result<T, ImageError>, kind: ErrorKind) -> ImageError {
    let error = result.expect_err("this must fail");
    assert_eq!(error.kind(), kind, "{error:?}");
    error
}

/// The whole chain of an error, as a log shows it.
pub(crate) fn chain(error: &ImageError) -> String {
    let chain = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A file's contents in an EROFS root.
pub(crate) fn read_from_root(root: &Path, name: &str) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("out");
    let extract = format!("--extract={}", target.display());
    let Ok(output) = Command::new("fsck.erofs").arg(extract).arg(root).output() else {
        eprintln!("SKIPPED: fsck.erofs (erofs-utils) is not installed");
        return None;
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "fsck.erofs: {errors}");
    std::fs::read(target.join(name)).ok()
}
