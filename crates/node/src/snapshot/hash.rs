//! The hash of a sparse file: of what it holds, however its holes lie.
//!
//! BLAKE3 over each block of 64 KiB that is not all zeros, in order, each after its number. A block that is a hole and one
//! that was written with zeros are the same to whoever reads the file, and to this.

use std::{fs::File, io};

use hearth_driver::sparse::copy_data;

const BLOCK_BYTES: usize = 64 << 10;
const BLOCK: u64 = BLOCK_BYTES as u64;

/// Takes a file's data piece by piece, in order.
pub(crate) struct SparseHasher {
    hasher: blake3::Hasher,
    /// The block that is being gathered.
    number: u64,
    block: Vec<u8>,
    data_bytes: u64,
}

impl SparseHasher {
    pub(crate) fn new() -> Self {
        Self {
            hasher: blake3::Hasher::new(),
            number: 0,
            block: vec![0; BLOCK_BYTES],
            data_bytes: 0,
        }
    }

    /// Data at a place after all that came before.
    pub(crate) fn update(&mut self, mut at: u64, mut data: &[u8]) {
        self.data_bytes += data.len() as u64;
        while !data.is_empty() {
            let (number, within) = (at / BLOCK, usize::try_from(at % BLOCK).unwrap_or(0));
            let (piece, rest) = data.split_at(data.len().min(BLOCK_BYTES - within));
            if number != self.number {
                self.end_block();
                self.number = number;
            }
            self.block[within..within + piece.len()].copy_from_slice(piece);
            at += piece.len() as u64;
            data = rest;
        }
    }

    fn end_block(&mut self) {
        static ZERO: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
        if self.block[..] != ZERO[..] {
            self.hasher.update(&self.number.to_le_bytes());
            self.hasher.update(&self.block);
            self.block.fill(0);
        }
    }

    /// The hash, in hexadecimal digits, and how many bytes it was shown.
    pub(crate) fn finish(mut self) -> (String, u64) {
        self.end_block();
        (self.hasher.finalize().to_hex().to_string(), self.data_bytes)
    }
}

/// The hash of a file. Blocks.
pub(crate) fn of_file(file: &File) -> io::Result<(String, u64)> {
    let mut hasher = SparseHasher::new();
    copy_data(file, file.metadata()?.len(), |at, data| {
        hasher.update(at, data);
        Ok(())
    })?;
    Ok(hasher.finish())
}
