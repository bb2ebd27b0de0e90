//! Looking at sandboxes.

use std::sync::Arc;

use axum::{Json, extract::State};
use hearth_api::{ListSandboxesQuery, Sandbox, SandboxList};
use hearth_domain::{Action, Metadata};
use hearth_ids::SandboxId;

use super::view;
use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiPath, ApiQuery, page_limit, pairs},
    sandboxes::{find_beginning, no_sandbox},
};

/// Sandboxes of the project, newest first.
#[utoipa::path(get, path = "/v1/sandboxes", tag = "sandboxes", operation_id = "list_sandboxes", params(ListSandboxesQuery),
    responses((status = 200, description = "A page of sandboxes", body = SandboxList), Problems))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiQuery(query): ApiQuery<ListSandboxesQuery>,
) -> ApiResult<Json<SandboxList>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let limit = page_limit(query.limit)? as usize;
    let before = query.cursor.as_deref().map(cursor).transpose()?;
    let pinned: Metadata = pairs(query.metadata.as_deref().unwrap_or_default())
        .into_iter()
        .collect();
    let rows = app.store.sandboxes(Some(tenant.project)).await?;
    let seen = rows.iter().filter_map(|row| view::sandbox(&app, &tenant, row, false));
    let mut sandboxes: Vec<Sandbox> = seen.filter(|seen| wanted(&query, &pinned, seen)).collect();
    sandboxes.sort_unstable_by_key(|seen| std::cmp::Reverse(seen.id));
    let total = sandboxes.len() as u64;
    sandboxes.retain(|seen| before.is_none_or(|before| seen.id < before));
    let more = sandboxes.len() > limit;
    sandboxes.truncate(limit);
    let last = sandboxes.last().map(|last| last.id.to_string());
    Ok(Json(SandboxList {
        sandboxes,
        total,
        next_cursor: last.filter(|_| more),
    }))
}

fn cursor(text: &str) -> ApiResult<SandboxId> {
    text.parse()
        .map_err(|_| ApiError::field("cursor", "cursor is not valid: use next_cursor of the page before"))
}

fn wanted(query: &ListSandboxesQuery, pinned: &Metadata, seen: &Sandbox) -> bool {
    let in_state = query.state.is_none_or(|state| seen.state == state);
    let of_template = query
        .template
        .as_ref()
        .is_none_or(|wanted| seen.template == *wanted || seen.template_name.as_ref() == Some(wanted));
    in_state
        && of_template
        && pinned
            .iter()
            .all(|(name, value)| seen.metadata.get(name) == Some(value))
}

/// One sandbox, by ID or a beginning of one that only one has.
#[utoipa::path(get, path = "/v1/sandboxes/{sandbox}", tag = "sandboxes", operation_id = "get_sandbox",
    params(("sandbox" = String, Path, description = "ID")),
    responses((status = 200, description = "The sandbox", body = Sandbox), Problems))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<Json<Sandbox>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let (_, row) = find_beginning(&app, &tenant, &wanted).await?;
    let seen = view::sandbox(&app, &tenant, &row, true);
    seen.map(Json).ok_or_else(|| no_sandbox(&wanted))
}
