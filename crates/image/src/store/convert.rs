//! Layers into one read-only root. Synchronous: runs on a blocking thread.
//!
//! Each layer is checked twice: its compressed bytes against the manifest, its unpacked bytes against the configuration.

use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hearth_erofs::{Builder, Limits};
use tempfile::TempPath;

use crate::digest::{Digest, Hasher};
use crate::error::ConvertError;
use crate::fault;
use crate::progress::{Meter, Phase, ProgressSink};

/// Opens a layer's bytes when its turn comes.
pub(crate) type Opener = Box<dyn FnOnce() -> io::Result<Box<dyn Read + Send>> + Send>;

/// A layer to apply.
pub(crate) struct Layer {
    pub(crate) label: String,
    pub(crate) open: Opener,
    /// Compressed, as it lies there; 0 where unknown.
    pub(crate) size_bytes: u64,
    /// Of the compressed bytes, where they still are to be checked.
    pub(crate) digest: Option<Digest>,
    /// Of the unpacked bytes, where the configuration tells.
    pub(crate) diff_id: Option<Digest>,
}

/// A root that nobody sees yet.
pub(crate) struct Converted {
    pub(crate) root: TempPath,
    pub(crate) size_bytes: u64,
    pub(crate) diff_ids: Vec<Digest>,
}

/// Tells a conversion on another thread that nobody waits for it any more, by being dropped.
#[derive(Default)]
pub(crate) struct CancelOnDrop(Arc<AtomicBool>);

impl CancelOnDrop {
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Builds the root in `folder`, on disk and safe when this returns.
pub(crate) fn convert(
    folder: &Path,
    layers: Vec<Layer>,
    limits: Limits,
    progress: &ProgressSink,
    cancelled: &Arc<AtomicBool>,
) -> Result<Converted, ConvertError> {
    let file = tempfile::Builder::new()
        .prefix("root-")
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(folder)
        .map_err(ConvertError::Store)?;
    let mut builder = Builder::create(file.reopen().map_err(ConvertError::Store)?, limits)?;
    fault::point("image.convert.begun");
    let mut diff_ids = Vec::new();
    for layer in layers {
        diff_ids.push(apply(&mut builder, layer, progress, cancelled)?);
        fault::point("image.convert.layer");
    }
    builder.finish()?;
    file.as_file().sync_all().map_err(ConvertError::Store)?;
    fault::point("image.convert.done");
    let size_bytes = file.as_file().metadata().map_err(ConvertError::Store)?.len();
    Ok(Converted {
        root: file.into_temp_path(),
        size_bytes,
        diff_ids,
    })
}

fn apply(
    builder: &mut Builder,
    layer: Layer,
    progress: &ProgressSink,
    cancelled: &Arc<AtomicBool>,
) -> Result<Digest, ConvertError> {
    let Layer {
        label,
        open,
        size_bytes,
        digest,
        diff_id,
    } = layer;
    let read_error = |source| ConvertError::Read {
        layer: label.clone(),
        source,
    };
    let inner = open().map_err(read_error)?;
    let meter = Meter::new(progress, Phase::Converting, &label, size_bytes);
    let reader = Source::new(inner, digest.is_some(), meter, Arc::clone(cancelled));
    let applied = builder.apply_layer(&label, reader.clone(), &mut |_| {});
    if cancelled.load(Ordering::Relaxed) {
        return Err(ConvertError::Cancelled);
    }
    let applied = applied?;
    let actual = reader.finish().map_err(read_error)?;
    match (digest, actual) {
        (Some(expected), Some(actual)) if expected != actual => {
            return Err(ConvertError::LayerDigest {
                layer: label,
                expected,
                actual,
            });
        }
        _ => {}
    }
    let actual = Digest::from_hex(&applied.diff_id).map_err(|error| read_error(io::Error::other(error)))?;
    match diff_id {
        Some(expected) if expected != actual => Err(ConvertError::DiffId {
            layer: label,
            expected,
            actual,
        }),
        _ => Ok(actual),
    }
}

/// Counts and hashes what passes. Shared, so that what the builder leaves unread can be read afterwards.
#[derive(Clone)]
struct Source(Arc<Mutex<SourceState>>);

struct SourceState {
    inner: Box<dyn Read + Send>,
    hasher: Option<Hasher>,
    count: u64,
    meter: Meter,
    cancelled: Arc<AtomicBool>,
}

impl Source {
    fn new(inner: Box<dyn Read + Send>, hash: bool, meter: Meter, cancelled: Arc<AtomicBool>) -> Self {
        let hasher = hash.then(Hasher::default);
        Self(Arc::new(Mutex::new(SourceState {
            inner,
            hasher,
            count: 0,
            meter,
            cancelled,
        })))
    }

    /// Reads what is left (padding behind the tar's end belongs to the layer too) and gives the digest of everything.
    fn finish(mut self) -> io::Result<Option<Digest>> {
        io::copy(&mut self, &mut io::sink())?;
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(state.hasher.take().map(Hasher::finish))
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::other("cancelled"));
        }
        let count = state.inner.read(buffer)?;
        if let Some(hasher) = &mut state.hasher {
            hasher.update(&buffer[..count]);
        }
        state.count += count as u64;
        let current = state.count;
        state.meter.set(current);
        Ok(count)
    }
}
