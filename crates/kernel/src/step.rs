//! One program of a build: run to its end, listened to, and ended before if nobody wants the build any more.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::error::KernelError;
use crate::progress::KernelProgress;

/// Longest line of output that is reported.
const LINE_BYTES: usize = 500;
/// Lines that tell what went wrong.
const LAST_LINES: usize = 10;
/// How often is looked whether the build is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// Runs to the end; each line of output is reported, and the last ones tell what went wrong.
pub(crate) fn run(
    mut command: Command,
    cancelled: &AtomicBool,
    progress: &mut dyn FnMut(KernelProgress),
) -> Result<(), KernelError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let started = io::pipe().and_then(|(reader, writer)| {
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let child = command.spawn()?;
        Ok((reader, child))
    });
    let (reader, mut child) = started.map_err(KernelError::io("start", &program))?;
    // The command holds the pipe's other end: without this the reader never sees its end.
    drop(command);
    let ended = AtomicBool::new(false);
    let last = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| end_if_cancelled(&child, cancelled, &ended));
        let last = report(reader, progress);
        ended.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        last
    });
    let status = child.wait().map_err(KernelError::io("wait for", &program))?;
    if cancelled.load(Ordering::Relaxed) {
        let reason = "it was given up, since nobody waits for it any more".to_owned();
        return Err(KernelError::Build { reason });
    }
    if status.success() {
        return Ok(());
    }
    let output = Vec::from(last).join("\n");
    Err(KernelError::Build {
        reason: format!("{program} ended with {status}:\n{output}"),
    })
}

fn report(reader: impl io::Read, progress: &mut dyn FnMut(KernelProgress)) -> VecDeque<String> {
    let mut last = VecDeque::new();
    for line in BufReader::new(reader).split(b'\n') {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES)])
            .trim_end()
            .to_owned();
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line.clone());
        progress(KernelProgress::Line(line));
    }
    last
}

/// Ends the child, which nobody has waited for yet, so that its number is its own. `timeout` passes the signal on.
fn end_if_cancelled(child: &Child, cancelled: &AtomicBool, ended: &AtomicBool) {
    while !ended.load(Ordering::Relaxed) {
        if cancelled.load(Ordering::Relaxed) {
            // Gone already is as good.
            let _ = kill_process(Pid::from_child(child), Signal::TERM);
            return;
        }
        std::thread::park_timeout(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failing_step_is_told_with_its_last_lines() {
        let mut lines = Vec::new();
        let wanted = AtomicBool::new(false);
        let error = run(sh("echo one; echo two >&2; exit 3"), &wanted, &mut |report| {
            lines.push(report);
        })
        .unwrap_err();
        let line = |text: &str| KernelProgress::Line(text.to_owned());
        assert_eq!(lines, [line("one"), line("two")]);
        assert!(error.to_string().contains("one\ntwo"), "{error}");
    }

    #[test]
    fn a_step_that_nobody_wants_any_more_is_ended_with_all_that_it_started() {
        let cancelled = AtomicBool::new(false);
        let mut command = Command::new("timeout");
        command.args(["600", "sh", "-c", "echo begun; sleep 599 & sleep 599; echo not reached"]);
        let started = Instant::now();
        let mut lines = Vec::new();
        let error = run(command, &cancelled, &mut |report| {
            lines.push(report);
            cancelled.store(true, Ordering::Relaxed);
        });
        assert!(error.unwrap_err().to_string().contains("given up"));
        // The pipe's end was reached, so all that held it has ended.
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(started.elapsed() < Duration::from_mins(1));
    }
}
