//! From `Sandbox.create()` to the first output of a first command, against a machine that is forked of a snapshot of such a
//! sandbox and the same command, asked for by the lowest calls that there are.

use std::{fs, time::Instant};

use anyhow::Context as _;
use hearth_api::Snapshot;
use hearth_guest_api::{
    AGENT_PORT, GuestClient, GuestTokens,
    client::{ExecEvent, ExecRequest},
};

use super::{Sandboxes, TEMPLATE};
use crate::{
    bare,
    benchmarks::snapshots::{machines::Machines, process},
    figures::{Turns, median, millis},
    host::Ground,
    output::Row,
};

/// What the SDK makes of `echo ready`.
const COMMAND: [&str; 4] = ["/bin/bash", "-l", "-c", "echo ready"];

/// What one sandbox takes while there is no other, in milliseconds.
pub(super) struct One {
    /// Until its first command's output.
    pub(super) first: f64,
    /// CPU time until then: of the SDK, of the daemon and its children, and of the VMM.
    pub(super) cpu: f64,
}

pub(super) async fn measure(ground: &Ground, sandboxes: &mut Sandboxes) -> anyhow::Result<(Vec<Row>, One)> {
    let snapshot = snapshot(sandboxes).await?;
    let (mut turns, mut created, mut cpus) = (Turns::default(), Vec::new(), Vec::new());
    // The first of each reads all from the disk.
    for round in 0..=ground.rounds(15) {
        sandboxes.settle().await?;
        let before = cpu_beside(sandboxes)?;
        let made = sandboxes.sdk.create(TEMPLATE).await?;
        let cpu = cpu_beside(sandboxes)? - before + cpu_of_vmm(sandboxes, &made.id).await?;
        sandboxes.settle().await?;
        let forked = forked(sandboxes, &snapshot).await?;
        if round > 0 {
            turns.ours.push(made.first_ms);
            turns.baseline.push(forked);
            created.push(made.created_ms);
            cpus.push(cpu);
        }
    }
    sandboxes.settle().await?;
    let (first, fork) = turns.medians();
    // Ticks are coarse: their mean is right where their median is not.
    let cpu = cpus.iter().sum::<f64>() / f64::from(u32::try_from(cpus.len())?);
    let rows = vec![
        Row::new(
            "`Sandbox.create()` to a first command's output, against a fork and an exec",
            "ms",
            first,
            fork,
            1.3,
        ),
        Row::informative("of that, until `create()` was done", "ms", median(created), first),
    ];
    Ok((rows, One { first, cpu }))
}

/// One of a sandbox in which nothing ran yet.
async fn snapshot(sandboxes: &mut Sandboxes) -> anyhow::Result<Snapshot> {
    let id = sandboxes.sdk.begin(TEMPLATE).await?;
    sandboxes.machines.snapshot(&id).await
}

/// A machine of the snapshot, from the request for it to the command's first output, in milliseconds. It is removed.
async fn forked(sandboxes: &Sandboxes, snapshot: &Snapshot) -> anyhow::Result<f64> {
    let started = Instant::now();
    let id = sandboxes.machines.start(Machines::from(snapshot)).await?;
    let tokens = GuestTokens {
        host: String::new(),
        access: access_token(sandboxes, &id)?,
    };
    let agent = GuestClient::new((sandboxes.address(&id).await?, AGENT_PORT).into(), tokens);
    let [cmd, args @ ..] = COMMAND.map(str::to_owned);
    let request = ExecRequest {
        cmd,
        args: args.to_vec(),
        ..ExecRequest::default()
    };
    let mut session = agent.exec(request).await?;
    let event = session.next().await.context("the command's events ended early")??;
    let took = millis(started.elapsed());
    anyhow::ensure!(matches!(event, ExecEvent::Stdout(_)), "the command said {event:?}");
    sandboxes.machines.remove(&id).await?;
    Ok(took)
}

/// What the machine's agent takes calls by. No API tells it of a machine that is no sandbox's.
fn access_token(sandboxes: &Sandboxes, id: &str) -> anyhow::Result<String> {
    let path = sandboxes.daemon.state().join("machines").join(id).join("state.json");
    let state: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
    let token = state["access_token"].as_str();
    Ok(token
        .with_context(|| format!("no token in {}", path.display()))?
        .to_owned())
}

fn cpu_beside(sandboxes: &Sandboxes) -> anyhow::Result<f64> {
    Ok(process::cpu_with_children(sandboxes.daemon.pid())? + process::cpu_with_children(sandboxes.sdk.pid()?)?)
}

async fn cpu_of_vmm(sandboxes: &Sandboxes, id: &str) -> anyhow::Result<f64> {
    let machine = sandboxes.machines.get(id).await?.id.to_string();
    process::cpu_of_threads(bare::pid_of(&machine)?)
}
