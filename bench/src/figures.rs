//! Medians and measuring in turns.

use std::time::Duration;

/// The middle of some figures; of an even number, the lower of the two.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures
        .get(figures.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(f64::NAN)
}

/// The 95th percentile of some figures: nineteen of twenty are no larger.
pub(crate) fn p95(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let at = (figures.len() * 19).div_ceil(20);
    figures.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// In milliseconds.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Figures of ours and of the baseline, taken in turns.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    pub(crate) ours: Vec<f64>,
    pub(crate) baseline: Vec<f64>,
}

impl Turns {
    /// Both medians.
    pub(crate) fn medians(self) -> (f64, f64) {
        if std::env::var_os("HEARTH_BENCH_VERBOSE").is_some() {
            eprintln!("  ours     {:.1?}\n  baseline {:.1?}", self.ours, self.baseline);
        }
        (median(self.ours), median(self.baseline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn nineteen_of_twenty_are_no_larger_than_the_95th_percentile() {
        let of = |count: u32| p95((1..=count).rev().map(f64::from).collect());
        for (count, expected) in [(1, 1.0), (20, 19.0), (21, 20.0), (50, 48.0), (100, 95.0)] {
            assert!((of(count) - expected).abs() < 1e-9, "of {count}: {}", of(count));
        }
        assert!(p95(Vec::new()).is_nan());
    }
}
