//! Fifty sandboxes at once, each to its first command's output.

use serde::Deserialize;
use serde_json::json;

use super::{Sandboxes, TEMPLATE, first::One};
use crate::{figures::p95, host::Ground, output::Row};

const AT_ONCE: usize = 50;
/// How much longer than one alone nearly all of them may take.
const GOAL: f64 = 3.0;

#[derive(Debug, Deserialize)]
struct Crowd {
    /// For each, from the moment at which all were asked for.
    first_ms: Vec<f64>,
    failed: Vec<String>,
}

pub(super) async fn measure(ground: &Ground, sandboxes: &mut Sandboxes, one: &One) -> anyhow::Result<Vec<Row>> {
    let count = ground.rounds(AT_ONCE);
    let crowd: Crowd = sandboxes
        .sdk
        .ask("crowd", json!({ "template": TEMPLATE, "count": count }))
        .await?;
    sandboxes.settle().await?;
    anyhow::ensure!(
        crowd.failed.is_empty(),
        "{} of {count} sandboxes failed, the first: {}",
        crowd.failed.len(),
        crowd.failed[0]
    );
    if std::env::var_os("HEARTH_BENCH_VERBOSE").is_some() {
        eprintln!(
            "  {count} at once: {:.0?}; CPU time of one {:.0} ms",
            crowd.first_ms, one.cpu
        );
    }
    let p95 = p95(crowd.first_ms);
    Ok(vec![
        Row::new(
            "50 sandboxes at once to their first outputs: p95, against one alone",
            "ms",
            p95,
            one.first,
            GOAL,
        ),
        Row::informative(
            "the same, against the CPU time of as many, one by one, by the cores",
            "ms",
            p95,
            one.cpu * nearly_all(count) / cores()?,
        ),
    ])
}

/// Those that are there by the 95th percentile.
fn nearly_all(count: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "fifty")]
    let count = count as f64;
    (count * 0.95).ceil()
}

fn cores() -> anyhow::Result<f64> {
    let cores = std::thread::available_parallelism()?.get();
    Ok(f64::from(u32::try_from(cores)?))
}
