//! The entries of a zip, read from its central directory.
//!
//! Read here and not by a library, for its bounds: an entry's number, name and place are checked before anything is kept of
//! it. Entries must lie beside each other, so that no few bytes unpack to many files; what they unpack to is measured
//! against what they declare ([`super::pack`]), and that against the limit. Source: PKWARE's APPNOTE 6.3.10.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::SourceError;
use super::tree::{Node, Span, Tree};
use crate::digest::clip;

const END: u32 = 0x0605_4b50;
const END_BYTES: usize = 22;
const CENTRAL: u32 = 0x0201_4b50;
const CENTRAL_BYTES: usize = 46;
const LOCAL: u32 = 0x0403_4b50;
const LOCAL_BYTES: usize = 30;
/// The comment behind the end has at most this many bytes.
const COMMENT_MAX_BYTES: usize = 0xffff;
/// Central directories are small beside what they list: 65,534 entries of 46 bytes and a name of this host's length.
const DIRECTORY_MAX_BYTES: usize = 64 << 20;
/// Longest target of a link.
const LINK_MAX_BYTES: u64 = 4096;

const ENCRYPTED: u16 = 1;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// Hosts whose archives tell a Unix mode: Unix and macOS.
const UNIX_HOSTS: [u8; 2] = [3, 19];

/// An entry of the central directory.
struct Listed {
    name: String,
    host: u8,
    flags: u16,
    method: u16,
    crc: u32,
    stored_bytes: u32,
    size_bytes: u32,
    attributes: u32,
    offset: u32,
}

/// Adds all entries of the zip.
pub(super) fn scan(file: &File, tree: &mut Tree) -> Result<(), SourceError> {
    let length = file.metadata().map_err(SourceError::Io)?.len();
    let (directory, directory_at, count) = read_directory(file, length)?;
    let mut rest = directory.as_slice();
    let mut places = Vec::new();
    for _ in 0..count {
        let listed = take_listed(&mut rest)?;
        let (begin, data) = locate(file, &listed)?;
        let end = data.offset.saturating_add(data.stored_bytes);
        if end > directory_at {
            return Err(SourceError::zip(format!(
                "{:?} reaches into the directory",
                clip(&listed.name)
            )));
        }
        places.push((begin, end));
        let node = node_of(file, &listed, data)?;
        tree.add(&listed.name, node)?;
    }
    if !rest.is_empty() {
        return Err(SourceError::zip("its directory has more entries than it declares"));
    }
    places.sort_unstable();
    if places.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        return Err(SourceError::zip("its entries overlap"));
    }
    tree.check_size()
}

/// The central directory, where it begins, and how many entries it has.
fn read_directory(file: &File, length: u64) -> Result<(Vec<u8>, u64, u16), SourceError> {
    let tail_bytes = length.min((END_BYTES + COMMENT_MAX_BYTES) as u64);
    let tail_at = length - tail_bytes;
    let tail = read(file, tail_at, usize::try_from(tail_bytes).unwrap_or(0))?;
    let last = tail
        .len()
        .checked_sub(END_BYTES)
        .ok_or_else(|| SourceError::zip("it is cut short"))?;
    // The comment must reach just to the end: nothing hides behind it.
    let is_end = |at: &usize| u32_at(&tail, *at) == END && usize::from(u16_at(&tail, at + 20)) == last - at;
    let at = (0..=last).rev().find(is_end);
    let at = at.ok_or_else(|| SourceError::zip("it has no end; was it cut short?"))?;
    let (count, size, offset) = (u16_at(&tail, at + 10), u32_at(&tail, at + 12), u32_at(&tail, at + 16));
    if count == u16::MAX || size == u32::MAX || offset == u32::MAX {
        return Err(unsupported("the zip64 format"));
    }
    if u32_at(&tail, at + 4) != 0 || u16_at(&tail, at + 8) != count {
        return Err(unsupported("several parts"));
    }
    if u64::from(offset) + u64::from(size) != tail_at + at as u64 {
        return Err(SourceError::zip("its directory is not where its end says"));
    }
    let size = size as usize;
    if size > DIRECTORY_MAX_BYTES {
        return Err(SourceError::zip("its directory is larger than 64 MiB"));
    }
    Ok((read(file, offset.into(), size)?, offset.into(), count))
}

fn take_listed(rest: &mut &[u8]) -> Result<Listed, SourceError> {
    let cut = || SourceError::zip("its directory is cut short");
    let (fixed, after) = rest.split_at_checked(CENTRAL_BYTES).ok_or_else(cut)?;
    if u32_at(fixed, 0) != CENTRAL {
        return Err(SourceError::zip("its directory has something other than entries"));
    }
    let lengths = [28, 30, 32].map(|at| usize::from(u16_at(fixed, at)));
    let (name, after) = after.split_at_checked(lengths[0]).ok_or_else(cut)?;
    let (_more, after) = after.split_at_checked(lengths[1] + lengths[2]).ok_or_else(cut)?;
    *rest = after;
    let name = std::str::from_utf8(name).map_err(|_| SourceError::Name {
        name: clip(&String::from_utf8_lossy(name)),
        problem: "is not UTF-8",
    })?;
    Ok(Listed {
        name: name.to_owned(),
        host: fixed[5],
        flags: u16_at(fixed, 8),
        method: u16_at(fixed, 10),
        crc: u32_at(fixed, 16),
        stored_bytes: u32_at(fixed, 20),
        size_bytes: u32_at(fixed, 24),
        attributes: u32_at(fixed, 38),
        offset: u32_at(fixed, 42),
    })
}

/// Where the entry begins, and where its bytes are.
fn locate(file: &File, listed: &Listed) -> Result<(u64, Span), SourceError> {
    let name = || clip(&listed.name);
    if [listed.stored_bytes, listed.size_bytes, listed.offset].contains(&u32::MAX) {
        return Err(unsupported("the zip64 format"));
    }
    if listed.flags & ENCRYPTED != 0 {
        return Err(unsupported(&format!("a password for {:?}", name())));
    }
    if !matches!(listed.method, STORED | DEFLATED) {
        return Err(unsupported(&format!(
            "compression method {} for {:?}",
            listed.method,
            name()
        )));
    }
    if listed.method == STORED && listed.stored_bytes != listed.size_bytes {
        return Err(SourceError::zip(format!("{:?} has two sizes", name())));
    }
    let begin = u64::from(listed.offset);
    let local = read(file, begin, LOCAL_BYTES)?;
    let (name_bytes, more_bytes) = (u16_at(&local, 26), u16_at(&local, 28));
    let local_name = read(file, begin + LOCAL_BYTES as u64, name_bytes.into())?;
    if u32_at(&local, 0) != LOCAL || local_name != listed.name.as_bytes() {
        return Err(SourceError::zip(format!(
            "{:?} is not where its directory says",
            name()
        )));
    }
    let data = Span {
        offset: begin + LOCAL_BYTES as u64 + u64::from(name_bytes) + u64::from(more_bytes),
        stored_bytes: listed.stored_bytes.into(),
        size_bytes: listed.size_bytes.into(),
        crc: Some(listed.crc),
        deflated: listed.method == DEFLATED,
    };
    Ok((begin, data))
}

fn node_of(file: &File, listed: &Listed, data: Span) -> Result<Node, SourceError> {
    const KIND: u32 = 0o170_000;
    let mode = if UNIX_HOSTS.contains(&listed.host) {
        listed.attributes >> 16
    } else {
        0
    };
    let kind = match mode & KIND {
        _ if listed.name.ends_with('/') => {
            if data.size_bytes != 0 {
                return Err(SourceError::zip(format!("folder {:?} has bytes", clip(&listed.name))));
            }
            return Ok(Node::Folder);
        }
        0 | 0o100_000 => {
            let executable = mode & 0o111 != 0;
            return Ok(Node::File { data, executable });
        }
        0o040_000 => return Ok(Node::Folder),
        0o120_000 => return Ok(Node::Link(link_target(file, listed, data)?)),
        0o020_000 | 0o060_000 => "a device",
        0o010_000 => "a named pipe",
        0o140_000 => "a socket",
        _ => "of an unknown kind",
    };
    Err(SourceError::Kind {
        name: clip(&listed.name),
        kind,
    })
}

/// A link's target is its content.
fn link_target(file: &File, listed: &Listed, data: Span) -> Result<String, SourceError> {
    use std::io::Read as _;
    let wrong = |what: &str| SourceError::zip(format!("link {:?} {what}", clip(&listed.name)));
    if data.size_bytes > LINK_MAX_BYTES || data.stored_bytes > LINK_MAX_BYTES {
        return Err(wrong("leads to too long a path"));
    }
    let stored = read(file, data.offset, usize::try_from(data.stored_bytes).unwrap_or(0))?;
    let mut target = Vec::new();
    if data.deflated {
        let unpacked = flate2::read::DeflateDecoder::new(stored.as_slice()).take(LINK_MAX_BYTES + 1);
        let read = { unpacked }.read_to_end(&mut target);
        read.map_err(|_| wrong("cannot be unpacked"))?;
    } else {
        target = stored;
    }
    if target.len() as u64 != data.size_bytes {
        return Err(wrong("has another size than it declares"));
    }
    String::from_utf8(target).map_err(|_| wrong("leads to what is not UTF-8"))
}

fn unsupported(feature: &str) -> SourceError {
    SourceError::Unsupported {
        format: "zip",
        feature: feature.to_owned(),
    }
}

fn read(file: &File, offset: u64, bytes: usize) -> Result<Vec<u8>, SourceError> {
    let mut buffer = vec![0; bytes];
    match file.read_exact_at(&mut buffer, offset) {
        Ok(()) => Ok(buffer),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(SourceError::zip("it is cut short")),
        Err(error) => Err(SourceError::Io(error)),
    }
}

/// The number at `at`; 0 where the bytes end before.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found.copied().map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found.copied().map_or(0, u32::from_le_bytes)
}
