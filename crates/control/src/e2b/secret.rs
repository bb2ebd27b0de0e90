//! Secrets, by E2B's calls. They are the project's own: `hearth secret` lists them, and functions and machines are given them.
//!
//! Values come in and never go out. E2B's clients have them filled in at a sandbox's egress, by rules for its network, which end
//! TLS; such rules are refused where a sandbox is made, so that no placeholder leaves it as it is.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use hearth_api::ProblemCode;
use hearth_domain::{Action, Metadata, SecretName};
use hearth_store::{NewSecret, SECRETS_MAX, SecretRow};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    app::App,
    caller::{Caller, Tenant},
    error::{ApiError, ApiResult},
    extract::{ApiBody, ApiPath, ApiQuery},
    time::{now_unix_ms, timestamp},
};

const NEXT_TOKEN: HeaderName = HeaderName::from_static("x-next-token");
/// Begins IDs, and no name.
const ID_PREFIX: &str = "sec_";
const LIMIT_MAX: usize = 100;
/// Bytes of a value.
const VALUE_MAX: usize = 64 * 1024;
/// What may be pinned to a secret, as E2B's API has it.
const METADATA_MAX: usize = 32;
const METADATA_KEY_MAX: usize = 128;
const METADATA_VALUE_MAX: usize = 1024;
const METADATA_BYTES_MAX: usize = 8192;

#[derive(Deserialize)]
struct CreateRequest {
    name: String,
    value: String,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct UpdateRequest {
    value: String,
    metadata: Option<Metadata>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    limit: Option<usize>,
    #[serde(rename = "nextToken")]
    next: Option<String>,
}

/// `GET /secrets`: by name, a page at a time.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiQuery(query): ApiQuery<ListQuery>,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::SecretRead).await?;
    let limit = query.limit.unwrap_or(LIMIT_MAX);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::field(
            "limit",
            format!("limit {limit} is not valid: it goes from 1 to {LIMIT_MAX}"),
        ));
    }
    let after = query.next.filter(|next| !next.is_empty());
    let mut rows = app.store.secrets(tenant.project).await?;
    rows.retain(|row| after.as_deref().is_none_or(|after| row.name.as_str() > after));
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more).map(|row| row.name.to_string());
    let page: Vec<Value> = rows.iter().map(seen).collect();
    let mut response = Json(page).into_response();
    if let Some(token) = last.and_then(|last| HeaderValue::try_from(last).ok()) {
        response.headers_mut().insert(NEXT_TOKEN, token);
    }
    Ok(response)
}

/// `POST /secrets`.
pub(super) async fn create(State(app): State<Arc<App>>, caller: Caller, body: ApiBody) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::SecretWrite).await?;
    let request: CreateRequest = body.json().await?;
    let value = Zeroizing::new(request.value);
    let name = new_name(&request.name)?;
    let metadata = checked(request.metadata.unwrap_or_default())?;
    let sealed = sealed(&app, &tenant, &name, &value)?;
    let made = app
        .store
        .create_secret(tenant.project, &name, &sealed, &metadata, now_unix_ms())
        .await?;
    match made {
        NewSecret::Made(row) => Ok((StatusCode::CREATED, Json(seen(&row))).into_response()),
        NewSecret::Taken => Err(ApiError::new(
            ProblemCode::NameTaken,
            format!("there is a secret {name} already; update it, or destroy it first"),
        )),
        NewSecret::Full => Err(ApiError::new(
            ProblemCode::QuotaExceeded,
            format!("the project has {SECRETS_MAX} secrets; destroy some first"),
        )),
    }
}

/// `GET /secrets/{secret}`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<Json<Value>> {
    let tenant = caller.may(&app, Action::SecretRead).await?;
    Ok(Json(seen(&find(&app, &tenant, &wanted).await?)))
}

/// `POST /secrets/{secret}`: a further version. What is pinned to it stays unless something else is given.
pub(super) async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<Json<Value>> {
    let tenant = caller.may(&app, Action::SecretWrite).await?;
    let request: UpdateRequest = body.json().await?;
    let value = Zeroizing::new(request.value);
    let metadata = request.metadata.map(checked).transpose()?;
    let name = find(&app, &tenant, &wanted).await?.name;
    let sealed = sealed(&app, &tenant, &name, &value)?;
    let updated = app
        .store
        .update_secret(tenant.project, &name, &sealed, metadata.as_ref(), now_unix_ms())
        .await?;
    updated
        .map(|row| Json(seen(&row)))
        .ok_or_else(|| no_secret(&tenant, &wanted))
}

/// `DELETE /secrets/{secret}`. What was given it keeps it.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::SecretWrite).await?;
    let name = find(&app, &tenant, &wanted).await?.name;
    if app.store.remove_secret(tenant.project, &name).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(no_secret(&tenant, &wanted))
    }
}

/// A secret by its name, which may be written in capitals, or by its ID.
async fn find(app: &App, tenant: &Tenant, wanted: &str) -> ApiResult<SecretRow> {
    let lower = wanted.to_ascii_lowercase();
    let by_id = wanted.strip_prefix(ID_PREFIX);
    for name in [Some(wanted), by_id, Some(lower.as_str())].into_iter().flatten() {
        let Ok(name) = name.parse::<SecretName>() else { continue };
        if let Some(row) = app.store.secret(tenant.project, &name).await? {
            return Ok(row);
        }
    }
    Err(no_secret(tenant, wanted))
}

/// Names are kept in small letters, as E2B's API says.
fn new_name(text: &str) -> ApiResult<SecretName> {
    let name: SecretName = text
        .to_ascii_lowercase()
        .parse()
        .map_err(|error: hearth_domain::InvalidLabel| ApiError::field("name", error.to_string()))?;
    if name.as_str().starts_with(ID_PREFIX) {
        let detail = format!("name {name} is not valid: {ID_PREFIX} begins IDs; choose another one");
        return Err(ApiError::field("name", detail));
    }
    Ok(name)
}

fn sealed(app: &App, tenant: &Tenant, name: &SecretName, value: &str) -> ApiResult<String> {
    if !(1..=VALUE_MAX).contains(&value.len()) {
        // Of the value itself nothing is told.
        let detail = format!("value has {} bytes: it may have 1 to {VALUE_MAX}", value.len());
        return Err(ApiError::field("value", detail));
    }
    app.config
        .seal
        .seal(tenant.project, name, value.as_bytes())
        .map_err(|error| ApiError::internal("the secret cannot be closed").caused_by(error))
}

fn checked(metadata: Metadata) -> ApiResult<Metadata> {
    let refused = |detail: String| Err(ApiError::field("metadata", detail));
    if metadata.len() > METADATA_MAX {
        return refused(format!("metadata has {} texts: at most {METADATA_MAX}", metadata.len()));
    }
    let long = |(key, value): &(&String, &String)| key.len() > METADATA_KEY_MAX || value.len() > METADATA_VALUE_MAX;
    if let Some((key, _)) = metadata.iter().find(long) {
        let key: String = key.chars().take(100).collect();
        return refused(format!(
            "metadata {key:?} is too long: a key has at most {METADATA_KEY_MAX} bytes, a value {METADATA_VALUE_MAX}"
        ));
    }
    let bytes: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > METADATA_BYTES_MAX {
        return refused(format!("metadata has {bytes} bytes: at most {METADATA_BYTES_MAX}"));
    }
    Ok(metadata)
}

fn seen(row: &SecretRow) -> Value {
    json!({
        "secretID": format!("{ID_PREFIX}{}", row.name),
        "name": row.name.as_str(),
        "currentVersion": row.version,
        "metadata": row.metadata,
        "createdAt": timestamp(row.created_unix_ms),
        "updatedAt": timestamp(row.updated_unix_ms),
    })
}

fn no_secret(tenant: &Tenant, wanted: &str) -> ApiError {
    let wanted: String = wanted.chars().take(200).collect();
    ApiError::new(
        ProblemCode::SecretNotFound,
        format!("there is no secret {wanted:?} in project {}", tenant.name),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_small_and_no_ids() {
        assert_eq!(new_name("OpenAI-Key").unwrap().as_str(), "openai-key");
        for bad in ["sec_x", "SEC_x", "", "a b", "1x", "${x}"] {
            assert!(new_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_pinned_is_bounded() {
        let of = |count: usize, key: usize, value: usize| -> Metadata {
            (0..count).map(|n| (format!("{n:0key$}"), "v".repeat(value))).collect()
        };
        for good in [of(0, 1, 1), of(32, 10, 200), of(1, 128, 1024)] {
            assert!(checked(good).is_ok());
        }
        for bad in [of(33, 2, 1), of(1, 129, 1), of(1, 1, 1025), of(10, 3, 1000)] {
            assert!(checked(bad).is_err());
        }
    }
}
