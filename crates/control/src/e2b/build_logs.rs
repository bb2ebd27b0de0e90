//! What builds of templates say: with their state, by numbers of lines, and alone, by time.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use hearth_domain::Action;
use hearth_ids::BuildId;
use hearth_store::{BuildLogLine, BuildLogQuery};
use serde::Deserialize;

use super::{
    logs::{LEVELS, invalid, is_backward, lowest},
    template, view, wire,
};
use crate::{app::App, caller::Caller, error::ApiResult, extract::ApiQuery};

/// Lines of a build's log in one answer.
pub(super) const LINES_MAX: u32 = 100;
/// Bytes of what these say. Clients count what they were given, so fewer lines are right.
const BYTES_MAX: usize = 256 << 10;

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
        return Ok(bounded(app.store.build_log(build, from, limit).await?));
    }
    let wanted = BuildLogQuery {
        levels: &LEVELS[level..],
        from_unix_ms: 0,
        until_unix_ms: u64::MAX,
        backward: false,
        skip: from,
        limit,
    };
    Ok(bounded(app.store.find_in_build_log(build, &wanted).await?))
}

/// As many of them as an answer may have bytes for, and one at least. Each may be written three times, and each byte as six.
pub(super) fn bounded(lines: Vec<BuildLogLine>) -> Vec<BuildLogLine> {
    let mut bytes = 0;
    let fits = |line: &BuildLogLine| {
        let is_first = bytes == 0;
        bytes += line.message.len() + 1;
        is_first || bytes <= BYTES_MAX
    };
    lines.into_iter().take_while(fits).collect()
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
    let wanted = BuildLogQuery {
        levels: &LEVELS[level..],
        from_unix_ms: query.cursor.filter(|_| !backward).unwrap_or(0),
        until_unix_ms: query.cursor.filter(|_| backward).unwrap_or(u64::MAX),
        backward,
        skip: 0,
        limit: query.limit.unwrap_or(LINES_MAX).min(LINES_MAX),
    };
    let lines = bounded(app.store.find_in_build_log(row.id, &wanted).await?);
    Ok(Json(wire::BuildLogs {
        logs: lines.into_iter().map(view::line).collect(),
    }))
}
