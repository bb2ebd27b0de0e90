//! How a VMM process comes to be.
//!
//! ```text
//! daemon ──spawn──► launcher ──exec──► VMM          (one pid all the way)
//!                      └──fork──► keeper            (holds the VMM's output within its bounds)
//! ```
//!
//! A daemon of many threads must not run code between fork and exec, so the privileges are not dropped there but in a
//! program of its own: the `hearth` binary with a hidden subcommand ([`main`]). It first writes its pid and start time
//! into the machine's folder, then puts itself into cgroups and namespaces, lets go of all privileges, and becomes the
//! VMM. A daemon that dies at any moment finds the process again by that file.
//!
//! The VMM's standard output goes through the *keeper* to `console.log` and, once that is full, `console.log.1`: a guest
//! that floods its console fills neither the disk nor the daemon's memory, and no daemon is needed for it.
//!
//! Invariant between a launcher and [`clean`]: the launcher writes its pid file, then looks for the marker `cleaning`;
//! `clean` writes the marker, then looks for the pid file. So one of the two always sees the other.

mod arguments;
mod child;
mod keeper;
mod tap;

use std::{
    collections::{HashMap, VecDeque},
    ffi::OsString,
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub use child::main;
use hearth_ids::MachineId;
use tokio::sync::watch;

use crate::{
    DriverError, VmmExit, VmmUser,
    process::{self, ProcessId},
};

/// The first argument of a program that is to become a VMM.
pub const SUBCOMMAND: &str = "vmm-launch";
/// Stands in the VMM's arguments for the number of the tap's file descriptor.
pub const TAP_FD: &str = "%TAP_FD%";

/// The number of the root's file descriptor in the VMM, which opens it by [`ROOT_PATH`].
const ROOT_FD: std::os::fd::RawFd = 100;
/// Where a VMM finds [`LaunchPlan::root`].
pub const ROOT_PATH: &str = "/proc/self/fd/100";
/// The number of the first layer's file descriptor in the VMM; the others follow.
const LAYERS_FD: std::os::fd::RawFd = ROOT_FD + 1;

/// Where a VMM finds the layer of [`LaunchPlan::layers`] that has this index.
pub fn layer_path(index: usize) -> PathBuf {
    format!("/proc/self/fd/{}", index + LAYERS_FD as usize).into()
}

/// The launcher's exit code where its own arguments make no sense.
pub const EXIT_USAGE: u8 = 120;
/// The launcher's exit code where it could not prepare what the VMM needs; its output says what.
pub const EXIT_PREPARE: u8 = 121;
/// The launcher's exit code where the VMM's program could not be executed.
pub const EXIT_EXEC: u8 = 122;

/// How many exits of our own children are remembered for those who ask late.
const MAX_REMEMBERED_EXITS: usize = 1024;
/// How long a killed process may take to be gone: one in uninterruptible sleep takes as long as its disk.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// How long a process may be without arguments, until it is taken for one that has none.
const EXEC_DEADLINE: Duration = Duration::from_millis(100);
/// How long a keeper may take to write down what is left in the pipe.
const KEEPER_DEADLINE: Duration = Duration::from_secs(2);

/// What is launched, and into what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchPlan {
    /// The machine's folder: the VMM's working folder, which holds its pid file and output.
    pub folder: PathBuf,
    /// The VMM's program, as an absolute path.
    pub program: PathBuf,
    /// Its arguments; [`TAP_FD`] in them is replaced.
    pub args: Vec<OsString>,
    /// cgroup folders to join.
    pub cgroups: Vec<PathBuf>,
    /// Network namespace to enter.
    pub netns: Option<PathBuf>,
    /// A tap of that namespace to open and hand over as an open file.
    pub tap: Option<String>,
    /// A file to be read, in a folder that its user must not enter: opened beforehand, and found at [`ROOT_PATH`].
    pub root: Option<PathBuf>,
    /// More such files, found at [`layer_path`].
    pub layers: Vec<PathBuf>,
    /// Whom it runs as, without any capability. `None` keeps user and capabilities, for a program that drops them
    /// itself (Firecracker's jailer).
    pub user: Option<VmmUser>,
    /// At most this many bytes of output are kept, the newest.
    pub output_max_bytes: u64,
    /// How willingly the kernel kills it when memory is short, 0 to 1000.
    pub oom_score_adj: u16,
    /// Limit of open files.
    pub max_open_files: u64,
}

impl LaunchPlan {
    /// A plan with nothing but the program; all else as is usual for a VMM.
    pub fn new(folder: impl Into<PathBuf>, program: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            program: program.into(),
            args: Vec::new(),
            cgroups: Vec::new(),
            netns: None,
            tap: None,
            root: None,
            layers: Vec::new(),
            user: None,
            output_max_bytes: 1 << 20,
            oom_score_adj: 500,
            max_open_files: 4096,
        }
    }
}

/// Where the launcher writes who it is.
pub fn pid_file(folder: &Path) -> PathBuf {
    folder.join("vmm.pid")
}

/// Where the VMM's newest output lies.
pub fn output_file(folder: &Path) -> PathBuf {
    folder.join("console.log")
}

fn older_output_file(folder: &Path) -> PathBuf {
    folder.join("console.log.1")
}

/// Where the launcher writes who keeps the output of a VMM: of this one, not of one before or after it in the folder.
fn keeper_file(folder: &Path, vmm: ProcessId) -> PathBuf {
    folder.join(format!("keeper.{}.{}.pid", vmm.pid, vmm.start_ticks))
}

fn cleaning_marker(folder: &Path) -> PathBuf {
    folder.join("cleaning")
}

/// Starts VMMs, and reaps those that it started. Clones share their children.
#[derive(Debug, Clone)]
pub struct Launcher {
    program: PathBuf,
    args: Vec<OsString>,
    children: Arc<Mutex<Children>>,
}

#[derive(Debug, Default)]
struct Children {
    exits: HashMap<ProcessId, watch::Receiver<Option<VmmExit>>>,
    ended: VecDeque<ProcessId>,
}

impl Launcher {
    /// A launcher that is started as `program args… <plan>`.
    pub fn new(program: impl Into<PathBuf>, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            children: Arc::default(),
        }
    }

    /// This very program, with the subcommand `vmm-launch`.
    pub fn of_this_program() -> Self {
        // Not its path: that may have been replaced by a newer version since.
        Self::new("/proc/self/exe", [SUBCOMMAND])
    }

    /// Starts a VMM and writes its pid file. Returns at once; whether the VMM came up is for its driver to find out.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn(&self, plan: &LaunchPlan) -> Result<ProcessId, DriverError> {
        make_folder(&plan.folder, plan.user)?;
        let mut child = tokio::process::Command::new(&self.program)
            .args(&self.args)
            .args(arguments::encode(plan))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(DriverError::io(format!(
                "start the VMM launcher {}",
                self.program.display()
            )))?;
        let pid = child.id().unwrap_or_default();
        // Not reaped yet, so the pid is still its own.
        let process = ProcessId::of(pid).map_err(DriverError::io(format!("read the start time of process {pid}")))?;
        let (sender, receiver) = watch::channel(None);
        self.children().exits.insert(process, receiver);
        let children = Arc::clone(&self.children);
        // Ends when the VMM does, or with the runtime: then init reaps the VMM.
        tokio::spawn(async move {
            let exit = child.wait().await.map(exit_of).unwrap_or_default();
            sender.send_replace(Some(exit));
            children
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remember(process);
        });
        // The launcher writes the same; but whoever calls `clean` right now must find it already.
        process
            .write_file(&pid_file(&plan.folder))
            .map_err(DriverError::io(format!("write {}", pid_file(&plan.folder).display())))?;
        Ok(process)
    }

    /// Resolves once the process has ended; with its exit code, if it was a child of ours.
    pub async fn wait(&self, process: ProcessId) -> VmmExit {
        let receiver = self.children().exits.get(&process).cloned();
        if let Some(mut receiver) = receiver
            && let Ok(exit) = receiver.wait_for(Option::is_some).await
        {
            return exit.unwrap_or_default();
        }
        process.ended().await;
        VmmExit::default()
    }

    /// Ends a VMM at once, and returns when it and its keeper are gone.
    pub async fn kill(&self, process: ProcessId, folder: &Path) -> Result<(), DriverError> {
        kill(process, folder).await?;
        // A child of ours is reaped by its own task; let it do so, that the pid is free when we return.
        let _ = tokio::time::timeout(KILL_DEADLINE, self.wait(process)).await;
        Ok(())
    }

    fn children(&self) -> std::sync::MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Children {
    fn remember(&mut self, process: ProcessId) {
        self.ended.push_back(process);
        if self.ended.len() > MAX_REMEMBERED_EXITS
            && let Some(oldest) = self.ended.pop_front()
        {
            self.exits.remove(&oldest);
        }
    }
}

fn exit_of(status: std::process::ExitStatus) -> VmmExit {
    use std::os::unix::process::ExitStatusExt;
    VmmExit {
        code: status.code(),
        signal: status.signal(),
    }
}

/// Makes the folder if need be, and gives it to the VMM's user alone.
fn make_folder(folder: &Path, user: Option<VmmUser>) -> Result<(), DriverError> {
    let make = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        if let Some(user) = user {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
            std::os::unix::fs::lchown(folder, Some(user.uid), Some(user.gid))?;
        }
        Ok(())
    };
    make().map_err(DriverError::io(format!("make the folder {}", folder.display())))
}

async fn kill(process: ProcessId, folder: &Path) -> Result<(), DriverError> {
    let gone = process
        .kill(KILL_DEADLINE)
        .await
        .map_err(DriverError::io(format!("kill process {}", process.pid)))?;
    if !gone {
        return Err(DriverError::TimedOut {
            action: "end by SIGKILL".into(),
            timeout_ms: 10_000,
        });
    }
    settle_of(process, folder).await;
    Ok(())
}

/// Waits until the keeper has written down the last words of a VMM that has ended. At once, if the folder's VMM lives.
pub async fn settle(folder: &Path) {
    match ProcessId::read_file(&pid_file(folder)) {
        Ok(Some(vmm)) if !vmm.is_alive() => settle_of(vmm, folder).await,
        _ => {}
    }
}

async fn settle_of(vmm: ProcessId, folder: &Path) {
    let Ok(Some(keeper)) = ProcessId::read_file(&keeper_file(folder, vmm)) else {
        return;
    };
    if is_ours(keeper, folder, None) && tokio::time::timeout(KEEPER_DEADLINE, keeper.ended()).await.is_err() {
        // Only one that somebody else still writes to, which none should.
        let _ = keeper.kill(KEEPER_DEADLINE).await;
    }
}

/// Ends the VMM of a folder, if there is one, and removes the folder with all that is in it. Needs no handle, and may
/// be called at any moment of a launch, and again.
pub async fn clean(machine: MachineId, folder: &Path) -> Result<(), DriverError> {
    let marker = cleaning_marker(folder);
    // Only ever made anew: the VMM may have put a link there, which root must not follow.
    match fs::File::create_new(&marker) {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(DriverError::io(format!("write {}", marker.display()))(e)),
    }
    let path = pid_file(folder);
    let process =
        ProcessId::read_file(&path).map_err(DriverError::io(format!("read the pid file {}", path.display())))?;
    if let Some(process) = process {
        past_exec(process).await;
    }
    if let Some(process) = process.filter(|p| is_ours(*p, folder, Some(machine))) {
        kill(process, folder).await?;
        if !keeper_file(folder, process).exists() {
            // Killed before it could write down whom it had forked.
            settle_forked(folder).await;
        }
    }
    settle(folder).await;
    remove_folder(folder).await
}

/// Waits until a process has arguments by which it can be told. Whoever spawns one goes on in the middle of its exec, for
/// a moment before the new program's arguments are in place.
async fn past_exec(process: ProcessId) {
    let told = || {
        !process.is_alive()
            || process
                .arguments()
                .is_ok_and(|all| all.iter().any(|one| !one.is_empty()))
    };
    process::until(EXEC_DEADLINE, told).await;
}

/// Waits for the keeper of a launcher that is gone and did not name it: it has the launcher's arguments, and ends by
/// itself at the end of the pipe.
async fn settle_forked(folder: &Path) {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let processes = pids.filter_map(|pid: u32| ProcessId::of(pid).ok());
    let names_it = |process: &ProcessId| {
        let arguments = process.arguments().unwrap_or_default();
        arguments
            .iter()
            .any(|argument| argument == folder.as_os_str().as_encoded_bytes())
    };
    for keeper in processes.filter(names_it) {
        if is_ours(keeper, folder, None) && tokio::time::timeout(KEEPER_DEADLINE, keeper.ended()).await.is_err() {
            let _ = keeper.kill(KEEPER_DEADLINE).await;
        }
    }
}

/// A folder's files belong to the VMM's user, who may have written another's pid there. Ours is a process of that same
/// user, or one (the launcher, the jailer) that names the machine or its folder.
fn is_ours(process: ProcessId, folder: &Path, machine: Option<MachineId>) -> bool {
    let owner = fs::symlink_metadata(folder).map(|m| m.uid());
    if owner.is_ok_and(|owner| process.uid().is_ok_and(|uid| uid == owner)) {
        return true;
    }
    let mut names = vec![folder.as_os_str().as_encoded_bytes().to_vec()];
    names.extend(machine.map(|m| m.to_string().into_bytes()));
    let arguments = process.arguments().unwrap_or_default();
    arguments.iter().any(|a| names.iter().any(|name| contains(a, name)))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && haystack.windows(needle.len()).any(|w| w == needle)
}

/// A launcher that is just being told off may still write into it: try again for a while.
async fn remove_folder(folder: &Path) -> Result<(), DriverError> {
    let mut result = Ok(());
    for _ in 0..50 {
        result = match fs::remove_dir_all(folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        if result.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    result.map_err(DriverError::io(format!("remove the folder {}", folder.display())))
}

/// The last bytes, at most `max_bytes`, of what a VMM wrote.
pub fn output_tail(folder: &Path, max_bytes: usize) -> Vec<u8> {
    let mut tail = tail_of(&output_file(folder), max_bytes);
    if tail.len() < max_bytes {
        let mut older = tail_of(&older_output_file(folder), max_bytes - tail.len());
        older.append(&mut tail);
        tail = older;
    }
    tail
}

fn tail_of(path: &Path, max_bytes: usize) -> Vec<u8> {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> io::Result<Vec<u8>> {
        let mut file = process::open_untrusted(path)?;
        let len = file.metadata()?.len();
        let max = u64::try_from(max_bytes).unwrap_or(u64::MAX);
        file.seek(SeekFrom::Start(len.saturating_sub(max)))?;
        let mut bytes = Vec::new();
        file.take(max).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().unwrap_or_default()
}
