//! All metrics that there are.

use std::fmt::Write as _;

/// A metric's kind, with the bounds of a histogram's buckets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows, until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Values by bucket.
    Histogram(&'static [f64]),
}

impl Kind {
    /// Prometheus's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// A metric, for people and for Prometheus.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name, which begins with `hearth_`.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its labels, in the order in which they are told.
    pub labels: &'static [&'static str],
    /// What it counts or measures in.
    pub unit: &'static str,
    /// What it says; one line.
    pub help: &'static str,
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    unit: &'static str,
    help: &'static str,
) -> Metric {
    let kind = Kind::Counter;
    Metric {
        name,
        kind,
        labels,
        unit,
        help,
    }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], unit: &'static str, help: &'static str) -> Metric {
    let kind = Kind::Gauge;
    Metric {
        name,
        kind,
        labels,
        unit,
        help,
    }
}

const fn seconds(
    name: &'static str,
    labels: &'static [&'static str],
    bounds: &'static [f64],
    help: &'static str,
) -> Metric {
    let kind = Kind::Histogram(bounds);
    Metric {
        name,
        kind,
        labels,
        unit: "seconds",
        help,
    }
}

/// Answers: from half a millisecond to the longest time-out that is common.
const ANSWERS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];
/// Parts of a machine's start: a few milliseconds by KVM, a minute where the guest is emulated.
const STARTS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0,
];

const VERSION: &[&str] = &["project", "function", "version"];

/// All metrics, in the order in which they are told.
pub const METRICS: &[Metric] = &[
    gauge(
        "hearth_build_info",
        &["version", "api_version", "schema_version"],
        "1",
        "The program that runs; always 1.",
    ),
    // Calls.
    counter(
        "hearth_function_requests_total",
        &["project", "function", "version", "class"],
        "calls",
        "Calls of functions that ended, by class of status: 1xx to 5xx.",
    ),
    seconds(
        "hearth_function_request_seconds",
        VERSION,
        ANSWERS,
        "How long calls of functions took, to the last byte of the answer.",
    ),
    seconds(
        "hearth_function_queue_seconds",
        VERSION,
        STARTS,
        "How long those calls waited for an instance that had to wait.",
    ),
    counter(
        "hearth_function_cold_starts_total",
        VERSION,
        "calls",
        "Calls that came when there was no instance, and waited for one.",
    ),
    gauge(
        "hearth_function_instances",
        VERSION,
        "instances",
        "Instances that the gateway can call.",
    ),
    gauge(
        "hearth_function_queued",
        VERSION,
        "calls",
        "Calls that wait for an instance.",
    ),
    gauge(
        "hearth_function_instances_lacking",
        VERSION,
        "instances",
        "Instances that are wanted and not asked for, since no node has room for them.",
    ),
    counter(
        "hearth_function_provision_requests_total",
        VERSION,
        "instances",
        "Instances that were asked for.",
    ),
    counter(
        "hearth_function_provision_failures_total",
        VERSION,
        "instances",
        "Instances that were asked for, and could not be had.",
    ),
    // Gateway.
    counter(
        "hearth_gateway_errors_total",
        &["code"],
        "requests",
        "Requests that the gateway itself refused or failed, by problem code.",
    ),
    gauge(
        "hearth_gateway_connections",
        &[],
        "connections",
        "Connections of clients to the gateway.",
    ),
    counter(
        "hearth_gateway_connections_refused_total",
        &[],
        "connections",
        "Connections that were refused because there were too many.",
    ),
    counter(
        "hearth_gateway_sandbox_requests_total",
        &["class"],
        "requests",
        "Requests for ports of sandboxes that were answered, by class of status: 1xx to 5xx.",
    ),
    gauge(
        "hearth_gateway_sandbox_streams",
        &[],
        "requests",
        "Requests for ports of sandboxes that are under way, upgraded connections among them.",
    ),
    // Instances.
    gauge(
        "hearth_instances",
        &["state"],
        "instances",
        "Instances of functions, by state: starting, warm, serving, ending.",
    ),
    seconds(
        "hearth_cold_start_phase_seconds",
        &["phase"],
        STARTS,
        "How long the phases of an instance's start took: queue_wait, create, prepare, boot, program_to_ready, template, warm, register.",
    ),
    seconds(
        "hearth_cold_start_seconds",
        &[],
        STARTS,
        "How long an instance took in all, from the request for it until it was registered.",
    ),
    counter(
        "hearth_provision_failures_total",
        &["reason"],
        "instances",
        "Instances that could not be made, by reason: no_room, broken.",
    ),
    gauge(
        "hearth_provision_queue_waiting",
        &[],
        "requests",
        "Requests for instances that wait for a worker.",
    ),
    gauge(
        "hearth_provision_queue_claimed",
        &[],
        "requests",
        "Requests for instances that a worker sees to.",
    ),
    counter(
        "hearth_provision_queue_run_out_total",
        &[],
        "requests",
        "Requests for instances that a worker took and did not finish in time.",
    ),
    counter(
        "hearth_provision_queue_overdue_total",
        &[],
        "requests",
        "Requests for instances that were dropped since nobody waited any more.",
    ),
    // Kept calls and triggers.
    gauge(
        "hearth_kept_calls",
        &["state"],
        "calls",
        "Kept calls by state: queued, running, succeeded, dead.",
    ),
    counter(
        "hearth_kept_call_attempts_total",
        &["outcome"],
        "attempts",
        "Attempts of kept calls by outcome: succeeded, retried, dead.",
    ),
    counter(
        "hearth_trigger_runs_total",
        &["outcome"],
        "runs",
        "Due times of cron triggers by outcome: run, skipped, failed.",
    ),
    // Machines and their node.
    gauge(
        "hearth_machines",
        &["state"],
        "machines",
        "Machines of the node by state.",
    ),
    gauge(
        "hearth_warm_machines",
        &[],
        "machines",
        "Machines of snapshots that wait, restored and paused, for whoever wants one.",
    ),
    gauge("hearth_node_cpu_capacity", &[], "cores", "CPUs that the node has."),
    gauge(
        "hearth_node_cpu_allocatable",
        &[],
        "cores",
        "Virtual CPUs that the node gives out at most.",
    ),
    gauge(
        "hearth_node_cpu_allocated",
        &[],
        "cores",
        "Virtual CPUs that machines hold.",
    ),
    gauge(
        "hearth_node_memory_capacity_bytes",
        &[],
        "bytes",
        "Memory that the node has for machines.",
    ),
    gauge(
        "hearth_node_memory_allocatable_bytes",
        &[],
        "bytes",
        "Memory that the node gives out at most.",
    ),
    gauge(
        "hearth_node_memory_allocated_bytes",
        &[],
        "bytes",
        "Memory that machines hold.",
    ),
    gauge(
        "hearth_node_overcommit_ratio",
        &["resource"],
        "ratio",
        "How many times of what it has the node gives out: cpu, memory, disk.",
    ),
    gauge("hearth_images", &[], "images", "Images that are kept."),
    gauge("hearth_image_bytes", &[], "bytes", "Size of the images that are kept."),
    // The API and the store.
    counter(
        "hearth_api_requests_total",
        &["operation", "status"],
        "requests",
        "Requests to the API by operation and status.",
    ),
    seconds(
        "hearth_api_request_seconds",
        &["operation"],
        ANSWERS,
        "How long requests to the API took until the head of their answer, by operation.",
    ),
    counter(
        "hearth_api_problems_total",
        &["code"],
        "requests",
        "Requests to the API that ended with a problem, by its code.",
    ),
    counter(
        "hearth_store_errors_total",
        &[],
        "errors",
        "Reads and writes of the store that failed.",
    ),
    // The process.
    counter(
        "hearth_process_cpu_seconds_total",
        &[],
        "seconds",
        "CPU time that the daemon has used, its machines not counted.",
    ),
    gauge(
        "hearth_process_resident_memory_bytes",
        &[],
        "bytes",
        "Memory that the daemon holds.",
    ),
    gauge(
        "hearth_process_open_fds",
        &[],
        "descriptors",
        "File descriptors that the daemon has open.",
    ),
    gauge(
        "hearth_process_max_fds",
        &[],
        "descriptors",
        "File descriptors that the daemon may have open.",
    ),
    gauge("hearth_process_threads", &[], "threads", "Threads of the daemon."),
    gauge(
        "hearth_process_start_time_seconds",
        &[],
        "seconds",
        "When the daemon began, in seconds since the Unix epoch.",
    ),
];

/// The list for people, in Markdown.
pub fn reference() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         What `/metrics` tells. This list is made from the program's own (`crates/telemetry/src/catalogue.rs`) by a test; \
         `HEARTH_BLESS=1 cargo test -p hearth-telemetry` writes it anew.\n\n\
         | name | kind | labels | unit | meaning |\n|---|---|---|---|---|\n",
    );
    for metric in METRICS {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            metric.name,
            metric.kind.as_str(),
            labels.join(", "),
            metric.unit,
            metric.help
        );
    }
    text
}
