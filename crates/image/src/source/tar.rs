//! The entries of a tar. Long names are put together here, within bounds of our own.

use std::fs::File;
use std::io::{Read, Seek as _};

use ::tar::{Archive, Entry, EntryType, PaxExtensions};

use super::SourceError;
use super::tree::{Node, Span, Tree};
use crate::digest::clip;

/// Most bytes of an entry that only describes the next.
const EXTENSION_MAX_BYTES: u64 = 1 << 20;

/// What came before an entry and is said of it.
#[derive(Default)]
struct Said {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
}

/// Adds all entries of the tar.
pub(super) fn scan(file: &File, tree: &mut Tree) -> Result<(), SourceError> {
    let malformed = |error: std::io::Error| SourceError::tar(error.to_string());
    // One that was unpacked is at its end.
    { file }.rewind().map_err(SourceError::Io)?;
    let mut archive = Archive::new(file);
    let mut said = Said::default();
    for entry in archive.entries_with_seek().map_err(malformed)?.raw(true) {
        let mut entry = entry.map_err(malformed)?;
        match entry.header().entry_type() {
            EntryType::GNULongName => said.path = Some(long_name(&mut entry)?),
            EntryType::GNULongLink => said.target = Some(long_name(&mut entry)?),
            EntryType::XHeader => take_pax(&mut entry, &mut said)?,
            // Of the whole archive: comments, mostly.
            EntryType::XGlobalHeader => {}
            _ => add(&entry, std::mem::take(&mut said), tree)?,
        }
    }
    tree.check_size()
}

fn add(entry: &Entry<'_, &File>, said: Said, tree: &mut Tree) -> Result<(), SourceError> {
    let name = said.path.unwrap_or_else(|| entry.path_bytes().into_owned());
    let name = text(name)?;
    let target = said.target.or_else(|| entry.link_name_bytes().map(Into::into));
    let target = target.map(text).transpose()?.unwrap_or_default();
    let header = entry.header();
    let number = |result: std::io::Result<u64>| result.map_err(|error| SourceError::tar(error.to_string()));
    let mode = header.mode().map_err(|error| SourceError::tar(error.to_string()))?;
    let kind = match header.entry_type() {
        EntryType::Directory => return tree.add(&name, Node::Folder),
        EntryType::Symlink => return tree.add(&name, Node::Link(target)),
        EntryType::Link => {
            let file = tree.linked(&name, &target)?;
            return tree.add(&name, file);
        }
        EntryType::Regular | EntryType::Continuous => {
            let size_bytes = number(header.entry_size())?;
            let data = Span {
                offset: entry.raw_file_position(),
                stored_bytes: size_bytes,
                size_bytes,
                crc: None,
                deflated: false,
            };
            let executable = mode & 0o111 != 0;
            return tree.add(&name, Node::File { data, executable });
        }
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a named pipe",
        EntryType::GNUSparse => "a sparse file",
        _ => "of an unknown kind",
    };
    Err(SourceError::Kind {
        name: clip(&name),
        kind,
    })
}

fn text(bytes: Vec<u8>) -> Result<String, SourceError> {
    String::from_utf8(bytes).map_err(|error| SourceError::Name {
        name: clip(&String::from_utf8_lossy(error.as_bytes())),
        problem: "is not UTF-8",
    })
}

fn extension(entry: &mut Entry<'_, &File>) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    let read = entry.take(EXTENSION_MAX_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| SourceError::tar(error.to_string()))?;
    if bytes.len() as u64 > EXTENSION_MAX_BYTES {
        return Err(SourceError::tar("an entry's attributes are larger than 1 MiB"));
    }
    Ok(bytes)
}

fn long_name(entry: &mut Entry<'_, &File>) -> Result<Vec<u8>, SourceError> {
    let mut name = extension(entry)?;
    while name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

fn take_pax(entry: &mut Entry<'_, &File>, said: &mut Said) -> Result<(), SourceError> {
    let bytes = extension(entry)?;
    for record in PaxExtensions::new(&bytes) {
        let record = record.map_err(|error| SourceError::tar(error.to_string()))?;
        match record.key_bytes() {
            b"path" => said.path = Some(record.value_bytes().to_vec()),
            b"linkpath" => said.target = Some(record.value_bytes().to_vec()),
            // The header cannot tell how large the file is, so it is larger than what is allowed by far; or it is cut up.
            key if key == b"size" || key.starts_with(b"GNU.sparse.") => {
                return Err(SourceError::Unsupported {
                    format: "tar",
                    feature: format!("the attribute {}", String::from_utf8_lossy(key)),
                });
            }
            _ => {}
        }
    }
    Ok(())
}
