//! A layer's stream, decompressed in the calling thread while another one hashes it and builds the tree.
//!
//! ```text
//! caller: read → decompress ──full buffers (bounded)──► applier: SHA-256 → tar → tree and image file
//!                  ▲────────────empty buffers─────────────────┘
//! ```
//! Either side ends the other by dropping its end of the channels; the scope joins both.

use std::{
    cell::Cell,
    io::{self, BufRead, BufReader, Cursor, Read},
    sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    thread,
};

use sha2::{Digest, Sha256};

const CHUNK_BYTES: usize = 256 << 10;
const CHUNKS_AHEAD: usize = 8;
const MAGIC_BYTES: u64 = 4;

/// How a layer is compressed, told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerCompression {
    /// Plain tar.
    None,
    /// One or more gzip members.
    Gzip,
    /// One or more zstd frames.
    Zstd,
}

impl LayerCompression {
    /// Tells the compression by a stream's first four bytes.
    pub fn sniff(magic: &[u8]) -> Self {
        match magic {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or one that decoders skip (which begins some seekable layers).
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// What came out of the caller's reader.
pub(crate) struct Pumped<T> {
    pub(crate) result: T,
    pub(crate) compression: LayerCompression,
    pub(crate) compressed_bytes: u64,
}

type Chunk = io::Result<Vec<u8>>;

/// Runs `apply` on the uncompressed stream in a thread of its own.
pub(crate) fn pump<R: Read, T: Send>(
    reader: R,
    progress: &mut dyn FnMut(u64),
    apply: impl FnOnce(ChunkReader) -> T + Send,
) -> io::Result<Pumped<T>> {
    thread::scope(|scope| {
        let (full, chunks) = sync_channel(CHUNKS_AHEAD);
        let (spent, empty) = channel();
        let reader_end = ChunkReader {
            chunks,
            spent,
            current: Vec::new(),
            at: 0,
            sha256: Sha256::new(),
        };
        let applier = thread::Builder::new()
            .name("layer".into())
            .spawn_scoped(scope, || apply(reader_end))?;
        let count = Cell::new(0);
        let compression = produce(
            Counting {
                inner: reader,
                count: &count,
            },
            &count,
            progress,
            &full,
            &empty,
        );
        // The applier's sign that nothing more comes.
        drop(full);
        let result = applier.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(Pumped {
            result,
            compression,
            compressed_bytes: count.get(),
        })
    })
}

struct Counting<'a, R> {
    inner: R,
    count: &'a Cell<u64>,
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.set(self.count.get() + read as u64);
        Ok(read)
    }
}

fn produce<R: Read>(
    mut reader: R,
    count: &Cell<u64>,
    progress: &mut dyn FnMut(u64),
    full: &SyncSender<Chunk>,
    empty: &Receiver<Vec<u8>>,
) -> LayerCompression {
    let mut compression = LayerCompression::None;
    let mut decoder = match open(&mut reader) {
        Ok((found, decoder)) => {
            compression = found;
            decoder
        }
        Err(error) => {
            let _ = full.send(Err(error));
            return compression;
        }
    };
    loop {
        let mut buffer = empty.try_recv().unwrap_or_default();
        let chunk = fill(&mut *decoder, &mut buffer).map(|()| buffer);
        progress(count.get());
        let last = chunk.as_ref().map_or(true, Vec::is_empty);
        // A closed channel means that the applier has failed and says why itself.
        if full.send(chunk).is_err() || last {
            return compression;
        }
    }
}

fn open<'a, R: Read>(reader: &'a mut R) -> io::Result<(LayerCompression, Box<dyn Read + 'a>)> {
    let mut magic = Vec::new();
    reader.take(MAGIC_BYTES).read_to_end(&mut magic)?;
    let compression = LayerCompression::sniff(&magic);
    let whole = Cursor::new(magic).chain(reader);
    let decoder: Box<dyn Read + 'a> = match compression {
        LayerCompression::None => Box::new(whole),
        LayerCompression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(
            CHUNK_BYTES,
            whole,
        ))),
        LayerCompression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(
            CHUNK_BYTES,
            whole,
        ))?),
    };
    Ok((compression, decoder))
}

/// Fills a buffer as far as the stream goes.
fn fill(decoder: &mut dyn Read, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.resize(CHUNK_BYTES, 0);
    let mut filled = 0;
    while filled < buffer.len() {
        match decoder.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(())
}

/// The applier's end: the uncompressed stream, hashed as it arrives.
pub(crate) struct ChunkReader {
    chunks: Receiver<Chunk>,
    spent: Sender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
    sha256: Sha256,
}

impl ChunkReader {
    /// The digest of all that was read, in hexadecimal.
    pub(crate) fn digest(self) -> String {
        hex::encode(self.sha256.finalize())
    }
}

impl BufRead for ChunkReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.current.len() {
            let spent = std::mem::take(&mut self.current);
            self.at = 0;
            if spent.capacity() > 0 {
                let _ = self.spent.send(spent);
            }
            // After the last chunk the channel is closed: the end.
            if let Ok(chunk) = self.chunks.recv() {
                self.current = chunk?;
                self.sha256.update(&self.current);
            }
        }
        Ok(&self.current[self.at..])
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let len = bytes.len().min(buffer.len());
        buffer[..len].copy_from_slice(&bytes[..len]);
        self.consume(len);
        Ok(len)
    }
}
