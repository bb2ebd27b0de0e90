//! The image file as it grows: contents appended block by block, runs of zeros left as holes.
//!
//! Invariant: between two calls from outside, `position` is a multiple of the block size, and so is the place where the
//! buffer begins. Block 0 is kept for the superblock, which is written last.

use std::{fs::File, io, os::unix::fs::FileExt};

use rustix::fs::FallocateFlags;

use crate::{
    BuildError,
    format::{BLOCK, Extended},
};

const BUFFER_BYTES: usize = 1 << 20;
static ZERO_BLOCK: [u8; BLOCK] = [0; BLOCK];

/// A tail up to this long is kept beside its inode instead of in a block of its own: half a block saved, and one read.
pub(crate) const INLINE_TAIL_BYTES: usize = BLOCK / 2;

/// Tails wait in memory until the inodes are written; past this sum they get blocks.
const INLINE_TOTAL_BYTES: usize = 64 << 20;

/// Whether a tail can share its inode's block.
pub(crate) fn fits_inline(xattr_bytes: usize, tail: usize) -> bool {
    tail > 0 && tail <= INLINE_TAIL_BYTES && Extended::BYTES + xattr_bytes + tail <= BLOCK
}

/// Where the contents of a file lie.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) size: u64,
    pub(crate) first_block: u32,
    /// What goes beside the inode.
    pub(crate) tail: Box<[u8]>,
}

impl Contents {
    /// Blocks in the data area.
    pub(crate) fn blocks(&self) -> u64 {
        (self.size - self.tail.len() as u64).div_ceil(BLOCK as u64)
    }
}

/// A file being written.
pub(crate) struct Pending {
    size: u64,
    first_block: u32,
    /// Bytes still to come for the data area; what comes after them is the tail.
    body_left: u64,
    tail: Vec<u8>,
}

/// Appends to the image file.
pub(crate) struct DataWriter {
    file: File,
    position: u64,
    buffer: Vec<u8>,
    inline_left: usize,
}

impl DataWriter {
    pub(crate) fn new(file: File) -> Result<Self, BuildError> {
        file.set_len(0).map_err(output("empty"))?;
        Ok(Self {
            file,
            position: BLOCK as u64,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            inline_left: INLINE_TOTAL_BYTES,
        })
    }

    /// The block that is written next.
    pub(crate) fn next_block(&self) -> Result<u32, BuildError> {
        u32::try_from(self.position / BLOCK as u64).map_err(|_| BuildError::TooLarge)
    }

    /// Begins a file of exactly `size` bytes, whose inode has `xattr_bytes` of attributes.
    pub(crate) fn begin(&mut self, size: u64, xattr_bytes: usize) -> Result<Pending, BuildError> {
        let last = usize::try_from(size % BLOCK as u64).unwrap_or_default();
        let tail = if fits_inline(xattr_bytes, last) && last <= self.inline_left {
            last
        } else {
            0
        };
        self.inline_left -= tail;
        let body_left = size - tail as u64;
        Ok(Pending {
            size,
            first_block: if body_left == 0 { 0 } else { self.next_block()? },
            body_left,
            tail: Vec::with_capacity(tail),
        })
    }

    pub(crate) fn write(&mut self, pending: &mut Pending, bytes: &[u8]) -> Result<(), BuildError> {
        let body = usize::try_from(pending.body_left)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        self.append(&bytes[..body])?;
        pending.body_left -= body as u64;
        pending.tail.extend_from_slice(&bytes[body..]);
        Ok(())
    }

    /// Writes a hole.
    pub(crate) fn write_zeros(&mut self, pending: &mut Pending, len: u64) -> Result<(), BuildError> {
        let body = pending.body_left.min(len);
        self.append_zeros(body)?;
        pending.body_left -= body;
        let tail = usize::try_from(len - body).unwrap_or_default();
        pending.tail.resize(pending.tail.len() + tail, 0);
        Ok(())
    }

    /// Ends a file, all of whose bytes have been written.
    pub(crate) fn end(&mut self, pending: Pending) -> Result<Contents, BuildError> {
        self.pad()?;
        Ok(Contents {
            size: pending.size,
            first_block: pending.first_block,
            tail: pending.tail.into(),
        })
    }

    /// Appends metadata or contents; [`Self::pad`] must follow before anything else begins.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) -> Result<(), BuildError> {
        while !bytes.is_empty() {
            let step = bytes.len().min(BUFFER_BYTES - self.buffer.len());
            self.buffer.extend_from_slice(&bytes[..step]);
            self.position += step as u64;
            bytes = &bytes[step..];
            if self.buffer.len() == BUFFER_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    pub(crate) fn append_zeros(&mut self, len: u64) -> Result<(), BuildError> {
        let block = BLOCK as u64;
        let to_boundary = (self.position.next_multiple_of(block) - self.position).min(len);
        self.append_short_zeros(to_boundary)?;
        let whole = (len - to_boundary) / block * block;
        if whole > 0 {
            self.flush()?;
            self.position += whole;
        }
        self.append_short_zeros(len - to_boundary - whole)
    }

    fn append_short_zeros(&mut self, len: u64) -> Result<(), BuildError> {
        let len = usize::try_from(len).unwrap_or_default();
        self.append(&ZERO_BLOCK[..len])
    }

    /// Fills the last block.
    pub(crate) fn pad(&mut self) -> Result<(), BuildError> {
        self.append_zeros(self.position.next_multiple_of(BLOCK as u64) - self.position)
    }

    /// Writes the buffer out, except its zero blocks. Only where the position is at a block's end.
    pub(crate) fn flush(&mut self) -> Result<(), BuildError> {
        let start = self.position - self.buffer.len() as u64;
        let is_zero = |at: usize| self.buffer[at..at + BLOCK] == ZERO_BLOCK;
        let mut at = 0;
        while at < self.buffer.len() {
            let mut end = at + BLOCK;
            if is_zero(at) {
                at = end;
                continue;
            }
            while end < self.buffer.len() && !is_zero(end) {
                end += BLOCK;
            }
            self.file
                .write_all_at(&self.buffer[at..end], start + at as u64)
                .map_err(output("write"))?;
            at = end;
        }
        self.buffer.clear();
        Ok(())
    }

    /// Gives the blocks of a removed file back to the host's file system. Failing to is no error, only waste.
    pub(crate) fn punch(&mut self, first_block: u32, blocks: u64) -> Result<(), BuildError> {
        let start = u64::from(first_block) * BLOCK as u64;
        let len = blocks * BLOCK as u64;
        if start + len > self.position - self.buffer.len() as u64 {
            self.flush()?;
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = rustix::fs::fallocate(&self.file, flags, start, len);
        Ok(())
    }

    /// Reads contents back; the buffer must have been flushed.
    pub(crate) fn read(&self, contents: &Contents) -> io::Result<Vec<u8>> {
        let body = contents.size - contents.tail.len() as u64;
        let mut bytes = vec![0; usize::try_from(body).map_err(io::Error::other)?];
        let start = u64::from(contents.first_block) * BLOCK as u64;
        // The file ends before trailing holes that nothing was written behind.
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read_at(&mut bytes[filled..], start + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        bytes.extend_from_slice(&contents.tail);
        Ok(bytes)
    }

    /// Writes the last of the buffer and the superblock's block, and sets the file's length.
    pub(crate) fn finish(mut self, first_block: &[u8]) -> Result<u64, BuildError> {
        self.pad()?;
        self.flush()?;
        self.file.set_len(self.position).map_err(output("extend"))?;
        self.file.write_all_at(first_block, 0).map_err(output("write"))?;
        Ok(self.position)
    }
}

fn output(action: &'static str) -> impl FnOnce(io::Error) -> BuildError {
    move |source| BuildError::Output { action, source }
}
