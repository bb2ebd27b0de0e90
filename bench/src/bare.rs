//! QEMUs that the benchmark starts itself, with the very arguments of a machine's (read from `/proc`): what was handed to
//! that one as an open file, the bare one opens itself. The benchmark asks its agent as the daemon does.

use std::{
    ffi::OsString,
    fs::{self, File},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::{ffi::OsStringExt as _, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hearth_driver::launch::{MEMORY_PATH, ROOT_PATH};
use hearth_guest_api::{AGENT_PORT, GuestClient, GuestTokens};
use hearth_network::{GATEWAY_IPV4, GUEST_IPV4, GUEST_MAC};
use rustix::{
    io::{FdFlags, fcntl_setfd},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::host::Ground;

/// No bare guest takes longer to what is waited for.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);
const FIND_TIMEOUT: Duration = Duration::from_mins(1);
const TAP: &str = "tap0";
/// What every slot's gateway has: a guest that goes on sends to the one it knows.
const GATEWAY_MAC: &str = "02:48:45:47:57:59";

/// What a bare QEMU is started with.
#[derive(Debug, Clone)]
pub(crate) struct CommandLine {
    args: Vec<OsString>,
    /// The devices that come in.
    devices: Option<PathBuf>,
}

impl CommandLine {
    /// That of machine `id`'s QEMU. Waits for it.
    pub(crate) async fn of_machine(id: &str) -> anyhow::Result<Self> {
        let deadline = Instant::now() + FIND_TIMEOUT;
        loop {
            if let Some((process, args)) = find_qemu(id)? {
                let args = args.into_iter().map(|arg| by_itself(&process, arg)).collect();
                return Ok(Self { args, devices: None });
            }
            anyhow::ensure!(Instant::now() < deadline, "no QEMU of machine {id}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The line of a machine that was restored, going on from these files, and by itself.
    pub(crate) fn going_on_from(self, memory: &Path, devices: &Path) -> anyhow::Result<Self> {
        let mut args = self.args;
        let incoming = args
            .iter()
            .position(|arg| arg == "-incoming")
            .context("the machine was not restored")?;
        args.drain(incoming..incoming + 2);
        args.retain(|arg| arg != "-S");
        let memory = memory.display().to_string();
        for arg in &mut args {
            *arg = arg.to_string_lossy().replace(MEMORY_PATH, &memory).into();
        }
        Ok(Self {
            args,
            devices: Some(devices.to_owned()),
        })
    }

    fn spawn(&self, folder: &Path) -> anyhow::Result<Qemu> {
        let (program, args) = self.args.split_first().context("an empty command line")?;
        let console = File::create(folder.join("console.log"))?;
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console);
        let Some(devices) = &self.devices else {
            return Ok(Qemu(command.spawn()?));
        };
        // It has the same number there, and is closed here once it is.
        let devices = File::open(devices)?;
        fcntl_setfd(&devices, FdFlags::empty())?;
        let incoming = format!("fd:{}", devices.as_raw_fd());
        Ok(Qemu(command.args(["-incoming", &incoming]).spawn()?))
    }
}

/// The process that runs machine `id`, as its folder in `/proc`, and its command line.
fn find_qemu(id: &str) -> anyhow::Result<Option<(PathBuf, Vec<OsString>)>> {
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
            return Ok(Some((entry.path(), args)));
        }
    }
    Ok(None)
}

/// The process ID of the QEMU that runs machine `id`.
pub(crate) fn pid_of(id: &str) -> anyhow::Result<u32> {
    let (process, _) = find_qemu(id)?.with_context(|| format!("no QEMU of machine {id}"))?;
    let name = process.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(name.parse()?)
}

/// An argument with what a machine's QEMU was handed by number in it, as a QEMU finds it by itself.
fn by_itself(process: &Path, arg: OsString) -> OsString {
    let text = arg.to_string_lossy();
    if text.starts_with("tap,") {
        return format!("tap,id=net,ifname={TAP},script=no,downscript=no,vhost=off").into();
    }
    if text.starts_with("memory-backend-file,") && text.contains("share=on") {
        let empty = text.replace("memory-backend-file,", "memory-backend-memfd,");
        return empty.replace(&format!(",mem-path={MEMORY_PATH}"), "").into();
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

/// Where bare QEMUs run, one at a time.
pub(crate) struct Place {
    namespace: Namespace,
    folder: PathBuf,
}

impl Place {
    pub(crate) fn new(ground: &Ground, name: &str) -> anyhow::Result<Self> {
        Ok(Self {
            namespace: Namespace::create()?,
            folder: ground.subfolder(name)?,
        })
    }

    /// Starts a QEMU, and gives the time until the guest has done what is wanted of it. Then QEMU is killed.
    pub(crate) async fn time<F, Wanted>(&self, line: &CommandLine, wanted: F) -> anyhow::Result<Duration>
    where
        F: FnOnce(GuestClient) -> Wanted + Send + 'static,
        Wanted: Future<Output = anyhow::Result<()>>,
    {
        let (namespace, folder, line) = (self.namespace.path(), self.folder.clone(), line.clone());
        // A thread of its own, which ends with the guest, so that nobody else finds itself in the namespace.
        let guest = std::thread::spawn(move || run(&namespace, &folder, &line, wanted));
        let ended = tokio::task::spawn_blocking(move || guest.join()).await?;
        ended.map_err(|_| anyhow::anyhow!("the bare guest's thread panicked"))?
    }
}

fn run<F, Wanted>(namespace: &Path, folder: &Path, line: &CommandLine, wanted: F) -> anyhow::Result<Duration>
where
    F: FnOnce(GuestClient) -> Wanted,
    Wanted: Future<Output = anyhow::Result<()>>,
{
    enter(namespace)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = GuestClient::new((GUEST_IPV4, AGENT_PORT).into(), tokens());
    let started = Instant::now();
    let mut qemu = line.spawn(folder)?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = tokio::time::timeout(TIMEOUT, wanted(client)) => outcome.context("it took too long")?,
            () = qemu.ended() => Err(anyhow::anyhow!("its QEMU is gone")),
        }
    });
    let took = started.elapsed();
    let ended = qemu.0.try_wait()?;
    outcome.with_context(|| {
        let said = fs::read_to_string(folder.join("console.log")).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(3).collect();
        format!("the bare guest (QEMU: {ended:?}, which said last {last:?})")
    })?;
    Ok(took)
}

/// Moves this thread into a network namespace.
fn enter(namespace: &Path) -> anyhow::Result<()> {
    let file = File::open(namespace)?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).context("cannot enter the namespace")
}

fn tokens() -> GuestTokens {
    GuestTokens {
        host: "h".repeat(64),
        access: "a".repeat(64),
    }
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

/// A network namespace with a tap, removed when dropped. Addresses are fixed as in a slot, so that nobody asks for them.
struct Namespace(String);

impl Namespace {
    fn create() -> anyhow::Result<Self> {
        let name = format!("hearth-bench-{}", std::process::id());
        ip(&["netns", "add", &name])?;
        let namespace = Self(name);
        let inside = |args: &[&str]| ip(&[&["-n", &namespace.0], args].concat());
        inside(&["tuntap", "add", TAP, "mode", "tap", "vnet_hdr"])?;
        inside(&["link", "set", TAP, "address", GATEWAY_MAC])?;
        inside(&["address", "add", &format!("{GATEWAY_IPV4}/30"), "dev", TAP])?;
        inside(&["link", "set", TAP, "up"])?;
        let (guest, mac) = (GUEST_IPV4.to_string(), GUEST_MAC.to_string());
        inside(&[
            "neighbour",
            "add",
            &guest,
            "lladdr",
            &mac,
            "nud",
            "permanent",
            "dev",
            TAP,
        ])?;
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
