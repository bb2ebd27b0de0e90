//! Reading requests: bodies, queries, paths. What cannot be read is told with the field and the way out.

use std::time::Duration;

use axum::{
    RequestPartsExt as _,
    body::Body,
    extract::{FromRequest, FromRequestParts, OptionalFromRequest, Path, Query, Request},
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use hearth_api::{IDEMPOTENCY_KEY_HEADER, Problem, ProblemCode};
use hearth_domain::parse_idempotency_key;
use http::{HeaderMap, header, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::time::timeout;

use crate::error::{ApiError, ApiResult};

/// The longest JSON body, in bytes.
pub(crate) const JSON_MAX: usize = 1024 * 1024;

const DEFAULT_LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1000;
/// How long a client may take for a JSON body.
const SMALL_BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the next piece of an upload may take: whatever makes it may have to think.
const BODY_PAUSE_MAX: Duration = Duration::from_mins(10);
const BROKEN: &str = "the body was cut off; send it again";

/// A JSON body.
pub(crate) struct ApiJson<T>(pub(crate) T);

/// A JSON body that is not read before its sender may do what it asks for.
pub(crate) struct ApiBody(Request);

impl ApiBody {
    /// Reads it.
    pub(crate) async fn json<T: DeserializeOwned>(self) -> ApiResult<T> {
        <ApiJson<T> as FromRequest<()>>::from_request(self.0, &())
            .await
            .map(|json| json.0)
    }

    /// Reads it, where there is one: clients of E2B's API leave out what would be empty.
    pub(crate) async fn json_or_default<T: DeserializeOwned + Default>(self) -> ApiResult<T> {
        let bytes = read_body(self.0.into_body(), JSON_MAX).await?;
        if bytes.is_empty() {
            return Ok(T::default());
        }
        from_json(&bytes)
    }
}

impl<S: Send + Sync> FromRequest<S> for ApiBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> ApiResult<Self> {
        Ok(Self(request))
    }
}

/// What stands behind the `?`.
pub(crate) struct ApiQuery<T>(pub(crate) T);

/// The one part of a path that is not fixed.
pub(crate) struct ApiPath(pub(crate) String);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> ApiResult<Self> {
        if !is_json(request.headers()) {
            return Err(ApiError::new(
                ProblemCode::UnsupportedMediaType,
                "the body must be JSON: send it with Content-Type: application/json",
            ));
        }
        let bytes = read_body(request.into_body(), JSON_MAX).await?;
        from_json(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> OptionalFromRequest<S> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> ApiResult<Option<Self>> {
        if is_json(request.headers()) {
            <Self as FromRequest<S>>::from_request(request, state).await.map(Some)
        } else {
            Ok(None)
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> ApiResult<Self> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(query)) => Ok(Self(query)),
            Err(rejection) => {
                let text =
                    std::error::Error::source(&rejection).map_or_else(|| rejection.to_string(), ToString::to_string);
                Err(ApiError::new(
                    ProblemCode::InvalidRequest,
                    format!("the query cannot be read: {text}"),
                ))
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ApiPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> ApiResult<Self> {
        match parts.extract::<Path<String>>().await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(rejection) => Err(ApiError::new(ProblemCode::InvalidRequest, rejection.body_text())),
        }
    }
}

/// The `Idempotency-Key` of a request, if it has one.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> ApiResult<Option<String>> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY_HEADER) else {
        return Ok(None);
    };
    let key = parse_idempotency_key(value.as_bytes());
    let key = key.map_err(|error| ApiError::field(IDEMPOTENCY_KEY_HEADER, error.to_string()))?;
    Ok(Some(key.to_owned()))
}

/// `a=b&c=d`, percent-encoded.
pub(crate) fn pairs(query: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    let parts = query.split('&').filter(|part| !part.is_empty());
    let split = parts.map(|part| part.split_once('=').unwrap_or((part, "")));
    split.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

/// How many rows a page may have.
pub(crate) fn page_limit(limit: Option<u32>) -> ApiResult<u32> {
    match limit.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        limit => Err(ApiError::field(
            "limit",
            format!("limit {limit} is not valid: it goes from 1 to {LIMIT_MAX}"),
        )),
    }
}

/// Whether the body says that it is JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// A body in pieces. A client that sends nothing for long is given up.
pub(crate) fn chunks(body: Body) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + Unpin + 'static {
    Box::pin(stream::unfold(Some(body.into_data_stream()), |body| async move {
        let mut body = body?;
        match timeout(BODY_PAUSE_MAX, body.next()).await {
            Ok(Some(Ok(chunk))) => Some((Ok(chunk), Some(body))),
            Ok(Some(Err(error))) => Some((Err(BodyError::Broken(error)), None)),
            Ok(None) => None,
            Err(_) => Some((Err(BodyError::Stalled), None)),
        }
    }))
}

/// Reads a whole body of at most `max` bytes.
pub(crate) async fn read_body(body: Body, max: usize) -> ApiResult<Bytes> {
    let read = timeout(SMALL_BODY_TIMEOUT, Limited::new(body, max).collect()).await;
    match read.map_err(|_| ApiError::from(BodyError::Stalled))? {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::new(
            ProblemCode::BodyTooLarge,
            format!("the body is longer than the {max} bytes that are read here"),
        )),
        Err(error) => Err(ApiError::new(ProblemCode::InvalidRequest, BROKEN).caused_by(error)),
    }
}

/// Why a body was not read to its end.
#[derive(Debug, Error)]
pub(crate) enum BodyError {
    /// The connection broke.
    #[error("{BROKEN}")]
    Broken(#[source] axum::Error),
    /// Nothing came any more.
    #[error("the body did not go on; send it again")]
    Stalled,
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        Self::new(ProblemCode::InvalidRequest, error.to_string()).caused_by(error)
    }
}

/// Reads JSON; what is wrong is told with the field's path.
pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> ApiResult<T> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        let code = if inner.is_data() {
            ProblemCode::InvalidField
        } else {
            ProblemCode::InvalidRequest
        };
        let field = (inner.is_data() && path != ".").then_some(path);
        let detail = match &field {
            Some(field) => format!("{field} is not valid: {inner}"),
            None => format!("the JSON cannot be read: {inner}"),
        };
        ApiError::from(Problem {
            field,
            ..Problem::new(code, detail)
        })
    })?;
    reader.end().map_err(|error| {
        ApiError::new(
            ProblemCode::InvalidRequest,
            format!("the JSON is followed by something else: {error}"),
        )
    })?;
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use hearth_api::CreateMachine;

    use super::*;

    #[test]
    fn what_is_wrong_is_told_with_its_field() {
        let wrong = |text: &str| *from_json::<CreateMachine>(text.as_bytes()).unwrap_err().problem;
        let problem = wrong(r#"{"image":"a","ports":[{"host_port":99999,"guest_port":1}]}"#);
        assert_eq!(problem.field.as_deref(), Some("ports[0].host_port"));
        assert_eq!(problem.code, ProblemCode::InvalidField);
        assert_eq!(wrong(r#"{"image":"a","cpus":-1}"#).field.as_deref(), Some("cpus"));
        assert!(
            wrong(r#"{"image":"a","memory":5}"#)
                .detail
                .contains("unknown field `memory`")
        );
        assert_eq!(wrong("{").code, ProblemCode::InvalidRequest);
        assert_eq!(wrong(r#"{"image":"a"} x"#).code, ProblemCode::InvalidRequest);
    }
}
