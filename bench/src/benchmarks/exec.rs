//! `true` by exec in a running machine, against the guest's own fork and exec as seen from inside.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use hearth_api::{ExecRequest, frame::ServerFrame};
use hearth_client::{ApiPath, Client};

use crate::{
    daemon::Daemon,
    figures::{Turns, median, millis},
    host::Ground,
    output::Row,
};

const BOOT_TIMEOUT: Duration = Duration::from_mins(1);
/// How often the guest forks for one figure.
const FORKS: u32 = 50;
const PROGRAM: &str = "/bin/true";

pub(crate) async fn measure(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    let daemon = Daemon::start(ground, "exec", &["--driver", "qemu"], &[]).await?;
    daemon.provide_guest().await?;
    let id = daemon.hearth(&["run", "-d", "bench/python", "sleep", "1000"]).await?;
    let client = daemon.client();
    await_guest(&client, &id).await?;
    let mut turns = Turns::default();
    let mut by_cli = Vec::new();
    for _ in 0..ground.rounds(12) {
        let mut some = Vec::new();
        for _ in 0..10 {
            let started = Instant::now();
            run(&client, &id, &[PROGRAM]).await?;
            some.push(millis(started.elapsed()));
        }
        turns.ours.push(median(some));
        turns.baseline.push(inside(&client, &id).await?);
        let started = Instant::now();
        daemon.hearth(&["exec", &id, PROGRAM]).await?;
        by_cli.push(millis(started.elapsed()));
    }
    let (ours, baseline) = turns.medians();
    Ok(vec![
        Row::new(
            "exec of `true`, against fork+exec in the guest",
            "ms",
            ours,
            baseline,
            3.0,
        ),
        Row::informative("the same by the CLI", "ms", median(by_cli), baseline),
    ])
}

async fn await_guest(client: &Client, id: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + BOOT_TIMEOUT;
    while let Err(error) = run(client, id, &[PROGRAM]).await {
        if Instant::now() > deadline {
            return Err(error.context("the machine does not come up"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// One fork and exec, in milliseconds, by the guest's clock and its own shell.
async fn inside(client: &Client, id: &str) -> anyhow::Result<f64> {
    let script = format!(
        "a=$(date +%s%N); i=0; while [ $i -lt {FORKS} ]; do {PROGRAM}; i=$((i+1)); done; b=$(date +%s%N); echo $((b-a))"
    );
    let printed = run(client, id, &["/bin/sh", "-c", &script]).await?;
    let nanoseconds: u64 = printed
        .trim()
        .parse()
        .with_context(|| format!("the guest said {printed:?}"))?;
    Ok(millis(Duration::from_nanos(nanoseconds) / FORKS))
}

/// Runs a command in the machine; gives what it printed.
async fn run(client: &Client, id: &str, cmd: &[&str]) -> anyhow::Result<String> {
    let mut session = client.session(&ApiPath::v1(&["machines", id, "exec"])).await?;
    let cmd = cmd.iter().map(|word| (*word).to_owned()).collect();
    let request = ExecRequest {
        cmd,
        env: Vec::new(),
        working_dir: None,
        user: None,
        tty: None,
        stdin: false,
    };
    session.sender.begin(&request).await?;
    let mut printed = Vec::new();
    while let Some(frame) = session.receiver.next().await {
        match frame? {
            ServerFrame::Stdout(bytes) => printed.extend_from_slice(&bytes),
            ServerFrame::Stderr(bytes) => eprint!("{}", String::from_utf8_lossy(&bytes)),
            ServerFrame::Status(end) => {
                let code = end.exit.as_ref().map(|exit| exit.code);
                anyhow::ensure!(code == Some(0), "the command did not end well: {end:?}");
                return Ok(String::from_utf8(printed)?);
            }
            ServerFrame::Numbered(_) => anyhow::bail!("an exec numbers no output"),
        }
    }
    anyhow::bail!("the session ended early")
}
