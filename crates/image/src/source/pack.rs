//! A checked source as a plain tar: everything root's, of one time, with two modes.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write as _};
use std::os::unix::fs::FileExt as _;

use ::tar::{Builder, EntryType, Header};
use flate2::Crc;
use flate2::read::DeflateDecoder;

use super::SourceError;
use super::tree::{Node, Span, Tree};
use crate::digest::clip;

/// 1980-01-01: the first moment that a zip can tell, since functions like to zip themselves.
const MODIFIED_UNIX_S: u64 = 315_532_800;
const CHUNK_BYTES: usize = 64 * 1024;

/// Writes the tree, whose bytes are in `archive`, below `prefix`.
pub(super) fn write(tree: &Tree, archive: &File, prefix: &str, out: File) -> Result<(), SourceError> {
    let mut tar = Builder::new(BufWriter::with_capacity(CHUNK_BYTES, out));
    for (end, _) in prefix.match_indices('/') {
        add(&mut tar, &prefix[..end], EntryType::Directory, 0o755, (0, io::empty()))?;
    }
    add(&mut tar, prefix, EntryType::Directory, 0o755, (0, io::empty()))?;
    for (path, node) in tree.nodes() {
        let path = format!("{prefix}/{path}");
        match node {
            Node::Folder => add(&mut tar, &path, EntryType::Directory, 0o755, (0, io::empty()))?,
            Node::Link(target) => {
                let mut header = header(EntryType::Symlink, 0o777, 0);
                tar.append_link(&mut header, &path, target).map_err(SourceError::Io)?;
            }
            Node::File { data, executable } => {
                let mode = if *executable { 0o755 } else { 0o644 };
                let bytes = Checked::open(archive, *data, &path);
                add(&mut tar, &path, EntryType::Regular, mode, (data.size_bytes, bytes))?;
            }
        }
    }
    let mut out = tar.into_inner().map_err(SourceError::Io)?;
    out.flush().map_err(SourceError::Io)
}

fn header(kind: EntryType, mode: u32, size_bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(MODIFIED_UNIX_S);
    header.set_size(size_bytes);
    header
}

fn add(
    tar: &mut Builder<BufWriter<File>>,
    path: &str,
    kind: EntryType,
    mode: u32,
    (size_bytes, mut bytes): (u64, impl Read),
) -> Result<(), SourceError> {
    let mut header = header(kind, mode, size_bytes);
    let added = tar.append_data(&mut header, path, &mut bytes);
    added.map_err(
        |error| match error.get_ref().and_then(|inner| inner.downcast_ref::<Wrong>()) {
            Some(Wrong(problem)) => SourceError::Malformed {
                format: "archive",
                problem: problem.clone(),
            },
            None => SourceError::Io(error),
        },
    )
}

/// What an archive's bytes turned out to be: not what it said.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Wrong(String);

/// A file's bytes: exactly as many as declared, of the declared sum.
struct Checked<'a> {
    inner: Box<dyn Read + 'a>,
    left: u64,
    crc: Crc,
    expected: Option<u32>,
    name: &'a str,
    done: bool,
}

impl<'a> Checked<'a> {
    fn open(archive: &'a File, data: Span, name: &'a str) -> Self {
        let stored = Stored {
            archive,
            offset: data.offset,
            left: data.stored_bytes,
        };
        let inner: Box<dyn Read + 'a> = if data.deflated {
            Box::new(DeflateDecoder::new(stored))
        } else {
            Box::new(stored)
        };
        Self {
            inner,
            left: data.size_bytes,
            crc: Crc::new(),
            expected: data.crc,
            name,
            done: false,
        }
    }

    fn wrong(&self, problem: &str) -> io::Error {
        io::Error::other(Wrong(format!("{:?} {problem}", clip(self.name))))
    }

    /// At the end, nothing may follow, and the sum must be right.
    fn finish(&mut self) -> io::Result<usize> {
        if !std::mem::replace(&mut self.done, true) {
            let mut more = [0; 1];
            let more = self.inner.read(&mut more);
            if more.map_err(|error| self.wrong(&format!("cannot be unpacked: {error}")))? != 0 {
                return Err(self.wrong("has more bytes than it declares"));
            }
            if self.expected.is_some_and(|sum| sum != self.crc.sum()) {
                return Err(self.wrong("does not have the checksum that it declares"));
            }
        }
        Ok(0)
    }
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            return self.finish();
        }
        let max = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.inner.read(&mut buffer[..max]);
        let count = count.map_err(|error| self.wrong(&format!("cannot be unpacked: {error}")))?;
        if count == 0 {
            return Err(self.wrong("has fewer bytes than it declares"));
        }
        self.crc.update(&buffer[..count]);
        self.left -= count as u64;
        Ok(count)
    }
}

/// A part of the archive.
struct Stored<'a> {
    archive: &'a File,
    offset: u64,
    left: u64,
}

impl Read for Stored<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let max = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.archive.read_at(&mut buffer[..max], self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
