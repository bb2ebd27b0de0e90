//! What sandboxes use.

use std::sync::Arc;

use axum::{Json, extract::State};
use futures::{StreamExt as _, stream};
use hearth_domain::Action;
use http::Uri;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::view;
use crate::{
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiPath, ApiQuery},
    sandboxes::{self, Measured},
};

/// Sandboxes that are asked about at once, at most.
const SANDBOXES_MAX: usize = 100;
const AT_ONCE: usize = 8;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Interval {
    /// Seconds since the Unix epoch.
    start: Option<u64>,
    end: Option<u64>,
}

/// `GET …/metrics`.
pub(super) async fn of_one(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    ApiQuery(interval): ApiQuery<Interval>,
) -> ApiResult<Json<Vec<Value>>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let (start, end) = (interval.start.unwrap_or(0), interval.end.unwrap_or(u64::MAX));
    if start > end {
        return Err(ApiError::field("end", format!("end {end} is before start {start}")));
    }
    let (sandbox, _) = sandboxes::find(&app, &tenant, &wanted).await?;
    sandboxes::measure(&app, &sandbox).await;
    let all = app.measurements.of(sandbox.id).into_iter();
    let within = all.filter(|one| (start..=end).contains(&(one.at_unix_ms / 1000)));
    Ok(Json(within.map(|one| shown(&one)).collect()))
}

/// `GET /sandboxes/metrics`: the newest of each that is named.
pub(super) async fn of_many(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> ApiResult<Json<Value>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let ids = named(uri.query().unwrap_or_default());
    if ids.len() > SANDBOXES_MAX {
        return Err(ApiError::field(
            "sandbox_ids",
            format!(
                "sandbox_ids names {} sandboxes: at most {SANDBOXES_MAX} can be named",
                ids.len()
            ),
        ));
    }
    let measured = stream::iter(ids).map(async |id: String| {
        let (sandbox, _) = sandboxes::find(&app, &tenant, &id).await.ok()?;
        sandboxes::measure(&app, &sandbox).await;
        let last = app.measurements.of(sandbox.id).pop()?;
        Some((id, shown(&last)))
    });
    let measured: Vec<_> = measured.buffer_unordered(AT_ONCE).collect().await;
    let shown: Map<_, _> = measured.into_iter().flatten().collect();
    Ok(Json(json!({ "sandboxes": shown })))
}

/// The IDs of a query: several times, or once with commas.
fn named(query: &str) -> Vec<String> {
    let values = query.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (name == "sandbox_ids").then(|| percent_decode_str(value).decode_utf8_lossy().into_owned())
    });
    let ids = values.flat_map(|value| value.split(',').map(ToOwned::to_owned).collect::<Vec<_>>());
    ids.filter(|id| !id.is_empty()).collect()
}

fn shown(one: &Measured) -> Value {
    let guest = &one.guest;
    json!({
        "timestamp": view::time(one.at_unix_ms),
        "timestampUnix": one.at_unix_ms / 1000,
        "cpuCount": guest.cpus,
        "cpuUsedPct": one.cpu_percent,
        "memUsed": guest.memory_used_bytes,
        "memTotal": guest.memory_total_bytes,
        "memCache": guest.memory_cache_bytes,
        "diskUsed": guest.disk_used_bytes,
        "diskTotal": guest.disk_total_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_one_by_one_or_together() {
        assert_eq!(named("sandbox_ids=a,b&x=1&sandbox_ids=c"), ["a", "b", "c"]);
        assert_eq!(named("sandbox_ids=a%2Cb"), ["a", "b"]);
        assert!(named("sandbox_ids=").is_empty());
    }
}
