//! The registry behind the `metrics` facade.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock, PoisonError, RwLock, atomic::AtomicU64, atomic::Ordering},
};

use metrics::{Counter, Gauge, Histogram as HistogramHandle, Key, KeyName, Metadata, SharedString, Unit};
use tracing::warn;

use crate::{
    Kind, METRICS, Metric, Page,
    histogram::Histogram,
    page::{Sample, labels_of},
};

/// Series of one family at most; further ones are not kept.
pub const SERIES_MAX: usize = 50_000;

static REGISTRY: OnceLock<Registry> = OnceLock::new();

/// The registry of this process, which the facade tells from the first time on.
pub fn install() -> &'static Registry {
    REGISTRY.get_or_init(|| {
        let registry = Registry::default();
        if metrics::set_global_recorder(registry.clone()).is_err() {
            warn!("something else records metrics in this process; /metrics will lack what it takes");
        }
        registry
    })
}

/// All series that were told by the facade. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<HashMap<&'static str, Family>>);

struct Family {
    metric: &'static Metric,
    series: RwLock<HashMap<Key, Value>>,
}

#[derive(Clone)]
enum Value {
    Counter(Arc<AtomicU64>),
    /// Bits of the value.
    Gauge(Arc<AtomicU64>),
    Histogram(Arc<Histogram>),
}

impl Default for Registry {
    fn default() -> Self {
        let families = METRICS.iter().map(|metric| {
            let family = Family {
                metric,
                series: RwLock::default(),
            };
            (metric.name, family)
        });
        Self(Arc::new(families.collect()))
    }
}

impl Registry {
    /// Forgets the series whose labels are such. Handles of them that are still held tell nobody any more.
    pub fn forget(&self, gone: impl Fn(&BTreeMap<&str, &str>) -> bool) {
        for family in self.0.values() {
            let mut series = family.series.write().unwrap_or_else(PoisonError::into_inner);
            series.retain(|key, _| {
                let labels = key.labels().map(|label| (label.key(), label.value()));
                !gone(&labels.collect())
            });
        }
    }

    /// All metrics in Prometheus's text format, with those of the page.
    pub fn text(&self, mut page: Page) -> String {
        for (name, family) in self.0.iter() {
            let series = family.series.read().unwrap_or_else(PoisonError::into_inner);
            for (key, value) in series.iter() {
                let labels = labels_of(key.labels().map(|label| (label.key(), label.value())));
                page.put(name, labels, value.sample());
            }
        }
        page.text()
    }

    fn value(&self, key: &Key, wanted: fn(&Kind) -> Option<Value>) -> Option<Value> {
        let family = self.0.get(key.name()).or_else(|| {
            warn!(name = key.name(), "a metric that is not in the list; it is not told");
            None
        })?;
        let series = family.series.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = series.get(key) {
            return Some(value.clone());
        }
        drop(series);
        let made = wanted(&family.metric.kind).or_else(|| {
            warn!(name = key.name(), "a metric is not of the kind that the list says");
            None
        })?;
        let mut series = family.series.write().unwrap_or_else(PoisonError::into_inner);
        if series.len() >= SERIES_MAX && !series.contains_key(key) {
            return None;
        }
        Some(series.entry(key.clone()).or_insert(made).clone())
    }
}

impl Value {
    fn sample(&self) -> Sample {
        match self {
            Self::Counter(count) => Sample::Whole(count.load(Ordering::Relaxed)),
            Self::Gauge(bits) => Sample::Number(f64::from_bits(bits.load(Ordering::Relaxed))),
            Self::Histogram(histogram) => Sample::Histogram(histogram.read()),
        }
    }
}

impl metrics::Recorder for Registry {
    // The list describes.
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let value = self.value(key, |kind| {
            matches!(kind, Kind::Counter).then(|| Value::Counter(Arc::default()))
        });
        match value {
            Some(Value::Counter(count)) => Counter::from_arc(count),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let value = self.value(key, |kind| {
            matches!(kind, Kind::Gauge).then(|| Value::Gauge(Arc::default()))
        });
        match value {
            Some(Value::Gauge(bits)) => Gauge::from_arc(bits),
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> HistogramHandle {
        let value = self.value(key, |kind| match kind {
            Kind::Histogram(bounds) => Some(Value::Histogram(Arc::new(Histogram::new(bounds)))),
            Kind::Counter | Kind::Gauge => None,
        });
        match value {
            Some(Value::Histogram(histogram)) => HistogramHandle::from_arc(histogram),
            _ => HistogramHandle::noop(),
        }
    }
}
