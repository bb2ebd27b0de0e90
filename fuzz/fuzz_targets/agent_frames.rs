//! What a guest's agent, or a client of it, may send: frames in any chunking, messages in both codecs, stream ends. Nothing may panic, no payload may exceed
//! the limit, and what was read must be written as it was read.
#![no_main]

use bytes::Bytes;
use hearth_guest_api::connect::{Codec, Frame, FrameDecoder, Message, encode_end, encode_message, parse_end_of_stream};
use hearth_guest_api::{filesystem, guest, process, signals};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 4096;

fn read<M: Message + PartialEq + std::fmt::Debug>(payload: &Bytes) {
    if let Ok(message) = Codec::Proto.decode::<M>(payload.clone())
        && let Ok(bytes) = Codec::Proto.encode(&message)
    {
        assert!(Codec::Proto.decode::<M>(bytes.into()).is_ok());
    }
    if let Ok(message) = Codec::Json.decode::<M>(payload.clone())
        && let Ok(bytes) = Codec::Json.encode(&message)
    {
        assert!(Codec::Json.decode::<M>(bytes.into()).is_ok());
    }
}

fuzz_target!(|input: (u8, &[u8])| {
    let (step, wire) = input;
    let mut decoder = FrameDecoder::new(LIMIT);
    let mut rewritten = Vec::new();
    'wire: for chunk in wire.chunks(usize::from(step).max(1)) {
        decoder.push(chunk);
        loop {
            match decoder.next_frame() {
                Ok(Some(Frame::Message(payload))) => {
                    assert!(payload.len() <= LIMIT);
                    rewritten.extend_from_slice(&encode_message(&payload));
                    read::<guest::Record>(&payload);
                    read::<process::StartResponse>(&payload);
                    read::<filesystem::ListDirResponse>(&payload);
                }
                Ok(Some(Frame::End(payload))) => {
                    rewritten.extend_from_slice(&encode_end(&payload));
                    let _ = parse_end_of_stream(&payload);
                }
                Ok(None) => break,
                Err(error) => {
                    let _ = error.to_string();
                    break 'wire;
                }
            }
        }
    }
    assert!(wire.starts_with(&rewritten));
    if let Ok(text) = std::str::from_utf8(wire) {
        let _ = (hearth_domain::parse_signal(text), signals::from_status(text), hearth_guest_api::timestamp::Timestamp::from_rfc3339(text));
    }
});
