//! What builds of templates say: with their state, by numbers of lines, and alone, by time.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use hearth_domain::Action;
use hearth_ids::BuildId;
use hearth_store::{BUILD_LOG_MAX, BuildLogLine};
use serde::Deserialize;

use super::{
    logs::{invalid, is_backward, lowest, rank},
    template, view, wire,
};
use crate::{app::App, caller::Caller, error::ApiResult, extract::ApiQuery};

/// Lines of a build's log in one answer.
pub(super) const LINES_MAX: u32 = 100;

/// Lines by their numbers, among those of the levels that are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ByNumber {
    #[serde(rename = "logsOffset")]
    logs_offset: Option<u64>,
    limit: Option<u32>,
    level: Option<String>,
}

/// Lines by their time.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ByTime {
    /// Milliseconds since the Unix epoch.
    cursor: Option<u64>,
    limit: Option<u32>,
    direction: Option<String>,
    level: Option<String>,
    source: Option<String>,
}

/// Lines from a number on. Clients count those that they were given, so lower levels count for nothing where they are left out.
pub(super) async fn by_number(app: &App, build: BuildId, query: &ByNumber) -> ApiResult<Vec<BuildLogLine>> {
    let level = lowest(query.level.as_deref())?;
    let limit = query.limit.unwrap_or(LINES_MAX).min(LINES_MAX);
    let from = query.logs_offset.unwrap_or(0);
    if level == 0 {
        return Ok(app.store.build_log(build, from, limit).await?);
    }
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let lines = of_level(app, build, level).await?.into_iter();
    Ok(lines.skip(from).take(limit as usize).collect())
}

/// `GET /templates/{template}/builds/{build}/logs`.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((template, build)): Path<(String, String)>,
    ApiQuery(query): ApiQuery<ByTime>,
) -> ApiResult<Json<wire::BuildLogs>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let (_, row) = template::find(&app, &tenant, &template, &build).await?;
    let (level, backward) = (
        lowest(query.level.as_deref())?,
        is_backward(query.direction.as_deref())?,
    );
    // There is one log, wherever it is said to be.
    match query.source.as_deref() {
        None | Some("temporary" | "persistent") => {}
        Some(other) => return Err(invalid("source", other, "temporary or persistent")),
    }
    let mut lines = of_level(&app, row.id, level).await?;
    lines.retain(|line| match query.cursor {
        Some(cursor) if backward => line.at_unix_ms <= cursor,
        Some(cursor) => line.at_unix_ms >= cursor,
        None => true,
    });
    if backward {
        lines.reverse();
    }
    lines.truncate(query.limit.unwrap_or(LINES_MAX).min(LINES_MAX) as usize);
    Ok(Json(wire::BuildLogs {
        logs: lines.into_iter().map(view::line).collect(),
    }))
}

/// All lines of a level and of weightier ones.
async fn of_level(app: &App, build: BuildId, level: usize) -> ApiResult<Vec<BuildLogLine>> {
    let all = u32::try_from(BUILD_LOG_MAX).unwrap_or(u32::MAX);
    let mut lines = app.store.build_log(build, 0, all).await?;
    lines.retain(|line| rank(&line.level) >= Some(level));
    Ok(lines)
}
