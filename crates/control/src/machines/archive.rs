//! Files to and from machines, as tar streams.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::StreamExt as _;
use hearth_api::{ArchiveQuery, PATH_STAT_HEADER, PathKind, PathStat, ProblemCode, TAR};
use hearth_domain::Action;
use hearth_node_api::{EntryKind, ErrorKind, FileStat, NodeError};
use http::{HeaderName, HeaderValue, StatusCode};

use super::input;
use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiPath, ApiQuery, chunks},
    stream,
    time::timestamp,
};

/// Reads a path of a machine as a tar archive. What lies there is told in the header `x-hearth-path-stat`.
#[utoipa::path(get, path = "/v1/machines/{machine}/archive", tag = "machines", operation_id = "get_archive",
    params(("machine" = String, Path, description = "Name or ID"), ArchiveQuery),
    responses((status = 200, description = "The archive", body = Vec<u8>, content_type = "application/x-tar"), Problems))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    ApiQuery(query): ApiQuery<ArchiveQuery>,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::MachineExec).await?;
    input::guest_path("path", &query.path)?;
    let row = app.find(&tenant, &wanted).await?;
    let (stat, archive) = app.node.archive_get(row.spec.id, query.path).await.map_err(of_node)?;
    let mut response = stream::bytes(&app, TAR, archive);
    let stat = serde_json::to_vec(&path_stat(stat)).unwrap_or_default();
    if let Ok(value) = HeaderValue::from_str(&STANDARD.encode(stat)) {
        response
            .headers_mut()
            .insert(HeaderName::from_static(PATH_STAT_HEADER), value);
    }
    Ok(response)
}

/// Unpacks a tar archive into a folder of a machine.
#[utoipa::path(put, path = "/v1/machines/{machine}/archive", tag = "machines", operation_id = "put_archive",
    params(("machine" = String, Path, description = "Name or ID"), ArchiveQuery),
    request_body(content = Vec<u8>, content_type = "application/x-tar"),
    responses((status = 204, description = "It is unpacked"), Problems))]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    ApiQuery(query): ApiQuery<ArchiveQuery>,
    request: Request,
) -> ApiResult<StatusCode> {
    let tenant = caller.may(&app, Action::MachineExec).await?;
    input::guest_path("path", &query.path)?;
    let row = app.find(&tenant, &wanted).await?;
    let archive = chunks(request.into_body()).map(|chunk| {
        chunk.map_err(|error| NodeError::new(ErrorKind::InvalidInput, error.to_string()).caused_by(error))
    });
    app.node
        .archive_put(row.spec.id, query.path, archive.boxed())
        .await
        .map_err(of_node)?;
    Ok(StatusCode::NO_CONTENT)
}

fn of_node(error: NodeError) -> ApiError {
    ApiError::of_node(error, ProblemCode::PathNotFound)
}

fn path_stat(stat: FileStat) -> PathStat {
    let kind = match stat.kind {
        EntryKind::File => PathKind::File,
        EntryKind::Directory => PathKind::Directory,
        EntryKind::Symlink => PathKind::Symlink,
        EntryKind::Other => PathKind::Other,
    };
    PathStat {
        name: stat.name,
        kind,
        size_bytes: stat.size_bytes,
        mode: stat.mode,
        modified_at: timestamp(stat.modified_unix_ms),
        link_target: stat.link_target,
    }
}
