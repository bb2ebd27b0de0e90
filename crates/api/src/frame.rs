//! The web sockets of attach and exec.
//!
//! Every message is binary: one byte that names a channel, then the channel's payload.
//!
//! | channel | from | payload |
//! |---|---|---|
//! | 0 [`STDIN`] | client | bytes for standard input |
//! | 1 [`STDOUT`] | server | bytes of standard output, or of the terminal |
//! | 2 [`STDERR`] | server | bytes of standard error |
//! | 3 [`STATUS`] | server | JSON [`SessionEnd`]; once, the last message, followed by a normal close |
//! | 4 [`CONTROL`] | client | JSON [`Control`] |
//! | 5 [`NUMBERED`] | server | on an attach that asked for it, instead of 1 and 2: channel 1 or 2 as a byte, the output's number in the machine's log as 8 bytes big-endian, bytes |
//!
//! An exec's very first message is text instead: JSON [`crate::ExecRequest`]. A client that breaks these rules gets a
//! `STATUS` that says so. A payload is at most [`PAYLOAD_MAX`] bytes.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use crate::{ExitStatus, LogStream, MachineState, Problem, TerminalSize};

/// Channel of standard input.
pub const STDIN: u8 = 0;
/// Channel of standard output.
pub const STDOUT: u8 = 1;
/// Channel of standard error.
pub const STDERR: u8 = 2;
/// Channel of how it ended.
pub const STATUS: u8 = 3;
/// Channel of what is no input.
pub const CONTROL: u8 = 4;
/// Channel of output with its number.
pub const NUMBERED: u8 = 5;

/// Bytes before the output on [`NUMBERED`].
const NUMBERED_HEADER: usize = 1 + 8;
/// The longest payload, in bytes. Longer input is sent in several messages.
pub const PAYLOAD_MAX: usize = 1024 * 1024;
/// The longest payload of the control channel, in bytes.
pub const CONTROL_MAX: usize = 1024;

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFrame {
    /// Bytes for standard input.
    Stdin(Bytes),
    /// Something else.
    Control(Control),
}

/// What is no input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Control {
    /// The terminal has another size.
    Resize(TerminalSize),
    /// A signal for the program, by number.
    Signal(i32),
    /// The end of standard input; the value is `true`.
    CloseStdin(bool),
}

/// What the server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerFrame {
    /// Bytes of standard output.
    Stdout(Bytes),
    /// Bytes of standard error.
    Stderr(Bytes),
    /// Output with its number.
    Numbered(Numbered),
    /// The end.
    Status(SessionEnd),
}

/// Output with its number in the machine's log: who attaches again asks for what comes after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// The number; grows.
    pub sequence: u64,
    /// Where it was written.
    pub stream: LogStream,
    /// What was written.
    pub bytes: Bytes,
}

/// How a session ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionEnd {
    /// How the program ended, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitStatus>,
    /// The machine's state, on attach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<MachineState>,
    /// What went wrong with the machine, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What went wrong with the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// A message that follows no rule.
#[derive(Debug, Error)]
pub enum FrameError {
    /// There is no channel byte, or nothing of what its channel needs.
    #[error("the message is empty or cut off; its first byte names a channel")]
    Empty,
    /// The channel is not the sender's.
    #[error("channel {0} is not one that this side sends on")]
    Channel(u8),
    /// Too long.
    #[error("the payload of {length} bytes is longer than the {max} bytes allowed on channel {channel}")]
    TooLong {
        /// On which channel.
        channel: u8,
        /// How long.
        length: usize,
        /// How long it may be.
        max: usize,
    },
    /// The JSON is wrong.
    #[error("the payload of channel {channel} cannot be read: {source}")]
    Json {
        /// On which channel.
        channel: u8,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl ClientFrame {
    /// The message.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Stdin(bytes) => with_channel(STDIN, bytes),
            Self::Control(control) => with_channel(CONTROL, &json(control)),
        }
    }

    /// Reads a message.
    pub fn decode(message: &Bytes) -> Result<Self, FrameError> {
        match split(message)? {
            (STDIN, payload) => Ok(Self::Stdin(payload)),
            (channel @ CONTROL, payload) => {
                bounded(channel, &payload, CONTROL_MAX)?;
                serde_json::from_slice(&payload)
                    .map(Self::Control)
                    .map_err(|source| FrameError::Json { channel, source })
            }
            (channel, _) => Err(FrameError::Channel(channel)),
        }
    }
}

impl ServerFrame {
    /// The message.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Stdout(bytes) => with_channel(STDOUT, bytes),
            Self::Stderr(bytes) => with_channel(STDERR, bytes),
            Self::Numbered(output) => output.encode(),
            Self::Status(end) => with_channel(STATUS, &json(end)),
        }
    }

    /// Reads a message.
    pub fn decode(message: &Bytes) -> Result<Self, FrameError> {
        match split(message)? {
            (STDOUT, payload) => Ok(Self::Stdout(payload)),
            (STDERR, payload) => Ok(Self::Stderr(payload)),
            (NUMBERED, payload) => Numbered::decode(payload).map(Self::Numbered),
            (channel @ STATUS, payload) => serde_json::from_slice(&payload)
                .map(Self::Status)
                .map_err(|source| FrameError::Json { channel, source }),
            (channel, _) => Err(FrameError::Channel(channel)),
        }
    }
}

impl Numbered {
    fn encode(&self) -> Bytes {
        let stream = match self.stream {
            LogStream::Stdout => STDOUT,
            LogStream::Stderr => STDERR,
        };
        let mut message = BytesMut::with_capacity(1 + NUMBERED_HEADER + self.bytes.len());
        message.put_u8(NUMBERED);
        message.put_u8(stream);
        message.put_u64(self.sequence);
        message.put_slice(&self.bytes);
        message.freeze()
    }

    fn decode(mut payload: Bytes) -> Result<Self, FrameError> {
        if payload.len() < NUMBERED_HEADER {
            return Err(FrameError::Empty);
        }
        let stream = match payload.get_u8() {
            STDOUT => LogStream::Stdout,
            STDERR => LogStream::Stderr,
            other => return Err(FrameError::Channel(other)),
        };
        Ok(Self {
            stream,
            sequence: payload.get_u64(),
            bytes: payload,
        })
    }
}

fn with_channel(channel: u8, payload: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(1 + payload.len());
    message.put_u8(channel);
    message.put_slice(payload);
    message.freeze()
}

fn split(message: &Bytes) -> Result<(u8, Bytes), FrameError> {
    let channel = *message.first().ok_or(FrameError::Empty)?;
    let payload = message.slice(1..);
    bounded(channel, &payload, PAYLOAD_MAX)?;
    Ok((channel, payload))
}

fn bounded(channel: u8, payload: &Bytes, max: usize) -> Result<(), FrameError> {
    match payload.len() {
        length if length > max => Err(FrameError::TooLong { channel, length, max }),
        _ => Ok(()),
    }
}

/// JSON of a type without maps, which cannot fail.
fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ProblemCode;

    #[test]
    fn control_is_plain_json() {
        for (control, text) in [
            (
                Control::Resize(TerminalSize { cols: 80, rows: 24 }),
                r#"{"resize":{"cols":80,"rows":24}}"#,
            ),
            (Control::Signal(15), r#"{"signal":15}"#),
            (Control::CloseStdin(true), r#"{"close_stdin":true}"#),
        ] {
            let message = ClientFrame::Control(control).encode();
            assert_eq!(message[0], CONTROL);
            assert_eq!(&message[1..], text.as_bytes());
            assert_eq!(ClientFrame::decode(&message).unwrap(), ClientFrame::Control(control));
        }
    }

    #[test]
    fn the_end_is_read_back() {
        let end = SessionEnd {
            exit: Some(ExitStatus {
                code: 137,
                signal: Some(9),
                ..ExitStatus::default()
            }),
            state: Some(MachineState::Stopped),
            reason: None,
            problem: Some(Problem::new(ProblemCode::Internal, "x")),
        };
        let frame = ServerFrame::Status(end);
        assert_eq!(ServerFrame::decode(&frame.encode()).unwrap(), frame);
    }

    #[test]
    fn numbers_go_with_their_output() {
        let frame = ServerFrame::Numbered(Numbered {
            sequence: 258,
            stream: LogStream::Stderr,
            bytes: Bytes::from_static(b"x"),
        });
        assert_eq!(&frame.encode()[..], b"\x05\x02\0\0\0\0\0\0\x01\x02x");
        assert_eq!(ServerFrame::decode(&frame.encode()).unwrap(), frame);
        assert!(ServerFrame::decode(&Bytes::from_static(b"\x05\x01\0")).is_err());
        assert!(ServerFrame::decode(&Bytes::from_static(b"\x05\x04\0\0\0\0\0\0\0\0")).is_err());
    }

    #[test]
    fn broken_rules_are_named() {
        let long = Bytes::from(vec![STDIN; PAYLOAD_MAX + 2]);
        assert!(matches!(ClientFrame::decode(&Bytes::new()), Err(FrameError::Empty)));
        assert!(matches!(ClientFrame::decode(&long), Err(FrameError::TooLong { .. })));
        let long_control = with_channel(CONTROL, &[b' '; CONTROL_MAX + 1]);
        assert!(matches!(
            ClientFrame::decode(&long_control),
            Err(FrameError::TooLong { .. })
        ));
        assert!(matches!(
            ClientFrame::decode(&Bytes::from_static(b"\x01x")),
            Err(FrameError::Channel(STDOUT))
        ));
        assert!(matches!(
            ServerFrame::decode(&Bytes::from_static(b"\x00x")),
            Err(FrameError::Channel(STDIN))
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let message = Bytes::from(bytes);
            if let Ok(ClientFrame::Stdin(payload)) = ClientFrame::decode(&message) {
                prop_assert_eq!(ClientFrame::Stdin(payload).encode(), message.clone());
            }
            if let Ok(frame @ (ServerFrame::Stdout(_) | ServerFrame::Stderr(_) | ServerFrame::Numbered(_))) = ServerFrame::decode(&message) {
                prop_assert_eq!(frame.encode(), message);
            }
        }
    }
}
