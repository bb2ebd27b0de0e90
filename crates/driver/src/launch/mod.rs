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
//! `clean` writes the marker, then looks for the pid file, and removes the marker last, with nothing left but the folder.
//! So one of the two always sees the other.

mod arguments;
mod child;
mod end;
mod keeper;
mod tap;

use std::{
    collections::{HashMap, VecDeque},
    ffi::OsString,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
};

pub use child::main;
pub use end::{clean, settle};
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

/// The number of the standard input.
pub(crate) const STDIN_FD: std::os::fd::RawFd = 0;
/// The number of the saved devices' file descriptor in the VMM.
const DEVICES_FD: std::os::fd::RawFd = 98;
/// Where a VMM finds [`LaunchPlan::devices`] as the number of an open file.
pub const DEVICES_NUMBER: &str = "98";
/// The number of the memory's file descriptor in the VMM.
pub(crate) const MEMORY_FD: std::os::fd::RawFd = 99;
/// Where a VMM finds [`LaunchPlan::memory`].
pub const MEMORY_PATH: &str = "/proc/self/fd/99";
/// The name of the memory in [`GuestMemory::Jailed`]'s folder: the number of the standard input.
pub const JAILED_MEMORY: &str = "0";

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

/// A file for the guest's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestMemory {
    /// A new one of this many bytes, nobody's but the VMM's.
    Empty(u64),
    /// One that was saved. The VMM opens it once more, as its own user.
    Saved(PathBuf),
    /// One that was saved, for a program that closes every file but the standard three before it becomes the VMM, in a
    /// root without `/proc` (Firecracker's jailer): it is the standard input, and `files`, a folder in that root, shows
    /// the VMM its own open files as `/proc/self/fd` does. There the VMM opens it once more, as [`JAILED_MEMORY`].
    Jailed {
        /// What was saved.
        saved: PathBuf,
        /// The folder, by its path on the host.
        files: PathBuf,
    },
}

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
    /// The guest's memory, found at [`MEMORY_PATH`].
    pub memory: Option<GuestMemory>,
    /// The saved state of devices to be read, found as open file [`DEVICES_NUMBER`].
    pub devices: Option<PathBuf>,
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
            memory: None,
            devices: None,
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
            // By which `clean` knows it while it shows no arguments.
            .current_dir(&plan.folder)
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
        end::kill(process, folder).await?;
        // A child of ours is reaped by its own task; let it do so, that the pid is free when we return.
        let _ = tokio::time::timeout(end::KILL_DEADLINE, self.wait(process)).await;
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
