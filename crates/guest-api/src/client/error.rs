//! What can go wrong between host and guest.

use std::net::SocketAddr;
use std::time::Duration;

use crate::connect::{Code, CodecError, ConnectError, FrameError};

/// Why a call to a guest failed.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The agent never answered.
    #[error(
        "the guest agent at {addr} did not answer within {waited_ms} ms; the guest's console tells how far it came"
    )]
    NotReady {
        /// Where it should be.
        addr: SocketAddr,
        /// How long it was tried.
        waited_ms: u64,
        /// The last try's failure.
        #[source]
        last: Box<GuestError>,
    },
    /// No connection.
    #[error("{call}: cannot connect to the guest agent at {addr}")]
    Connect {
        /// Which call.
        call: &'static str,
        /// Where to.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The guest took too long.
    #[error("{call}: the guest agent did not answer within {limit_ms} ms")]
    Timeout {
        /// Which call.
        call: &'static str,
        /// The limit.
        limit_ms: u64,
    },
    /// The connection broke, or what came was not HTTP, or its headers were too large.
    #[error("{call}: the connection to the guest agent failed")]
    Transport {
        /// Which call.
        call: &'static str,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// The guest answered with an error.
    #[error("{call}: {answer}")]
    Rpc {
        /// Which call.
        call: &'static str,
        /// As answered. Part of the message already, hence no source.
        answer: ConnectError,
    },
    /// What the guest sent breaks the protocol.
    #[error("{call}: the guest agent broke the protocol: {reason}")]
    Protocol {
        /// Which call.
        call: &'static str,
        /// How.
        reason: String,
    },
    /// The guest sent frames that are refused.
    #[error("{call}: the guest agent sent a frame that is refused")]
    Frame {
        /// Which call.
        call: &'static str,
        /// Why.
        #[source]
        source: FrameError,
    },
    /// A message that cannot be read or written.
    #[error("{call}: a message cannot be read")]
    Message {
        /// Which call.
        call: &'static str,
        /// Why.
        #[source]
        source: CodecError,
    },
}

impl GuestError {
    /// The guest's own error code, where the guest answered with one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Rpc { answer, .. } => Some(answer.code),
            _ => None,
        }
    }

    /// Whether the guest was not reached at all, or fell silent, rather than having refused.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::NotReady { .. } | Self::Connect { .. } | Self::Timeout { .. } | Self::Transport { .. }
        )
    }

    pub(super) fn protocol(call: &'static str, reason: impl Into<String>) -> Self {
        Self::Protocol {
            call,
            reason: reason.into(),
        }
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
