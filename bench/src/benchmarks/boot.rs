//! A cold `hearth run --rm IMG true` against a bare QEMU with the same arguments, to the program's end.
//!
//! The clock of the bare one stops when the record of the exit is here.

use std::time::Instant;

use hearth_guest_api::{
    GuestClient,
    guest::{InitRequest, Workload, record::Body},
};

use crate::{
    bare::{self, CommandLine, Place},
    daemon::Daemon,
    figures::{Turns, millis},
    host::Ground,
    output::Row,
};

pub(crate) async fn measure(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    let daemon = Daemon::start(ground, "boot", &["--driver", "qemu"], &[]).await?;
    daemon.provide_guest().await?;
    let place = Place::new(ground, "bare")?;
    let id = daemon.hearth(&["run", "-d", "bench/python", "sleep", "1000"]).await?;
    let line = CommandLine::of_machine(&id).await?;
    daemon.hearth(&["rm", "-f", &id]).await?;
    let mut turns = Turns::default();
    for _ in 0..ground.rounds(9) {
        daemon.settle().await?;
        let started = Instant::now();
        daemon.hearth(&["run", "--rm", "bench/python", "true"]).await?;
        turns.ours.push(millis(started.elapsed()));
        daemon.settle().await?;
        let took = place
            .time(&line, |client| async move { run_true(&client).await })
            .await?;
        turns.baseline.push(millis(took));
    }
    let (ours, baseline) = turns.medians();
    Ok(vec![Row::new(
        "cold run of `true`, against bare QEMU",
        "ms",
        ours,
        baseline,
        1.15,
    )])
}

/// What the daemon does with a guest, as far as `true`'s end.
async fn run_true(client: &GuestClient) -> anyhow::Result<()> {
    client.wait_ready(Instant::now() + bare::TIMEOUT).await?;
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let workload = Workload {
        args: vec!["true".to_owned()],
        env: [("PATH".to_owned(), path.to_owned())].into(),
        ..Workload::default()
    };
    let request = InitRequest {
        hostname: "bare".to_owned(),
        entropy: vec![7; 64].into(),
        workload: Some(workload),
        ..InitRequest::default()
    };
    client.init(request).await?;
    let mut records = client.follow(0).await?;
    while let Some(record) = records.next().await {
        if let Some(Body::Exited(exited)) = record?.body {
            anyhow::ensure!(exited.code == 0, "true exited with {}", exited.code);
            return Ok(());
        }
    }
    anyhow::bail!("the guest's records ended early")
}
