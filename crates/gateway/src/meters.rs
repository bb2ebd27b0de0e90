//! Figures of a version, by the `metrics` facade. The handles are made once, so that a call allocates no label.
//! `hearth-telemetry` lists them all.
//!
//! Their labels are the names of project and function, and the version: whoever keeps the recorder forgets those of versions
//! that are gone.

use std::time::Duration;

use hearth_domain::FunctionSpec;
use metrics::{Counter, Histogram, Label, counter, gauge, histogram};

pub(crate) struct Meters {
    classes: [Counter; 5],
    seconds: Histogram,
    queue_seconds: Histogram,
    cold: Counter,
    pub(crate) instances: Level,
    pub(crate) queued: Level,
    pub(crate) lacking: Level,
    pub(crate) provisions: Counter,
    pub(crate) provision_failures: Counter,
}

/// A number that goes up and down.
pub(crate) struct Level(metrics::Gauge);

impl Level {
    pub(crate) fn set(&self, value: u32) {
        self.0.set(value);
    }
}

impl Meters {
    pub(crate) fn new(project: &str, function: &FunctionSpec, version: u32) -> Self {
        let labels = || {
            vec![
                Label::new("project", project.to_owned()),
                Label::new("function", function.name.to_string()),
                Label::new("version", version.to_string()),
            ]
        };
        let class = |class: &'static str| {
            let mut labels = labels();
            labels.push(Label::from_static_parts("class", class));
            counter!("hearth_function_requests_total", labels)
        };
        Self {
            classes: ["1xx", "2xx", "3xx", "4xx", "5xx"].map(class),
            seconds: histogram!("hearth_function_request_seconds", labels()),
            queue_seconds: histogram!("hearth_function_queue_seconds", labels()),
            cold: counter!("hearth_function_cold_starts_total", labels()),
            instances: Level(gauge!("hearth_function_instances", labels())),
            queued: Level(gauge!("hearth_function_queued", labels())),
            lacking: Level(gauge!("hearth_function_instances_lacking", labels())),
            provisions: counter!("hearth_function_provision_requests_total", labels()),
            provision_failures: counter!("hearth_function_provision_failures_total", labels()),
        }
    }

    /// A call has ended.
    pub(crate) fn ended(&self, status: u16, took: Duration, queued: Duration, cold: bool) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.classes[class].increment(1);
        self.seconds.record(took);
        if !queued.is_zero() {
            self.queue_seconds.record(queued);
        }
        if cold {
            self.cold.increment(1);
        }
    }
}
