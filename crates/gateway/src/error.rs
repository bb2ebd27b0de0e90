//! Why a call was not answered by its function.

use std::time::Duration;

use http::StatusCode;
use thiserror::Error;

/// Why a call was not answered. The text is for the function's owner; a stranger is told [`CallError::public`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CallError {
    /// No function has this host, path or ID, or it has no such version.
    #[error("there is no such function or version")]
    NoRoute,
    /// The function is not public, and no key came or none that is known.
    #[error("this function wants a key: send Authorization: Bearer KEY")]
    Unauthorized,
    /// The key may not call this function.
    #[error("this key may not call this function")]
    Forbidden,
    /// It could not be found out whether the key may.
    #[error("the key cannot be checked now")]
    KeysUnavailable,
    /// The project made too many requests.
    #[error("the project makes more requests than it may")]
    RateLimited {
        /// When there is room again.
        retry_after: Duration,
    },
    /// The request itself is wrong.
    #[error("the request is not valid: {0}")]
    BadRequest(&'static str),
    /// The request's path is too long.
    #[error("the path is longer than {max} bytes")]
    UriTooLong {
        /// What it may have.
        max: usize,
    },
    /// The request's body is too long.
    #[error("the body is longer than {max} bytes")]
    BodyTooLarge {
        /// What it may have.
        max: u64,
    },
    /// Too many bodies are held in memory, of this client or of all.
    #[error("the bodies of other calls take all the memory that there is for them")]
    BodiesFull,
    /// The request's body stood still too long.
    #[error("the request's body did not come in time")]
    BodyTimeout,
    /// The client went away before the answer.
    #[error("the caller went away")]
    ClientGone,
    /// Too many calls wait for an instance.
    #[error("{waiting} calls wait for an instance already")]
    QueueFull {
        /// How many.
        waiting: usize,
    },
    /// No instance came in time.
    #[error("no instance had a free place within {waited_ms} ms")]
    NoInstance {
        /// How long the call waited, in milliseconds.
        waited_ms: u64,
    },
    /// No node has room for an instance.
    #[error("no node has room for an instance")]
    NoRoom,
    /// Instances cannot be started.
    #[error("an instance could not be started: {0}")]
    StartFailed(String),
    /// The instance cannot be reached.
    #[error("the instance cannot be reached: {0}")]
    Unreachable(String),
    /// The instance broke off.
    #[error("the instance ended or broke the connection before it had answered: {0}")]
    Crashed(String),
    /// The instance's answer is not what its contract says.
    #[error("the instance's answer is not valid: {0}")]
    BadAnswer(String),
    /// The function itself reported an error (Lambda).
    #[error("the function failed: {0}")]
    FunctionError(String),
    /// The call's time is over.
    #[error("the function did not answer within {timeout_ms} ms")]
    Timeout {
        /// Its time, in milliseconds.
        timeout_ms: u64,
    },
    /// The asynchronous call was not taken.
    #[error("{0}")]
    NotAccepted(#[from] crate::NotAccepted),
    /// The gateway is going down.
    #[error("the gateway is going down")]
    ShuttingDown,
}

impl CallError {
    /// The status that goes with it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::BadRequest(_) | Self::ClientGone => StatusCode::BAD_REQUEST,
            Self::UriTooLong { .. } => StatusCode::URI_TOO_LONG,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::KeysUnavailable
            | Self::BodiesFull
            | Self::QueueFull { .. }
            | Self::NoInstance { .. }
            | Self::NoRoom
            | Self::ShuttingDown
            | Self::NotAccepted(crate::NotAccepted::Full | crate::NotAccepted::Unavailable(_)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::NotAccepted(crate::NotAccepted::Conflict) => StatusCode::CONFLICT,
            Self::StartFailed(_)
            | Self::Unreachable(_)
            | Self::Crashed(_)
            | Self::BadAnswer(_)
            | Self::FunctionError(_) => StatusCode::BAD_GATEWAY,
            Self::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The word for it, in logs, metrics and problems.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoRoute => "not_found",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::KeysUnavailable => "keys_unavailable",
            Self::RateLimited { .. } => "rate_limited",
            Self::BadRequest(_) => "bad_request",
            Self::UriTooLong { .. } => "uri_too_long",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::BodiesFull => "bodies_full",
            Self::BodyTimeout => "body_timeout",
            Self::ClientGone => "client_gone",
            Self::QueueFull { .. } => "queue_full",
            Self::NoInstance { .. } => "no_instance",
            Self::NoRoom => "no_room",
            Self::StartFailed(_) => "start_failed",
            Self::Unreachable(_) => "unreachable",
            Self::Crashed(_) => "crashed",
            Self::BadAnswer(_) => "bad_answer",
            Self::FunctionError(_) => "function_error",
            Self::Timeout { .. } => "timeout",
            Self::NotAccepted(_) => "not_accepted",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// What anybody may know of it.
    pub fn public(&self) -> String {
        match self.status() {
            StatusCode::SERVICE_UNAVAILABLE if matches!(self, Self::NotAccepted(_)) => {
                "the call cannot be kept now, and was not; try again later".to_owned()
            }
            StatusCode::BAD_GATEWAY => "the function failed".to_owned(),
            StatusCode::GATEWAY_TIMEOUT => "the function did not answer in time".to_owned(),
            StatusCode::SERVICE_UNAVAILABLE => "the function cannot be reached now; try again later".to_owned(),
            _ => self.to_string(),
        }
    }

    /// When to try again, where that makes sense.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } => Some(*retry_after),
            Self::BodiesFull | Self::QueueFull { .. } | Self::ShuttingDown | Self::KeysUnavailable => {
                Some(Duration::from_secs(1))
            }
            Self::NoInstance { .. } | Self::NoRoom => Some(Duration::from_secs(5)),
            Self::NotAccepted(crate::NotAccepted::Full | crate::NotAccepted::Unavailable(_)) => {
                Some(Duration::from_secs(5))
            }
            _ => None,
        }
    }
}
