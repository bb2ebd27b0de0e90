//! Secrets: set, listed by name, removed; and given, still closed, to machines.

use std::sync::Arc;

use axum::{Json, extract::State};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hearth_api::{ProblemCode, Secret, SecretList, SetSecret};
use hearth_domain::{Action, SealedSecret, SecretName, SecretRef};
use hearth_store::{SECRETS_MAX, SecretRow};
use http::StatusCode;
use zeroize::Zeroizing;

use crate::{
    api_doc::Problems,
    app::App,
    caller::{Caller, Tenant},
    error::{ApiError, ApiResult},
    extract::{ApiBody, ApiPath},
    time::{now_unix_ms, timestamp},
};

/// The longest value, in bytes.
const VALUE_MAX: usize = 64 * 1024;

/// Secrets of the project, by name, without their values.
#[utoipa::path(get, path = "/v1/secrets", tag = "secrets", operation_id = "list_secrets",
    responses((status = 200, description = "The secrets", body = SecretList), Problems))]
pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller) -> ApiResult<Json<SecretList>> {
    let tenant = caller.may(&app, Action::SecretRead).await?;
    let rows = app.store.secrets(tenant.project).await?;
    Ok(Json(SecretList {
        secrets: rows.into_iter().map(view).collect(),
    }))
}

/// Sets a secret, new or not. The value is closed at once and never shown again. Machines keep what they were given.
#[utoipa::path(put, path = "/v1/secrets/{name}", tag = "secrets", operation_id = "set_secret",
    params(("name" = String, Path, description = "Name")), request_body = SetSecret,
    responses((status = 200, description = "It is set", body = Secret), Problems))]
pub(crate) async fn set(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<Json<Secret>> {
    let tenant = caller.may(&app, Action::SecretWrite).await?;
    let name = parse_name("name", &wanted)?;
    let request: SetSecret = body.json().await?;
    let value = value(&Zeroizing::new(request.value))?;
    let sealed = app
        .config
        .seal
        .seal(tenant.project, &name, &value)
        .map_err(|error| ApiError::internal("the secret cannot be closed").caused_by(error))?;
    let row = app
        .store
        .set_secret(tenant.project, &name, &sealed, now_unix_ms())
        .await?;
    let row = row.ok_or_else(|| {
        ApiError::new(
            ProblemCode::QuotaExceeded,
            format!("the project has {SECRETS_MAX} secrets; remove some first"),
        )
    })?;
    Ok(Json(view(row)))
}

/// Removes a secret. Machines that were given it keep it.
#[utoipa::path(delete, path = "/v1/secrets/{name}", tag = "secrets", operation_id = "remove_secret",
    params(("name" = String, Path, description = "Name")),
    responses((status = 204, description = "It is gone"), Problems))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::SecretWrite).await?;
    let name = parse_name("name", &wanted)?;
    if app.store.remove_secret(tenant.project, &name).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(no_secret(&tenant, &name))
    }
}

/// Secrets of the project as they are now, still closed, for a machine of it.
pub(crate) async fn sealed(app: &App, tenant: &Tenant, used: &[SecretRef]) -> ApiResult<Vec<SealedSecret>> {
    let mut sealed = Vec::with_capacity(used.len());
    for (place, secret) in used.iter().enumerate() {
        let name = parse_name(&format!("secrets[{place}].name"), &secret.name)?;
        let row = app.store.secret(tenant.project, &name).await?;
        let row = row.ok_or_else(|| no_secret(tenant, &name))?;
        sealed.push(SealedSecret {
            target: secret.target.clone(),
            sealed: row.sealed,
        });
    }
    Ok(sealed)
}

fn parse_name(field: &str, text: &str) -> ApiResult<SecretName> {
    text.parse()
        .map_err(|error: hearth_domain::InvalidLabel| ApiError::field(field, error.to_string()))
}

fn no_secret(tenant: &Tenant, name: &SecretName) -> ApiError {
    ApiError::new(
        ProblemCode::SecretNotFound,
        format!(
            "there is no secret {name} in project {}; set it with: hearth secret set {name}",
            tenant.name
        ),
    )
}

fn value(text: &str) -> ApiResult<Zeroizing<Vec<u8>>> {
    let refused = |why: String| Err(ApiError::field("value", format!("the value is not valid: {why}")));
    if text.len() > VALUE_MAX.div_ceil(3) * 4 {
        return refused(format!("it is longer than {VALUE_MAX} bytes"));
    }
    match STANDARD.decode(text).map(Zeroizing::new) {
        Ok(value) if value.len() > VALUE_MAX => refused(format!("it is longer than {VALUE_MAX} bytes")),
        Ok(value) => Ok(value),
        // The decoder's own words would tell of the value.
        Err(_) => refused("it has to be base 64".to_owned()),
    }
}

fn view(row: SecretRow) -> Secret {
    Secret {
        name: row.name.into(),
        version: row.version,
        created_at: timestamp(row.created_unix_ms),
        updated_at: timestamp(row.updated_unix_ms),
    }
}
