//! Keys: made, listed, revoked.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use hearth_api::{CreateKey, Key, KeyList, NewKey, ProblemCode};
use hearth_domain::{Action, MachineName};
use hearth_store::{KeyError, KeyRow};
use http::{HeaderValue, StatusCode, header};

use crate::{
    api_doc::Problems,
    app::App,
    caller::{Caller, Tenant},
    error::{ApiError, ApiResult},
    extract::{ApiBody, ApiPath},
    key,
    time::{now_unix_ms, timestamp},
};

/// A hundred years: whoever wants longer wants no end.
const EXPIRES_MAX_S: u64 = 3_153_600_000;

/// Keys of the project, oldest first, without their secrets.
#[utoipa::path(get, path = "/v1/keys", tag = "keys", operation_id = "list_keys",
    responses((status = 200, description = "The keys", body = KeyList), Problems))]
pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller) -> ApiResult<Json<KeyList>> {
    let tenant = caller.may(&app, Action::KeyRead).await?;
    let rows = app.store.keys(tenant.project).await?;
    Ok(Json(KeyList {
        keys: rows.into_iter().map(|row| view(&tenant, row)).collect(),
    }))
}

/// Makes a key of the project. Its secrets are in this answer and nowhere else.
#[utoipa::path(post, path = "/v1/keys", tag = "keys", operation_id = "create_key", request_body = CreateKey,
    responses((status = 201, description = "It is made", body = NewKey), Problems))]
pub(crate) async fn create(State(app): State<Arc<App>>, caller: Caller, body: ApiBody) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::KeyWrite).await?;
    let request: CreateKey = body.json().await?;
    let expires_unix_ms = request.expires_in_s.map(expiry).transpose()?;
    let name = name(request.name)?;
    let role = request.role.into();
    let mut made = key::make(tenant.project, name.unwrap_or_default(), role, expires_unix_ms)
        .map_err(|error| ApiError::internal("the host has no randomness for a key").caused_by(error))?;
    if made.row.name.is_empty() {
        made.row.name = format!("{role}-{}", &made.row.id.to_string()[17..]);
    }
    app.store.insert_key(&made.row).await?;
    let secret_access_key = app.sigv4_secret(made.row.id).to_string();
    let place = format!("/v1/keys/{}", made.row.id);
    let answer = NewKey {
        access_key_id: made.row.id.to_string(),
        key: view(&tenant, made.row),
        token: made.token,
        secret_access_key,
    };
    let mut response = (StatusCode::CREATED, Json(answer)).into_response();
    let headers = response.headers_mut();
    if let Ok(place) = HeaderValue::from_str(&place) {
        headers.insert(header::LOCATION, place);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// One key of the project, by ID or name, without its secret.
#[utoipa::path(get, path = "/v1/keys/{key}", tag = "keys", operation_id = "get_key",
    params(("key" = String, Path, description = "ID or name")),
    responses((status = 200, description = "The key", body = Key), Problems))]
pub(crate) async fn get(State(app): State<Arc<App>>, caller: Caller, ApiPath(wanted): ApiPath) -> ApiResult<Json<Key>> {
    let tenant = caller.may(&app, Action::KeyRead).await?;
    let row = find(&app, &tenant, &wanted).await?;
    Ok(Json(view(&tenant, row)))
}

/// Revokes a key of the project. The next request with it is refused.
#[utoipa::path(delete, path = "/v1/keys/{key}", tag = "keys", operation_id = "revoke_key",
    params(("key" = String, Path, description = "ID or name")),
    responses((status = 204, description = "It is revoked"), Problems))]
pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::KeyWrite).await?;
    let row = find(&app, &tenant, &wanted).await?;
    app.store.remove_key(row.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn find(app: &App, tenant: &Tenant, wanted: &str) -> ApiResult<KeyRow> {
    app.store.find_key(tenant.project, wanted).await?.ok_or_else(|| {
        let wanted: String = wanted.chars().take(80).collect();
        ApiError::new(
            ProblemCode::KeyNotFound,
            format!(
                "there is no key {wanted:?} in project {}; `hearth key ls` lists those there are",
                tenant.name
            ),
        )
    })
}

/// Keys are called by the rule of machines.
fn name(name: Option<String>) -> ApiResult<Option<String>> {
    let parsed = name.map(|name| name.parse::<MachineName>()).transpose();
    let parsed = parsed.map_err(|error| ApiError::field("name", error.to_string()))?;
    Ok(parsed.map(Into::into))
}

fn expiry(seconds: u64) -> ApiResult<u64> {
    if (1..=EXPIRES_MAX_S).contains(&seconds) {
        return Ok(now_unix_ms().saturating_add(seconds.saturating_mul(1000)));
    }
    Err(ApiError::field(
        "expires_in_s",
        format!(
            "expires_in_s {seconds} is not valid: it goes from 1 to {EXPIRES_MAX_S}; leave it out for a key without end"
        ),
    ))
}

fn view(tenant: &Tenant, row: KeyRow) -> Key {
    Key {
        id: row.id,
        name: row.name,
        role: row.role.into(),
        project: tenant.name.to_string(),
        created_at: timestamp(row.created_unix_ms),
        expires_at: row.expires_unix_ms.map(timestamp),
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::NameTaken(_) => {
                let problem = hearth_api::Problem::new(ProblemCode::NameTaken, error.to_string());
                hearth_api::Problem {
                    field: Some("name".into()),
                    ..problem
                }
                .into()
            }
            KeyError::TooMany => Self::new(ProblemCode::QuotaExceeded, error.to_string()),
            KeyError::Store(error) => error.into(),
        }
    }
}
