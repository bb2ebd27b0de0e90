//! What machines use.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use futures::stream;
use hearth_api::{ProblemLine, Stats, StatsLine, StatsQuery};
use hearth_domain::Action;
use hearth_ids::MachineId;
use hearth_node_api::{ErrorKind, NodeError};

use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiPath, ApiQuery},
    stream::ndjson,
    time::timestamp,
};

const DEFAULT_INTERVAL_MS: u64 = 1000;
const INTERVAL_MIN_MS: u64 = 100;
const INTERVAL_MAX_MS: u64 = 60_000;

/// What a machine uses: once, or again and again as JSON lines until it is at rest.
#[utoipa::path(get, path = "/v1/machines/{machine}/stats", tag = "machines", operation_id = "machine_stats",
    params(("machine" = String, Path, description = "Name or ID"), StatsQuery),
    responses((status = 200, description = "What it uses", content(
        (Stats = "application/json"), (StatsLine = "application/x-ndjson"))), Problems))]
pub(crate) async fn stats(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    ApiQuery(query): ApiQuery<StatsQuery>,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let interval = interval(query.interval_ms)?;
    let row = app.find(&tenant, &wanted).await?;
    let meter = Meter {
        app: Arc::clone(&app),
        id: row.spec.id,
        name: row.spec.name.into(),
        done: false,
    };
    let first = meter.measure().await?;
    if !query.stream {
        return Ok(Json(first).into_response());
    }
    let lines = stream::unfold((meter, Some(first)), move |(mut meter, first)| async move {
        let line = match first {
            Some(stats) => Some(StatsLine::Stats(stats)),
            None => meter.next(interval).await,
        };
        line.map(|line| (line, (meter, None)))
    });
    Ok(ndjson(&app, lines))
}

fn interval(interval_ms: Option<u64>) -> ApiResult<Duration> {
    match interval_ms.unwrap_or(DEFAULT_INTERVAL_MS) {
        ms @ INTERVAL_MIN_MS..=INTERVAL_MAX_MS => Ok(Duration::from_millis(ms)),
        ms => Err(ApiError::field(
            "interval_ms",
            format!("interval_ms {ms} is not valid: it goes from {INTERVAL_MIN_MS} to {INTERVAL_MAX_MS}"),
        )),
    }
}

struct Meter {
    app: Arc<App>,
    id: MachineId,
    name: String,
    done: bool,
}

impl Meter {
    async fn measure(&self) -> Result<Stats, NodeError> {
        let stats = self.app.node.stats(self.id).await?;
        Ok(Stats {
            machine_id: self.id,
            machine_name: self.name.clone(),
            at: timestamp(stats.at_unix_ms),
            cpu_usec: stats.cpu_usec,
            memory_bytes: stats.memory_bytes,
            memory_limit_bytes: stats.memory_limit_bytes,
            guest_memory_used_bytes: stats.guest_memory_used_bytes,
            net_rx_bytes: stats.net_rx_bytes,
            net_tx_bytes: stats.net_tx_bytes,
            disk_read_bytes: stats.disk_read_bytes,
            disk_write_bytes: stats.disk_write_bytes,
            processes: stats.processes,
        })
    }

    /// The next measurement. A machine that is at rest, or gone, ends the stream.
    async fn next(&mut self, interval: Duration) -> Option<StatsLine> {
        if self.done {
            return None;
        }
        tokio::time::sleep(interval).await;
        if self.app.status(self.id).is_none_or(|status| status.state.is_at_rest()) {
            return None;
        }
        match self.measure().await {
            Ok(stats) => Some(StatsLine::Stats(stats)),
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Conflict) => None,
            Err(error) => {
                self.done = true;
                Some(StatsLine::Problem(ProblemLine::from(*ApiError::from(error).problem)))
            }
        }
    }
}
