//! Changing what there is: settings, where calls go, what is removed.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use hearth_api::{Alias, Function, FunctionSettings, ProblemCode, PutAlias, Rollback};
use hearth_domain::{Action, Contract, Traffic, VersionSpec};
use hearth_store::{FunctionRow, LIVE};
use http::StatusCode;

use super::{plan, view};
use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiBody, ApiPath},
    fault,
    time::now_unix_ms,
};

const ALIASES_MAX: usize = 100;
const DESCRIPTION_MAX: usize = 256;

/// Changes who may call a function and how many instances there are. What is absent stays.
#[utoipa::path(patch, path = "/v1/functions/{function}", tag = "functions", operation_id = "change_function",
    params(("function" = String, Path, description = "Name")), request_body = FunctionSettings,
    responses((status = 200, description = "The function", body = Function), Problems))]
pub(crate) async fn settings(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(name): ApiPath,
    body: ApiBody,
) -> ApiResult<Json<Function>> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let row = app.find_function(&tenant, &name).await?;
    let settings: FunctionSettings = body.json().await?;
    let newest = app.store.version(row.spec.id, row.latest).await?;
    let contract = newest.map_or(Contract::Http { port: 0 }, |version| version.spec.contract);
    let spec = plan::function(
        Some(row.spec.clone()),
        tenant.project,
        row.spec.name.clone(),
        contract,
        &settings,
    )?;
    app.store.update_function(&spec, now_unix_ms()).await?;
    app.plane().routes_changed(&app).await?;
    let row = app.find_function(&tenant, &name).await?;
    app.shown_function(&tenant, row).await.map(Json)
}

/// Removes a function with its versions, aliases, triggers, kept calls, logs, templates and instances.
#[utoipa::path(delete, path = "/v1/functions/{function}", tag = "functions", operation_id = "remove_function",
    params(("function" = String, Path, description = "Name")),
    responses((status = 204, description = "It is gone"), Problems))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(name): ApiPath,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let row = app.find_function(&tenant, &name).await?;
    remove_row(&app, &row).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a function that was looked up.
pub(crate) async fn remove_row(app: &App, row: &FunctionRow) -> ApiResult<()> {
    let id = row.spec.id;
    let versions = app.store.versions(Some(id)).await?;
    app.store.remove_function(id).await?;
    fault::point("function.removed");
    // No call reaches it any more; then its instances may go.
    app.plane().routes_changed(app).await?;
    app.plane().retire_starting(id, None);
    super::templates::forget(app, id, None).await;
    for version in versions {
        super::source::unpin(app, &version.spec).await;
    }
    fault::point("function.unpinned");
    app.plane().forget_logs(id).await;
    Ok(())
}

/// Removes a version that no alias leads to.
#[utoipa::path(delete, path = "/v1/functions/{function}/versions/{version}", tag = "functions", operation_id = "remove_version",
    params(("function" = String, Path, description = "Name"), ("version" = String, Path, description = "Number")),
    responses((status = 204, description = "It is gone"), Problems))]
pub(crate) async fn remove_version(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((name, number)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let row = app.find_function(&tenant, &name).await?;
    let version = app.find_version(&row, &number).await?.spec;
    remove_version_row(&app, &row, &version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a version that was looked up, if no alias leads to it.
pub(crate) async fn remove_version_row(app: &App, row: &FunctionRow, version: &VersionSpec) -> ApiResult<()> {
    app.store
        .remove_version(row.spec.id, version.number, now_unix_ms())
        .await?;
    app.plane().routes_changed(app).await?;
    app.plane().retire_starting(row.spec.id, Some(version.number));
    super::templates::forget(app, row.spec.id, Some(version.number)).await;
    super::source::unpin(app, version).await;
    Ok(())
}

/// Lets an alias lead to a version, or to several by weight. `live` is the one that is called when nobody says which.
#[utoipa::path(put, path = "/v1/functions/{function}/aliases/{alias}", tag = "functions", operation_id = "put_alias",
    params(("function" = String, Path, description = "Name"), ("alias" = String, Path, description = "Name of the alias")),
    request_body = PutAlias, responses((status = 200, description = "The alias", body = Alias), Problems))]
pub(crate) async fn put_alias(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((name, alias)): Path<(String, String)>,
    body: ApiBody,
) -> ApiResult<Json<Alias>> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let row = app.find_function(&tenant, &name).await?;
    let wanted: PutAlias = body.json().await?;
    let traffic = plan::traffic(&wanted.traffic)?;
    lead(&app, &row, &alias, &traffic, wanted.description.as_deref())
        .await
        .map(Json)
}

/// Lets an alias lead somewhere, and answers with it.
pub(crate) async fn lead(
    app: &App,
    row: &FunctionRow,
    alias: &str,
    traffic: &Traffic,
    description: Option<&str>,
) -> ApiResult<Alias> {
    check_alias(alias)?;
    if description.is_some_and(|text| text.chars().count() > DESCRIPTION_MAX) {
        return Err(ApiError::field(
            "description",
            format!("description is longer than {DESCRIPTION_MAX} characters; make it shorter"),
        ));
    }
    let id = row.spec.id;
    let before = app.store.aliases(Some(id)).await?;
    if before.len() >= ALIASES_MAX && !before.iter().any(|known| known.name == alias) {
        return Err(ApiError::new(
            ProblemCode::StateConflict,
            format!("the function has {ALIASES_MAX} aliases; remove some"),
        ));
    }
    app.store
        .set_alias(id, alias, traffic, description, now_unix_ms())
        .await?;
    app.plane().routes_changed(app).await?;
    let after = app.store.aliases(Some(id)).await?;
    let row = after.into_iter().find(|known| known.name == alias);
    row.map(view::alias).ok_or_else(|| no_alias(&row_name(alias)))
}

fn row_name(alias: &str) -> String {
    alias.chars().take(80).collect()
}

/// Lambda's rule; a number would look like a version. Host names have no capitals, so there are none here.
fn check_alias(alias: &str) -> ApiResult<()> {
    let valid = (1..=63).contains(&alias.len())
        && alias.starts_with(|c: char| c.is_ascii_lowercase())
        && !alias.ends_with('-')
        && alias
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if valid {
        return Ok(());
    }
    Err(ApiError::field(
        "alias",
        format!(
            "alias {:?} is not valid: use 1 to 63 small letters, digits or '-', beginning with a letter",
            row_name(alias)
        ),
    ))
}

fn no_alias(alias: &str) -> ApiError {
    ApiError::new(
        ProblemCode::FunctionNotFound,
        format!("the function has no alias {alias:?}"),
    )
}

/// Removes an alias other than `live`.
#[utoipa::path(delete, path = "/v1/functions/{function}/aliases/{alias}", tag = "functions", operation_id = "remove_alias",
    params(("function" = String, Path, description = "Name"), ("alias" = String, Path, description = "Name of the alias")),
    responses((status = 204, description = "It is gone"), Problems))]
pub(crate) async fn remove_alias(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((name, alias)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let row = app.find_function(&tenant, &name).await?;
    if alias == LIVE {
        return Err(ApiError::new(
            ProblemCode::StateConflict,
            "the alias live stays as long as the function; let it lead elsewhere, or remove the function",
        ));
    }
    if !app.store.remove_alias(row.spec.id, &alias, now_unix_ms()).await? {
        return Err(no_alias(&row_name(&alias)));
    }
    app.plane().routes_changed(&app).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets the calls go where they went before the last change, or to a version.
#[utoipa::path(post, path = "/v1/functions/{function}/rollback", tag = "functions", operation_id = "rollback_function",
    params(("function" = String, Path, description = "Name")), request_body = Rollback,
    responses((status = 200, description = "Where the calls go now", body = Alias), Problems))]
pub(crate) async fn rollback(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(name): ApiPath,
    body: ApiBody,
) -> ApiResult<Json<Alias>> {
    let tenant = caller.may(&app, Action::FunctionWrite).await?;
    let row = app.find_function(&tenant, &name).await?;
    let wanted: Rollback = body.json().await?;
    let traffic = match wanted.version {
        Some(version) => Traffic::all_to(version),
        None => before_last(&app, &row).await?,
    };
    lead(&app, &row, LIVE, &traffic, None).await.map(Json)
}

/// Where `live` led before, if those versions are still there.
async fn before_last(app: &App, row: &FunctionRow) -> ApiResult<Traffic> {
    let steps = app.store.rollouts(row.spec.id).await?;
    let versions = app.store.versions(Some(row.spec.id)).await?;
    let there = |traffic: &Traffic| {
        let mut shares = traffic.shares().iter();
        shares.all(|share| versions.iter().any(|version| version.spec.number == share.version))
    };
    let step = steps.into_iter().skip(1).find(|(traffic, _)| there(traffic));
    step.map(|(traffic, _)| traffic).ok_or_else(|| {
        ApiError::new(
            ProblemCode::StateConflict,
            "there is nothing to go back to: the calls never went elsewhere; name a version",
        )
    })
}
