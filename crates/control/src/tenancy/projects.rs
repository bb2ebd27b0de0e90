//! Projects.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use hearth_api::{CreateProject, Holding, ProblemCode, Project, ProjectList, Quotas, UpdateProject};
use hearth_domain::{Action, ProjectName};
use hearth_ids::ProjectId;
use hearth_store::{ProjectError, ProjectRow};
use http::{HeaderValue, StatusCode, header};

use crate::{
    api_doc::Problems,
    app::App,
    caller::{Caller, Tenant, no_project},
    error::{ApiError, ApiResult},
    extract::{ApiBody, ApiPath},
    time::{now_unix_ms, timestamp},
};

/// Projects, by name: all of them for the host's admins, and for others their own.
#[utoipa::path(get, path = "/v1/projects", tag = "projects", operation_id = "list_projects",
    responses((status = 200, description = "The projects", body = ProjectList), Problems))]
pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller) -> ApiResult<Json<ProjectList>> {
    let tenant = caller.may(&app, Action::ProjectRead).await?;
    let mut projects = Vec::new();
    for row in app.store.projects().await? {
        if tenant.sees(row.id) {
            projects.push(view(&app, row).await?);
        }
    }
    Ok(Json(ProjectList { projects }))
}

/// Makes a project.
#[utoipa::path(post, path = "/v1/projects", tag = "projects", operation_id = "create_project",
    request_body = CreateProject,
    responses((status = 201, description = "It is made", body = Project), Problems))]
pub(crate) async fn create(State(app): State<Arc<App>>, caller: Caller, body: ApiBody) -> ApiResult<Response> {
    caller.may(&app, Action::ProjectWrite).await?;
    let request: CreateProject = body.json().await?;
    let name: ProjectName = request
        .name
        .parse()
        .map_err(|error: hearth_domain::InvalidLabel| ApiError::field("name", error.to_string()))?;
    check(&request.quotas)?;
    let row = ProjectRow {
        id: ProjectId::new(),
        name,
        quotas: request.quotas.into(),
        snapshots_max: request.quotas.snapshots,
        created_unix_ms: now_unix_ms(),
    };
    app.store.insert_project(&row).await?;
    app.limits.learn(row.id, row.quotas.rate());
    let place = format!("/v1/projects/{}", row.name);
    let mut response = (StatusCode::CREATED, Json(view(&app, row).await?)).into_response();
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// One project, by name or ID.
#[utoipa::path(get, path = "/v1/projects/{project}", tag = "projects", operation_id = "get_project",
    params(("project" = String, Path, description = "Name or ID")),
    responses((status = 200, description = "The project", body = Project), Problems))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<Json<Project>> {
    let tenant = caller.may(&app, Action::ProjectRead).await?;
    let row = find(&app, &tenant, &wanted).await?;
    view(&app, row).await.map(Json)
}

/// Changes what a project may hold. What it holds already stays.
#[utoipa::path(patch, path = "/v1/projects/{project}", tag = "projects", operation_id = "update_project",
    params(("project" = String, Path, description = "Name or ID")), request_body = UpdateProject,
    responses((status = 200, description = "The project", body = Project), Problems))]
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<Json<Project>> {
    let tenant = caller.may(&app, Action::ProjectWrite).await?;
    let request: UpdateProject = body.json().await?;
    let mut row = find(&app, &tenant, &wanted).await?;
    if let Some(quotas) = request.quotas {
        check(&quotas)?;
        row.quotas = quotas.into();
        row.snapshots_max = quotas.snapshots;
        if !app.store.set_quotas(row.id, &row.quotas, row.snapshots_max).await? {
            return Err(no_project(&wanted));
        }
        app.limits.learn(row.id, row.quotas.rate());
    }
    view(&app, row).await.map(Json)
}

/// Removes a project with its keys. One that owns anything else is left, and so is the project `default`.
#[utoipa::path(delete, path = "/v1/projects/{project}", tag = "projects", operation_id = "remove_project",
    params(("project" = String, Path, description = "Name or ID")),
    responses((status = 204, description = "It is gone"), Problems))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::ProjectWrite).await?;
    let row = find(&app, &tenant, &wanted).await?;
    if row.id == ProjectId::DEFAULT {
        return Err(ApiError::new(
            ProblemCode::InUse,
            "the project default cannot be removed: its admins administer the host",
        ));
    }
    app.store.remove_project(row.id).await?;
    app.limits.forget(row.id);
    Ok(StatusCode::NO_CONTENT)
}

async fn find(app: &App, tenant: &Tenant, wanted: &str) -> ApiResult<ProjectRow> {
    let found = app.store.find_project(wanted).await?;
    found
        .filter(|row| tenant.sees(row.id))
        .ok_or_else(|| no_project(wanted))
}

fn check(quotas: &Quotas) -> ApiResult<()> {
    if quotas.requests_per_second == Some(0) {
        return Err(ApiError::field(
            "quotas.requests_per_second",
            "requests_per_second 0 is not valid: it is at least 1; revoke the project's keys to keep it out",
        ));
    }
    Ok(())
}

async fn view(app: &App, row: ProjectRow) -> ApiResult<Project> {
    let held = app.store.holding(row.id).await?;
    let snapshots = app.store.snapshots_held(row.id).await?;
    Ok(Project {
        id: row.id,
        name: row.name.into(),
        created_at: (row.created_unix_ms > 0).then(|| timestamp(row.created_unix_ms)),
        quotas: Quotas {
            snapshots: row.snapshots_max,
            ..row.quotas.into()
        },
        holds: Holding {
            machines: held.machines,
            cpus: held.vcpus,
            memory_mib: held.memory_mib,
            snapshots,
        },
    })
}

impl From<ProjectError> for ApiError {
    fn from(error: ProjectError) -> Self {
        let code = match error {
            ProjectError::NameTaken(_) => ProblemCode::NameTaken,
            ProjectError::InUse { .. } => ProblemCode::InUse,
            ProjectError::NotFound => ProblemCode::ProjectNotFound,
            ProjectError::Store(error) => return error.into(),
        };
        Self::new(code, error.to_string())
    }
}
