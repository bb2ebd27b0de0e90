//! Idempotency keys of what is made: a request may be sent again, and is answered with what it made.

use hearth_api::ProblemCode;
use hearth_ids::ProjectId;
use hearth_store::{IdempotencyKey, UsedKey};
use http::HeaderMap;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::{
    app::App,
    error::{ApiError, ApiResult},
    extract::idempotency_key,
};

/// The key of a request, if it has one. What the operation is, and on what, counts to the request.
pub(crate) fn key(
    headers: &HeaderMap,
    operation: &[&str],
    request: &impl Serialize,
) -> ApiResult<Option<IdempotencyKey>> {
    let Some(key) = idempotency_key(headers)? else {
        return Ok(None);
    };
    // The wire type's own JSON: the order of fields and blanks in the request do not matter.
    let canonical = serde_json::to_vec(request).unwrap_or_default();
    let mut digest = Sha256::new();
    for part in operation {
        digest.update(part.as_bytes());
        digest.update([0]);
    }
    digest.update(canonical);
    let fingerprint = hex::encode(digest.finalize());
    Ok(Some(IdempotencyKey { key, fingerprint }))
}

/// What a key was used for, if it was. For another request it cannot be used.
pub(crate) async fn used(app: &App, project: ProjectId, key: &IdempotencyKey) -> ApiResult<Option<UsedKey>> {
    let used = app.store.used_key(project, &key.key).await?;
    match used {
        Some(used) if used.fingerprint != key.fingerprint => Err(ApiError::new(
            ProblemCode::IdempotencyMismatch,
            format!(
                "the idempotency key {:?} was used for another request; use a new one",
                key.key
            ),
        )),
        used => Ok(used),
    }
}

/// For a key whose request is not answered yet.
pub(crate) fn in_progress() -> ApiError {
    ApiError::new(
        ProblemCode::RequestInProgress,
        "a request with the same idempotency key is being handled; ask again",
    )
}

/// For a key whose result is gone.
pub(crate) fn removed(what: impl std::fmt::Display) -> ApiError {
    ApiError::new(
        ProblemCode::StateConflict,
        format!("{what} was made with this idempotency key and is removed; use a new key"),
    )
}
