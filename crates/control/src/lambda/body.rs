//! Bodies: how long they may be, and reading them.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
};
use http::{Method, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use super::error::{Kind, LambdaError, LambdaResult};
use crate::error::ApiError;

/// The longest event of a call, in bytes: Lambda's 6 MiB.
pub(crate) const EVENT_MAX: usize = 6 * 1024 * 1024;
/// The longest event of a call that is kept, in bytes.
pub(crate) const KEPT_EVENT_MAX: usize = 1024 * 1024;
/// The longest body with code in it, in bytes: Lambda's bound, 50 MB in base 64 and something.
const CODE_MAX: usize = 70_167_211;
const SMALL_MAX: usize = 1024 * 1024;
/// Bodies with code at a time; each is held in memory about three times.
const LARGE_AT_ONCE: usize = 4;
/// How long a request waits for others' large bodies.
const ROOM_TIMEOUT: Duration = Duration::from_secs(30);
const READ_TIMEOUT: Duration = Duration::from_mins(5);

static LARGE: Semaphore = Semaphore::const_new(LARGE_AT_ONCE);

/// How long the body of a request may be.
pub(super) fn max(request: &Parts) -> usize {
    let path = request.uri.path().trim_end_matches('/');
    if brings_code(&request.method, path) {
        CODE_MAX
    } else if path.ends_with("/invocations") || path.ends_with("/response-streaming-invocations") {
        EVENT_MAX
    } else {
        SMALL_MAX
    }
}

fn brings_code(method: &Method, path: &str) -> bool {
    (*method == Method::POST && path.ends_with("/functions")) || (*method == Method::PUT && path.ends_with("/code"))
}

/// Waits for the place that a large body needs.
pub(super) async fn room(request: &Parts) -> LambdaResult<Option<SemaphorePermit<'static>>> {
    if !brings_code(&request.method, request.uri.path().trim_end_matches('/')) {
        return Ok(None);
    }
    match timeout(ROOM_TIMEOUT, LARGE.acquire()).await {
        Ok(Ok(permit)) => Ok(Some(permit)),
        _ => Err(LambdaError::new(Kind::TooManyRequests, "others upload code right now; try again").retry_after_s(5)),
    }
}

/// Reads a whole body.
pub(super) async fn read(body: Body, max: usize) -> LambdaResult<Bytes> {
    let broken =
        |cause: &str| LambdaError::new(Kind::InvalidRequestContent, format!("the body {cause}; send it again"));
    let read = timeout(READ_TIMEOUT, Limited::new(body, max).collect()).await;
    match read.map_err(|_| broken("did not come in time"))? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(LambdaError::new(
            Kind::RequestTooLarge,
            format!("Request must be smaller than {max} bytes for this operation"),
        )),
        Err(_) => Err(broken("was cut off")),
    }
}

/// A body that is not read before its sender may do what it asks for.
pub(crate) struct LambdaBody {
    body: Body,
    max: usize,
}

impl LambdaBody {
    /// All of it.
    pub(crate) async fn bytes(self) -> LambdaResult<Bytes> {
        read(self.body, self.max).await
    }

    /// As JSON; nothing stands for an object without fields.
    pub(crate) async fn json<T: DeserializeOwned>(self) -> LambdaResult<T> {
        json(&self.bytes().await?)
    }
}

/// Reads JSON. Fields that are not known are not read: AWS's clients know more of them from year to year.
pub(crate) fn json<T: DeserializeOwned>(bytes: &[u8]) -> LambdaResult<T> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes).map_err(|error| {
        LambdaError::new(
            Kind::InvalidRequestContent,
            format!("Could not parse request body into json: {error}"),
        )
    })
}

impl<S: Send + Sync> FromRequest<S> for LambdaBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let max = max(&parts);
        Ok(Self { body, max })
    }
}
