//! What machines wrote.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use hearth_api::{LogFormat, LogLine, LogRecord, LogStream, LogsQuery, ProblemLine};
use hearth_domain::Action;
use hearth_node_api::{LogChunk, LogQuery, NodeError};

use super::input;
use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiPath, ApiQuery},
    stream,
    time::unix_ms,
};

const TAIL_MAX: u64 = 1_000_000;

/// What a machine wrote: plain bytes, or JSON lines with stream and time.
#[utoipa::path(get, path = "/v1/machines/{machine}/logs", tag = "machines", operation_id = "machine_logs",
    params(("machine" = String, Path, description = "Name or ID"), LogsQuery),
    responses((status = 200, description = "The output", content(
        (Vec<u8> = "application/octet-stream"), (LogLine = "application/x-ndjson"))), Problems))]
pub(crate) async fn logs(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    ApiQuery(query): ApiQuery<LogsQuery>,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let asked = LogQuery {
        follow: query.follow,
        since_unix_ms: query.since.map(unix_ms),
        tail: query
            .tail
            .map(|lines| input::at_most("tail", lines, TAIL_MAX))
            .transpose()?,
    };
    let row = app.find(&tenant, &wanted).await?;
    let chunks = after(app.node.logs(row.spec.id, asked).await?, query.after);
    Ok(match query.format {
        LogFormat::Raw => {
            let bytes = chunks.map(|chunk| chunk.map(|chunk| chunk.bytes));
            stream::bytes(&app, "application/octet-stream", bytes)
        }
        LogFormat::Ndjson => stream::ndjson(&app, chunks.map(line)),
    })
}

/// What comes after the record of a number.
pub(super) fn after(
    chunks: BoxStream<'static, Result<LogChunk, NodeError>>,
    number: Option<u64>,
) -> BoxStream<'static, Result<LogChunk, NodeError>> {
    match number {
        None => chunks,
        Some(number) => chunks
            .try_filter(move |chunk| std::future::ready(chunk.sequence > number))
            .boxed(),
    }
}

pub(super) fn wire_stream(stream: hearth_node_api::LogStream) -> LogStream {
    match stream {
        hearth_node_api::LogStream::Stdout => LogStream::Stdout,
        hearth_node_api::LogStream::Stderr => LogStream::Stderr,
    }
}

fn line(chunk: Result<LogChunk, NodeError>) -> LogLine {
    match chunk {
        Ok(LogChunk {
            sequence,
            unix_ns,
            stream,
            bytes,
        }) => LogLine::Output(LogRecord {
            sequence,
            unix_ns,
            stream: wire_stream(stream),
            data: bytes,
        }),
        Err(error) => LogLine::Problem(ProblemLine::from(*ApiError::from(error).problem)),
    }
}
