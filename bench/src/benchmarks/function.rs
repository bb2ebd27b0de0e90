//! A cold call against the start of a machine with the same program, and calls that are kept.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hearth_api::{CreateMachine, DeployFunction, Deployment, Function, FunctionSettings, Machine, RemoveQuery};
use hearth_client::{ApiPath, Client};
use http::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::gateway::load::load_with;
use crate::{
    daemon::Daemon,
    figures::{Turns, median, millis},
    host::Ground,
    output::Row,
};

/// What a cold call may add to the start of a machine.
const COLD_LIMIT_MS: f64 = 30.0;
/// So late it may be noticed that a program is ready: that is ours, and no part of the start.
const READY_LATE_MS: f64 = 5.0;
/// 2,000 a second.
const ACCEPT_LIMIT_MS: f64 = 0.5;
const AT_ONCE: u32 = 64;
const IMAGE: &str = "bench/python";
const PORT: u16 = 8080;
/// A server of a few lines: the minimal Python of the image has none.
const SERVER: &str = "import socket
s = socket.create_server(('', 8080))
while True:
    c, _ = s.accept()
    c.recv(65536)
    c.send(b'HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\nconnection: close\\r\\n\\r\\nok')
    c.close()
";
const ANSWER_TIMEOUT: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(2);

pub(crate) async fn measure(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    let mut rows = cold(ground).await?;
    rows.push(accept(ground).await?);
    Ok(rows)
}

async fn cold(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    let daemon = Daemon::start(ground, "cold", &[], &[]).await?;
    daemon.provide_guest().await?;
    let client = daemon.client();
    let gateway = deploy(&client, "cold", None, IdleMs(0)).await?;
    let mut turns = Turns::default();
    let mut added = Vec::new();
    // The first of each reads the image from the disk.
    for round in 0..=ground.rounds(9) {
        let machine = start_machine(&client).await?;
        let before = starts_took(&client).await?;
        let call = call_cold(gateway).await?;
        let its_start = starts_took(&client).await? - before;
        daemon.settle().await?;
        if round > 0 {
            turns.baseline.push(machine);
            turns.ours.push(call);
            added.push(call - its_start + READY_LATE_MS);
        }
    }
    let (call, machine) = turns.medians();
    Ok(vec![
        Row::informative("cold call, against a machine's start", "ms", call, machine),
        Row::within(
            "what a cold call adds to its own machine's start",
            "ms",
            median(added),
            COLD_LIMIT_MS,
        ),
    ])
}

/// How long an instance is kept that nobody calls.
pub(super) struct IdleMs(pub(super) u64);

/// Deploys the server; gives the gateway's address.
pub(super) async fn deploy(
    client: &Client,
    name: &str,
    driver: Option<hearth_api::Driver>,
    idle: IdleMs,
) -> anyhow::Result<SocketAddr> {
    let request = DeployFunction {
        image: Some(IMAGE.to_owned()),
        cmd: program(),
        driver,
        settings: FunctionSettings {
            public: Some(true),
            max: Some(1),
            idle_ms: Some(idle.0),
            ..FunctionSettings::default()
        },
        ..DeployFunction::default()
    };
    let path = ApiPath::v1(&["functions", name]);
    let deployed: Deployment = client.send_json(Method::PUT, &path, &request).await?;
    address(&deployed.function)
}

fn address(function: &Function) -> anyhow::Result<SocketAddr> {
    let url = function
        .urls
        .first()
        .context("the daemon tells no address of its gateway")?;
    let host = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
    host.parse().with_context(|| format!("{url} has no address"))
}

/// What runs the server.
pub(super) fn program() -> Vec<String> {
    ["python3", "-c", SERVER].map(str::to_owned).to_vec()
}

/// From the request for a machine to its program's answer, in milliseconds.
async fn start_machine(client: &Client) -> anyhow::Result<f64> {
    let started = Instant::now();
    let request = CreateMachine {
        image: IMAGE.to_owned(),
        cmd: program(),
        start: true,
        ..CreateMachine::default()
    };
    let made: Machine = client.post_json(&ApiPath::v1(&["machines"]), &request).await?;
    let id = made.id.to_string();
    let path = ApiPath::v1(&["machines", &id]);
    let answered = async {
        let ip = loop {
            let machine: Machine = client.get(&path).await?;
            if let Some(address) = machine.address {
                break address.parse()?;
            }
            sleep(POLL).await;
        };
        while ask(SocketAddr::new(ip, PORT), "/").await.is_err() {
            sleep(POLL).await;
        }
        anyhow::Ok(millis(started.elapsed()))
    };
    let took = timeout(ANSWER_TIMEOUT, answered)
        .await
        .context("the machine does not answer")??;
    let force = RemoveQuery { force: true };
    client.act(Method::DELETE, &path.query(&force)).await?;
    Ok(took)
}

/// How long machines took to be prepared and to boot, and their programs to be ready, in all, in milliseconds.
async fn starts_took(client: &Client) -> anyhow::Result<f64> {
    let text = metrics(client).await?;
    let phase = |line: &str| {
        let (phase, seconds) = line
            .strip_prefix("hearth_cold_start_phase_seconds_sum{phase=\"")?
            .split_once("\"}")?;
        let counts = ["prepare", "boot", "program_to_ready"].contains(&phase);
        counts.then(|| seconds.trim().parse::<f64>().ok()).flatten()
    };
    Ok(text.lines().filter_map(phase).sum::<f64>() * 1000.0)
}

/// The daemon's metrics as it tells them.
pub(super) async fn metrics(client: &Client) -> anyhow::Result<String> {
    let (_, mut body) = client.download(&ApiPath::metrics()).await?;
    let mut text = String::new();
    while let Some(piece) = body.next().await {
        text.push_str(&String::from_utf8_lossy(&piece?));
    }
    Ok(text)
}

/// From a call to its answer, in milliseconds, when there is no instance.
async fn call_cold(gateway: SocketAddr) -> anyhow::Result<f64> {
    let started = Instant::now();
    let called = ask(gateway, "/fn/default/cold/");
    timeout(ANSWER_TIMEOUT, called)
        .await
        .context("the function does not answer")??;
    Ok(millis(started.elapsed()))
}

/// Asks once on a connection of its own.
pub(super) async fn ask(at: SocketAddr, path: &str) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(at).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    anyhow::ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(())
}

/// Calls that nobody waits for: each is on the disk before it is answered for. Nothing runs them here.
async fn accept(ground: &Ground) -> anyhow::Result<Row> {
    let daemon = Daemon::start(ground, "accept", &[], &[("HEARTH_FAKE_DRIVER", "1")]).await?;
    daemon.provide_guest().await?;
    let client = daemon.client();
    let gateway = deploy(&client, "later", Some(hearth_api::Driver::Fake), IdleMs(0)).await?;
    let seconds = Duration::from_secs(if ground.rounds(9) < 9 { 2 } else { 8 });
    let header = Some("prefer: respond-async");
    let seen = load_with(gateway, "/fn/default/later/", AT_ONCE, seconds, header).await?;
    client
        .act(Method::DELETE, &ApiPath::v1(&["functions", "later"]))
        .await?;
    let each = 1000.0 / seen.rate;
    Ok(Row::within(
        "asynchronous call kept on the disk, 64 at once: time for each",
        "ms",
        each,
        ACCEPT_LIMIT_MS,
    ))
}
