//! One call, one connection: connects, sends a JSON body, reads a bounded JSON answer, all before a deadline.

use std::{future::Future, io, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::time::timeout;

use super::ApiSocket;

/// The longest body that is read. Firecracker's longest answer is the MMDS store, of 51,200 bytes by default.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// Room for an answer's status line and headers.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// How much of a refusal is kept: it goes into logs and to users.
const MAX_FAULT_CHARS: usize = 2_000;

/// Why a call failed.
#[derive(Debug, Error)]
pub enum ApiError {
    /// The socket is not there yet, or nobody listens.
    #[error("cannot connect to the API socket")]
    Connect(#[source] io::Error),
    /// It is no socket of the VMM's user: somebody put something else in its place.
    #[error("the API socket is not what the VMM made: {0}")]
    Foreign(&'static str),
    /// The request was understood and refused.
    #[error("{method} {path} was refused with {status}: {fault}")]
    Refused {
        /// The method.
        method: Method,
        /// The resource.
        path: String,
        /// The status code.
        status: StatusCode,
        /// Firecracker's `fault_message`.
        fault: String,
    },
    /// What came back is no HTTP, too long, or not the JSON that it should be.
    #[error("{method} {path} was answered with nonsense: {what}")]
    Garbled {
        /// The method.
        method: Method,
        /// The resource.
        path: String,
        /// What was wrong.
        what: String,
    },
    /// No answer in time.
    #[error("{method} {path} was not answered within {timeout_ms} ms")]
    TimedOut {
        /// The method.
        method: Method,
        /// The resource.
        path: String,
        /// How long it had.
        timeout_ms: u64,
    },
}

/// What Firecracker sends with an error status.
#[derive(Debug, Deserialize)]
struct Fault {
    fault_message: String,
}

/// Calls the API of one VMM.
#[derive(Debug, Clone)]
pub struct ApiClient {
    socket: ApiSocket,
    deadline: Duration,
}

impl ApiClient {
    /// A client of the API at `socket`, each of whose calls has `deadline`.
    pub fn new(socket: ApiSocket, deadline: Duration) -> Self {
        Self { socket, deadline }
    }

    /// The same client, each of whose calls has another deadline.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Reads a resource.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let body = self.call(Method::GET, path, Bytes::new()).await?;
        serde_json::from_slice(&body).map_err(|error| garbled(&Method::GET, path, &error))
    }

    /// Makes or replaces a resource.
    pub async fn put<T: Serialize + Sync>(&self, path: &str, value: &T) -> Result<(), ApiError> {
        self.send(Method::PUT, path, value).await
    }

    /// Changes part of a resource.
    pub async fn patch<T: Serialize + Sync>(&self, path: &str, value: &T) -> Result<(), ApiError> {
        self.send(Method::PATCH, path, value).await
    }

    async fn send<T: Serialize + Sync>(&self, method: Method, path: &str, value: &T) -> Result<(), ApiError> {
        let body = serde_json::to_vec(value).map_err(|error| garbled(&method, path, &error))?;
        self.call(method, path, body.into()).await.map(drop)
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ApiError> {
        let exchange = self.exchange(&method, path, body);
        let (status, body) = timeout(self.deadline, exchange).await.unwrap_or_else(|_elapsed| {
            Err(ApiError::TimedOut {
                method: method.clone(),
                path: path.to_owned(),
                timeout_ms: u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX),
            })
        })?;
        if status.is_success() {
            return Ok(body);
        }
        Err(ApiError::Refused {
            method,
            path: path.to_owned(),
            status,
            fault: fault_of(&body),
        })
    }

    async fn exchange(&self, method: &Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), ApiError> {
        let garbled = |error: &dyn std::error::Error| garbled(method, path, error);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, "localhost")
            .header(http::header::ACCEPT, "application/json")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| garbled(&error))?;
        let stream = self.socket.connect().await?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEADER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| garbled(&error))?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(|error| garbled(&error))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES)
                .collect()
                .await
                .map_err(|error| garbled(error.as_ref()))?;
            Ok((status, body.to_bytes()))
        };
        beside(connection, answer).await
    }
}

/// Drives a connection for as long as a call on it takes. When the connection ends first, the call learns so itself.
async fn beside<T>(connection: impl Future, call: impl Future<Output = T>) -> T {
    tokio::pin!(connection, call);
    tokio::select! {
        biased;
        answer = &mut call => answer,
        _ended = &mut connection => call.await,
    }
}

fn garbled(method: &Method, path: &str, error: &dyn std::error::Error) -> ApiError {
    let mut what = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        what = format!("{what}: {error}");
        cause = error.source();
    }
    ApiError::Garbled {
        method: method.clone(),
        path: path.to_owned(),
        what: bounded(&what),
    }
}

fn fault_of(body: &[u8]) -> String {
    let fault = serde_json::from_slice::<Fault>(body).map(|fault| fault.fault_message);
    bounded(&fault.unwrap_or_else(|_no_json| String::from_utf8_lossy(body).into_owned()))
}

fn bounded(text: &str) -> String {
    text.chars()
        .take(MAX_FAULT_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_taken_out_of_its_json_and_bounded() {
        assert_eq!(fault_of(br#"{"fault_message":"no\nsuch drive"}"#), "no such drive");
        assert_eq!(fault_of(b"<html>"), "<html>");
        assert_eq!(fault_of(&vec![b'x'; 100_000]).len(), MAX_FAULT_CHARS);
    }
}
