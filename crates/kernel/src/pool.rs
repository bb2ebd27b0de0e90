//! The modules that a package or a folder offers, by name.
//!
//! Modules of a package go to one unnamed temporary file as they come by: there are hundreds of megabytes of them, a handful is
//! needed, and which is only known once all have been seen.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::error::KernelError;
use crate::{compression, limits};

#[derive(Debug)]
enum Place {
    Spool { offset: u64, bytes: u64 },
    File(PathBuf),
}

#[derive(Debug)]
struct Entry {
    place: Place,
    /// Whether it lies under a `crypto` or `lib` folder: the only ones searched for the aliases that soft dependencies name.
    may_be_soft: bool,
}

/// Modules by name.
#[derive(Debug, Default)]
pub(crate) struct ModulePool {
    entries: HashMap<String, Entry>,
    spool: Option<(File, u64)>,
}

impl ModulePool {
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Names of the modules that may offer an alias to a soft dependency, sorted.
    pub(crate) fn soft_candidates(&self) -> Vec<String> {
        let candidates = self.entries.iter().filter(|(_, entry)| entry.may_be_soft);
        let mut names: Vec<_> = candidates.map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// Notes a module that lies in the file `path`, which is `inner` within its modules folder. The first of a name stays.
    pub(crate) fn add_file(&mut self, name: String, path: PathBuf, inner: &Path) {
        let may_be_soft = may_be_soft(inner);
        self.entries.entry(name).or_insert(Entry {
            place: Place::File(path),
            may_be_soft,
        });
    }

    /// Copies a module of an archive, which is `inner` within its modules folder, to the spool, which is made in `tmp`.
    /// The first of a name stays.
    pub(crate) fn add_spooled(
        &mut self,
        name: String,
        inner: &Path,
        body: &mut dyn std::io::Read,
        tmp: &Path,
    ) -> Result<(), SpoolError> {
        if self.spool.is_none() {
            self.spool = Some((tempfile::tempfile_in(tmp).map_err(SpoolError::Write)?, 0));
        }
        let Some((spool, end)) = &mut self.spool else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        body.take(limits::MODULE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(SpoolError::Read)?;
        let length = bytes.len() as u64;
        if length > limits::MODULE_BYTES || *end + length > limits::POOL_BYTES {
            return Err(SpoolError::TooLarge(name));
        }
        spool.write_all(&bytes).map_err(SpoolError::Write)?;
        let place = Place::Spool {
            offset: *end,
            bytes: length,
        };
        *end += length;
        self.entries.entry(name).or_insert(Entry {
            place,
            may_be_soft: may_be_soft(inner),
        });
        Ok(())
    }

    /// Reads and unpacks a module; `None` if there is none of the name.
    pub(crate) fn load(&self, name: &str) -> Result<Option<Vec<u8>>, KernelError> {
        let Some(entry) = self.entries.get(name) else {
            return Ok(None);
        };
        let raw = self.read(name, &entry.place)?;
        let unpacked = compression::unpack(&raw, limits::MODULE_BYTES).map_err(|error| KernelError::BadModule {
            module: name.to_owned(),
            reason: format!("cannot unpack: {error}"),
        })?;
        Ok(Some(unpacked))
    }

    fn read(&self, name: &str, place: &Place) -> Result<Vec<u8>, KernelError> {
        let mut raw = Vec::new();
        match place {
            Place::File(path) => {
                let file = File::open(path).map_err(KernelError::io("open module", path))?;
                file.take(limits::MODULE_BYTES + 1)
                    .read_to_end(&mut raw)
                    .map_err(KernelError::io("read module", path))?;
            }
            Place::Spool { offset, bytes } => {
                let Some((spool, _)) = &self.spool else { return Ok(raw) };
                // `&File` seeks and reads; the pool is used by one import only.
                let mut spool = spool;
                spool
                    .seek(SeekFrom::Start(*offset))
                    .and_then(|_| spool.take(*bytes).read_to_end(&mut raw))
                    .map_err(KernelError::io("read spooled module", name))?;
            }
        }
        if raw.len() as u64 > limits::MODULE_BYTES {
            return Err(KernelError::TooLarge {
                what: format!("module {name}"),
                limit_bytes: limits::MODULE_BYTES,
            });
        }
        Ok(raw)
    }
}

/// Why a module could not be taken from an archive.
#[derive(Debug)]
pub(crate) enum SpoolError {
    /// The archive is at fault.
    Read(std::io::Error),
    /// The disk is.
    Write(std::io::Error),
    /// This module, or all together, are too large.
    TooLarge(String),
}

fn may_be_soft(inner: &Path) -> bool {
    inner
        .components()
        .any(|part| matches!(part.as_os_str().to_str(), Some("crypto" | "lib")))
}
