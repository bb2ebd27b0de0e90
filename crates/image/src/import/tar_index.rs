//! Where the files of a tar lie, without unpacking any.
//!
//! An own reader of headers, since a general one takes a long name's length from the archive and reads that much into memory.

use std::collections::BTreeMap;
use std::io;

use tar::{EntryType, Header};

use crate::error::ImportError;

const BLOCK_BYTES: u64 = 512;
/// Most entries of an archive that is indexed: 512 layers take a few thousand at most.
const ENTRIES_MAX: usize = 100_000;
/// Longest extended header.
const EXTENSION_MAX_BYTES: u64 = 64 * 1024;
/// Longest name or link target: `PATH_MAX`.
const NAME_MAX_BYTES: usize = 4096;
/// All names and link targets together: some 300 bytes for each of the most entries.
const NAMES_MAX_BYTES: usize = 32 << 20;
/// Links from layer to layer, as old docker wrote them.
const LINKS_MAX: usize = 8;

/// A file's bytes within the tar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) size_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Member {
    File(Extent),
    Link(String),
}

impl Member {
    fn target_bytes(&self) -> usize {
        match self {
            Self::File(_) => 0,
            Self::Link(target) => target.len(),
        }
    }
}

/// Reads at an offset; fewer bytes only at the end.
pub(super) trait ReadAt {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for std::fs::File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match std::os::unix::fs::FileExt::read_at(self, &mut buffer[filled..], offset + filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.get(offset..))
            .unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

/// The files of a tar by name.
#[derive(Debug, Default)]
pub(super) struct TarIndex(BTreeMap<String, Member>);

impl TarIndex {
    /// Reads every header.
    pub(super) fn read(tar: &(impl ReadAt + ?Sized)) -> Result<Self, ImportError> {
        let mut index = BTreeMap::new();
        let mut walker = Walker::new(tar);
        let mut names_bytes = 0;
        while let Some((name, member)) = walker.next()? {
            if let Some(member) = member {
                let target_bytes = member.target_bytes();
                if name.len().max(target_bytes) > NAME_MAX_BYTES {
                    return Err(walker.malformed("a name that is too long"));
                }
                names_bytes += name.len() + target_bytes;
                if names_bytes > NAMES_MAX_BYTES {
                    return Err(walker.malformed("more names than any image has"));
                }
                index.insert(name, member);
            }
            if walker.count > ENTRIES_MAX {
                return Err(ImportError::Malformed(format!(
                    "it has more than {ENTRIES_MAX} entries"
                )));
            }
        }
        Ok(Self(index))
    }

    /// The name of the first entry that is not the root folder; `None` if the bytes are no tar, or an empty one.
    pub(super) fn first_name(tar: &(impl ReadAt + ?Sized)) -> Option<String> {
        let mut walker = Walker::new(tar);
        loop {
            match walker.next() {
                Ok(Some((name, _))) if name.is_empty() => {}
                Ok(Some((name, _))) => return Some(name),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Where a file lies, links followed.
    pub(super) fn find(&self, name: &str) -> Option<Extent> {
        let mut name = name.to_owned();
        for _ in 0..LINKS_MAX {
            match self.0.get(&name)? {
                Member::File(extent) => return Some(*extent),
                Member::Link(target) => name = target.clone(),
            }
        }
        None
    }
}

/// What extended headers said about the next entry.
#[derive(Default)]
struct Extension {
    path: Option<String>,
    link: Option<String>,
    size_bytes: Option<u64>,
}

struct Walker<'a, R: ?Sized> {
    tar: &'a R,
    offset: u64,
    count: usize,
}

impl<'a, R: ReadAt + ?Sized> Walker<'a, R> {
    fn new(tar: &'a R) -> Self {
        Self {
            tar,
            offset: 0,
            count: 0,
        }
    }

    /// The next entry's name (without `./`), and what it is if that matters here.
    fn next(&mut self) -> Result<Option<(String, Option<Member>)>, ImportError> {
        let mut extension = Extension::default();
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            self.count += 1;
            let kind = header.entry_type();
            let declared = header
                .entry_size()
                .map_err(|_| self.malformed("a size that is not a number"))?;
            match kind {
                EntryType::GNULongName => extension.path = Some(self.text(declared)?),
                EntryType::GNULongLink => extension.link = Some(self.text(declared)?),
                EntryType::XHeader => self.pax(declared, &mut extension)?,
                EntryType::XGlobalHeader => self.skip(declared)?,
                _ => return self.entry(&header, kind, declared, extension).map(Some),
            }
        }
    }

    fn entry(
        &mut self,
        header: &Header,
        kind: EntryType,
        declared: u64,
        extension: Extension,
    ) -> Result<(String, Option<Member>), ImportError> {
        let own = || String::from_utf8_lossy(&header.path_bytes()).into_owned();
        let name = normalized(&extension.path.unwrap_or_else(own));
        let size_bytes = extension.size_bytes.unwrap_or(declared);
        let offset = self.offset;
        let bodiless = kind.is_dir() || kind.is_symlink() || kind.is_hard_link() || kind.is_character_special();
        if !bodiless && !kind.is_block_special() && !kind.is_fifo() {
            self.skip(size_bytes)?;
        }
        let target = || {
            let own = header
                .link_name_bytes()
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            extension.link.clone().or(own).unwrap_or_default()
        };
        let member = match kind {
            EntryType::Regular | EntryType::Continuous => Some(Member::File(Extent { offset, size_bytes })),
            EntryType::Link => Some(Member::Link(normalized(&target()))),
            EntryType::Symlink => Some(Member::Link(resolved(&name, &target()))),
            _ => None,
        };
        Ok((name, member))
    }

    /// The next header; `None` at the end.
    fn header(&mut self) -> Result<Option<Header>, ImportError> {
        let mut header = Header::new_old();
        let count = self.read(header.as_mut_bytes(), self.offset)?;
        if count == 0 || header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum = header.as_bytes().iter().enumerate();
        let sum: u32 = sum
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum();
        if count < header.as_bytes().len() || header.cksum().ok() != Some(sum) {
            return Err(self.malformed("a header that is not one"));
        }
        self.offset += BLOCK_BYTES;
        Ok(Some(header))
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> Result<usize, ImportError> {
        self.tar
            .read_at(buffer, offset)
            .map_err(|error| ImportError::Malformed(error.to_string()))
    }

    fn skip(&mut self, size_bytes: u64) -> Result<(), ImportError> {
        let padded = size_bytes.checked_next_multiple_of(BLOCK_BYTES);
        let end = padded.and_then(|padded| self.offset.checked_add(padded));
        self.offset = end.ok_or_else(|| self.malformed("a size beyond all measure"))?;
        Ok(())
    }

    fn body(&mut self, size_bytes: u64) -> Result<Vec<u8>, ImportError> {
        if size_bytes > EXTENSION_MAX_BYTES {
            return Err(self.malformed("an extended header that is too long"));
        }
        let mut body = vec![0; usize::try_from(size_bytes).unwrap_or_default()];
        if self.read(&mut body, self.offset)? < body.len() {
            return Err(self.malformed("an end where more should come"));
        }
        self.skip(size_bytes)?;
        Ok(body)
    }

    fn text(&mut self, size_bytes: u64) -> Result<String, ImportError> {
        let body = self.body(size_bytes)?;
        let text = body.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn pax(&mut self, size_bytes: u64, extension: &mut Extension) -> Result<(), ImportError> {
        let body = self.body(size_bytes)?;
        for record in tar::PaxExtensions::new(&body) {
            let record = record.map_err(|_| self.malformed("an extended header that is not one"))?;
            let value = String::from_utf8_lossy(record.value_bytes()).into_owned();
            match record.key_bytes() {
                b"path" => extension.path = Some(value),
                b"linkpath" => extension.link = Some(value),
                b"size" => {
                    let size = value
                        .parse()
                        .map_err(|_| self.malformed("a size that is not a number"))?;
                    extension.size_bytes = Some(size);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn malformed(&self, what: &str) -> ImportError {
        ImportError::Malformed(format!("{what}, near byte {}", self.offset))
    }
}

/// The name as a key: without `.`, empty parts and slashes at the ends.
fn normalized(name: &str) -> String {
    let parts: Vec<_> = name
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    parts.join("/")
}

/// A symbolic link's target as a key, seen from the link's folder.
fn resolved(name: &str, target: &str) -> String {
    if target.starts_with('/') {
        return normalized(target);
    }
    let mut parts: Vec<_> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(tar: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    }

    fn read(tar: &[u8], extent: Extent) -> &[u8] {
        let start = usize::try_from(extent.offset).unwrap();
        &tar[start..start + usize::try_from(extent.size_bytes).unwrap()]
    }

    #[test]
    fn files_are_found_by_name_however_long_and_through_links() {
        let long = format!("{}/layer.tar", "d".repeat(200));
        let mut builder = tar::Builder::new(Vec::new());
        add(&mut builder, "./a/layer.tar", b"hello");
        add(&mut builder, &long, b"long");
        let mut link = Header::new_gnu();
        link.set_entry_type(EntryType::Symlink);
        link.set_size(0);
        builder.append_link(&mut link, "b/layer.tar", "../a/layer.tar").unwrap();
        let mut endless = Header::new_gnu();
        endless.set_entry_type(EntryType::Symlink);
        endless.set_size(0);
        builder.append_link(&mut endless, "loop", "loop").unwrap();
        let tar = builder.into_inner().unwrap();
        let index = TarIndex::read(tar.as_slice()).unwrap();
        assert_eq!(read(&tar, index.find("a/layer.tar").unwrap()), b"hello");
        assert_eq!(read(&tar, index.find("b/layer.tar").unwrap()), b"hello");
        assert_eq!(read(&tar, index.find(&long).unwrap()), b"long");
        assert_eq!(index.find("loop"), None);
        assert_eq!(TarIndex::first_name(tar.as_slice()).as_deref(), Some("a/layer.tar"));
    }

    #[test]
    fn what_is_no_tar_is_told_apart() {
        assert_eq!(TarIndex::first_name(&b"just text"[..]), None);
        assert_eq!(TarIndex::first_name(&[0_u8; 1024][..]), None);
        assert!(TarIndex::read(&[7_u8; 600][..]).is_err());
    }

    #[test]
    fn an_extended_header_that_wants_all_memory_is_refused() {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(1 << 40);
        header.set_cksum();
        assert!(matches!(
            TarIndex::read(&header.as_bytes()[..]),
            Err(ImportError::Malformed(_))
        ));
    }

    /// A tar of `count` entries of `kind`, each with a name of `length` bytes by way of GNU's `L` or `K`.
    fn long_names(kind: EntryType, extension: EntryType, length: usize, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for index in 0..count {
            let mut long = Header::new_gnu();
            long.set_entry_type(extension);
            long.set_size(length as u64);
            long.set_cksum();
            bytes.extend_from_slice(long.as_bytes());
            bytes.extend_from_slice(format!("{index:0length$}").as_bytes());
            bytes.resize(bytes.len().next_multiple_of(512), 0);
            let mut header = Header::new_gnu();
            header.set_entry_type(kind);
            header.set_path(format!("n{index}")).unwrap();
            header.set_size(0);
            header.set_cksum();
            bytes.extend_from_slice(header.as_bytes());
        }
        bytes
    }

    #[test]
    fn names_that_no_image_has_are_refused_singly_and_in_sum() {
        let name = |length, count| long_names(EntryType::Regular, EntryType::GNULongName, length, count);
        let target = |length, count| long_names(EntryType::Symlink, EntryType::GNULongLink, length, count);
        let many = NAMES_MAX_BYTES / NAME_MAX_BYTES;
        for tar in [name(4096, 3), target(4000, 3), name(4000, many)] {
            TarIndex::read(tar.as_slice()).unwrap();
        }
        for tar in [
            name(4097, 1),
            target(4097, 1),
            name(4096, many + 1),
            target(4096, many + 1),
        ] {
            let error = TarIndex::read(tar.as_slice()).unwrap_err();
            assert!(matches!(error, ImportError::Malformed(_)), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_indexed_without_harm(bytes in proptest::collection::vec(0_u8.., 0..2048)) {
            let _ = TarIndex::read(bytes.as_slice());
        }
    }
}
