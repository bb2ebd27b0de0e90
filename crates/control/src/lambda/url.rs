//! Function URLs. A function here is always at one; this says who may call it there, and what it is.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use hearth_domain::Action;
use hearth_store::FunctionRow;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    body::LambdaBody,
    change::{required, unqualified},
    error::{Kind, LambdaError, LambdaResult},
    facts::UrlFacts,
    name::arn,
    policy,
    wire::Qualified,
};
use crate::{
    app::App,
    caller::{Caller, Tenant},
    extract::{ApiPath, ApiQuery},
    time::{now_unix_ms, timestamp},
};

/// What `CreateFunctionUrlConfig` and `UpdateFunctionUrlConfig` are asked.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Wanted {
    auth_type: Option<String>,
    invoke_mode: Option<String>,
    cors: Option<serde_json::Map<String, Value>>,
}

/// `CreateFunctionUrlConfig`.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
    ApiQuery(query): ApiQuery<Qualified>,
    body: LambdaBody,
) -> LambdaResult<Response> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let wanted: Wanted = body.json().await?;
    let row = named(&app, &tenant, &path, &query).await?;
    required(wanted.auth_type.as_deref(), "authType")?;
    let mut facts = app.function_facts(row.spec.id).await?;
    if facts.url.is_some() {
        let name = &row.spec.name;
        return Err(LambdaError::new(
            Kind::ResourceConflict,
            format!(
                "Failed to create function url config for [functionArn = {}]. Error message:  FunctionUrlConfig exists for this Lambda function",
                arn(app.region(), name.as_str(), None)
            ),
        ));
    }
    let now = now_unix_ms();
    let url = planned(&wanted, None, now)?;
    let shown = shown(&app, &tenant, &row, &url)?;
    facts.url = Some(url);
    app.keep_function_facts(row.spec.id, &facts).await?;
    policy::settle(&app, &row, &facts).await?;
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// `UpdateFunctionUrlConfig`. What is absent stays.
pub(super) async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
    ApiQuery(query): ApiQuery<Qualified>,
    body: LambdaBody,
) -> LambdaResult<Json<Value>> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let wanted: Wanted = body.json().await?;
    let row = named(&app, &tenant, &path, &query).await?;
    let mut facts = app.function_facts(row.spec.id).await?;
    let before = facts.url.take().ok_or_else(no_url)?;
    let url = planned(&wanted, Some(before), now_unix_ms())?;
    let shown = shown(&app, &tenant, &row, &url)?;
    facts.url = Some(url);
    app.keep_function_facts(row.spec.id, &facts).await?;
    policy::settle(&app, &row, &facts).await?;
    Ok(Json(shown))
}

/// `GetFunctionUrlConfig`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
    ApiQuery(query): ApiQuery<Qualified>,
) -> LambdaResult<Json<Value>> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let row = named(&app, &tenant, &path, &query).await?;
    let facts = app.function_facts(row.spec.id).await?;
    let url = facts.url.ok_or_else(no_url)?;
    shown(&app, &tenant, &row, &url).map(Json)
}

/// `ListFunctionUrlConfigs`: there is one at most.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
) -> LambdaResult<Json<Value>> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let row = app.named_function(&tenant, &unqualified(&path)?).await?;
    let facts = app.function_facts(row.spec.id).await?;
    let shown = facts.url.iter().map(|url| shown(&app, &tenant, &row, url));
    let configs = shown.collect::<LambdaResult<Vec<Value>>>()?;
    Ok(Json(json!({ "FunctionUrlConfigs": configs })))
}

/// `DeleteFunctionUrlConfig`. Without a key nobody calls the function any more.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(path): ApiPath,
    ApiQuery(query): ApiQuery<Qualified>,
) -> LambdaResult<StatusCode> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let row = named(&app, &tenant, &path, &query).await?;
    let mut facts = app.function_facts(row.spec.id).await?;
    facts.url.take().ok_or_else(no_url)?;
    app.keep_function_facts(row.spec.id, &facts).await?;
    policy::set_public(&app, &row, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn named(app: &App, tenant: &Tenant, path: &str, query: &Qualified) -> LambdaResult<FunctionRow> {
    if query.qualifier.is_some() {
        return Err(LambdaError::parameter(
            "a URL of an alias is not possible here: the function's URL goes where calls without a qualifier go",
        ));
    }
    app.named_function(tenant, &unqualified(path)?).await
}

fn planned(wanted: &Wanted, before: Option<UrlFacts>, now_unix_ms: u64) -> LambdaResult<UrlFacts> {
    let one_of = |field: &str, value: Option<&String>, words: [&str; 2]| match value {
        None => Ok(None),
        Some(value) if words.contains(&value.as_str()) => Ok(Some(value.clone())),
        Some(_) => Err(LambdaError::parameter(format!(
            "{field} has to be {} or {}",
            words[0], words[1]
        ))),
    };
    let auth_type = one_of("AuthType", wanted.auth_type.as_ref(), ["NONE", "AWS_IAM"])?;
    let invoke_mode = one_of(
        "InvokeMode",
        wanted.invoke_mode.as_ref(),
        ["BUFFERED", "RESPONSE_STREAM"],
    )?;
    if wanted.cors.as_ref().is_some_and(|cors| !cors.is_empty()) {
        return Err(LambdaError::parameter(
            "Cors is not possible here: let the function answer with the headers that pages need",
        ));
    }
    let before = before.unwrap_or_else(|| UrlFacts {
        auth_type: "AWS_IAM".into(),
        invoke_mode: "BUFFERED".into(),
        created_unix_ms: now_unix_ms,
        modified_unix_ms: now_unix_ms,
    });
    Ok(UrlFacts {
        auth_type: auth_type.unwrap_or(before.auth_type),
        invoke_mode: invoke_mode.unwrap_or(before.invoke_mode),
        modified_unix_ms: now_unix_ms,
        ..before
    })
}

fn shown(app: &App, tenant: &Tenant, row: &FunctionRow, url: &UrlFacts) -> LambdaResult<Value> {
    let urls = app.plane().urls(&tenant.name, &row.spec);
    let place = urls.into_iter().next().ok_or_else(|| {
        LambdaError::parameter("this host has no gateway, so functions have no URLs; see `hearth up --gateway`")
    })?;
    Ok(json!({
        "FunctionUrl": place,
        "FunctionArn": arn(app.region(), row.spec.name.as_str(), None),
        "AuthType": url.auth_type,
        "InvokeMode": url.invoke_mode,
        "CreationTime": timestamp(url.created_unix_ms).to_string(),
        "LastModifiedTime": timestamp(url.modified_unix_ms).to_string(),
    }))
}

fn no_url() -> LambdaError {
    LambdaError::new(Kind::ResourceNotFound, "The resource you requested does not exist.")
}
