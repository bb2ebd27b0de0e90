//! The daemon's own share of a create, many creates at once, and what the daemon weighs: on the fake driver.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::{StreamExt as _, stream};
use hearth_api::{CreateMachine, Driver, Machine};
use hearth_client::{ApiPath, Client};
use hearth_testkit::images::{Image, Layout};
use http::Method;

use crate::{
    daemon::Daemon,
    figures::{median, millis},
    host::Ground,
    output::Row,
};

const IMAGE: &str = "bench/busybox";
const CREATE_LIMIT_MS: f64 = 3.0;
const IDLE_LIMIT_MIB: f64 = 60.0;
const MACHINE_LIMIT_KIB: f64 = 50.0;
const AT_ONCE: usize = 64;
/// No machine's making takes longer, however many are asked for.
const CREATE_TIMEOUT: Duration = Duration::from_mins(1);
/// All of them run soon after the last was asked for.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Room for many machines of the usual size on a small host; no daemon allows more.
const ARGS: [&str; 4] = ["--cpu-overcommit", "1000", "--memory-overcommit", "1000"];

pub(crate) async fn measure(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    let mut daemon = Daemon::start(ground, "create", &ARGS, &[("HEARTH_FAKE_DRIVER", "1")]).await?;
    provide_image(ground, &daemon).await?;
    // An import leaves its traces in the heap, which are not a create's.
    daemon.restart().await?;
    let client = daemon.client();
    let idle_kib = resident_kib(daemon.pid())?;
    let one_by_one = ground.rounds(300);
    let (creates, answers) = sequential(&client, one_by_one).await?;
    let many = ground.rounds(1000);
    let started = Instant::now();
    let failed = concurrent(&client, many).await;
    let wall = started.elapsed();
    all_running(&daemon, one_by_one + many - failed).await?;
    let full_kib = resident_kib(daemon.pid())?;
    let a_machine_kib = (full_kib - idle_kib) / count(one_by_one + many);
    Ok(vec![
        Row::within("create and start, fake driver, p50", "ms", creates, CREATE_LIMIT_MS),
        Row::informative("the same, against GET /healthz", "ms", creates, answers),
        Row::new(
            "creates, 64 at once: failed, of all",
            "",
            count(failed),
            count(many),
            0.0,
        ),
        Row::informative(
            "the same, 64 at once: time for each",
            "ms",
            millis(wall) / count(many),
            creates,
        ),
        Row::within("idle daemon, resident", "MiB", idle_kib / 1024.0, IDLE_LIMIT_MIB),
        Row::within("more for each fake machine", "KiB", a_machine_kib, MACHINE_LIMIT_KIB),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "thousands")]
fn count(number: usize) -> f64 {
    number as f64
}

async fn provide_image(ground: &Ground, daemon: &Daemon) -> anyhow::Result<()> {
    let folder = ground.subfolder("busybox")?;
    let image = Image::busybox("bench").map_err(|error| anyhow::anyhow!("{error}"))?;
    Layout::with_image(&folder, &image, "bench").map_err(|error| anyhow::anyhow!("{error}"))?;
    daemon
        .hearth(&["image", "import", &folder.to_string_lossy(), "--name", IMAGE])
        .await?;
    Ok(())
}

/// The medians of creates and of answers that need nothing, in turns, in milliseconds.
async fn sequential(client: &Client, rounds: usize) -> anyhow::Result<(f64, f64)> {
    let (mut creates, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let started = Instant::now();
        create(client).await?;
        creates.push(millis(started.elapsed()));
        let started = Instant::now();
        client.act(Method::GET, &ApiPath::health()).await?;
        answers.push(millis(started.elapsed()));
    }
    Ok((median(creates), median(answers)))
}

/// How many of many creates failed.
async fn concurrent(client: &Client, many: usize) -> usize {
    let outcomes = stream::iter(0..many).map(|_| create(client)).buffer_unordered(AT_ONCE);
    let failures = outcomes.filter_map(|outcome| std::future::ready(outcome.err()));
    let failures: Vec<anyhow::Error> = failures.collect().await;
    if let Some(first) = failures.first() {
        eprintln!("the first failure: {first:#}");
    }
    failures.len()
}

async fn create(client: &Client) -> anyhow::Result<()> {
    let request = CreateMachine {
        image: IMAGE.to_owned(),
        driver: Some(Driver::Fake),
        start: true,
        ..CreateMachine::default()
    };
    let path = ApiPath::v1(&["machines"]);
    let made = client.post_json::<Machine>(&path, &request);
    tokio::time::timeout(CREATE_TIMEOUT, made)
        .await
        .context("a create took too long")??;
    Ok(())
}

/// Waits until that many machines run; a start goes on after its request was answered.
async fn all_running(daemon: &Daemon, wanted: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let running = daemon.hearth(&["ps", "-q"]).await?.lines().count();
        if running == wanted {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "of {wanted} machines {running} run");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What a process holds in memory, in KiB.
fn resident_kib(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let number = line
        .and_then(|line| line.split_whitespace().next())
        .with_context(|| format!("no Rss in {path}"))?;
    Ok(number.parse()?)
}
