//! Tags of templates: which build a name with a tag means. And whether others may make sandboxes of one.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use hearth_api::ProblemCode;
use hearth_domain::Action;
use hearth_store::{BuildRow, BuildState, DEFAULT_TAG, TemplateRow};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::view;
use crate::{
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiBody, ApiPath},
    templates::{self, name::check_tags},
    time::now_unix_ms,
};

#[derive(Debug, Deserialize)]
struct Assign {
    target: String,
    tags: Vec<String>,
}

/// `POST /templates/tags`: further tags for the build that `NAME:TAG` means.
pub(super) async fn assign(State(app): State<Arc<App>>, caller: Caller, body: ApiBody) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let request: Assign = body.json().await?;
    check_tags("tags", &request.tags)?;
    let (name, tag) = request
        .target
        .rsplit_once(':')
        .unwrap_or((&request.target, DEFAULT_TAG));
    let template = templates::owned(&app, &tenant, name).await?;
    let tags = app.store.tags(template.id).await?;
    let meant = tags.iter().find(|row| row.tag == tag);
    let absent = || {
        ApiError::new(
            ProblemCode::TemplateNotFound,
            format!("template {name:?} has no tag {tag:?}"),
        )
    };
    let build = meant.ok_or_else(absent)?.build;
    app.store
        .tag_build(template.id, build, &request.tags, now_unix_ms())
        .await?;
    let answer = json!({ "buildID": view::build_id(build), "tags": request.tags });
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

#[derive(Debug, Deserialize)]
struct Remove {
    name: String,
    tags: Vec<String>,
}

/// `DELETE /templates/tags`.
pub(super) async fn remove(State(app): State<Arc<App>>, caller: Caller, body: ApiBody) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let request: Remove = body.json().await?;
    check_tags("tags", &request.tags)?;
    let template = templates::owned(&app, &tenant, &request.name).await?;
    app.store.untag(template.id, &request.tags).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /templates/{template}/tags`.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<Json<Vec<Value>>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let template = templates::owned(&app, &tenant, &wanted).await?;
    let tags = app.store.tags(template.id).await?;
    let shown = tags.into_iter().map(|row| {
        json!({
            "tag": row.tag,
            "buildID": view::build_id(row.build),
            "createdAt": view::time(row.created_unix_ms),
        })
    });
    Ok(Json(shown.collect()))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Update {
    public: Option<bool>,
}

/// `PATCH /templates/{template}`, old and new.
pub(super) async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<Json<Value>> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let request: Update = body.json_or_default().await?;
    let template = templates::owned(&app, &tenant, &wanted).await?;
    if let Some(public) = request.public {
        app.store.publish_template(template.id, public, now_unix_ms()).await?;
    }
    Ok(Json(json!({ "names": template.names })))
}

/// `GET /templates/{template}`: one with its builds.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<Json<Value>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let template = templates::owned(&app, &tenant, &wanted).await?;
    let builds = app.store.builds(template.id).await?;
    Ok(Json(with_builds(&template, &builds)))
}

fn with_builds(template: &TemplateRow, builds: &[BuildRow]) -> Value {
    let builds: Vec<_> = builds.iter().map(build).collect();
    json!({
        "templateID": template.id.to_string(),
        "public": template.public,
        "aliases": template.names,
        "names": template.names,
        "createdAt": view::time(template.created_unix_ms),
        "updatedAt": view::time(template.updated_unix_ms),
        "lastSpawnedAt": template.last_unix_ms.map(view::time),
        "spawnCount": template.spawned,
        "builds": builds,
    })
}

fn build(row: &BuildRow) -> Value {
    let mut shown = json!({
        "buildID": view::build_id(row.id),
        "status": row.state.as_str(),
        "createdAt": view::time(row.created_unix_ms),
        "updatedAt": view::time(row.finished_unix_ms.unwrap_or(row.created_unix_ms)),
        "cpuCount": row.plan.vcpus.get(),
        "memoryMB": row.plan.memory_mib.get(),
        "diskSizeMB": row.plan.disk_mib.get(),
        "envdVersion": super::ENVD_VERSION,
    });
    if let Some(finished) = row.finished_unix_ms.filter(|_| row.state == BuildState::Ready) {
        shown["finishedAt"] = json!(view::time(finished));
    }
    shown
}
