//! A streaming tar reader that bounds everything and hides nothing.
//!
//! It reads v7, ustar, GNU and PAX archives (long names, base-256 numbers, sparse files in all four versions, global
//! headers) and hands out entries with raw byte names, unresolved and unchecked: what a name may be is the caller's
//! matter. An archive ends at two zero blocks or at the end of the stream between two entries; a stream that ends
//! anywhere else is an error.

mod header;
mod pax;
mod sparse;

use std::io::{self, BufRead};

use crate::{
    Limits,
    error::{Excess, shown},
};
use header::{BLOCK, Header};
use pax::{Pax, Record, SparseKeys};

/// Why a stream is no valid tar.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum TarError {
    #[error("cannot read the stream")]
    Read(#[source] io::Error),
    #[error("{0}")]
    Excess(#[from] Excess),
    #[error("the archive ends in the middle of {0}")]
    Truncated(&'static str),
    #[error("a header's checksum is wrong; the data is damaged or is not a tar archive")]
    Checksum,
    #[error("field {field} has the value {value}, which is no number that fits")]
    Number { field: &'static str, value: String },
    #[error("a PAX header has a malformed record")]
    PaxRecord,
    #[error("a sparse file's map is wrong: {0}")]
    SparseMap(&'static str),
    #[error("entry {name} is of type '{type_flag}', which no image layer may have")]
    Unsupported { name: String, type_flag: char },
    #[error("the archive ends after headers that describe no entry")]
    DanglingHeaders,
}

/// A point in time, as inodes keep it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Mtime {
    pub(crate) seconds: i64,
    pub(crate) nanos: u32,
}

/// One entry; the contents of a file follow by [`TarReader::data`].
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: EntryKind,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Mtime,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What an entry is. Tar has no type for sockets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File(Content),
    HardLink,
    Symlink,
    Char { major: u64, minor: u64 },
    Block { major: u64, minor: u64 },
    Folder,
    Fifo,
}

/// A file's contents: stored extents, and holes between and after them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) size: u64,
    pub(crate) extents: Vec<Extent>,
}

/// Bytes of a file that the archive stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// Reads one archive from its uncompressed stream.
pub(crate) struct TarReader<'a, R> {
    source: R,
    limits: &'a Limits,
    offset: u64,
    /// Bytes of the layers before this one, which count towards the same limit.
    bytes_before: u64,
    /// Bytes of the current entry's data not read yet.
    remaining: u64,
    /// Bytes from the end of that data to the next header.
    padding: u64,
    /// What the global headers so far say of every entry.
    globals: Pax,
}

/// Headers that come before an entry and describe it.
#[derive(Default)]
struct Preface {
    records: Vec<Record>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    any: bool,
}

impl<'a, R: BufRead> TarReader<'a, R> {
    pub(crate) fn new(source: R, limits: &'a Limits, bytes_before: u64) -> Self {
        Self {
            source,
            limits,
            offset: 0,
            bytes_before,
            remaining: 0,
            padding: 0,
            globals: Pax::default(),
        }
    }

    /// Bytes of the stream read so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next entry, after skipping what is left of the last one's data.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut preface = Preface::default();
        loop {
            self.skip_data()?;
            let Some(header) = self.next_header()? else {
                return if preface.any {
                    Err(TarError::DanglingHeaders)
                } else {
                    Ok(None)
                };
            };
            match header.type_flag() {
                b'x' | b'X' => preface.records = pax::parse(&self.read_meta(&header, "PAX header")?)?,
                b'g' => {
                    let records = pax::parse(&self.read_meta(&header, "global PAX header")?)?;
                    self.globals.add(&records)?;
                    self.globals.check_global()?;
                    continue;
                }
                b'L' => preface.long_name = Some(self.read_long_name(&header)?),
                b'K' => preface.long_link = Some(self.read_long_name(&header)?),
                // A volume's label is no entry.
                b'V' => continue,
                _ => return self.entry(&header, preface).map(Some),
            }
            preface.any = true;
        }
    }

    /// The next bytes of the current entry's data; empty at its end.
    pub(crate) fn data(&mut self) -> Result<&[u8], TarError> {
        if self.remaining == 0 {
            return Ok(&[]);
        }
        let remaining = usize::try_from(self.remaining).unwrap_or(usize::MAX);
        let bytes = self.source.fill_buf().map_err(TarError::Read)?;
        if bytes.is_empty() {
            return Err(TarError::Truncated("a file's contents"));
        }
        Ok(&bytes[..bytes.len().min(remaining)])
    }

    /// Marks bytes that [`Self::data`] gave as read.
    pub(crate) fn consume(&mut self, bytes: usize) -> Result<(), TarError> {
        self.remaining -= bytes as u64;
        self.advance(bytes)
    }

    /// Reads on to the end of the stream, so that its digest covers what lies behind the archive's end.
    pub(crate) fn drain(&mut self) -> Result<(), TarError> {
        loop {
            let len = self.source.fill_buf().map_err(TarError::Read)?.len();
            if len == 0 {
                return Ok(());
            }
            self.advance(len)?;
        }
    }

    fn advance(&mut self, bytes: usize) -> Result<(), TarError> {
        self.source.consume(bytes);
        self.offset += bytes as u64;
        let total = self.bytes_before.saturating_add(self.offset);
        Excess::check("bytes of uncompressed layers", total, self.limits.image_bytes)?;
        Ok(())
    }

    fn skip_data(&mut self) -> Result<(), TarError> {
        let mut left = self.remaining.saturating_add(self.padding);
        (self.remaining, self.padding) = (0, 0);
        while left > 0 {
            let len = self.source.fill_buf().map_err(TarError::Read)?.len();
            if len == 0 {
                return Err(TarError::Truncated("an entry"));
            }
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(len);
            self.advance(step)?;
            left -= step as u64;
        }
        Ok(())
    }

    /// Fills the buffer; false when the stream ended before its first byte.
    fn read_block(&mut self, block: &mut [u8], what: &'static str) -> Result<bool, TarError> {
        let mut filled = 0;
        while filled < block.len() {
            let bytes = self.source.fill_buf().map_err(TarError::Read)?;
            let step = bytes.len().min(block.len() - filled);
            if step == 0 {
                return if filled == 0 {
                    Ok(false)
                } else {
                    Err(TarError::Truncated(what))
                };
            }
            block[filled..filled + step].copy_from_slice(&bytes[..step]);
            filled += step;
            self.advance(step)?;
        }
        Ok(true)
    }

    fn next_header(&mut self) -> Result<Option<Header>, TarError> {
        let mut header = Header { block: [0; BLOCK] };
        if !self.read_block(&mut header.block, "a header")? {
            return Ok(None);
        }
        if header.is_zero() {
            // One zero block that anything else follows is damage; at the end of the stream it is a sloppy end.
            if !self.read_block(&mut header.block, "a header")? || header.is_zero() {
                return Ok(None);
            }
            return Err(TarError::Checksum);
        }
        header.check_sum()?;
        Ok(Some(header))
    }

    fn begin_data(&mut self, size: u64) {
        self.remaining = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    /// The whole data of a header that describes other headers.
    fn read_meta(&mut self, header: &Header, what: &'static str) -> Result<Vec<u8>, TarError> {
        let size = header.size()?;
        Excess::check("bytes in a header before an entry", size, self.limits.pax_bytes as u64)?;
        self.begin_data(size);
        let mut data = Vec::new();
        while self.remaining > 0 {
            let bytes = self.data().map_err(|error| match error {
                TarError::Truncated(_) => TarError::Truncated(what),
                other => other,
            })?;
            data.extend_from_slice(bytes);
            let step = bytes.len();
            self.consume(step)?;
        }
        Ok(data)
    }

    fn read_long_name(&mut self, header: &Header) -> Result<Vec<u8>, TarError> {
        let mut name = self.read_meta(header, "a long name")?;
        if let Some(end) = name.iter().position(|&byte| byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    fn entry(&mut self, header: &Header, preface: Preface) -> Result<Entry, TarError> {
        let mut pax = self.globals.clone();
        pax.add(&preface.records)?;
        let sparse_name = pax.sparse.name.take();
        let path = sparse_name
            .or(pax.path.take())
            .or(preface.long_name)
            .unwrap_or_else(|| header.name());
        let link = pax
            .link_path
            .take()
            .or(preface.long_link)
            .unwrap_or_else(|| header.link_name());
        let size = match pax.size {
            Some(size) => size,
            None => header.size()?,
        };
        let kind = self.kind(header, &path, size, &pax)?;
        Ok(Entry {
            link,
            kind,
            // Some writers store the file type above the permission bits.
            mode: u16::try_from(header.mode()? & 0o7777).unwrap_or_default(),
            uid: owner("uid", pax.uid, header.uid())?,
            gid: owner("gid", pax.gid, header.gid())?,
            mtime: match pax.mtime {
                Some(mtime) => mtime,
                None => Mtime {
                    seconds: header.mtime()?,
                    nanos: 0,
                },
            },
            xattrs: pax.xattrs.into_iter().collect(),
            path,
        })
    }

    /// Only regular files have data: links, folders and devices may state a size, but nothing follows their header.
    fn kind(&mut self, header: &Header, path: &[u8], size: u64, pax: &Pax) -> Result<EntryKind, TarError> {
        let device = || -> Result<(u64, u64), TarError> {
            let (major, minor) = header.device()?;
            Ok((pax.device_major.unwrap_or(major), pax.device_minor.unwrap_or(minor)))
        };
        Ok(match header.type_flag() {
            // v7 has no type for folders, only the slash.
            0 | b'0' if path.ends_with(b"/") => {
                self.begin_data(size);
                EntryKind::Folder
            }
            0 | b'0' | b'7' => {
                self.begin_data(size);
                EntryKind::File(self.content(size, &pax.sparse)?)
            }
            b'S' => EntryKind::File(self.old_sparse(header, size)?),
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => device().map(|(major, minor)| EntryKind::Char { major, minor })?,
            b'4' => device().map(|(major, minor)| EntryKind::Block { major, minor })?,
            b'5' => EntryKind::Folder,
            b'6' => EntryKind::Fifo,
            other => {
                return Err(TarError::Unsupported {
                    name: shown(path),
                    type_flag: char::from(other),
                });
            }
        })
    }

    fn content(&mut self, stored: u64, keys: &SparseKeys) -> Result<Content, TarError> {
        let extents = match keys.major {
            Some(1) => Some(self.read_sparse_map()?),
            Some(0) | None => sparse::from_keys(keys)?,
            Some(_) => return Err(TarError::SparseMap("its version is unknown")),
        };
        let Some(extents) = extents else {
            // A sparse file that is one hole has no map in 0.0.
            let size = keys.real_size.filter(|_| stored == 0).unwrap_or(stored);
            return Ok(Content {
                size,
                extents: vec![Extent { offset: 0, len: stored }],
            });
        };
        let size = keys
            .real_size
            .ok_or(TarError::SparseMap("the file's size is missing"))?;
        sparse::check(&extents, size, self.remaining)?;
        Ok(Content { size, extents })
    }

    /// Version 1.0 keeps the map in front of the data: decimal lines, padded to a block.
    fn read_sparse_map(&mut self) -> Result<Vec<Extent>, TarError> {
        let before = self.remaining;
        let count = self.read_decimal_line()?;
        Excess::check("extents in a sparse file", count, sparse::MAX_EXTENTS as u64)?;
        let mut extents = Vec::new();
        for _ in 0..count {
            let extent = Extent {
                offset: self.read_decimal_line()?,
                len: self.read_decimal_line()?,
            };
            sparse::push(&mut extents, extent)?;
        }
        let mut pad = (BLOCK as u64 - (before - self.remaining) % BLOCK as u64) % BLOCK as u64;
        while pad > 0 {
            let have = self.data()?.len();
            if have == 0 {
                return Err(TarError::SparseMap("the map is not padded to a block"));
            }
            let step = usize::try_from(pad).unwrap_or(usize::MAX).min(have);
            self.consume(step)?;
            pad -= step as u64;
        }
        Ok(extents)
    }

    fn read_decimal_line(&mut self) -> Result<u64, TarError> {
        const DIGITS: usize = 20;
        let mut digits = Vec::with_capacity(DIGITS);
        loop {
            let &byte = self.data()?.first().ok_or(TarError::SparseMap("the map is cut off"))?;
            self.consume(1)?;
            match byte {
                b'\n' => return pax::decimal(&digits).ok_or(TarError::SparseMap("a number is missing")),
                b'0'..=b'9' if digits.len() < DIGITS => digits.push(byte),
                _ => return Err(TarError::SparseMap("the map is not a list of numbers")),
            }
        }
    }

    /// GNU's old format: four extents in the header, 21 in each block that continues it.
    fn old_sparse(&mut self, header: &Header, stored: u64) -> Result<Content, TarError> {
        let mut extents = Vec::new();
        sparse::read_old_fields(&header.block[386..482], &mut extents)?;
        let mut more = header.block[482] != 0;
        while more {
            let mut block = [0; BLOCK];
            if !self.read_block(&mut block, "a sparse file's map")? {
                return Err(TarError::Truncated("a sparse file's map"));
            }
            sparse::read_old_fields(&block[..504], &mut extents)?;
            more = block[504] != 0;
        }
        let size = header::unsigned("real size", header::number("real size", &header.block[483..495])?)?;
        self.begin_data(stored);
        sparse::check(&extents, size, stored)?;
        Ok(Content { size, extents })
    }
}

fn owner(field: &'static str, pax: Option<i64>, header: Result<i64, TarError>) -> Result<u32, TarError> {
    let value = match pax {
        Some(value) => value,
        None => header?,
    };
    u32::try_from(value).map_err(|_| TarError::Number {
        field,
        value: value.to_string(),
    })
}
