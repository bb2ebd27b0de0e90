//! Listing sandboxes, by pages.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use hearth_domain::Action;
use hearth_store::SandboxRow;
use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::{view, wire::ListedSandbox};
use crate::{
    app::App,
    caller::{Caller, Tenant},
    error::{ApiError, ApiResult},
    extract::pairs,
    time::unix_ms,
};

const NEXT_TOKEN: HeaderName = HeaderName::from_static("x-next-token");
const TOTAL_RUNNING: HeaderName = HeaderName::from_static("x-total-running");
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 100;

/// What is listed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Filter {
    metadata: BTreeMap<String, String>,
    running: bool,
    paused: bool,
    ascending: bool,
    started_after_unix_ms: u64,
    template: Option<String>,
    limit: usize,
    next: Option<(u64, String)>,
}

/// `GET /sandboxes`: the older call, which lists those that run.
pub(super) async fn list(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> ApiResult<Json<Vec<ListedSandbox>>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let filter = Filter {
        paused: false,
        running: true,
        ..filter(uri.query().unwrap_or_default())?
    };
    let all = matching(&app, &tenant, &filter).await?;
    Ok(Json(all.into_iter().map(|(_, seen)| seen).collect()))
}

/// `GET /v2/sandboxes`.
pub(super) async fn list_v2(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let filter = filter(uri.query().unwrap_or_default())?;
    let mut all = matching(&app, &tenant, &filter).await?;
    let running = all.iter().filter(|(_, seen)| seen.state == "running").count();
    if let Some(next) = &filter.next {
        let after = |(row, _): &(SandboxRow, ListedSandbox)| {
            let at = (row.started_unix_ms, row.id.to_string());
            if filter.ascending { at > *next } else { at < *next }
        };
        all.retain(after);
    }
    let more = all.len() > filter.limit;
    all.truncate(filter.limit);
    let last = all.last().map(|(row, _)| format!("{}-{}", row.started_unix_ms, row.id));
    let page: Vec<_> = all.into_iter().map(|(_, seen)| seen).collect();
    let mut response = Json(page).into_response();
    let headers = response.headers_mut();
    if let Some(token) = last
        .filter(|_| more)
        .and_then(|token| HeaderValue::from_str(&token).ok())
    {
        headers.insert(NEXT_TOKEN, token);
    }
    if filter.running {
        headers.insert(TOTAL_RUNNING, HeaderValue::from(running));
    }
    Ok(response)
}

/// All that the filter lets through, in its order.
async fn matching(app: &App, tenant: &Tenant, filter: &Filter) -> ApiResult<Vec<(SandboxRow, ListedSandbox)>> {
    let mut rows = app.store.sandboxes(Some(tenant.project)).await?;
    if !filter.ascending {
        rows.reverse();
    }
    let wanted = |row: &SandboxRow, seen: &ListedSandbox| {
        let state = if seen.state == "running" {
            filter.running
        } else {
            filter.paused
        };
        let of_template = filter
            .template
            .as_ref()
            .is_none_or(|wanted| row.template == *wanted || row.alias.as_ref() == Some(wanted));
        let pinned = filter
            .metadata
            .iter()
            .all(|(name, value)| row.metadata.get(name) == Some(value));
        state && of_template && pinned && row.started_unix_ms >= filter.started_after_unix_ms
    };
    let seen = rows.into_iter().filter_map(|row| {
        let seen = view::listed(app, &row)?;
        wanted(&row, &seen).then_some((row, seen))
    });
    Ok(seen.collect())
}

/// Reads a query. `state` may come several times, or once with commas.
fn filter(query: &str) -> ApiResult<Filter> {
    let mut filter = Filter {
        limit: LIMIT_DEFAULT,
        ..Filter::default()
    };
    let mut states = Vec::new();
    for (name, value) in pairs(query) {
        match name.as_str() {
            "metadata" => filter.metadata.extend(pinned(&value)),
            "state" => states.extend(value.split(',').map(ToOwned::to_owned)),
            "order" => filter.ascending = order(&value)?,
            "startedAfter" => filter.started_after_unix_ms = time(&value)?,
            "template" => filter.template = Some(value),
            "limit" => filter.limit = limit(&value)?,
            "nextToken" if !value.is_empty() => filter.next = Some(token(&value)?),
            _ => {}
        }
    }
    for state in &states {
        match state.as_str() {
            "running" => filter.running = true,
            "paused" => filter.paused = true,
            _ => return Err(invalid("state", state, "running or paused")),
        }
    }
    if states.is_empty() {
        (filter.running, filter.paused) = (true, true);
    }
    Ok(filter)
}

/// What is pinned: SDKs encode each name and each value before they encode the pairs.
fn pinned(text: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pairs = pairs(text).into_iter();
    pairs.map(|(name, value)| (decoded(&name), decoded(&value))).collect()
}

fn order(value: &str) -> ApiResult<bool> {
    match value {
        "asc" => Ok(true),
        "desc" => Ok(false),
        _ => Err(invalid("order", value, "asc or desc")),
    }
}

fn time(value: &str) -> ApiResult<u64> {
    let parsed: Result<jiff::Timestamp, _> = value.parse();
    parsed
        .map(unix_ms)
        .map_err(|_| invalid("startedAfter", value, "a time such as 2026-01-31T12:00:00Z"))
}

fn limit(value: &str) -> ApiResult<usize> {
    match value.parse() {
        Ok(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
        _ => Err(invalid("limit", value, "a number from 1 to 100")),
    }
}

fn token(value: &str) -> ApiResult<(u64, String)> {
    let parts = value.split_once('-').and_then(|(ms, id)| Some((ms.parse().ok()?, id)));
    let valid = parts.filter(|(_, id)| id.parse::<hearth_ids::SandboxId>().is_ok());
    valid.map(|(ms, id)| (ms, id.to_owned())).ok_or_else(|| {
        invalid(
            "nextToken",
            value,
            "that of the page before, from the header X-Next-Token",
        )
    })
}

fn invalid(field: &'static str, value: &str, use_this: &str) -> ApiError {
    let value: String = value.chars().take(80).collect();
    ApiError::field(field, format!("{field} {value:?} is not valid: use {use_this}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_as_both_sdks_write_them() {
        let read = |query: &str| filter(query).unwrap();
        let all = read("");
        assert!(all.running && all.paused && !all.ascending && all.limit == LIMIT_DEFAULT);
        let twice = read("state=running&state=paused");
        assert!(twice.running && twice.paused);
        let once = read("state=paused");
        assert!(!once.running && once.paused);
        assert!(read("state=running,paused").paused);
        // Each name and value is encoded, then the pairs, and then the whole.
        let pinned = read("metadata=n%252526m%3Dno.%2525202%26app%3Dplain");
        assert_eq!(pinned.metadata["n&m"], "no. 2");
        assert_eq!(pinned.metadata["app"], "plain");
        assert_eq!(read("order=asc&limit=5").limit, 5);
    }

    #[test]
    fn what_cannot_be_read_is_told_by_its_name() {
        for (query, field) in [
            ("state=gone", "state"),
            ("limit=0", "limit"),
            ("limit=x", "limit"),
            ("order=up", "order"),
            ("nextToken=x", "nextToken"),
            ("startedAfter=yesterday", "startedAfter"),
        ] {
            assert_eq!(filter(query).unwrap_err().problem.field.as_deref(), Some(field));
        }
    }
}
