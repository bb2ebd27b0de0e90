//! A histogram of fixed buckets: recording is two additions without a lock, whoever reads meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::HistogramFn;

/// Counts of values by bucket.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    /// One a bound, and one for what is above all of them. Not cumulated.
    counts: Vec<AtomicU64>,
    /// Bits of the sum.
    sum: AtomicU64,
}

/// What a histogram held at a moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reading {
    /// Values at or below each bound.
    pub(crate) cumulated: Vec<u64>,
    /// All values.
    pub(crate) count: u64,
    /// Their sum.
    pub(crate) sum: f64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0f64.to_bits()),
        }
    }

    pub(crate) fn read(&self) -> Reading {
        let mut count = 0;
        let mut cumulated = Vec::with_capacity(self.counts.len());
        for bucket in &self.counts {
            count += bucket.load(Ordering::Relaxed);
            cumulated.push(count);
        }
        cumulated.pop();
        Reading {
            cumulated,
            count,
            sum: f64::from_bits(self.sum.load(Ordering::Relaxed)),
        }
    }
}

impl HistogramFn for Histogram {
    fn record(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.counts.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // It never fails: `add` always has a new value.
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_in_its_bucket_and_in_all_above() {
        let histogram = Histogram::new(&[1.0, 2.0, 5.0]);
        for value in [0.5, 1.0, 1.5, 5.0, 9.0] {
            histogram.record(value);
        }
        let reading = histogram.read();
        assert_eq!(reading.cumulated, [2, 3, 4]);
        assert_eq!(reading.count, 5);
        assert!((reading.sum - 17.0).abs() < 1e-9);
    }

    #[test]
    fn what_many_threads_record_is_all_there() {
        let histogram = Histogram::new(&[1.0]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| histogram.record(0.5)));
            }
        });
        let reading = histogram.read();
        assert_eq!(reading.count, 4000);
        assert!((reading.sum - 2000.0).abs() < 1e-9);
    }
}
