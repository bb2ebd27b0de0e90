//! Processes that may not be our children.
//!
//! A pid alone names nobody: it comes round again. A [`ProcessId`] carries the start time as well, and whatever acts
//! on it first opens a pidfd, then compares the start time, then acts through the pidfd. So nothing here can hit a
//! process that took over the pid.

use std::{
    fmt, fs,
    io::{self, Write as _},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    str::FromStr,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use tokio::io::{Interest, unix::AsyncFd};

/// How often a process is looked at where no pidfd can be had.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A process, told apart from all others since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessId {
    /// Process ID.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
}

/// What `/proc/<pid>/stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStat {
    /// One letter: `R`, `S`, `Z` and so on.
    pub state: char,
    /// When the process started, in clock ticks since boot.
    pub start_ticks: u64,
}

impl ProcessId {
    /// The process that has this pid now.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = stat(pid)?;
        Ok(Self {
            pid,
            start_ticks: stat.start_ticks,
        })
    }

    /// This process.
    pub fn own() -> io::Result<Self> {
        Self::of(std::process::id())
    }

    /// Whether it runs. A zombie does not.
    pub fn is_alive(self) -> bool {
        stat(self.pid).is_ok_and(|s| s.start_ticks == self.start_ticks && !matches!(s.state, 'Z' | 'X'))
    }

    /// A pidfd, or `None` if the process is gone.
    pub fn open(self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            // The pidfd holds whoever has the pid now; only then does the start time tell who that is.
            Ok(fd) => Ok(stat(self.pid)
                .is_ok_and(|s| s.start_ticks == self.start_ticks)
                .then_some(fd)),
            Err(Errno::SRCH) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Sends a signal. `false` if the process was gone already.
    pub fn signal(self, signal: Signal) -> io::Result<bool> {
        let Some(fd) = self.open()? else { return Ok(false) };
        match pidfd_send_signal(&fd, signal) {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Resolves once the process has ended, whoever's child it is.
    pub async fn ended(self) {
        let pidfd = self.open().and_then(|fd| fd.map(register).transpose());
        match pidfd {
            Ok(Some(fd)) => {
                if fd.readable().await.is_ok() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => tracing::debug!(pid = self.pid, %error, "no pidfd; polling"),
        }
        while self.is_alive() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Sends SIGKILL and waits for the end. `false` if the process still lived after `deadline`.
    pub async fn kill(self, deadline: Duration) -> io::Result<bool> {
        if !self.signal(Signal::KILL)? {
            return Ok(true);
        }
        Ok(tokio::time::timeout(deadline, self.ended()).await.is_ok())
    }

    /// The user it runs as.
    pub fn uid(self) -> io::Result<u32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let uid = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|uid| uid.parse().ok());
        match uid {
            Some(uid) => Ok(uid),
            None => Ok(fs::metadata(format!("/proc/{}", self.pid))?.uid()),
        }
    }

    /// Its arguments, as it shows them.
    pub fn arguments(self) -> io::Result<Vec<Vec<u8>>> {
        let line = fs::read(format!("/proc/{}/cmdline", self.pid))?;
        Ok(line.split(|b| *b == 0).map(<[u8]>::to_vec).collect())
    }

    /// Whether a folder is its working folder. Unlike its arguments this holds in the middle of an exec too.
    pub fn works_in(self, folder: &Path) -> bool {
        let identity = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
        // By identity: a path would have to be the same in the process's mount namespace.
        let working_folder = identity(Path::new(&format!("/proc/{}/cwd", self.pid)));
        working_folder.is_ok_and(|its| identity(folder).is_ok_and(|wanted| its == wanted))
    }

    /// Reads a pid file. `None` if there is none, or none that makes sense.
    pub fn read_file(path: &Path) -> io::Result<Option<Self>> {
        Ok(Self::read_owned_file(path)?.map(|(process, _owner)| process))
    }

    /// The same, with the user whose file it is: whoever made it wrote what it says, as nobody else may write to it.
    pub(crate) fn read_owned_file(path: &Path) -> io::Result<Option<(Self, u32)>> {
        let read = || -> io::Result<_> {
            let file = open_untrusted(path)?;
            let owner = file.metadata()?.uid();
            Ok((read_to(file, 64)?, owner))
        };
        match read() {
            Ok((bytes, owner)) => {
                let process = String::from_utf8_lossy(&bytes).trim().parse().ok();
                Ok(process.map(|process| (process, owner)))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            // A symbolic link or a folder in its place is the work of the VMM's user, and names nobody.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ELOOP | libc::EISDIR | libc::ENXIO)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Writes a pid file at once or not at all.
    pub fn write_file(self, path: &Path) -> io::Result<()> {
        let temporary = temporary_name(path);
        // What lies there may be a link that the folder's owner has put there.
        let _ = fs::remove_file(&temporary);
        fs::File::create_new(&temporary)?.write_all(format!("{self}\n").as_bytes())?;
        fs::rename(&temporary, path).inspect_err(|_| drop(fs::remove_file(&temporary)))
    }
}

fn register(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    #[expect(unsafe_code, reason = "tokio asks for a promise about the file's number")]
    // SAFETY: an `OwnedFd` has one number from beginning to end, and is not closed by anyone else.
    unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }.map_err(Into::into)
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    PathBuf::from(name)
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.start_ticks)
    }
}

/// A text that is not `<pid> <start ticks>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a pid and a start time in clock ticks")]
pub struct InvalidProcessId;

impl FromStr for ProcessId {
    type Err = InvalidProcessId;

    fn from_str(text: &str) -> Result<Self, InvalidProcessId> {
        let (pid, ticks) = text.split_once(' ').ok_or(InvalidProcessId)?;
        let pid = pid.parse().map_err(|_| InvalidProcessId)?;
        let start_ticks = ticks.parse().map_err(|_| InvalidProcessId)?;
        if pid == 0 {
            Err(InvalidProcessId)
        } else {
            Ok(Self { pid, start_ticks })
        }
    }
}

/// Reads `/proc/<pid>/stat`.
pub fn stat(pid: u32) -> io::Result<ProcessStat> {
    let text = fs::read(format!("/proc/{pid}/stat"))?;
    parse_stat(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("odd /proc/{pid}/stat")))
}

/// The second field is the program's name in parentheses and may itself hold spaces and parentheses: the fields are
/// counted from the last one that closes.
fn parse_stat(text: &[u8]) -> Option<ProcessStat> {
    let close = text.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // `state` is field 3, the start time is field 22.
    let start_ticks = fields.nth(18)?.parse().ok()?;
    Some(ProcessStat { state, start_ticks })
}

/// Reads at most `max_bytes` of a regular file that an untrusted user may have put there: follows no symbolic link and
/// waits for no FIFO.
pub fn read_bounded(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    read_to(open_untrusted(path)?, max_bytes)
}

fn read_to(file: fs::File, max_bytes: u64) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    file.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a regular file, or whatever stands in its place, in a folder of somebody who is not trusted: no link is followed,
/// and nothing keeps the caller waiting.
pub fn open_untrusted(path: &Path) -> io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::from_raw_os_error(libc::EISDIR))
    }
}

/// Waits until a predicate holds. `false` if it did not by `deadline`.
pub async fn until(deadline: Duration, mut predicate: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    loop {
        if predicate() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let line = b"77 (a) S (b) c)) S 1 77 77 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 2 3";
        assert_eq!(
            parse_stat(line),
            Some(ProcessStat {
                state: 'S',
                start_ticks: 987_654
            })
        );
        assert_eq!(parse_stat(b""), None);
        assert_eq!(parse_stat(b"77 (x) S 1"), None);
    }

    #[test]
    fn finds_itself_and_not_a_namesake() {
        let own = ProcessId::own().unwrap();
        assert!(own.is_alive());
        let namesake = ProcessId {
            start_ticks: own.start_ticks + 1,
            ..own
        };
        assert!(!namesake.is_alive());
        assert!(namesake.open().unwrap().is_none());
        // Would end this very test if it were sent.
        assert!(!namesake.signal(Signal::KILL).unwrap());
    }

    #[test]
    fn a_pid_file_survives_the_round_trip_and_rubbish_is_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        assert_eq!(ProcessId::read_file(&path).unwrap(), None);
        let own = ProcessId::own().unwrap();
        own.write_file(&path).unwrap();
        assert_eq!(ProcessId::read_file(&path).unwrap(), Some(own));
        for rubbish in ["", "0 1", "-1 5", "1", "x y", "1 2 3"] {
            fs::write(&path, rubbish).unwrap();
            assert_eq!(ProcessId::read_file(&path).unwrap(), None, "{rubbish:?}");
        }
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/proc/self/stat", &path).unwrap();
        assert_eq!(ProcessId::read_file(&path).unwrap(), None);
    }

    #[tokio::test]
    async fn waits_for_and_kills_one_that_is_no_child() {
        // The shell ends at once, so `sleep` becomes a child of init.
        let output = std::process::Command::new("sh")
            .args(["-c", "sleep 60 >/dev/null 2>&1 & echo $!"])
            .output()
            .unwrap();
        let pid = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        let process = ProcessId::of(pid).unwrap();
        assert!(process.is_alive());
        let waiting = tokio::spawn(process.ended());
        assert!(process.kill(Duration::from_secs(5)).await.unwrap());
        tokio::time::timeout(Duration::from_secs(5), waiting)
            .await
            .unwrap()
            .unwrap();
        assert!(process.kill(Duration::from_secs(5)).await.unwrap());
    }
}
