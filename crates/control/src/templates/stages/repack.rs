//! From the tar that a stage's machine sends to an archive as a COPY takes it: what was asked for and nothing else, root's, with the
//! modes and links as they were, hashed by names, modes and contents.
//!
//! The machine may have become its guest's, so nothing here is believed: names stay within the archive and never become paths of the
//! host, headers, entries and contents are bounded, and what is neither file nor folder nor symbolic link is refused.

use std::{
    cell::Cell,
    io::{self, Read, Write},
    path::{Component, Path, PathBuf},
    rc::Rc,
};

use sha2::{Digest as _, Sha256};
use tar::{Builder, Entry, EntryType, Header};

use super::source::Pick;
use crate::templates::steps::Reason;

/// The longest headers before one entry, in bytes: a long name has one of its own.
const HEADERS_MAX: u64 = 64 * 1024;
/// The longest name, and the longest target of a link, in bytes.
const NAME_MAX: usize = 4096;
/// Entries of one archive.
const ENTRIES_MAX: usize = 1_000_000;
/// Bytes of all files together, holes counted.
const CONTENT_MAX: u64 = 32 << 30;

/// What was copied.
pub(super) struct Repacked<W> {
    /// SHA-256 of names, modes and contents, in hexadecimal digits.
    pub(super) hash: String,
    pub(super) out: W,
}

/// Reads a tar to its end, and writes what is wanted of it.
pub(super) fn repack<R: Read, W: Write>(tar: R, pick: &Pick, out: W) -> Result<Repacked<W>, Reason> {
    let left = Rc::new(Cell::new(Some(HEADERS_MAX)));
    let mut archive = tar::Archive::new(Bounded {
        inner: tar,
        left: Rc::clone(&left),
    });
    let mut writer = Writer {
        tar: Builder::new(out),
        hashes: Vec::new(),
        content: 0,
    };
    let mut root = None;
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        left.set(None);
        let path = path(&entry)?;
        let mut parts = path.iter();
        let first = parts.next().unwrap_or_default();
        let root = root.get_or_insert_with(|| first.to_owned());
        if root != first {
            return Err(format!(
                "the stage sent {}, which was not asked for; it is refused",
                path.display()
            ));
        }
        if let Some(name) = picked(pick, parts.as_path()) {
            writer.add(&mut entry, &name)?;
        } else {
            // Read all the same, so that the next header is where it is looked for.
            writer.count(entry.size())?;
            io::copy(&mut entry, &mut io::sink()).map_err(unreadable)?;
        }
        left.set(Some(HEADERS_MAX));
    }
    writer.finish()
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to `map_err`")]
fn unreadable(error: io::Error) -> Reason {
    format!("what the stage sent cannot be read: {error}")
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to `map_err`")]
fn unwritable(error: io::Error) -> Reason {
    format!("what a stage made cannot be kept: {error}")
}

/// An entry's name, of plain parts alone.
fn path<R: Read>(entry: &Entry<'_, R>) -> Result<PathBuf, Reason> {
    let path = entry.path().map_err(unreadable)?;
    let plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !plain || path.as_os_str().len() > NAME_MAX {
        let shown: String = path.display().to_string().chars().take(80).collect();
        return Err(format!("the stage sent a file named {shown:?}; it is refused"));
    }
    Ok(path.components().collect())
}

/// The name in the archive of what lies at a path below the place that was read; none for what is not wanted.
fn picked(pick: &Pick, below: &Path) -> Option<PathBuf> {
    match pick {
        Pick::All(name) => Some(joined(Path::new(name), below)),
        Pick::Matching(glob) => {
            let mut outermost = below.ancestors().collect::<Vec<_>>().into_iter().rev();
            let matching = outermost.find(|part| !part.as_os_str().is_empty() && glob.is_match(part))?;
            let rest = below.strip_prefix(matching).ok()?;
            Some(joined(Path::new(matching.file_name()?), rest))
        }
    }
}

/// Nothing below a name is the name itself, without a `/` that would make a folder of it.
fn joined(name: &Path, below: &Path) -> PathBuf {
    name.iter().chain(below.iter()).collect()
}

struct Writer<W: Write> {
    tar: Builder<W>,
    /// One of each entry, since a folder's entries come in no order.
    hashes: Vec<[u8; 32]>,
    content: u64,
}

impl<W: Write> Writer<W> {
    fn add<R: Read>(&mut self, entry: &mut Entry<'_, R>, name: &Path) -> Result<(), Reason> {
        if self.hashes.len() >= ENTRIES_MAX {
            return Err(format!(
                "more than {ENTRIES_MAX} files are copied; name the folders that are wanted"
            ));
        }
        let from = entry.header();
        let mode = from.mode().map_err(unreadable)? & 0o7777;
        let mut header = Header::new_gnu();
        header.set_size(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mode(mode);
        header.set_mtime(from.mtime().unwrap_or_default());
        let mut hash = Sha256::new();
        let bytes = name.as_os_str().as_encoded_bytes();
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
        match from.entry_type() {
            EntryType::Directory => {
                header.set_entry_type(EntryType::Directory);
                hash.update([b'd']);
                hash.update(mode.to_be_bytes());
                self.tar
                    .append_data(&mut header, name, io::empty())
                    .map_err(unwritable)?;
            }
            EntryType::Symlink => {
                let target = target(entry, name)?;
                header.set_entry_type(EntryType::Symlink);
                hash.update([b'l']);
                hash.update(target.as_os_str().as_encoded_bytes());
                self.tar.append_link(&mut header, name, &target).map_err(unwritable)?;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                hash.update([b'f']);
                hash.update(mode.to_be_bytes());
                hash.update(self.file(entry, name, &mut header)?);
            }
            _ => {
                return Err(format!(
                    "{} is neither a file nor a folder nor a symbolic link, and cannot be copied",
                    name.display()
                ));
            }
        }
        self.hashes.push(hash.finalize().into());
        Ok(())
    }

    /// Counts what is read of a file, holes as well, whether it is wanted or not.
    fn count(&mut self, bytes: u64) -> Result<(), Reason> {
        self.content = self.content.saturating_add(bytes);
        if self.content > CONTENT_MAX {
            return Err(format!(
                "there are more than {CONTENT_MAX} bytes in what is read of a stage; copy less of it"
            ));
        }
        Ok(())
    }

    /// Adds a file. Gives the hash of what it holds.
    fn file<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        name: &Path,
        header: &mut Header,
    ) -> Result<[u8; 32], Reason> {
        let size = entry.size();
        self.count(size)?;
        header.set_entry_type(EntryType::Regular);
        header.set_size(size);
        let mut content = Hashed {
            inner: entry,
            hash: Sha256::new(),
            length: 0,
        };
        self.tar.append_data(header, name, &mut content).map_err(unwritable)?;
        if content.length != size {
            return Err(format!(
                "{} was cut off while it was copied; build again",
                name.display()
            ));
        }
        Ok(content.hash.finalize().into())
    }

    fn finish(mut self) -> Result<Repacked<W>, Reason> {
        if self.hashes.is_empty() {
            return Err("nothing in the stage is called so".to_owned());
        }
        self.hashes.sort_unstable();
        // What is hashed by a client is not hashed so: an archive that it put is never taken for this one.
        let mut all = Sha256::new_with_prefix(b"of a stage\n");
        self.hashes.iter().for_each(|hash| all.update(hash));
        let out = self.tar.into_inner().map_err(unwritable)?;
        Ok(Repacked {
            hash: hex::encode(all.finalize()),
            out,
        })
    }
}

fn target<R: Read>(entry: &Entry<'_, R>, name: &Path) -> Result<PathBuf, Reason> {
    let target = entry.link_name().map_err(unreadable)?.unwrap_or_default();
    let length = target.as_os_str().len();
    if length == 0 || length > NAME_MAX {
        return Err(format!(
            "the symbolic link {} leads to a name of {length} bytes; it is refused",
            name.display()
        ));
    }
    Ok(target.into_owned())
}

/// Bytes of which no more than `left` are read; all, while that is none.
struct Bounded<R> {
    inner: R,
    left: Rc<Cell<Option<u64>>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(left) = self.left.get() else {
            return self.inner.read(buffer);
        };
        if left == 0 {
            let message = format!("its headers are longer than {HEADERS_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self.inner.read(&mut buffer[..length])?;
        self.left.set(Some(left.saturating_sub(read as u64)));
        Ok(read)
    }
}

/// What is read, hashed.
struct Hashed<R> {
    inner: R,
    hash: Sha256,
    length: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.length += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
