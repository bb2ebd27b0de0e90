//! Messages of `application/vnd.amazon.eventstream`, as the server sends them.
//!
//! ```text
//!  total length  headers length  CRC-32 of both  headers            payload  CRC-32 of all before
//!  u32           u32             u32             (name, 7, text)…   bytes    u32
//! ```
//!
//! All numbers are big-endian. Source: AWS, "Amazon event stream encoding".

use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::Crc;

/// The kind of the stream.
pub(super) const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";
/// The longest payload that is put into one message, in bytes; the format allows 24 MB.
pub(super) const PAYLOAD_MAX: usize = 1024 * 1024;
/// Lengths and their sum.
const PRELUDE_LEN: usize = 12;
const CRC_LEN: usize = 4;
/// The kind of a header whose value is text.
const TEXT: u8 = 7;

/// An event of this type.
pub(super) fn event(event_type: &str, content_type: &str, payload: &[u8]) -> Bytes {
    let headers = [
        (":message-type", "event"),
        (":event-type", event_type),
        (":content-type", content_type),
    ];
    let headers_len: usize = headers.iter().map(|(name, value)| 4 + name.len() + value.len()).sum();
    let total = PRELUDE_LEN + headers_len + payload.len() + CRC_LEN;
    let mut message = BytesMut::with_capacity(total);
    message.put_u32(u32::try_from(total).unwrap_or(u32::MAX));
    message.put_u32(u32::try_from(headers_len).unwrap_or(u32::MAX));
    message.put_u32(crc(&message));
    for (name, value) in headers {
        message.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        message.put_slice(name.as_bytes());
        message.put_u8(TEXT);
        message.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        message.put_slice(value.as_bytes());
    }
    message.put_slice(payload);
    message.put_u32(crc(&message));
    message.freeze()
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by hand after the format; botocore's decoder takes it.
    const KNOWN: &str = "0000006f0000005af5fe871f0d3a6d6573736167652d747970650700056576656e740b3a6576656e742d7479706507000c5061796c6f61644368756e6b0d3a636f6e74656e742d747970650700186170706c69636174696f6e2f6f637465742d73747265616d68656c6c6f4fe061f2";

    #[test]
    fn a_message_is_that_of_the_format() {
        let message = event("PayloadChunk", "application/octet-stream", b"hello");
        assert_eq!(hex::encode(&message), KNOWN);
    }

    #[test]
    fn every_length_is_right() {
        for len in [0, 1, 100, 70_000] {
            let payload = vec![7; len];
            let message = event("InvokeComplete", "application/json", &payload);
            let number = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap()) as usize;
            assert_eq!(number(0), message.len());
            assert_eq!(message[PRELUDE_LEN + number(4)..message.len() - CRC_LEN], payload);
        }
    }
}
