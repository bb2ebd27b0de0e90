//! Making, looking at and removing triggers.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use hearth_api::{ProblemCode, PutTrigger, Trigger, TriggerList};
use hearth_domain::{Action, FunctionName};
use hearth_ids::TriggerId;
use hearth_store::TriggerRow;
use http::StatusCode;

use super::spec;
use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiBody, ApiPath},
    time::now_unix_ms,
};

const TRIGGERS_MAX: usize = 50;
const PAYLOAD_MAX: usize = 256 * 1024;

/// The triggers of a function.
#[utoipa::path(get, path = "/v1/functions/{function}/triggers", tag = "functions", operation_id = "list_triggers",
    params(("function" = String, Path, description = "Name")),
    responses((status = 200, description = "The triggers", body = TriggerList), Problems))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(name): ApiPath,
) -> ApiResult<Json<TriggerList>> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let row = app.find_function(&tenant, &name).await?;
    let rows = app.store.triggers(Some(row.spec.id)).await?;
    let now = now_unix_ms();
    Ok(Json(TriggerList {
        triggers: rows.into_iter().filter_map(|row| spec::shown(row, now)).collect(),
    }))
}

/// Makes a trigger, or changes it. Runs that were due before are not made up for.
#[utoipa::path(put, path = "/v1/functions/{function}/triggers/{trigger}", tag = "functions", operation_id = "put_trigger",
    params(("function" = String, Path, description = "Name"), ("trigger" = String, Path, description = "Name of the trigger")),
    request_body = PutTrigger, responses((status = 200, description = "The trigger", body = Trigger), Problems))]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((name, trigger)): Path<(String, String)>,
    body: ApiBody,
) -> ApiResult<Json<Trigger>> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let row = app.find_function(&tenant, &name).await?;
    let wanted: PutTrigger = body.json().await?;
    let trigger: FunctionName = trigger.parse().map_err(|_| {
        ApiError::field(
            "trigger",
            "the trigger's name is not valid: use 1 to 63 letters, digits, '-' or '_'",
        )
    })?;
    spec::checked_cron(&wanted)?;
    crate::functions::invoke::qualifier(wanted.qualifier.as_deref())?;
    if wanted
        .payload
        .as_ref()
        .is_some_and(|payload| payload.len() > PAYLOAD_MAX)
    {
        return Err(ApiError::field(
            "payload",
            format!("payload is longer than the {PAYLOAD_MAX} bytes that are kept"),
        ));
    }
    let before = app.store.triggers(Some(row.spec.id)).await?;
    if before.len() >= TRIGGERS_MAX && !before.iter().any(|known| known.name == trigger.as_str()) {
        return Err(ApiError::new(
            ProblemCode::StateConflict,
            format!("the function has {TRIGGERS_MAX} triggers; remove some"),
        ));
    }
    let now = now_unix_ms();
    let stored = app
        .store
        .put_trigger(&TriggerRow {
            id: TriggerId::new(),
            project: tenant.project,
            function: row.spec.id,
            name: trigger.into(),
            spec: serde_json::to_string(&wanted).unwrap_or_default(),
            enabled: !wanted.disabled,
            handled_unix_ms: now,
            last_unix_ms: None,
            created_unix_ms: now,
        })
        .await?;
    app.plane().triggers_changed.notify_one();
    let shown = spec::shown(stored, now).ok_or_else(|| ApiError::internal("a trigger cannot be read back"))?;
    Ok(Json(shown))
}

/// Removes a trigger.
#[utoipa::path(delete, path = "/v1/functions/{function}/triggers/{trigger}", tag = "functions", operation_id = "remove_trigger",
    params(("function" = String, Path, description = "Name"), ("trigger" = String, Path, description = "Name of the trigger")),
    responses((status = 204, description = "It is gone"), Problems))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((name, trigger)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let row = app.find_function(&tenant, &name).await?;
    if app.store.remove_trigger(row.spec.id, &trigger).await? {
        app.plane().triggers_changed.notify_one();
        return Ok(StatusCode::NO_CONTENT);
    }
    let trigger: String = trigger.chars().take(80).collect();
    Err(ApiError::new(
        ProblemCode::FunctionNotFound,
        format!("the function has no trigger {trigger:?}"),
    ))
}
