//! Looking at kept calls, and trying them anew.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use hearth_api::{Invocation, InvocationList, InvocationState, ListInvocationsQuery, ProblemCode};
use hearth_domain::Action;
use hearth_ids::InvocationId;
use hearth_store::InvocationRow;
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::{
    api_doc::Problems,
    app::App,
    caller::{Caller, Tenant},
    error::{ApiError, ApiResult},
    extract::{ApiPath, ApiQuery, page_limit},
    time::{now_unix_ms, timestamp},
};

/// Header of a result that gives the function's own status.
const STATUS_HEADER: HeaderName = HeaderName::from_static("x-hearth-function-status");

/// Kept calls, newest first.
#[utoipa::path(get, path = "/v1/invocations", tag = "functions", operation_id = "list_invocations",
    params(ListInvocationsQuery), responses((status = 200, description = "A page of calls", body = InvocationList), Problems))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiQuery(query): ApiQuery<ListInvocationsQuery>,
) -> ApiResult<Json<InvocationList>> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let limit = page_limit(query.limit)?;
    let function = match &query.function {
        Some(name) => Some(app.find_function(&tenant, name).await?.spec.id),
        None => None,
    };
    let before = query.cursor.as_deref().map(cursor).transpose()?;
    let state = query.state.map(state_word);
    let mut rows = app
        .store
        .invocations(tenant.project, function, state, before, limit + 1)
        .await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_cursor = rows.last().filter(|_| more).map(|row| row.id.to_string());
    let mut invocations = Vec::with_capacity(rows.len());
    for row in rows {
        invocations.push(shown(&app, row).await?);
    }
    Ok(Json(InvocationList {
        invocations,
        next_cursor,
    }))
}

fn cursor(text: &str) -> ApiResult<InvocationId> {
    text.parse()
        .map_err(|_| ApiError::field("cursor", "cursor is not valid: use next_cursor of the page before"))
}

fn state_word(state: InvocationState) -> hearth_store::InvocationState {
    match state {
        InvocationState::Queued => hearth_store::InvocationState::Queued,
        InvocationState::Running => hearth_store::InvocationState::Running,
        InvocationState::Succeeded => hearth_store::InvocationState::Succeeded,
        InvocationState::Dead => hearth_store::InvocationState::Dead,
    }
}

async fn shown(app: &App, row: InvocationRow) -> ApiResult<Invocation> {
    let function = app.store.function(row.function).await?;
    Ok(Invocation {
        id: row.id,
        function: function.map_or_else(|| row.function.to_string(), |function| function.spec.name.into()),
        qualifier: row.qualifier,
        source: row.source.as_str().to_owned(),
        state: match row.state {
            hearth_store::InvocationState::Queued => InvocationState::Queued,
            hearth_store::InvocationState::Running => InvocationState::Running,
            hearth_store::InvocationState::Succeeded => InvocationState::Succeeded,
            hearth_store::InvocationState::Dead => InvocationState::Dead,
        },
        attempts: row.attempts,
        created_at: timestamp(row.created_unix_ms),
        due_at: timestamp(row.due_unix_ms),
        finished_at: row.finished_unix_ms.map(timestamp),
        version: row.version,
        status: row.status,
        error: row.error,
    })
}

async fn find(app: &App, tenant: &Tenant, text: &str) -> ApiResult<InvocationRow> {
    let row = match text.parse() {
        Ok(id) => app.store.invocation(tenant.project, id).await?,
        Err(_) => None,
    };
    row.ok_or_else(|| {
        let text: String = text.chars().take(80).collect();
        ApiError::new(
            ProblemCode::InvocationNotFound,
            format!("there is no call {text:?}; results are kept for a day, and `hearth fn invocations` lists them"),
        )
    })
}

/// One kept call.
#[utoipa::path(get, path = "/v1/invocations/{invocation}", tag = "functions", operation_id = "get_invocation",
    params(("invocation" = String, Path, description = "ID")),
    responses((status = 200, description = "The call", body = Invocation), Problems))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(id): ApiPath,
) -> ApiResult<Json<Invocation>> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let row = find(&app, &tenant, &id).await?;
    shown(&app, row).await.map(Json)
}

/// What a kept call was answered, the last time that it was. Its status stands in `x-hearth-function-status`.
#[utoipa::path(get, path = "/v1/invocations/{invocation}/result", tag = "functions", operation_id = "get_invocation_result",
    params(("invocation" = String, Path, description = "ID")),
    responses((status = 200, description = "The answer's body", body = Vec<u8>, content_type = "application/octet-stream"), Problems))]
pub(crate) async fn result(State(app): State<Arc<App>>, caller: Caller, ApiPath(id): ApiPath) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::FunctionInvoke).await?;
    let row = find(&app, &tenant, &id).await?;
    let Some(status) = row.status else {
        let reason = row.error.map(|error| format!(": {error}")).unwrap_or_default();
        return Err(ApiError::new(
            ProblemCode::StateConflict,
            format!("call {id} has no answer yet; it is {}{reason}", row.state.as_str()),
        ));
    };
    let body = app.store.invocation_answer(row.id).await?;
    let mut response = Body::from(body).into_response();
    let headers = response.headers_mut();
    let kind = row
        .answer_headers
        .get("content-type")
        .and_then(|kind| HeaderValue::from_str(kind).ok());
    let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(STATUS_HEADER, HeaderValue::from(status));
    crate::functions::invoke::set_apart(headers);
    Ok(response)
}

/// Tries a dead call anew, from its first attempt.
#[utoipa::path(post, path = "/v1/invocations/{invocation}/replay", tag = "functions", operation_id = "replay_invocation",
    params(("invocation" = String, Path, description = "ID")),
    responses((status = 202, description = "It is tried anew", body = Invocation), Problems))]
pub(crate) async fn replay(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(id): ApiPath,
) -> ApiResult<(StatusCode, Json<Invocation>)> {
    let tenant = caller.may(&app, Action::FunctionInvoke).await?;
    let row = find(&app, &tenant, &id).await?;
    if !app.store.replay_invocation(row.id, now_unix_ms()).await? {
        return Err(ApiError::new(
            ProblemCode::StateConflict,
            format!(
                "call {id} is {}; only one that is dead can be tried anew",
                row.state.as_str()
            ),
        ));
    }
    app.plane().keeper.kept.notify_one();
    let row = find(&app, &tenant, &id).await?;
    Ok((StatusCode::ACCEPTED, Json(shown(&app, row).await?)))
}
