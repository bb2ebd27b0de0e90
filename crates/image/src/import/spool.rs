//! Bytes that must lie in a file before they can be read at will.

use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::path::Path;
use std::pin::Pin;

use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use super::tar_index::ReadAt as _;
use crate::error::{ImageError, ImportError, StoreError};
use crate::progress::{Meter, Phase, ProgressSink};
use crate::store::open_regular;

const CHUNK_BYTES: usize = 256 * 1024;
/// Largest window of a zstd stream, as its own tool has it: 128 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// `xz -9` needs 65 MiB.
const XZ_MEMORY_MAX_KIB: u32 = 256 * 1024;

/// How a file is compressed, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

impl Compression {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let mut magic = [0; 6];
        let count = file.read_at(&mut magic, 0)?;
        Ok(match &magic[..count] {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Self::Xz,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            _ => Self::None,
        })
    }

    /// Whether the converter unpacks it itself.
    pub(crate) fn converter_reads_it(self) -> bool {
        matches!(self, Self::None | Self::Gzip | Self::Zstd)
    }

    pub(crate) fn decoder(self, file: File) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::None => Box::new(file),
            Self::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(CHUNK_BYTES, file))),
            Self::Zstd => {
                let mut decoder = zstd::Decoder::new(file)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
            Self::Xz => Box::new(XzReader::new_mem_limit(
                BufReader::with_capacity(CHUNK_BYTES, file),
                true,
                XZ_MEMORY_MAX_KIB,
            )),
            Self::Bzip2 => return Err(io::Error::new(io::ErrorKind::InvalidInput, "bzip2 is not read")),
        })
    }
}

/// What an archive that came as a stream is called in messages.
pub(crate) const UPLOADED: &str = "the uploaded archive";

fn too_large(name: &str, limit_bytes: u64) -> ImportError {
    ImportError::TooLarge {
        name: name.to_owned(),
        actual_bytes: limit_bytes + 1,
        limit_bytes,
    }
}

/// Takes a stream into a file.
pub(crate) async fn receive(
    mut stream: Pin<Box<dyn AsyncRead + Send>>,
    path: &Path,
    max_bytes: u64,
    progress: &ProgressSink,
) -> Result<(), ImageError> {
    let failed = || StoreError::file("write", path);
    let mut file = tokio::fs::File::create_new(path).await.map_err(failed())?;
    let mut meter = Meter::new(progress, Phase::Downloading, "archive", 0);
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut total: u64 = 0;
    loop {
        let read_error = |source| ImportError::Read {
            path: UPLOADED.into(),
            source,
        };
        let count = stream.read(&mut buffer).await.map_err(read_error)?;
        if count == 0 {
            break;
        }
        total += count as u64;
        if total > max_bytes {
            return Err(too_large("the archive", max_bytes).into());
        }
        file.write_all(&buffer[..count]).await.map_err(failed())?;
        meter.set(total);
    }
    file.flush().await.map_err(failed())?;
    Ok(())
}

/// Unpacks a compressed archive, which is called `shown` in messages, into `work`.
pub(crate) fn unpack(
    path: &Path,
    shown: &Path,
    compression: Compression,
    (work, max_bytes): (&Path, u64),
) -> Result<File, ImageError> {
    let read_error = |source| ImportError::Read {
        path: shown.to_owned(),
        source,
    };
    let write_error = || StoreError::file("unpack the archive in", work);
    let mut source = open_regular(path)
        .and_then(|file| compression.decoder(file))
        .map_err(read_error)?;
    let mut file = tempfile::tempfile_in(work).map_err(write_error())?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut total: u64 = 0;
    loop {
        let count = source.read(&mut buffer).map_err(read_error)?;
        if count == 0 {
            return Ok(file);
        }
        total += count as u64;
        if total > max_bytes {
            return Err(too_large("the unpacked archive", max_bytes).into());
        }
        file.write_all(&buffer[..count]).map_err(write_error())?;
    }
}
