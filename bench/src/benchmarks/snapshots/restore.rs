//! A machine from a snapshot, from the request to the state `running`, against a QEMU that the benchmark itself starts with
//! the same arguments on the same memory and devices, to its agent's first answer; and against a boot of the same machine.

use std::{
    fs::{self, File},
    future::Future,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::{StreamExt as _, stream::FuturesUnordered};
use hearth_api::Snapshot;
use hearth_driver::memory::SealedMemory;
use hearth_guest_api::{
    GuestClient, GuestTokens,
    guest::{InitRequest, Restore},
};
use tokio::time::sleep;

use super::machines::Machines;
use crate::{
    bare::{CommandLine, Place},
    daemon::Daemon,
    figures::{Turns, median, millis},
    host::Ground,
    output::Row,
};

/// How often a bare guest is asked, whether or not it answered the last time.
const ASK: Duration = Duration::from_millis(3);

/// What machines of a snapshot are measured against, in milliseconds.
pub(super) struct Baselines {
    /// A bare QEMU's restore, until its agent answers.
    pub(super) bare: f64,
    /// A boot.
    pub(super) boot: f64,
}

pub(super) async fn measure(
    ground: &Ground,
    daemon: &Daemon,
    machines: &Machines,
) -> anyhow::Result<(Vec<Row>, Baselines)> {
    let source = machines.start(Machines::sleeper()).await?;
    let snapshot = machines.snapshot(&source).await?;
    machines.remove(&source).await?;
    let place = Place::new(ground, "bare-restore")?;
    let files = Files::of(daemon, &snapshot)?;
    let host_token = files.host_token.clone();
    let (mut turns, mut told, mut boots) = (Turns::default(), Vec::new(), Vec::new());
    // The first reads all from the disk, and its QEMU's arguments are taken.
    let first = machines.start(Machines::from(&snapshot)).await?;
    let line = CommandLine::of_machine(&first).await?;
    let line = line.going_on_from(&files.memory.path(), &files.devices)?;
    machines.remove(&first).await?;
    for _ in 0..ground.rounds(11) {
        daemon.settle().await?;
        turns
            .ours
            .push(timed(machines, machines.start(Machines::from(&snapshot))).await?);
        daemon.settle().await?;
        turns.baseline.push(millis(place.time(&line, awake).await?));
        let token = host_token.clone();
        told.push(millis(place.time(&line, |client| tell(client, token)).await?));
    }
    for _ in 0..ground.rounds(5) {
        daemon.settle().await?;
        boots.push(timed(machines, machines.start(Machines::sleeper())).await?);
    }
    daemon.settle().await?;
    let ((ours, bare), told, boot) = (turns.medians(), median(told), median(boots));
    let rows = vec![
        Row::new(
            "fork from a snapshot to running, against a bare QEMU's restore",
            "ms",
            ours,
            bare,
            1.3,
        ),
        Row::informative(
            "the same, against a bare QEMU whose guest is told the same",
            "ms",
            ours,
            told,
        ),
        Row::new("the same, against a cold boot", "ms", ours, boot, 0.05),
    ];
    Ok((rows, Baselines { bare, boot }))
}

/// How long it takes until a machine runs, in milliseconds. It is removed.
pub(super) async fn timed(
    machines: &Machines,
    start: impl Future<Output = anyhow::Result<String>>,
) -> anyhow::Result<f64> {
    let started = Instant::now();
    let id = start.await?;
    let took = millis(started.elapsed());
    machines.remove(&id).await?;
    Ok(took)
}

/// What a bare QEMU goes on from: the memory from a sealed copy, as the daemon has one.
struct Files {
    memory: SealedMemory,
    devices: PathBuf,
    /// Opens the guest's host-only calls.
    host_token: String,
}

impl Files {
    fn of(daemon: &Daemon, snapshot: &Snapshot) -> anyhow::Result<Self> {
        let folder = daemon.state().join("snapshots").join(snapshot.id.to_string());
        let memory = File::open(folder.join("memory"))?;
        let manifest: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("manifest.json"))?)?;
        let host_token = manifest["host_token"].as_str().context("no token in the manifest")?;
        Ok(Self {
            host_token: host_token.to_owned(),
            memory: SealedMemory::copy_of(&memory, |_, _| ())?,
            devices: folder.join("devices"),
        })
    }
}

/// Returns as soon as the agent answers.
async fn awake(client: GuestClient) -> anyhow::Result<()> {
    let mut asked = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(Ok(())) = asked.next() => return Ok(()),
            () = sleep(ASK) => {
                let client = client.clone();
                asked.push(async move { client.health().await });
            }
        }
    }
}

/// Returns when the guest knows that it is a copy, as one of ours does before it counts as running.
async fn tell(client: GuestClient, host_token: String) -> anyhow::Result<()> {
    awake(client.clone()).await?;
    let tokens = GuestTokens {
        host: host_token,
        access: String::new(),
    };
    let request = InitRequest {
        hostname: "bare".to_owned(),
        entropy: vec![7; 64].into(),
        restore: Some(Restore {
            copy: true,
            machine_id: format!("{:032x}", 7),
            hold: false,
        }),
        ..InitRequest::default()
    };
    GuestClient::new(client.addr(), tokens).init(request).await?;
    Ok(())
}
