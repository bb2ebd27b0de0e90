//! How long a machine stands still while it is forked, and how long it takes to go to disk and to come back.

use std::time::Instant;

use super::machines::{Machines, memory_bytes};
use crate::{
    daemon::Daemon,
    figures::{Turns, median, millis},
    host::Ground,
    output::Row,
};

/// What a pause may take beside the copy of the memory, in milliseconds.
const STILL_MS: f64 = 50.0;
/// How fast that is to be copied: 1 GiB/s.
const BYTES_A_MS: f64 = 1_073_741.824;

pub(super) async fn measure(ground: &Ground, daemon: &Daemon, machines: &Machines) -> anyhow::Result<Vec<Row>> {
    let source = machines.start(Machines::sleeper()).await?;
    // What a fork copies is the same, but its snapshot is gone when we could look.
    let limit = STILL_MS + memory_bytes(&machines.snapshot(&source).await?) / BYTES_A_MS;
    let (mut still, mut moves) = (Vec::new(), Turns::default());
    for _ in 0..ground.rounds(9) {
        let fork = machines.fork(&source, 1).await?;
        still.push(ms(fork.paused_us));
        for machine in fork.machines {
            let id = machine.id.to_string();
            machines.until_running(&id).await?;
            machines.remove(&id).await?;
        }
        let started = Instant::now();
        machines.pause_to_disk(&source).await?;
        moves.baseline.push(millis(started.elapsed()));
        let started = Instant::now();
        machines.resume(&source).await?;
        moves.ours.push(millis(started.elapsed()));
    }
    machines.remove(&source).await?;
    daemon.settle().await?;
    let (resume, pause) = moves.medians();
    Ok(vec![
        Row::within(
            "pause of a machine that is forked, to 50 ms and its memory at 1 GiB/s",
            "ms",
            median(still),
            limit,
        ),
        Row::informative("pause to disk, against the same", "ms", pause, limit),
        Row::informative("resume from disk, against the pause to it", "ms", resume, pause),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "seconds, in microseconds")]
fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}
