//! A daemon that stays when its terminal goes.

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use hearth_api::Version;
use hearth_client::{ApiPath, Client, Endpoint};

use super::first_key;
use crate::{
    args::UpArgs,
    output::{print_json, print_line},
};

/// Tells the child what it is.
const DETACHED: &str = "HEARTH_DETACHED";
/// Adopting many machines takes a while.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// Between two looks.
const STEP: Duration = Duration::from_millis(20);
/// How much of a failed daemon's log is shown, in lines.
const LOG_LINES: usize = 15;

/// Starts a daemon and returns once it answers.
pub(crate) fn start(socket: &Path, args: &UpArgs, json: bool) -> anyhow::Result<u8> {
    std::fs::create_dir_all(&args.state_dir)?;
    let log_path = args.state_dir.join("hearth.log");
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&log_path);
    let log = log.with_context(|| format!("cannot write {}", log_path.display()))?;
    // What stands there is from other daemons.
    let begun_at = log.metadata()?.len();
    if let Some(folder) = socket.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let own_args = std::env::args_os()
        .skip(1)
        .filter(|arg| arg != "--detach" && arg != "-d");
    let mut child = Command::new(std::env::current_exe()?)
        .args(own_args)
        .env(DETACHED, "1")
        .stdin(Stdio::null())
        // What it writes there is for us: see `first_key`.
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::new(Endpoint::Unix(socket.to_owned()));
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        if let Some(status) = child.try_wait()? {
            bail!(
                "the daemon ended at once ({status}); its log {} ends with:\n{}",
                log_path.display(),
                tail(&log_path, begun_at)
            );
        }
        if runtime
            .block_on(client.get::<Version>(&ApiPath::v1(&["version"])))
            .is_ok()
        {
            let told = child.stdout.as_mut().map(first_key::heard).transpose()?.flatten();
            tell(child.id(), socket, &log_path, told.as_deref(), json)?;
            return Ok(0);
        }
        if Instant::now() > deadline {
            bail!(
                "the daemon (pid {}) does not answer; see its log {}",
                child.id(),
                log_path.display()
            );
        }
        std::thread::sleep(STEP);
    }
}

fn tell(pid: u32, socket: &Path, log: &Path, key: Option<&str>, json: bool) -> anyhow::Result<()> {
    if json {
        let mut told = serde_json::json!({"pid": pid, "socket": socket, "log": log});
        if let Some(key) = key {
            told["first_key"] = key.into();
        }
        return print_json(&told);
    }
    print_line(format!(
        "hearth is up: pid {pid}, socket {}, log {}",
        socket.display(),
        log.display()
    ));
    if let Some(key) = key {
        print_line(first_key::words(key));
    }
    Ok(())
}

/// Whether this process was started by [`start`].
pub(crate) fn is_detached() -> bool {
    std::env::var_os(DETACHED).is_some()
}

/// In the child: a session of its own, so that no terminal's end concerns it.
pub(crate) fn leave_terminal() {
    if is_detached() {
        // Fails only for one that leads a session already, which is as good.
        let _ = rustix::process::setsid();
    }
}

/// The last lines of a log that were written after `from`.
fn tail(path: &Path, from: u64) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let new = usize::try_from(from).ok().and_then(|from| bytes.get(from..));
    let text = String::from_utf8_lossy(new.unwrap_or_default());
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_has_nothing_of_other_daemons() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        std::fs::write(&log, "old\nnew 1\nnew 2\n").unwrap();
        assert_eq!(tail(&log, 4), "new 1\nnew 2");
        assert_eq!(tail(&log, 99), "");
    }
}
