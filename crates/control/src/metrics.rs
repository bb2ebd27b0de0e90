//! What Prometheus is told: what was counted meanwhile, and what is looked up when it asks.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use ::metrics::{counter, histogram};
use axum::{extract::State, http::header, response::IntoResponse};
use hearth_api::ProblemCode;
use hearth_domain::Action;
use hearth_ids::ProjectId;
use hearth_node_api::NodeInfo;
use hearth_store::{InvocationState, Store};
use hearth_telemetry::{Page, note_process};
use http::StatusCode;
use tracing::warn;

use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
};

/// As Prometheus's documentation has it.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const MIB: u64 = 1024 * 1024;
/// The operation of requests that ask for none of the document.
const NO_OPERATION: &str = "none";

/// Metrics of the host and of all projects, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "node", operation_id = "metrics",
    responses((status = 200, description = "In Prometheus's text format", body = String, content_type = "text/plain"), Problems))]
pub(crate) async fn metrics(State(app): State<Arc<App>>, caller: Caller) -> ApiResult<impl IntoResponse> {
    if caller.own_project().is_some_and(|own| own != ProjectId::DEFAULT) {
        return Err(ApiError::new(
            ProblemCode::Forbidden,
            "metrics name the functions of all projects, so they are only for keys of the project default",
        ));
    }
    caller.may(&app, Action::NodeRead).await?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text(&app).await))
}

/// The same for whoever reaches a listener that is for this alone.
pub(crate) async fn metrics_without_key(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text(&app).await)
}

/// All metrics. What cannot be looked up now is left out.
pub(crate) async fn text(app: &App) -> String {
    let mut page = Page::default();
    let schema = Store::schema_version().to_string();
    let build = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("api_version", hearth_api::API_VERSION),
        ("schema_version", schema.as_str()),
    ];
    page.count("hearth_build_info", &build, 1);
    note_process(&mut page);
    note_machines(&mut page, app);
    note_plane(&mut page, app);
    match app.node.info().await {
        Ok(info) => note_node(&mut page, &info),
        Err(error) => warn!(%error, "cannot tell the node's metrics"),
    }
    note_images(&mut page, app).await;
    note_kept_calls(&mut page, app).await;
    hearth_telemetry::install().text(page)
}

fn note_machines(page: &mut Page, app: &App) {
    let mut states = BTreeMap::from(hearth_domain::StateWord::ALL.map(|state| (state, 0)));
    for spec in app.node.machines() {
        if let Some(status) = app.node.status(spec.id) {
            *states.entry(status.state.word()).or_default() += 1;
        }
    }
    for (state, count) in states {
        page.count("hearth_machines", &[("state", state.as_str())], count);
    }
    page.count("hearth_warm_machines", &[], app.warm.waiting() as u64);
}

fn note_plane(page: &mut Page, app: &App) {
    let Some(plane) = app.plane.get() else { return };
    let counts = plane.worker.counts();
    page.count("hearth_instances", &[("state", "starting")], counts.starting);
    page.count("hearth_instances", &[("state", "warm")], counts.warm);
    page.count("hearth_instances", &[("state", "serving")], counts.serving);
    page.count("hearth_instances", &[("state", "ending")], counts.ending);
    let queue = plane.queue.stats();
    page.count("hearth_provision_queue_waiting", &[], queue.waiting as u64);
    page.count("hearth_provision_queue_claimed", &[], queue.claimed as u64);
    page.count("hearth_provision_queue_run_out_total", &[], queue.run_out);
    page.count("hearth_provision_queue_overdue_total", &[], queue.overdue);
}

fn note_node(page: &mut Page, info: &NodeInfo) {
    let total = info.capacity.total(info.overcommit);
    let cpus = u32::try_from(info.capacity.cpu_millis).unwrap_or(u32::MAX);
    page.set("hearth_node_cpu_capacity", &[], f64::from(cpus) / 1000.0);
    page.count("hearth_node_cpu_allocatable", &[], total.vcpus);
    page.count("hearth_node_cpu_allocated", &[], info.allocation.vcpus);
    page.count("hearth_node_memory_capacity_bytes", &[], info.capacity.memory_mib * MIB);
    page.count("hearth_node_memory_allocatable_bytes", &[], total.memory_mib * MIB);
    page.count(
        "hearth_node_memory_allocated_bytes",
        &[],
        info.allocation.memory_mib * MIB,
    );
    let overcommit = info.overcommit;
    page.set("hearth_node_overcommit_ratio", &[("resource", "cpu")], overcommit.cpu);
    page.set(
        "hearth_node_overcommit_ratio",
        &[("resource", "memory")],
        overcommit.memory,
    );
    page.set("hearth_node_overcommit_ratio", &[("resource", "disk")], overcommit.disk);
}

async fn note_images(page: &mut Page, app: &App) {
    let images = app.images.clone();
    match app.blocking(move || images.list()).await {
        Ok(Ok(images)) => {
            page.count("hearth_images", &[], images.len() as u64);
            let bytes = images.iter().map(|image| image.size_bytes).sum();
            page.count("hearth_image_bytes", &[], bytes);
        }
        Ok(Err(error)) => warn!(error = hearth_domain::chain(&error), "cannot tell the images' metrics"),
        Err(_) => {}
    }
}

async fn note_kept_calls(page: &mut Page, app: &App) {
    match app.store.count_invocations().await {
        Ok(counts) => {
            for state in InvocationState::ALL {
                let count = counts
                    .iter()
                    .find(|(of, _)| *of == state)
                    .map_or(0, |(_, count)| *count);
                page.count("hearth_kept_calls", &[("state", state.as_str())], count);
            }
        }
        Err(error) => warn!(
            error = hearth_domain::chain(&error),
            "cannot tell the kept calls' metrics"
        ),
    }
}

/// A request to the API was answered.
pub(crate) fn answered(operation: Option<&'static str>, status: StatusCode, took: Duration) {
    let operation = operation.unwrap_or(NO_OPERATION);
    let status = status.as_str().to_owned();
    counter!("hearth_api_requests_total", "operation" => operation, "status" => status).increment(1);
    histogram!("hearth_api_request_seconds", "operation" => operation).record(took);
}

/// A request to the API came to a problem.
pub(crate) fn problem(code: ProblemCode) {
    counter!("hearth_api_problems_total", "code" => code.as_str()).increment(1);
}

/// Due times of a trigger came to this.
pub(crate) fn trigger(outcome: &'static str, count: u64) {
    counter!("hearth_trigger_runs_total", "outcome" => outcome).increment(count);
}

/// An attempt of a kept call came to this.
pub(crate) fn attempted(state: InvocationState) {
    let outcome = match state {
        InvocationState::Succeeded => "succeeded",
        InvocationState::Dead => "dead",
        InvocationState::Queued | InvocationState::Running => "retried",
    };
    counter!("hearth_kept_call_attempts_total", "outcome" => outcome).increment(1);
}

/// Forgets the metrics of versions other than these, each told by project, function and number.
pub(crate) fn forget_functions(live: &HashSet<[String; 3]>) {
    hearth_telemetry::install().forget(|labels| {
        let named = ["project", "function", "version"].map(|label| labels.get(label).copied());
        match named {
            [Some(project), Some(function), Some(version)] => {
                !live.contains(&[project.to_owned(), function.to_owned(), version.to_owned()])
            }
            _ => false,
        }
    });
}
