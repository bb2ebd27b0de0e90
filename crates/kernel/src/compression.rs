//! Formats of kernel payloads, modules and initramfs images, told by their magic.

use std::io::{self, Read, Write as _};

use serde::{Deserialize, Serialize};

use crate::limits;

/// A compression format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Stored as it is.
    None,
    /// RFC 1952.
    Gzip,
    /// The xz container.
    Xz,
    /// The older `.lzma` container.
    Lzma,
    /// RFC 8878.
    Zstd,
    /// LZ4's legacy frames, the ones that Linux reads.
    Lz4,
    /// lzop's container; recognised, not read.
    Lzo,
    /// Recognised, not read.
    Bzip2,
}

/// Size of one block of an LZ4 legacy frame, before compression.
const LZ4_BLOCK_BYTES: usize = 8 << 20;
const LZ4_MAGIC: [u8; 4] = 0x184C_2102_u32.to_le_bytes();

/// Magics in the order in which a scan tries them: the long, sure ones first.
const MAGICS: [(&[u8], Compression); 7] = [
    (&[0xFD, b'7', b'z', b'X', b'Z', 0], Compression::Xz),
    (&[0x89, b'L', b'Z', b'O', 0, 0x0D, 0x0A, 0x1A, 0x0A], Compression::Lzo),
    (&[0x28, 0xB5, 0x2F, 0xFD], Compression::Zstd),
    (&LZ4_MAGIC, Compression::Lz4),
    (&[0x1F, 0x8B, 0x08], Compression::Gzip),
    (b"BZh", Compression::Bzip2),
    (&[0x5D, 0, 0, 0], Compression::Lzma),
];

impl Compression {
    /// Tells the format by the first bytes; [`Compression::None`] if it is none of the known ones.
    pub(crate) fn detect(bytes: &[u8]) -> Self {
        MAGICS
            .iter()
            .find(|(magic, _)| bytes.starts_with(magic))
            .map_or(Self::None, |(_, format)| *format)
    }

    /// The magics, for a scan through a kernel image.
    pub(crate) fn magics() -> &'static [(&'static [u8], Self)] {
        &MAGICS
    }
}

/// Opens a reader of the unpacked bytes of `input`. Bytes after the end of the compressed stream are not looked at.
pub(crate) fn reader<'a, R: io::BufRead + 'a>(format: Compression, input: R) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match format {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(flate2::bufread::GzDecoder::new(input)),
        Compression::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(limits::DECODER_BYTES, 0)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
        }
        Compression::Lzma => {
            let stream = liblzma::stream::Stream::new_lzma_decoder(limits::DECODER_BYTES)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?.single_frame();
            // Kernels are packed with `--ultra -22`: 128 MiB of window.
            decoder.window_log_max(27)?;
            Box::new(decoder)
        }
        Compression::Lz4 => Box::new(io::Cursor::new(unpack_lz4(input)?)),
        Compression::Lzo | Compression::Bzip2 => {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{format:?} compression is not supported"),
            ));
        }
    })
}

/// Unpacks `bytes`, whose format is told by its magic, to at most `limit_bytes`.
pub(crate) fn unpack(bytes: &[u8], limit_bytes: u64) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    let read = reader(Compression::detect(bytes), bytes)?
        .take(limit_bytes + 1)
        .read_to_end(&mut unpacked)?;
    if read as u64 > limit_bytes {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("unpacks to more than {limit_bytes} bytes"),
        ));
    }
    Ok(unpacked)
}

/// Legacy LZ4: magic, then blocks, each led by its size. Nothing marks the end, so a size that cannot be one (such as the
/// length that the kernel's build appends) ends it.
fn unpack_lz4(mut input: impl Read) -> io::Result<Vec<u8>> {
    let mut packed = Vec::new();
    input.by_ref().take(limits::VMLINUZ_BYTES).read_to_end(&mut packed)?;
    let mut rest = packed.strip_prefix(&LZ4_MAGIC).ok_or(io::ErrorKind::InvalidData)?;
    let mut unpacked = Vec::new();
    let mut block = vec![0; LZ4_BLOCK_BYTES];
    while let Some((size, after)) = rest.split_first_chunk::<4>() {
        let size = u32::from_le_bytes(*size) as usize;
        let Some(body) = after.get(..size).filter(|body| !body.is_empty()) else {
            break;
        };
        let filled = lz4_flex::block::decompress_into(body, &mut block)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        unpacked.extend_from_slice(&block[..filled]);
        if unpacked.len() as u64 > limits::VMLINUX_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        rest = &after[size..];
    }
    Ok(unpacked)
}

/// Packs an initramfs. Only formats that a kernel may read and that were worth measuring can be written.
pub(crate) fn pack(format: Compression, bytes: &[u8]) -> io::Result<Vec<u8>> {
    match format {
        Compression::None => Ok(bytes.to_vec()),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(bytes)?;
            encoder.finish()
        }
        Compression::Zstd => zstd::stream::encode_all(bytes, 19),
        Compression::Lz4 => Ok(pack_lz4(bytes)),
        other => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("cannot write {other:?}"),
        )),
    }
}

fn pack_lz4(bytes: &[u8]) -> Vec<u8> {
    let mut packed = LZ4_MAGIC.to_vec();
    for block in bytes.chunks(LZ4_BLOCK_BYTES) {
        let body = lz4_flex::block::compress(block);
        // A block is at most 8 MiB, its packed form little more.
        packed.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        packed.extend_from_slice(&body);
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_bytes_are_recognised_and_unpack_to_themselves() {
        let plain: Vec<u8> = (0..20_000_000_u32)
            .map(|index| (index / 1000).to_le_bytes()[0])
            .collect();
        for format in [Compression::Gzip, Compression::Zstd, Compression::Lz4] {
            let mut packed = pack(format, &plain).unwrap();
            assert_eq!(Compression::detect(&packed), format);
            // What the kernel's build appends.
            packed.extend_from_slice(&20_000_000_u32.to_le_bytes());
            assert!(unpack(&packed, plain.len() as u64).unwrap() == plain, "{format:?}");
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let packed = pack(Compression::Zstd, &vec![0; 10 << 20]).unwrap();
        assert_eq!(
            unpack(&packed, 1 << 20).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
    }
}
