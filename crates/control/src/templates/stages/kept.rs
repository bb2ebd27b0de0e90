//! What was copied of stages: archives beside those that clients put, by their content, and which one a copy came to, by what led to it.
//!
//! ```text
//! KEY.of     the hash of the archive that a copy of a stage gave, where KEY is of the stage's steps and of what was named
//! HASH       the archive
//! ```
//! So a stage that was built before is not built again to be copied of, and one that makes the same as before changes nothing of what
//! is built on it. Both go when nobody has used them for a week.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use flate2::{Compression, write::GzEncoder};
use tempfile::NamedTempFile;

use super::{repack::repack, source::Pick};
use crate::templates::{
    files::{ARCHIVE_MAX, Room, StepFiles},
    layers::Key,
    steps::Reason,
};

/// The longest hash, in bytes.
const HASH_MAX: u64 = 128;

/// The copies that a project's builds made.
pub(super) struct Kept {
    files: StepFiles,
}

impl Kept {
    pub(super) fn of(files: StepFiles) -> Self {
        Self { files }
    }

    fn note(&self, key: Key) -> PathBuf {
        self.files.folder.join(format!("{key}.of"))
    }

    /// The hash of what a copy gave before, if that is still there.
    pub(super) async fn find(&self, key: Key) -> Option<String> {
        let note = self.note(key);
        let hash = tokio::task::spawn_blocking(move || read_note(&note)).await.ok()??;
        matches!(self.files.has(&hash).await, Ok(true)).then_some(hash)
    }

    /// Keeps what is wanted of a tar, whole or not at all. Gives its hash.
    pub(super) async fn keep(
        &self,
        key: Key,
        pick: Pick,
        tar: impl std::io::Read + Send + 'static,
    ) -> Result<String, Reason> {
        let (folder, note) = (self.files.folder.clone(), self.note(key));
        let packed = tokio::task::spawn_blocking(move || pack(&folder, &pick, tar)).await;
        let (hash, archive) = packed.map_err(|error| error.to_string())??;
        let place = self.files.path(&hash).map_err(|error| error.problem.detail)?;
        let named = hash.clone();
        let kept = tokio::task::spawn_blocking(move || {
            archive.persist(place).map_err(|error| error.error)?;
            write_note(&note, &named)
        });
        kept.await.map_err(|error| error.to_string())?.map_err(unkept)?;
        Ok(hash)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to `map_err`")]
fn unkept(error: std::io::Error) -> Reason {
    format!("what a stage made cannot be kept: {error}")
}

/// Reads a note, and has it stay.
fn read_note(note: &Path) -> Option<String> {
    let file = std::fs::File::options().read(true).append(true).open(note).ok()?;
    let mut hash = String::new();
    (&file).take(HASH_MAX).read_to_string(&mut hash).ok()?;
    file.set_modified(SystemTime::now()).ok()?;
    Some(hash)
}

fn write_note(note: &Path, hash: &str) -> std::io::Result<()> {
    let folder = note.parent().unwrap_or(Path::new("/"));
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(hash.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(note).map(drop).map_err(|error| error.error)
}

fn pack(folder: &Path, pick: &Pick, tar: impl std::io::Read) -> Result<(String, NamedTempFile), Reason> {
    std::fs::create_dir_all(folder).map_err(unkept)?;
    let file = NamedTempFile::new_in(folder).map_err(unkept)?;
    let out = Bounded {
        inner: std::io::BufWriter::new(file),
        left: ARCHIVE_MAX,
        room: Room::of(folder).map_err(unkept)?,
    };
    let repacked = repack(tar, pick, GzEncoder::new(out, Compression::fast()))?;
    let out = repacked.out.finish().map_err(unkept)?.inner;
    let file = out.into_inner().map_err(|error| unkept(error.into_error()))?;
    file.as_file().sync_all().map_err(unkept)?;
    Ok((repacked.hash, file))
}

/// What is written, no more than an upload may be.
struct Bounded<W> {
    inner: W,
    left: u64,
    room: Room,
}

impl<W: std::io::Write> std::io::Write for Bounded<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            let message = format!("it is longer than {ARCHIVE_MAX} bytes; copy less of the stage");
            return Err(std::io::Error::other(message));
        };
        self.left = left;
        self.room.take(bytes.len())?;
        self.inner.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
