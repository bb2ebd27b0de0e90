//! Forks and snapshots of sandboxes.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use hearth_domain::Action;
use hearth_store::{DEFAULT_TAG, TemplateRow};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{error, view};
use crate::{
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiBody, ApiPath, ApiQuery},
    sandboxes::{self, DEFAULT_TIMEOUT_MS, timeout_ms},
    templates::{self, name::name_and_tag},
};

const NEXT_TOKEN: HeaderName = HeaderName::from_static("x-next-token");
const LIMIT_MAX: usize = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ForkRequest {
    timeout: Option<i64>,
    count: Option<u32>,
}

/// `POST …/fork`: copies of a sandbox. Each is answered by itself.
pub(super) async fn fork(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let request: ForkRequest = body.json_or_default().await?;
    let seconds = request.timeout;
    let timeout_ms = seconds.map_or(Ok(DEFAULT_TIMEOUT_MS), |seconds| timeout_ms("timeout", seconds))?;
    let (sandbox, _) = sandboxes::find(&app, &tenant, &wanted).await?;
    let copies = sandboxes::fork(&app, &tenant, &sandbox, request.count.unwrap_or(1), timeout_ms).await?;
    let results = copies.into_iter().map(|copy| match copy {
        Ok(row) => json!({ "sandbox": view::entry(&app, &row) }),
        Err(refused) => json!({ "error": error::body(&refused) }),
    });
    let results: Vec<Value> = results.collect();
    Ok((StatusCode::CREATED, Json(results)).into_response())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SnapshotRequest {
    name: Option<String>,
    memory: Option<bool>,
}

/// `POST …/snapshots`: a template of the sandbox as it is now.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let request: SnapshotRequest = body.json_or_default().await?;
    let name = request.name.filter(|name| !name.is_empty());
    let name = name.map(|name| name_and_tag(&tenant, &name)).transpose()?;
    let (sandbox, _) = sandboxes::find(&app, &tenant, &wanted).await?;
    let _turn = sandbox.turn.lock().await;
    let row = sandboxes::read(&app, &sandbox).await?;
    let template = templates::of_sandbox(&app, &row, name, request.memory.unwrap_or(true)).await?;
    Ok((StatusCode::CREATED, Json(snapshot(&template))).into_response())
}

/// A snapshot's ID is a template's, with its tag.
fn snapshot(template: &TemplateRow) -> Value {
    let names = template.names.iter().map(|name| format!("{name}:{DEFAULT_TAG}"));
    json!({
        "snapshotID": format!("{}:{DEFAULT_TAG}", template.id),
        "names": names.collect::<Vec<_>>(),
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    #[serde(rename = "sandboxID")]
    sandbox: Option<String>,
    name: Option<String>,
    limit: Option<usize>,
    #[serde(rename = "nextToken")]
    next: Option<String>,
}

/// `GET /snapshots`: those of the project, or of one sandbox, the newest first.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiQuery(query): ApiQuery<ListQuery>,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let limit = query.limit.unwrap_or(LIMIT_MAX);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::field(
            "limit",
            format!("limit {limit} is not valid: it goes from 1 to {LIMIT_MAX}"),
        ));
    }
    let next = query.next.filter(|next| !next.is_empty());
    let wanted = |row: &TemplateRow| {
        let of_sandbox = row
            .sandbox
            .is_some_and(|id| query.sandbox.as_ref().is_none_or(|of| *of == id.to_string()));
        let named = query
            .name
            .as_deref()
            .map(|name| name.split_once(':').map_or(name, |(name, _)| name));
        let of_name = named.is_none_or(|name| row.names.iter().any(|of| of == name) || row.id.to_string() == name);
        of_sandbox && of_name && next.as_ref().is_none_or(|next| row.id.to_string() < *next)
    };
    let mut rows = app.store.templates_of(tenant.project).await?;
    rows.reverse();
    rows.retain(wanted);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().map(|row| row.id.to_string()).filter(|_| more);
    let page: Vec<_> = rows.iter().map(snapshot).collect();
    let mut response = Json(page).into_response();
    if let Some(token) = last.and_then(|last| HeaderValue::from_str(&last).ok()) {
        response.headers_mut().insert(NEXT_TOKEN, token);
    }
    Ok(response)
}
