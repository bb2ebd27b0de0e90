//! A machine of a snapshot of which one waits, from the request to the state `running`.

use std::time::{Duration, Instant};

use hearth_client::Client;
use tokio::time::sleep;

use super::{
    machines::Machines,
    restore::{Baselines, timed},
};
use crate::{benchmarks::function::metrics, daemon::Daemon, figures::median, host::Ground, output::Row};

const POLL: Duration = Duration::from_millis(50);
const WAIT_TIMEOUT: Duration = Duration::from_mins(1);

pub(super) async fn measure(ground: &Ground, against: &Baselines) -> anyhow::Result<Vec<Row>> {
    let args = ["--driver", "qemu", "--warm-memory", "1g"];
    let daemon = Daemon::start(ground, "waiting", &args, &[]).await?;
    daemon.provide_guest().await?;
    let (client, machines) = (daemon.client(), Machines::of(&daemon));
    let source = machines.start(Machines::sleeper()).await?;
    let snapshot = machines.snapshot(&source).await?;
    machines.remove(&source).await?;
    // Whoever wants one first has it made.
    timed(&machines, machines.start(Machines::from(&snapshot))).await?;
    let mut claims = Vec::new();
    for _ in 0..ground.rounds(21) {
        until_one_waits(&client).await?;
        daemon.settle().await?;
        claims.push(timed(&machines, machines.start(Machines::from(&snapshot))).await?);
    }
    let claim = median(claims);
    Ok(vec![
        Row::new(
            "machine of a snapshot of which one waits, against a bare QEMU's restore",
            "ms",
            claim,
            against.bare,
            1.3,
        ),
        Row::new("the same, against a cold boot", "ms", claim, against.boot, 0.05),
    ])
}

async fn until_one_waits(client: &Client) -> anyhow::Result<()> {
    let deadline = Instant::now() + WAIT_TIMEOUT;
    loop {
        let text = metrics(client).await?;
        let count = text.lines().find_map(|line| line.strip_prefix("hearth_warm_machines "));
        if count == Some("1") {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "no machine waits");
        sleep(POLL).await;
    }
}
