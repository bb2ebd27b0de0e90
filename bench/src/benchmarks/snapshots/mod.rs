//! Machines that go on from snapshots, on a real daemon with QEMU: against QEMU by itself, against a boot, and against limits.

mod crowd;
mod function;
pub(super) mod machines;
mod pause;
pub(super) mod process;
mod restore;
mod waiting;

use machines::Machines;

use crate::{daemon::Daemon, host::Ground, output::Row};

/// Room for a hundred machines on a small host; no daemon allows more.
const ARGS: [&str; 6] = [
    "--driver",
    "qemu",
    "--cpu-overcommit",
    "1000",
    "--memory-overcommit",
    "1000",
];

pub(crate) async fn measure(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    let daemon = Daemon::start(ground, "snapshots", &ARGS, &[]).await?;
    daemon.provide_guest().await?;
    let machines = Machines::of(&daemon);
    let (mut rows, baselines) = restore::measure(ground, &daemon, &machines).await?;
    rows.extend(pause::measure(ground, &daemon, &machines).await?);
    rows.extend(crowd::measure(ground, &daemon, &machines).await?);
    // An idle daemon less beside those of the functions.
    drop(daemon);
    rows.extend(waiting::measure(ground, &baselines).await?);
    rows.extend(function::measure(ground).await?);
    Ok(rows)
}
