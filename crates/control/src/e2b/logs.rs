//! What a sandbox says: what its agent notes of processes, and what programs write to its console log.

use std::sync::Arc;

use axum::{Json, extract::State};
use futures::TryStreamExt as _;
use hearth_domain::Action;
use hearth_node_api::{LogChunk, LogQuery, LogStream};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::view;
use crate::{
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiPath, ApiQuery},
    sandboxes,
};

const LIMIT_MAX: usize = 1000;
/// Lines of the log's end that are looked through.
const LINES_MAX: u64 = 10_000;
const LEVELS: [&str; 4] = ["debug", "info", "warn", "error"];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Query {
    /// Milliseconds since the Unix epoch.
    start: Option<u64>,
    cursor: Option<u64>,
    limit: Option<usize>,
    direction: Option<String>,
    level: Option<String>,
    search: Option<String>,
}

/// A line, read.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    at_unix_ms: u64,
    level: &'static str,
    text: String,
}

/// `GET /sandboxes/{sandbox}/logs`: the older call.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    ApiQuery(query): ApiQuery<Query>,
) -> ApiResult<Json<Value>> {
    let lines = lines(&app, &caller, &wanted, &query).await?;
    let logs: Vec<_> = lines
        .iter()
        .map(|line| json!({ "timestamp": view::time(line.at_unix_ms), "line": line.text }))
        .collect();
    let entries: Vec<_> = lines.iter().map(entry).collect();
    Ok(Json(json!({ "logs": logs, "logEntries": entries })))
}

/// `GET /v2/sandboxes/{sandbox}/logs`.
pub(super) async fn list_v2(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    ApiQuery(query): ApiQuery<Query>,
) -> ApiResult<Json<Value>> {
    let lines = lines(&app, &caller, &wanted, &query).await?;
    Ok(Json(json!({ "logs": lines.iter().map(entry).collect::<Vec<_>>() })))
}

/// What is meant by a query, in its order.
async fn lines(app: &App, caller: &Caller, wanted: &str, query: &Query) -> ApiResult<Vec<Line>> {
    let tenant = caller.may(app, Action::MachineRead).await?;
    let (sandbox, _) = sandboxes::find(app, &tenant, wanted).await?;
    let level = lowest(query.level.as_deref())?;
    let backward = is_backward(query.direction.as_deref())?;
    let limit = query.limit.unwrap_or(LIMIT_MAX).min(LIMIT_MAX);
    let asked = LogQuery {
        follow: false,
        tail: Some(LINES_MAX),
        since_unix_ms: None,
    };
    let chunks: Vec<LogChunk> = app.node.logs(sandbox.machine, asked).await?.try_collect().await?;
    let from = query.cursor.or(query.start);
    let within = |line: &Line| match from {
        Some(from) if backward => line.at_unix_ms <= from,
        Some(from) => line.at_unix_ms >= from,
        None => true,
    };
    let mut lines = split(&chunks);
    lines.retain(|line| {
        let found = query
            .search
            .as_ref()
            .is_none_or(|text| message(line).0.contains(text.as_str()));
        within(line) && rank(line.level) >= Some(level) && found
    });
    if backward {
        lines.reverse();
    }
    lines.truncate(limit);
    Ok(lines)
}

/// How weighty a level is.
pub(super) fn rank(level: &str) -> Option<usize> {
    LEVELS.iter().position(|known| *known == level)
}

/// The rank of the lowest level that is asked for.
pub(super) fn lowest(level: Option<&str>) -> ApiResult<usize> {
    let level = level.unwrap_or(LEVELS[0]);
    rank(level).ok_or_else(|| invalid("level", level, "debug, info, warn or error"))
}

/// Whether the newest line comes first.
pub(super) fn is_backward(direction: Option<&str>) -> ApiResult<bool> {
    match direction {
        None | Some("forward") => Ok(false),
        Some("backward") => Ok(true),
        Some(other) => Err(invalid("direction", other, "forward or backward")),
    }
}

pub(super) fn invalid(field: &'static str, value: &str, use_this: &str) -> ApiError {
    let value: String = value.chars().take(80).collect();
    ApiError::field(field, format!("{field} {value:?} is not valid: use {use_this}"))
}

/// Chunks to lines, stream by stream; a line that is not ended yet is one as well.
fn split(chunks: &[LogChunk]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut partial: [Option<(u64, String)>; 2] = [None, None];
    for chunk in chunks {
        let at = usize::from(chunk.stream == LogStream::Stderr);
        let level = if at == 1 { "warn" } else { "info" };
        for piece in String::from_utf8_lossy(&chunk.bytes).split_inclusive('\n') {
            let (_, text) = partial[at].get_or_insert_with(|| (chunk.unix_ns / 1_000_000, String::new()));
            text.push_str(piece);
            if piece.ends_with('\n') {
                lines.extend(
                    partial[at]
                        .take()
                        .map(|(at_unix_ms, text)| line(at_unix_ms, level, &text)),
                );
            }
        }
    }
    let rest = partial.into_iter().zip(["info", "warn"]);
    lines.extend(rest.filter_map(|(rest, level)| rest.map(|(at_unix_ms, text)| line(at_unix_ms, level, &text))));
    lines.sort_by_key(|line| line.at_unix_ms);
    lines
}

fn line(at_unix_ms: u64, level: &'static str, text: &str) -> Line {
    Line {
        at_unix_ms,
        level,
        text: text.trim_end().to_owned(),
    }
}

/// What a line says, and its other fields: those of a line that is a JSON object.
fn message(line: &Line) -> (String, Map<String, Value>) {
    let Ok(mut fields) = serde_json::from_str::<Map<String, Value>>(&line.text) else {
        return (line.text.clone(), Map::new());
    };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let message = fields.remove("message");
    let message = message.map_or_else(|| line.text.clone(), |message| text(&message));
    let fields = fields.iter().map(|(name, value)| (name.clone(), json!(text(value))));
    (message, fields.collect())
}

fn entry(line: &Line) -> Value {
    let (message, fields) = message(line);
    json!({
        "timestamp": view::time(line.at_unix_ms),
        "level": line.level,
        "message": message,
        "fields": fields,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn lines_are_whole_whatever_pieces_they_come_in() {
        let chunk = |ms: u64, stream, text: &'static str| LogChunk {
            sequence: 0,
            unix_ns: ms * 1_000_000,
            stream,
            bytes: Bytes::from_static(text.as_bytes()),
        };
        let lines = split(&[
            chunk(1, LogStream::Stdout, "a"),
            chunk(2, LogStream::Stderr, "oops\n"),
            chunk(3, LogStream::Stdout, "b\nc"),
        ]);
        let seen: Vec<_> = lines
            .iter()
            .map(|line| (line.at_unix_ms, line.level, line.text.as_str()))
            .collect();
        assert_eq!(seen, [(1, "info", "ab"), (2, "warn", "oops"), (3, "info", "c")]);
    }

    #[test]
    fn objects_tell_their_fields() {
        let shown = entry(&line(0, "info", r#"{"message":"process started","pid":7}"#));
        assert_eq!(
            (&shown["message"], &shown["fields"]["pid"]),
            (&json!("process started"), &json!("7"))
        );
        assert_eq!(entry(&line(0, "info", "plain"))["message"], "plain");
    }
}
