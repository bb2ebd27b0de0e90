//! Why a call failed.

use hearth_api::{Problem, frame::FrameError};
use http::StatusCode;
use thiserror::Error;

use crate::Endpoint;

/// Why a call failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "cannot reach the hearth daemon at {endpoint}; start it with: hearth up --detach{}",
        hint(endpoint)
    )]
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

fn hint(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Unix(path) if path != std::path::Path::new("/run/hearth/hearth.sock") => {
            format!(" --socket {}", path.display())
        }
        _ => String::new(),
    }
}
