//! Connect's error codes, their HTTP statuses, and their JSON.

use http::StatusCode;
use serde::{Deserialize, Serialize};

/// The codes of the Connect protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "named and explained by the protocol")]
pub enum Code {
    Canceled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

impl Code {
    /// The HTTP status of a unary answer with this code.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT),
            Self::InvalidArgument | Self::FailedPrecondition | Self::OutOfRange => StatusCode::BAD_REQUEST,
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::AlreadyExists | Self::Aborted => StatusCode::CONFLICT,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Unknown | Self::Internal | Self::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
        }
    }

    /// What a status means when the body says nothing: the protocol's table.
    pub fn from_status(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// What a status means that comes with words: that of HTTP.
    fn from_plain_status(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::InvalidArgument,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::NotFound,
            409 => Self::FailedPrecondition,
            429 | 507 => Self::ResourceExhausted,
            500 => Self::Internal,
            _ => Self::from_status(status),
        }
    }
}

/// An error as it travels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message} ({code:?})")]
pub struct ConnectError {
    /// What kind.
    pub code: Code,
    /// For people.
    #[serde(default)]
    pub message: String,
}

impl ConnectError {
    /// An error with a message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The body of a unary error, and what stands behind `error` at the end of a stream.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_else(|_| br#"{"code":"internal"}"#.to_vec())
    }

    /// The error in a unary answer's body, or in that of a plain HTTP call, or what its status alone says.
    pub fn from_body(status: StatusCode, body: &[u8]) -> Self {
        if let Ok(error) = serde_json::from_slice(body) {
            return error;
        }
        if let Ok(plain) = serde_json::from_slice::<PlainError>(body) {
            return Self::new(Code::from_plain_status(status), plain.message);
        }
        let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
        Self::new(Code::from_status(status), format!("HTTP {status}: {text}"))
    }
}

/// The body of an error of `/files` and its like, whose code is the status.
#[derive(Deserialize)]
struct PlainError {
    message: String,
}

#[derive(Default, Serialize, Deserialize)]
struct EndOfStream {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<ConnectError>,
}

/// The payload of a stream's last frame.
pub fn end_of_stream(error: Option<ConnectError>) -> Vec<u8> {
    serde_json::to_vec(&EndOfStream { error }).unwrap_or_else(|_| b"{}".to_vec())
}

/// Reads the payload of a stream's last frame; unreadable JSON is an error of its own.
pub fn parse_end_of_stream(payload: &[u8]) -> Result<(), ConnectError> {
    let end: EndOfStream = serde_json::from_slice(payload)
        .map_err(|error| ConnectError::new(Code::Internal, format!("the stream's end is not readable: {error}")))?;
    end.error.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_read_back() {
        assert_eq!(end_of_stream(None), b"{}");
        let error = ConnectError::new(Code::NotFound, "no such process");
        let payload = end_of_stream(Some(error.clone()));
        assert_eq!(
            payload,
            br#"{"error":{"code":"not_found","message":"no such process"}}"#
        );
        assert_eq!(parse_end_of_stream(&payload), Err(error));
        assert!(parse_end_of_stream(b"garbage").is_err());
    }

    #[test]
    fn plain_errors_mean_what_their_status_says() {
        let error = ConnectError::from_body(StatusCode::NOT_FOUND, br#"{"code":404,"message":"no such folder"}"#);
        assert_eq!(error, ConnectError::new(Code::NotFound, "no such folder"));
    }

    #[test]
    fn a_body_that_is_no_error_falls_back_to_the_status() {
        let error = ConnectError::from_body(StatusCode::BAD_GATEWAY, b"<html>");
        assert_eq!(error.code, Code::Unavailable);
    }
}
