//! From a command to a running process: what is found on PATH, what happens between fork and exec, and the exact error.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hearth_guest_api::guest::TerminalSize;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Gid, Uid};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::users::Identity;

/// PATH where neither image nor caller has one.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command with everything decided.
pub(crate) struct SpawnPlan {
    /// The first is the command.
    pub(crate) args: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cwd: String,
    pub(crate) identity: Identity,
    pub(crate) io: Io,
    /// The `cgroup.procs` to join, opened for writing.
    pub(crate) cgroup: Option<File>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Io {
    Pipes { stdin: bool },
    Pty(TerminalSize),
}

/// A started process and our ends of its descriptors.
pub(crate) struct Spawned {
    pub(crate) pid: i32,
    pub(crate) ends: Ends,
}

pub(crate) enum Ends {
    Pipes {
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    Pty(OwnedFd),
}

/// Why a command did not start. Worded as docker words it where users know the words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    #[error("exec: \"{0}\": executable file not found in $PATH")]
    NotOnPath(String),
    #[error("exec: \"{0}\": no such file or directory")]
    NotFound(String),
    #[error("exec: \"{command}\": {reason}")]
    NotExecutable { command: String, reason: String },
    #[error("chdir to cwd (\"{cwd}\"): {source}")]
    BadCwd { cwd: String, source: io::Error },
    #[error("{step}: {source}")]
    Internal { step: &'static str, source: io::Error },
}

fn internal(step: &'static str) -> impl FnOnce(io::Error) -> SpawnError {
    move |source| SpawnError::Internal { step, source }
}

/// Where a command is: itself when it has a slash, else the first executable of that name on PATH.
fn find_program(command: &str, path: &str, cwd: &str) -> Result<PathBuf, SpawnError> {
    if command.contains('/') {
        return check_program(command, Path::new(cwd).join(command));
    }
    let mut found_unfit = None;
    for folder in path.split(':') {
        let candidate = Path::new(cwd).join(folder).join(command);
        match check_program(command, candidate) {
            Ok(program) if !command.is_empty() => return Ok(program),
            Err(error @ SpawnError::NotExecutable { .. }) if !command.is_empty() => {
                found_unfit = found_unfit.or(Some(error));
            }
            _ => {}
        }
    }
    Err(found_unfit.unwrap_or_else(|| SpawnError::NotOnPath(command.to_owned())))
}

fn check_program(command: &str, program: PathBuf) -> Result<PathBuf, SpawnError> {
    let unfit = |reason: &str| SpawnError::NotExecutable {
        command: command.to_owned(),
        reason: reason.to_owned(),
    };
    match std::fs::metadata(&program) {
        Ok(metadata) if metadata.is_dir() => Err(unfit("is a directory")),
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => Err(unfit("permission denied")),
        Ok(_) => Ok(program),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(unfit("permission denied")),
        Err(_) => Err(SpawnError::NotFound(command.to_owned())),
    }
}

/// Steps between fork and exec. Only an errno comes back from there, so the step is packed above it.
#[derive(Clone, Copy)]
enum Step {
    Session = 1,
    Cgroup = 2,
    Identity = 3,
    Cwd = 4,
}

const STEP_FACTOR: i32 = 10_000;

fn at(step: Step) -> impl FnOnce(rustix::io::Errno) -> io::Error {
    move |errno| io::Error::from_raw_os_error(step as i32 * STEP_FACTOR + errno.raw_os_error())
}

/// Starts the process. Must run on the reaper's thread, so that the exit of a short-lived child waits to be dispatched.
pub(crate) fn spawn(plan: SpawnPlan) -> Result<Spawned, SpawnError> {
    let command = plan.args.first().cloned().unwrap_or_default();
    let path = plan.env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    let program = find_program(&command, path, &plan.cwd)?;
    let mut process = Command::new(program);
    process
        .arg0(&command)
        .args(plan.args.get(1..).unwrap_or_default())
        .env_clear()
        .envs(&plan.env);
    let prepared = prepare_io(&mut process, plan.io)?;
    let in_child = ChildSetup {
        cwd: CString::new(plan.cwd.as_str()).map_err(|error| internal("cwd")(error.into()))?,
        uid: Uid::from_raw(plan.identity.uid),
        gid: Gid::from_raw(plan.identity.gid),
        groups: plan.identity.groups.iter().copied().map(Gid::from_raw).collect(),
        cgroup: plan.cgroup,
        has_pty: matches!(plan.io, Io::Pty(_)),
    };
    run_in_child(&mut process, in_child);
    let child = process
        .spawn()
        .map_err(|error| spawn_error(&command, &plan.cwd, error))?;
    // Never waited for by its handle: the reaper waits for every child and finds it by its number.
    let pid = i32::try_from(child.id()).unwrap_or(i32::MAX);
    Ok(Spawned {
        pid,
        ends: our_ends(prepared, child)?,
    })
}

struct ChildSetup {
    cwd: CString,
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    cgroup: Option<File>,
    has_pty: bool,
}

impl ChildSetup {
    /// Runs between fork and exec, so: system calls only, no allocation, no lock.
    fn apply(&self) -> io::Result<()> {
        rustix::process::setsid().map_err(at(Step::Session))?;
        if self.has_pty {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()).map_err(at(Step::Session))?;
        }
        if let Some(cgroup) = &self.cgroup {
            rustix::io::write(cgroup, b"0").map_err(at(Step::Cgroup))?;
        }
        // The agent itself is exempt from the out-of-memory killer; its children are not. Without /proc there is nothing to undo.
        if let Ok(file) = rustix::fs::open(
            c"/proc/self/oom_score_adj",
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            let _ = rustix::io::write(file, b"0");
        }
        self.become_user().map_err(at(Step::Identity))?;
        rustix::process::chdir(self.cwd.as_c_str()).map_err(at(Step::Cwd))
    }

    fn become_user(&self) -> rustix::io::Result<()> {
        if rustix::process::geteuid().is_root() {
            rustix::thread::set_thread_groups(&self.groups)?;
        }
        rustix::thread::set_thread_gid(self.gid)?;
        rustix::thread::set_thread_uid(self.uid)
    }
}

#[expect(unsafe_code, reason = "`pre_exec` is unsafe by nature")]
fn run_in_child(process: &mut Command, setup: ChildSetup) {
    // SAFETY: `apply` only makes system calls on memory that was allocated before the fork; it neither allocates nor locks.
    unsafe { process.pre_exec(move || setup.apply()) };
}

fn spawn_error(command: &str, cwd: &str, error: io::Error) -> SpawnError {
    let raw = error.raw_os_error().unwrap_or_default();
    let (step, errno) = (raw / STEP_FACTOR, io::Error::from_raw_os_error(raw % STEP_FACTOR));
    match step {
        step if step == Step::Session as i32 => internal("new session")(errno),
        step if step == Step::Cgroup as i32 => internal("join the control group")(errno),
        step if step == Step::Identity as i32 => internal("change user")(errno),
        step if step == Step::Cwd as i32 => SpawnError::BadCwd {
            cwd: cwd.to_owned(),
            source: errno,
        },
        _ => exec_error(command, error),
    }
}

fn exec_error(command: &str, error: io::Error) -> SpawnError {
    let unfit = |reason: &str| SpawnError::NotExecutable {
        command: command.to_owned(),
        reason: reason.to_owned(),
    };
    match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        // The file was there a moment ago: it is the interpreter or the loader that is missing.
        Some(rustix::io::Errno::NOENT) => SpawnError::NotFound(command.to_owned()),
        Some(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => unfit("permission denied"),
        Some(rustix::io::Errno::NOEXEC) => unfit("exec format error"),
        Some(rustix::io::Errno::TOOBIG) => unfit("argument list too long"),
        _ => internal("fork and exec")(error),
    }
}

fn prepare_io(process: &mut Command, io: Io) -> Result<Option<OwnedFd>, SpawnError> {
    match io {
        Io::Pipes { stdin } => {
            process
                .stdin(if stdin { Stdio::piped() } else { Stdio::null() })
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            Ok(None)
        }
        Io::Pty(size) => {
            let (master, terminal) = open_pty(size).map_err(|errno| internal("open a terminal")(errno.into()))?;
            let copy = |fd: &OwnedFd| fd.try_clone().map_err(internal("open a terminal"));
            process
                .stdin(copy(&terminal)?)
                .stdout(copy(&terminal)?)
                .stderr(terminal);
            Ok(Some(master))
        }
    }
}

fn open_pty(size: TerminalSize) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    rustix::pty::unlockpt(&master)?;
    let name = rustix::pty::ptsname(&master, Vec::new())?;
    let terminal = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    set_window_size(&master, size)?;
    Ok((master, terminal))
}

pub(crate) fn set_window_size(terminal: impl AsFd, size: TerminalSize) -> rustix::io::Result<()> {
    let narrow = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    let size = Winsize {
        ws_row: narrow(size.rows),
        ws_col: narrow(size.cols),
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(terminal, size)
}

fn our_ends(master: Option<OwnedFd>, mut child: std::process::Child) -> Result<Ends, SpawnError> {
    if let Some(master) = master {
        return Ok(Ends::Pty(master));
    }
    match (child.stdout.take(), child.stderr.take()) {
        (Some(stdout), Some(stderr)) => Ok(Ends::Pipes {
            stdin: child.stdin.take().map(Into::into),
            stdout: stdout.into(),
            stderr: stderr.into(),
        }),
        _ => Err(internal("pipes")(io::Error::other("absent though asked for"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_programs_as_a_shell_does() {
        assert_eq!(find_program("sh", "/nowhere:/bin", "/").unwrap(), Path::new("/bin/sh"));
        assert!(matches!(
            find_program("hearth-no-such", DEFAULT_PATH, "/"),
            Err(SpawnError::NotOnPath(_))
        ));
        assert!(matches!(
            find_program("", DEFAULT_PATH, "/"),
            Err(SpawnError::NotOnPath(_))
        ));
        assert!(matches!(
            find_program("/no/such", DEFAULT_PATH, "/"),
            Err(SpawnError::NotFound(_))
        ));
        assert!(matches!(
            find_program("/etc", DEFAULT_PATH, "/"),
            Err(SpawnError::NotExecutable { .. })
        ));
        assert!(matches!(
            find_program("passwd", "/etc", "/"),
            Err(SpawnError::NotExecutable { .. })
        ));
        assert_eq!(find_program("./sh", "", "/bin").unwrap(), Path::new("/bin/./sh"));
    }
}
