//! Why a call failed.

use std::{io::ErrorKind, path::Path};

use hearth_api::{Problem, ProblemCode, frame::FrameError};
use http::StatusCode;
use thiserror::Error;

use crate::{DEFAULT_SOCKET, Endpoint};

/// Why a call failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("cannot reach the hearth daemon at {endpoint}")]
    NoDaemon {
        /// Where.
        endpoint: Endpoint,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The daemon refused, and says why.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// What answered is no daemon of ours.
    #[error("the daemon answered {status}: {body}")]
    Status {
        /// HTTP status.
        status: StatusCode,
        /// The beginning of its body.
        body: String,
    },
    /// The connection broke.
    #[error("the connection to the daemon failed")]
    Transport {
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// An answer broke off, or was too large.
    #[error("the daemon's answer broke off")]
    Body {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A web socket broke.
    #[error("the session with the daemon failed")]
    Session {
        /// Why.
        #[source]
        source: Box<tokio_tungstenite::tungstenite::Error>,
    },
    /// The daemon broke the session's rules.
    #[error("the daemon sent a frame that cannot be read")]
    Frame {
        /// How.
        #[source]
        source: FrameError,
    },
    /// A request that cannot be written.
    #[error("cannot write the request")]
    Encode {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A request that HTTP cannot carry.
    #[error("cannot make the request")]
    Request {
        /// Why.
        #[source]
        source: http::Error,
    },
    /// An answer that cannot be read; the daemon may be of another version.
    #[error("the daemon's answer cannot be read; is it of another version?")]
    Decode {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl ClientError {
    /// Whether the daemon went away, or never was there: what a new one mends.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::NoDaemon { .. } | Self::Transport { .. } | Self::Body { .. } | Self::Session { .. } => true,
            Self::Problem(problem) => problem.code == ProblemCode::Unavailable,
            Self::Status { .. }
            | Self::Frame { .. }
            | Self::Encode { .. }
            | Self::Request { .. }
            | Self::Decode { .. } => false,
        }
    }

    /// The way out, where the daemon could not tell it.
    pub fn hint(&self) -> Option<String> {
        let Self::NoDaemon { endpoint, source } = self else {
            return None;
        };
        Some(match endpoint {
            Endpoint::Unix(_) if source.kind() == ErrorKind::PermissionDenied => {
                "call as root or as a member of the group hearth".to_owned()
            }
            Endpoint::Unix(path) if path == Path::new(DEFAULT_SOCKET) => "start it with: hearth up --detach".to_owned(),
            Endpoint::Unix(path) => format!("start it with: hearth up --detach --socket {}", path.display()),
            Endpoint::Tls { .. } if untrusted(source) => {
                "its certificate is not trusted here: copy tls/cert.pem from the daemon's state folder, compare it with \
                 the fingerprint that hearth up tells, and name it by HEARTH_CA_FILE"
                    .to_owned()
            }
            Endpoint::Tcp(address) => format!("start it with: hearth up --detach --listen {address}"),
            Endpoint::Tls { port, .. } => format!("start it there with: hearth up --detach --listen 0.0.0.0:{port}"),
        })
    }
}

/// Whether TLS came so far as to doubt the certificate.
fn untrusted(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(endpoint: Endpoint, kind: ErrorKind) -> String {
        let source = kind.into();
        ClientError::NoDaemon { endpoint, source }.hint().unwrap()
    }

    #[test]
    fn who_is_not_there_is_told_how_to_start() {
        let refused = ErrorKind::ConnectionRefused;
        assert_eq!(
            hint(Endpoint::Unix(DEFAULT_SOCKET.into()), ErrorKind::NotFound),
            "start it with: hearth up --detach"
        );
        assert!(hint(Endpoint::Unix("/x/sock".into()), ErrorKind::NotFound).ends_with("--socket /x/sock"));
        assert!(hint(Endpoint::Unix("/x/sock".into()), ErrorKind::PermissionDenied).contains("group hearth"));
        assert!(hint(Endpoint::Tcp("127.0.0.1:7".parse().unwrap()), refused).ends_with("--listen 127.0.0.1:7"));
        let afar = |port| Endpoint::Tls {
            host: "a.example".into(),
            port,
        };
        assert!(hint(afar(7), refused).ends_with("--listen 0.0.0.0:7"));
    }

    #[test]
    fn an_outage_is_not_a_refusal() {
        let problem = |code| ClientError::Problem(Box::new(Problem::new(code, "x")));
        assert!(problem(ProblemCode::Unavailable).is_outage());
        assert!(!problem(ProblemCode::StateConflict).is_outage());
    }
}
