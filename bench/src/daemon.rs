//! A daemon on a state folder of its own, ended and emptied when it is dropped.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hearth_client::{Client, Endpoint};
use rustix::process::{Pid, Signal, kill_process};

use crate::{fixtures, host::Ground};

const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// A running daemon.
pub(crate) struct Daemon {
    hearth: PathBuf,
    folder: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    child: Option<Child>,
}

impl Daemon {
    /// Starts one in the folder `name`; returns when it answers.
    pub(crate) async fn start(
        ground: &Ground,
        name: &str,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let mut daemon = Self {
            hearth: ground.hearth.clone(),
            folder: ground.subfolder(name)?,
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: env
                .iter()
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            child: None,
        };
        daemon.up().await?;
        Ok(daemon)
    }

    /// Ends it and starts it anew.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        self.down();
        self.up().await
    }

    async fn up(&mut self) -> anyhow::Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))?;
        let mut command = Command::new(&self.hearth);
        command
            .args(["up", "--state-dir"])
            .arg(self.state())
            .args(&self.args)
            // The usual port is another daemon's.
            .env("HEARTH_GATEWAY", "127.0.0.1:0")
            .envs(self.env.iter().cloned())
            .env("HEARTH_SOCKET", self.socket())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for us: the daemon is needed to clean up.
            .process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {}", self.hearth.display()))?;
        self.child = Some(child);
        let deadline = Instant::now() + START_TIMEOUT;
        while self.hearth(&["node", "info"]).await.is_err() {
            let ended = self
                .child
                .as_mut()
                .is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            anyhow::ensure!(
                !ended && Instant::now() < deadline,
                "the daemon does not start: {}",
                self.log()
            );
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Its state folder.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("hearth.sock")
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        Client::new(Endpoint::Unix(self.socket()))
    }

    /// A hearth command that speaks to it.
    pub(crate) fn command(&self, args: &[&str]) -> tokio::process::Command {
        self.plain_command(args).into()
    }

    fn plain_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.hearth);
        // What whoever measures may have set for a host that is to be left alone.
        for variable in ["HEARTH_HOST", "HEARTH_KEY", "HEARTH_PROJECT"] {
            command.env_remove(variable);
        }
        command.env("HEARTH_SOCKET", self.socket()).args(args);
        command
    }

    /// Runs a hearth command to its good end; gives what it printed.
    pub(crate) async fn hearth(&self, args: &[&str]) -> anyhow::Result<String> {
        Ok(fixtures::output(&mut self.command(args)).await?.trim().to_owned())
    }

    /// Gives it a kernel.
    pub(crate) async fn provide_kernel(&self) -> anyhow::Result<()> {
        let kernel = fixtures::kernel_deb().await?;
        self.hearth(&["kernel", "import", "--deb", &kernel.to_string_lossy()])
            .await?;
        Ok(())
    }

    /// Gives it a kernel and the Debian with Python, as `bench/python`.
    pub(crate) async fn provide_guest(&self) -> anyhow::Result<()> {
        self.provide_kernel().await?;
        let root = fixtures::python_root().await?;
        let root = root.to_string_lossy();
        self.hearth(&["image", "import", &root, "--name", "bench/python", "--cmd", "true"])
            .await?;
        Ok(())
    }

    /// Waits until it has no machine, and gives the host a moment of rest for the next measurement.
    pub(crate) async fn settle(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + STOP_TIMEOUT;
        while !self.hearth(&["ps", "-aq"]).await?.is_empty() {
            anyhow::ensure!(Instant::now() < deadline, "the machines do not go away");
            tokio::time::sleep(POLL).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(())
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    fn down(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // It may have died by itself; what counts is that it is gone afterwards.
        let _ = kill_process(Pid::from_child(&child), Signal::TERM);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = child.kill();
            }
            std::thread::sleep(POLL);
        }
    }

    /// Removes its functions, which would start machines anew, and its machines, some at a time: a command line has an end.
    fn empty(&self) {
        let functions = self.at_the_end(&["--json", "fn", "ls"]);
        let functions: Vec<Named> = serde_json::from_str(&functions).unwrap_or_default();
        for function in &functions {
            self.at_the_end(&["fn", "rm", &function.name]);
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        loop {
            let listed = self.at_the_end(&["ps", "-aq"]);
            let machines: Vec<&str> = listed.split_whitespace().collect();
            if machines.is_empty() || Instant::now() > deadline {
                return;
            }
            for some in machines.chunks(200) {
                self.at_the_end(&[&["rm", "-f"], some].concat());
            }
        }
    }

    /// What a hearth command printed that nothing hinders, Ctrl-C neither.
    fn at_the_end(&self, args: &[&str]) -> String {
        let ended = self.plain_command(args).process_group(0).stderr(Stdio::null()).output();
        ended.map_or_else(
            |_| String::new(),
            |output| String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }
}

/// A function in a list.
#[derive(serde::Deserialize)]
struct Named {
    name: String,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.empty();
        }
        self.down();
    }
}
