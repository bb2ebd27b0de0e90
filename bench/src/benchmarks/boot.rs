//! A cold `hearth run --rm IMG true` against a bare QEMU with the same arguments, to the program's end.
//!
//! The bare QEMU is started with the very arguments of a machine's (read from `/proc`), but for the card, whose tap
//! QEMU opens itself. We ask its agent as the daemon does, and stop the clock when the record of the exit is here.

use std::{
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStringExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hearth_driver::launch::ROOT_PATH;
use hearth_guest_api::{
    AGENT_PORT, GuestClient, GuestTokens,
    guest::{InitRequest, Workload, record::Body},
};
use hearth_network::{GATEWAY_IPV4, GUEST_IPV4};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{
    daemon::Daemon,
    figures::{Turns, millis},
    host::Ground,
    output::Row,
};

const BOOT_TIMEOUT: Duration = Duration::from_mins(1);
const TAP: &str = "tap0";

pub(crate) async fn measure(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    let daemon = Daemon::start(ground, "boot", &["--driver", "qemu"], &[]).await?;
    daemon.provide_guest().await?;
    let folder = ground.subfolder("bare")?;
    let args = qemu_arguments(&daemon).await?;
    let namespace = Namespace::create()?;
    let mut turns = Turns::default();
    for _ in 0..ground.rounds(9) {
        daemon.settle().await?;
        let started = Instant::now();
        daemon.hearth(&["run", "--rm", "bench/python", "true"]).await?;
        turns.ours.push(millis(started.elapsed()));
        daemon.settle().await?;
        let bare = Bare {
            namespace: namespace.path(),
            folder: folder.clone(),
            args: args.clone(),
        };
        let took = tokio::task::spawn_blocking(move || bare.run()).await??;
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

/// The arguments of a real machine's QEMU, with a tap and a root that it opens itself.
async fn qemu_arguments(daemon: &Daemon) -> anyhow::Result<Vec<OsString>> {
    let id = daemon.hearth(&["run", "-d", "bench/python", "sleep", "1000"]).await?;
    let deadline = Instant::now() + BOOT_TIMEOUT;
    let args = loop {
        if let Some(args) = find_qemu(&id)? {
            break args;
        }
        anyhow::ensure!(Instant::now() < deadline, "no QEMU of machine {id}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    daemon.hearth(&["rm", "-f", &id]).await?;
    Ok(args)
}

/// An argument with what a machine's QEMU was handed by number in it, as a QEMU finds it by itself.
fn by_itself(process: &Path, arg: OsString) -> OsString {
    let text = arg.to_string_lossy();
    if text.starts_with("tap,") {
        return own_tap();
    }
    match text.split_once(ROOT_PATH) {
        Some((before, after)) => {
            let number = ROOT_PATH.rsplit('/').next().unwrap_or_default();
            // One that just ended makes for arguments that no QEMU takes, and the benchmark says so.
            let root = fs::read_link(process.join("fd").join(number)).unwrap_or_default();
            format!("{before}{}{after}", root.display()).into()
        }
        None => arg,
    }
}

fn own_tap() -> OsString {
    format!("tap,id=net,ifname={TAP},script=no,downscript=no,vhost=off").into()
}

/// The command line of the QEMU that runs machine `id`.
fn find_qemu(id: &str) -> anyhow::Result<Option<Vec<OsString>>> {
    for entry in fs::read_dir("/proc")?.flatten() {
        // Processes come and go while we look.
        let bytes = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let args: Vec<OsString> = bytes
            .strip_suffix(b"\0")
            .unwrap_or(&bytes)
            .split(|byte| *byte == 0)
            .map(|arg| OsString::from_vec(arg.to_vec()))
            .collect();
        let is_qemu = args
            .first()
            .is_some_and(|program| program.to_string_lossy().contains("qemu-system"));
        if is_qemu && args.iter().any(|arg| arg.to_string_lossy().contains(id)) {
            let args = args.into_iter().map(|arg| by_itself(&entry.path(), arg));
            return Ok(Some(args.collect()));
        }
    }
    Ok(None)
}

/// A bare boot to be.
struct Bare {
    namespace: PathBuf,
    folder: PathBuf,
    args: Vec<OsString>,
}

impl Bare {
    /// Boots, runs `true`, and gives the time until its exit was known.
    fn run(self) -> anyhow::Result<Duration> {
        // A thread of its own, which ends with the boot, so that nobody else finds itself in the namespace.
        let boot = std::thread::spawn(move || self.run_inside());
        boot.join().map_err(|_| anyhow::anyhow!("the bare boot panicked"))?
    }

    fn run_inside(&self) -> anyhow::Result<Duration> {
        enter(&self.namespace)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = GuestClient::new((GUEST_IPV4, AGENT_PORT).into(), tokens());
        let started = Instant::now();
        let mut qemu = Qemu(self.spawn()?);
        let outcome = runtime.block_on(async {
            tokio::select! {
                outcome = tokio::time::timeout(BOOT_TIMEOUT, run_true(&client)) => {
                    outcome.context("it took too long")?
                }
                () = qemu.ended() => Err(anyhow::anyhow!("its QEMU is gone")),
            }
        });
        let took = started.elapsed();
        let ended = qemu.0.try_wait()?;
        outcome.with_context(|| format!("the bare guest (QEMU: {ended:?}; see {})", self.folder.display()))?;
        Ok(took)
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let (program, args) = self.args.split_first().context("an empty command line")?;
        let console = fs::File::create(self.folder.join("console.log"))?;
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console);
        Ok(command.spawn()?)
    }
}

/// Moves this thread into a network namespace.
fn enter(namespace: &Path) -> anyhow::Result<()> {
    use std::os::fd::AsFd as _;
    let file = fs::File::open(namespace)?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).context("cannot enter the namespace")
}

fn tokens() -> GuestTokens {
    GuestTokens {
        host: "h".repeat(64),
        access: "a".repeat(64),
    }
}

/// What the daemon does with a guest, as far as `true`'s end.
async fn run_true(client: &GuestClient) -> anyhow::Result<()> {
    client.wait_ready(Instant::now() + BOOT_TIMEOUT).await?;
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

/// Killed when dropped.
struct Qemu(Child);

impl Qemu {
    /// Returns when it has ended by itself, as at Ctrl-C.
    async fn ended(&mut self) {
        while matches!(self.0.try_wait(), Ok(None)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A network namespace with a tap, removed when dropped.
struct Namespace(String);

impl Namespace {
    fn create() -> anyhow::Result<Self> {
        let name = format!("hearth-bench-{}", std::process::id());
        ip(&["netns", "add", &name])?;
        let namespace = Self(name);
        let inside = |args: &[&str]| ip(&[&["-n", &namespace.0], args].concat());
        inside(&["tuntap", "add", TAP, "mode", "tap", "vnet_hdr"])?;
        inside(&["address", "add", &format!("{GATEWAY_IPV4}/30"), "dev", TAP])?;
        inside(&["link", "set", TAP, "up"])?;
        Ok(namespace)
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.0)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "delete", &self.0]) {
            eprintln!("bench: cannot remove the namespace: {error:#}");
        }
    }
}

fn ip(args: &[&str]) -> anyhow::Result<()> {
    // A process group of its own: a second Ctrl-C must not hinder the cleaning up after the first.
    let output = Command::new("ip")
        .args(args)
        .process_group(0)
        .output()
        .context("cannot run ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "ip {args:?}: {}", said.trim());
    Ok(())
}
