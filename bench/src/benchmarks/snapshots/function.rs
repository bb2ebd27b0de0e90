//! Calls of functions that have no instance: one that has a template, and one of which an instance waits.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hearth_api::CreateMachine;
use hearth_client::Client;
use tokio::time::{sleep, timeout};

use super::machines::{IMAGE, Machines};
use crate::{
    benchmarks::function::{IdleMs, ask, deploy, metrics, program},
    daemon::Daemon,
    figures::{Turns, median, millis},
    host::Ground,
    output::Row,
};

/// What a call of an instance that waits may take beyond a call of one that serves, in milliseconds.
const WAKE_LIMIT_MS: f64 = 5.0;
const CALL_TIMEOUT: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(20);

pub(super) async fn measure(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    let mut rows = vec![from_template(ground).await?];
    rows.extend(from_those_that_wait(ground).await?);
    Ok(rows)
}

/// A call against the fork of a machine that runs the same program.
async fn from_template(ground: &Ground) -> anyhow::Result<Row> {
    let daemon = Daemon::start(ground, "template", &["--driver", "qemu"], &[]).await?;
    daemon.provide_guest().await?;
    let (client, machines) = (daemon.client(), Machines::of(&daemon));
    let server = CreateMachine {
        image: IMAGE.to_owned(),
        cmd: program(),
        ..CreateMachine::default()
    };
    let source = machines.start(server).await?;
    // Its program is to be ready, as a function's is.
    sleep(Duration::from_secs(5)).await;
    let snapshot = machines.snapshot(&source).await?;
    machines.remove(&source).await?;
    let gateway = deploy(&client, "cold", None, IdleMs(0)).await?;
    // The first boots, and is made a template of. The second of each is the first that goes on from one.
    call(gateway, "cold").await?;
    let mut turns = Turns::default();
    for round in 0..=ground.rounds(11) {
        daemon.settle().await?;
        let called = call(gateway, "cold").await?;
        daemon.settle().await?;
        let started = Instant::now();
        let id = machines.start(Machines::from(&snapshot)).await?;
        let forked = millis(started.elapsed());
        machines.remove(&id).await?;
        if round > 0 {
            turns.ours.push(called);
            turns.baseline.push(forked);
        }
    }
    let (call, fork) = turns.medians();
    Ok(Row::new(
        "call of a function at zero with a template, against a fork",
        "ms",
        call,
        fork,
        1.5,
    ))
}

/// A call of an instance that waits, against one of an instance that serves.
async fn from_those_that_wait(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    let args = ["--driver", "qemu", "--warm-memory", "1g"];
    let daemon = Daemon::start(ground, "warm", &args, &[]).await?;
    daemon.provide_guest().await?;
    let client = daemon.client();
    let gateway = deploy(&client, "waits", None, IdleMs(0)).await?;
    deploy(&client, "kept", None, IdleMs(3_600_000)).await?;
    call(gateway, "kept").await?;
    call(gateway, "waits").await?;
    let (mut turns, mut wakings) = (Turns::default(), Vec::new());
    for _ in 0..ground.rounds(11) {
        // One of each waits, and one serves.
        until(&client, [("serving", 1), ("warm", 2), ("starting", 0), ("ending", 0)]).await?;
        let before = waking(&client).await?;
        turns.ours.push(call(gateway, "waits").await?);
        wakings.push(waking(&client).await? - before);
        turns.baseline.push(call(gateway, "kept").await?);
    }
    let (woken, warm) = turns.medians();
    Ok(vec![
        Row::informative(
            "call of an instance that waits, against one that serves",
            "ms",
            woken,
            warm,
        ),
        Row::within("the same: what it adds", "ms", woken - warm, WAKE_LIMIT_MS),
        Row::informative(
            "of that, until it was registered to serve",
            "ms",
            median(wakings),
            WAKE_LIMIT_MS,
        ),
    ])
}

/// From a call to its answer, in milliseconds.
async fn call(gateway: SocketAddr, function: &str) -> anyhow::Result<f64> {
    let path = format!("/fn/default/{function}/");
    let started = Instant::now();
    timeout(CALL_TIMEOUT, ask(gateway, &path))
        .await
        .with_context(|| format!("the function {function} does not answer"))??;
    Ok(millis(started.elapsed()))
}

/// How long instances that waited took in all until they served, in milliseconds.
async fn waking(client: &Client) -> anyhow::Result<f64> {
    let text = metrics(client).await?;
    let name = "hearth_cold_start_phase_seconds_sum{phase=\"warm\"} ";
    // Before the first of them there is no such line.
    let sum = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    Ok(sum.trim().parse::<f64>()? * 1000.0)
}

/// Waits until there are so many instances in each of these states.
async fn until<const N: usize>(client: &Client, wanted: [(&str, u32); N]) -> anyhow::Result<()> {
    let lines = wanted.map(|(state, count)| (format!("hearth_instances{{state=\"{state}\"}} "), count));
    let deadline = Instant::now() + CALL_TIMEOUT;
    loop {
        let text = metrics(client).await?;
        let count = |line: &str| {
            let found = text.lines().find_map(|found| found.strip_prefix(line));
            found.and_then(|count| count.trim().parse::<u32>().ok()).unwrap_or(0)
        };
        if lines.iter().all(|(line, wanted)| count(line) == *wanted) {
            return Ok(());
        }
        let found: Vec<String> = lines
            .iter()
            .map(|(line, wanted)| format!("{line}{} (not {wanted})", count(line)))
            .collect();
        anyhow::ensure!(Instant::now() < deadline, "instances: {}", found.join(", "));
        sleep(POLL).await;
    }
}
