//! A call through the gateway, against the same call by the same client straight to the agent.

use serde::Deserialize;
use serde_json::json;

use super::{Sandboxes, TEMPLATE};
use crate::{figures::median, host::Ground, output::Row};

/// What gateway and API may add to a command.
const ADDED_LIMIT_MS: f64 = 2.0;

/// Turns of both, in milliseconds.
#[derive(Debug, Deserialize)]
struct Trips {
    ours_ms: Vec<f64>,
    baseline_ms: Vec<f64>,
}

impl Trips {
    /// The middle of what each turn's second way saved: what the guest does differs by more from one time to the next.
    fn added(self) -> f64 {
        if std::env::var_os("HEARTH_BENCH_VERBOSE").is_some() {
            eprintln!(
                "  trips: ours {:.2?}\n  straight {:.2?}",
                self.ours_ms, self.baseline_ms
            );
        }
        let pairs = self.ours_ms.iter().zip(&self.baseline_ms);
        median(pairs.map(|(ours, straight)| ours - straight).collect())
    }
}

pub(super) async fn measure(ground: &Ground, sandboxes: &mut Sandboxes) -> anyhow::Result<Vec<Row>> {
    let id = sandboxes.sdk.begin(TEMPLATE).await?;
    let address = sandboxes.address(&id).await?;
    let trips =
        |command: &str, count: usize| json!({ "id": id, "address": address, "command": command, "count": count });
    let commands: Trips = sandboxes.sdk.ask("trip", trips("true", ground.rounds(60))).await?;
    // Without a command there is no shell whose time varies.
    let calls: Trips = sandboxes.sdk.ask("trip", trips("", ground.rounds(200))).await?;
    let whole = median(commands.ours_ms.clone());
    sandboxes.settle().await?;
    Ok(vec![
        Row::within(
            "what gateway and API add to `commands.run(\"true\")`",
            "ms",
            commands.added(),
            ADDED_LIMIT_MS,
        ),
        Row::informative(
            "what they add to `commands.list()`",
            "ms",
            calls.added(),
            ADDED_LIMIT_MS,
        ),
        Row::informative("`commands.run(\"true\")` as a whole", "ms", whole, ADDED_LIMIT_MS),
    ])
}
