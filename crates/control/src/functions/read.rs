//! Looking at functions.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use hearth_api::{
    AliasList, Function, FunctionInstance, FunctionList, FunctionVersion, InstanceList, ListFunctionsQuery, VersionList,
};
use hearth_domain::Action;

use super::view;
use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::ApiResult,
    extract::{ApiPath, ApiQuery, page_limit},
    time::timestamp,
};

/// The project's functions, by name.
#[utoipa::path(get, path = "/v1/functions", tag = "functions", operation_id = "list_functions",
    params(ListFunctionsQuery), responses((status = 200, description = "A page of functions", body = FunctionList), Problems))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiQuery(query): ApiQuery<ListFunctionsQuery>,
) -> ApiResult<Json<FunctionList>> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let limit = page_limit(query.limit)?;
    let after = query.cursor.as_deref();
    let mut rows = app.store.functions(Some(tenant.project), after, limit + 1).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_cursor = rows.last().filter(|_| more).map(|row| row.spec.name.label());
    let functions = app.shown_functions(&tenant, rows).await?;
    Ok(Json(FunctionList { functions, next_cursor }))
}

/// One function, by name.
#[utoipa::path(get, path = "/v1/functions/{function}", tag = "functions", operation_id = "get_function",
    params(("function" = String, Path, description = "Name")),
    responses((status = 200, description = "The function", body = Function), Problems))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(name): ApiPath,
) -> ApiResult<Json<Function>> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let row = app.find_function(&tenant, &name).await?;
    app.shown_function(&tenant, row).await.map(Json)
}

/// The versions of a function, newest first.
#[utoipa::path(get, path = "/v1/functions/{function}/versions", tag = "functions", operation_id = "list_versions",
    params(("function" = String, Path, description = "Name")),
    responses((status = 200, description = "The versions", body = VersionList), Problems))]
pub(crate) async fn versions(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(name): ApiPath,
) -> ApiResult<Json<VersionList>> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let row = app.find_function(&tenant, &name).await?;
    let versions = app.store.versions(Some(row.spec.id)).await?;
    Ok(Json(VersionList {
        versions: versions.into_iter().map(view::version).collect(),
    }))
}

/// One version of a function.
#[utoipa::path(get, path = "/v1/functions/{function}/versions/{version}", tag = "functions", operation_id = "get_version",
    params(("function" = String, Path, description = "Name"), ("version" = String, Path, description = "Number")),
    responses((status = 200, description = "The version", body = FunctionVersion), Problems))]
pub(crate) async fn version(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((name, number)): Path<(String, String)>,
) -> ApiResult<Json<FunctionVersion>> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let row = app.find_function(&tenant, &name).await?;
    app.find_version(&row, &number).await.map(view::version).map(Json)
}

/// The aliases of a function.
#[utoipa::path(get, path = "/v1/functions/{function}/aliases", tag = "functions", operation_id = "list_aliases",
    params(("function" = String, Path, description = "Name")),
    responses((status = 200, description = "The aliases", body = AliasList), Problems))]
pub(crate) async fn aliases(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(name): ApiPath,
) -> ApiResult<Json<AliasList>> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let row = app.find_function(&tenant, &name).await?;
    let aliases = app.store.aliases(Some(row.spec.id)).await?;
    Ok(Json(AliasList {
        aliases: aliases.into_iter().map(view::alias).collect(),
    }))
}

/// The instances of a function, those on their way in or out too.
#[utoipa::path(get, path = "/v1/functions/{function}/instances", tag = "functions", operation_id = "list_instances",
    params(("function" = String, Path, description = "Name")),
    responses((status = 200, description = "The instances", body = InstanceList), Problems))]
pub(crate) async fn instances(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(name): ApiPath,
) -> ApiResult<Json<InstanceList>> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let row = app.find_function(&tenant, &name).await?;
    let mut instances = Vec::new();
    for known in app.plane().instances(row.spec.id) {
        let Some(status) = app.status(known.machine) else {
            continue;
        };
        instances.push(FunctionInstance {
            machine: known.machine,
            version: known.version,
            state: status.state.word().into(),
            serving: known.serving,
            started_at: status.started_unix_ms.map(timestamp),
        });
    }
    instances.sort_by_key(|instance| instance.machine);
    Ok(Json(InstanceList { instances }))
}
