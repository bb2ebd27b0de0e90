//! Frames: one flag byte, a big-endian 32-bit length, the payload.
//!
//! The decoder refuses a frame as soon as its five header bytes are there, so a length of 4 GiB costs nothing.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

const HEADER_BYTES: usize = 5;
const FLAG_COMPRESSED: u8 = 0x01;
const FLAG_END: u8 = 0x02;

/// One frame's payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A message in the stream's codec.
    Message(Bytes),
    /// The end: JSON whatever the codec.
    End(Bytes),
}

/// Why a stream of frames is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Larger than the reader accepts.
    #[error("a frame of {length} bytes exceeds the limit of {limit} bytes")]
    TooLarge {
        /// As announced.
        length: u64,
        /// As configured.
        limit: usize,
    },
    /// Compressed, though no compression was offered.
    #[error("a frame is compressed, though no compression was agreed on")]
    Compressed,
    /// Flags that the protocol does not have.
    #[error("a frame has unknown flags {flags:#04x}")]
    UnknownFlags {
        /// As received.
        flags: u8,
    },
}

/// Cuts bytes into frames; holds at most one frame and one chunk of input.
#[derive(Debug)]
pub struct FrameDecoder {
    buffer: BytesMut,
    limit: usize,
}

impl FrameDecoder {
    /// A decoder that refuses payloads larger than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            limit,
        }
    }

    /// Adds input. Call [`next_frame`](Self::next_frame) until it has no more before adding again.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole frame.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((flags, length)) = self.header()? else {
            return Ok(None);
        };
        if self.buffer.len() < HEADER_BYTES + length {
            self.buffer.reserve(HEADER_BYTES + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(HEADER_BYTES);
        let payload = self.buffer.split_to(length).freeze();
        Ok(Some(if flags & FLAG_END != 0 {
            Frame::End(payload)
        } else {
            Frame::Message(payload)
        }))
    }

    fn header(&self) -> Result<Option<(u8, usize)>, FrameError> {
        let Some((flags, rest)) = self.buffer.split_first() else {
            return Ok(None);
        };
        if flags & FLAG_COMPRESSED != 0 {
            return Err(FrameError::Compressed);
        }
        if flags & !(FLAG_COMPRESSED | FLAG_END) != 0 {
            return Err(FrameError::UnknownFlags { flags: *flags });
        }
        let Some(length) = rest.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes)) else {
            return Ok(None);
        };
        match usize::try_from(length) {
            Ok(length) if length <= self.limit => Ok(Some((*flags, length))),
            _ => Err(FrameError::TooLarge {
                length: length.into(),
                limit: self.limit,
            }),
        }
    }

    /// Whether a frame has begun but not ended.
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }
}

fn encode(flags: u8, payload: &[u8]) -> Bytes {
    // Messages are bounded far below 4 GiB before they get here; a longer one would be refused by any reader.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut frame = BytesMut::with_capacity(HEADER_BYTES + payload.len());
    frame.put_u8(flags);
    frame.put_u32(length);
    frame.put_slice(payload);
    frame.freeze()
}

/// A frame that carries a message.
pub fn encode_message(payload: &[u8]) -> Bytes {
    encode(0, payload)
}

/// The frame that ends a stream.
pub fn encode_end(payload: &[u8]) -> Bytes {
    encode(FLAG_END, payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_a_huge_frame_by_its_header_alone() {
        let mut decoder = FrameDecoder::new(1024);
        decoder.push(&[0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(
            decoder.next_frame(),
            Err(FrameError::TooLarge {
                length: u32::MAX.into(),
                limit: 1024
            })
        );
    }

    #[test]
    fn refuses_compression_and_unknown_flags() {
        for (flags, expected) in [
            (0x01, FrameError::Compressed),
            (0x80, FrameError::UnknownFlags { flags: 0x80 }),
        ] {
            let mut decoder = FrameDecoder::new(1024);
            decoder.push(&[flags]);
            assert_eq!(decoder.next_frame(), Err(expected));
        }
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_frames(payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..8), step in 1_usize..64) {
            let mut wire: Vec<u8> = payloads.iter().flat_map(|payload| encode_message(payload).to_vec()).collect();
            wire.extend_from_slice(&encode_end(b"{}"));
            let mut decoder = FrameDecoder::new(1024);
            let mut frames = Vec::new();
            for chunk in wire.chunks(step) {
                decoder.push(chunk);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    frames.push(frame);
                }
            }
            let mut expected: Vec<Frame> = payloads.into_iter().map(|payload| Frame::Message(payload.into())).collect();
            expected.push(Frame::End(Bytes::from_static(b"{}")));
            prop_assert_eq!(frames, expected);
            prop_assert!(!decoder.is_partial());
        }

        #[test]
        fn garbage_never_panics(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..16)) {
            let mut decoder = FrameDecoder::new(64);
            for chunk in chunks {
                decoder.push(&chunk);
                while let Ok(Some(_)) = decoder.next_frame() {}
            }
        }
    }
}
