//! E2B's SDK for Python as it is, in a process that does what it is told by lines of JSON: `bench/sandboxes/drive.py`.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use anyhow::Context as _;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::fixtures;

/// Fifty sandboxes at once take the longest.
const WISH_TIMEOUT: Duration = Duration::from_mins(10);

/// The process, killed when it is dropped.
pub(super) struct Sdk {
    child: Child,
    wishes: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// A sandbox, and how long it took.
#[derive(Debug, Deserialize)]
pub(super) struct Made {
    pub(super) id: String,
    /// Until `Sandbox.create()` was done.
    pub(super) created_ms: f64,
    /// From the same moment until a first command's first output was there.
    pub(super) first_ms: f64,
}

#[derive(Debug, Deserialize)]
struct Begun {
    id: String,
}

/// How long a copy took, and of how much.
#[derive(Debug, Deserialize)]
pub(super) struct Took {
    pub(super) ms: f64,
    pub(super) bytes: usize,
}

impl Sdk {
    /// Starts it, for a daemon's API and gateway and with a key of it.
    pub(super) async fn start(api: SocketAddr, gateway: SocketAddr, key: &str) -> anyhow::Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("sandboxes/drive.py");
        let mut command = Command::new("python3");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("E2B_")) {
            command.env_remove(name);
        }
        let mut child = command
            .arg(script)
            .env("PYTHONPATH", fixtures::e2b_packages().await?)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("E2B_API_URL", format!("http://{api}"))
            .env("E2B_SANDBOX_URL", format!("http://{gateway}"))
            .env("E2B_API_KEY", key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for us.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot run python3")?;
        let wishes = child.stdin.take().context("no way to tell the SDK anything")?;
        let answers = child.stdout.take().context("no way to hear of the SDK")?;
        Ok(Self {
            child,
            wishes,
            answers: BufReader::new(answers).lines(),
        })
    }

    /// Its process.
    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the SDK's process has ended")
    }

    /// A new sandbox in which nothing runs; its ID.
    pub(super) async fn begin(&mut self, template: &str) -> anyhow::Result<String> {
        let begun: Begun = self.ask("begin", json!({ "template": template })).await?;
        Ok(begun.id)
    }

    /// A new sandbox, and its first command.
    pub(super) async fn create(&mut self, template: &str) -> anyhow::Result<Made> {
        self.ask("create", json!({ "template": template })).await
    }

    pub(super) async fn kill_all(&mut self) -> anyhow::Result<()> {
        let _: Value = self.ask("kill_all", json!({})).await?;
        Ok(())
    }

    /// Has it do something; its answer.
    pub(super) async fn ask<A: DeserializeOwned>(&mut self, wish: &str, mut details: Value) -> anyhow::Result<A> {
        details["wish"] = wish.into();
        let answered = timeout(WISH_TIMEOUT, self.exchange(&details)).await;
        let line = answered.with_context(|| format!("the SDK takes too long to {wish}"))??;
        serde_json::from_str(&line).with_context(|| format!("the SDK was to {wish} and said {line:?}"))
    }

    async fn exchange(&mut self, wish: &Value) -> anyhow::Result<String> {
        self.wishes.write_all(format!("{wish}\n").as_bytes()).await?;
        let line = self.answers.next_line().await?;
        line.with_context(|| format!("the SDK failed at {wish}; what it said is above"))
    }
}
