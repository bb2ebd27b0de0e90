//! The parts of an archive by name, whether it is a folder or a tar.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use super::tar_index::{Extent, ReadAt as _, TarIndex};
use crate::error::ImportError;
use crate::store::{Opener, open_regular};

pub(super) enum Archive {
    /// An OCI layout. Only names that [`super::layout`] makes itself are asked for, so none leads outside.
    Folder(PathBuf),
    Tar {
        file: Arc<File>,
        index: TarIndex,
    },
}

impl Archive {
    /// A small part as a whole.
    pub(super) fn document(&self, name: &str, max_bytes: u64) -> Result<Vec<u8>, ImportError> {
        let (size_bytes, open) = self.part(name)?;
        if size_bytes > max_bytes {
            let name = name.to_owned();
            return Err(ImportError::TooLarge {
                name,
                actual_bytes: size_bytes,
                limit_bytes: max_bytes,
            });
        }
        let mut bytes = Vec::new();
        let read = open().and_then(|reader| reader.take(max_bytes).read_to_end(&mut bytes));
        read.map_err(|source| ImportError::Read {
            path: name.into(),
            source,
        })?;
        Ok(bytes)
    }

    /// A part's size, and how to read it.
    pub(super) fn part(&self, name: &str) -> Result<(u64, Opener), ImportError> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                let missing = |source: io::Error| match source.kind() {
                    io::ErrorKind::NotFound => ImportError::Missing(name.to_owned()),
                    _ => ImportError::Read {
                        path: path.clone(),
                        source,
                    },
                };
                let file = open_regular(&path).map_err(missing)?;
                let size_bytes = file.metadata().map_err(missing)?.len();
                // Opened again when its turn comes: an image may have more layers than we may have open files.
                Ok((size_bytes, Box::new(move || Ok(Box::new(open_regular(&path)?)))))
            }
            Self::Tar { file, index } => {
                let extent = index
                    .find(name)
                    .ok_or_else(|| ImportError::Missing(crate::digest::clip(name)))?;
                let section = Section {
                    file: Arc::clone(file),
                    rest: extent,
                };
                Ok((extent.size_bytes, Box::new(move || Ok(Box::new(section)))))
            }
        }
    }
}

/// Reads one file of a tar.
struct Section {
    file: Arc<File>,
    rest: Extent,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.rest.size_bytes)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = self.file.read_at(&mut buffer[..wanted], self.rest.offset)?;
        if count < wanted {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the archive ends within a file",
            ));
        }
        self.rest = Extent {
            offset: self.rest.offset + count as u64,
            size_bytes: self.rest.size_bytes - count as u64,
        };
        Ok(count)
    }
}
