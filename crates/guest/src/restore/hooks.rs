//! What an image wants to be run around a snapshot: the executables of two folders, as root, in the order of their names.
//!
//! One run at a time, of either folder. What hooks say goes to the console and not into the machine's log, which is what the
//! workload says, and holds it back while nobody reads.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::Places;
use super::command::{self, CommandError};
use crate::agent::Agent;
use crate::process::cgroup::Groups;
use crate::process::reaper::Reaper;
use crate::process::spawn::{Io, SpawnPlan};
use crate::process::users::{Accounts, Identity};

const EACH: Duration = Duration::from_secs(10);
/// For all hooks before a snapshot, which the host waits for.
const ALL_BEFORE: Duration = Duration::from_mins(1);
/// More would be no configuration but an accident.
const MAX_HOOKS: usize = 64;
const MAX_NAME_CHARS: usize = 80;

/// Orders the runs, and numbers hooks.
#[derive(Default)]
pub(super) struct HookState {
    turn: tokio::sync::Mutex<()>,
    count: Cell<u64>,
}

/// Why hooks did not all do their work.
#[derive(Debug, thiserror::Error)]
pub(super) enum HookError {
    #[error("cannot read {}: {source}", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error("{} holds more than {MAX_HOOKS} executables", .0.display())]
    TooMany(PathBuf),
    #[error("the hook `{name}` of {} failed: {source}", folder.display())]
    Failed {
        name: String,
        folder: PathBuf,
        source: CommandError,
    },
    #[error("the hooks of {} are not done after {} s", folder.display(), limit.as_secs())]
    TimedOut { folder: PathBuf, limit: Duration },
}

/// What hooks are run with.
struct Runner<'a> {
    reaper: &'a Reaper,
    groups: &'a Groups,
    state: &'a HookState,
    identity: Identity,
    env: BTreeMap<String, String>,
    each: Duration,
}

/// The folder's executables by name. A folder that is not there has none.
fn find(folder: &Path) -> Result<Vec<PathBuf>, HookError> {
    let failed = |source| HookError::Folder {
        folder: folder.to_owned(),
        source,
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut hooks = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if fs::metadata(&path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0) {
            hooks.push(path);
        }
        if hooks.len() > MAX_HOOKS {
            return Err(HookError::TooMany(folder.to_owned()));
        }
    }
    hooks.sort();
    Ok(hooks)
}

/// Fit for a line: the guest's files may be called anything.
fn shown_name(hook: &Path) -> String {
    let name = hook.file_name().unwrap_or_default().to_string_lossy();
    name.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect()
}

impl Runner<'_> {
    async fn run(&self, hook: &Path) -> Result<(), HookError> {
        self.state.count.set(self.state.count.get() + 1);
        let plan = SpawnPlan {
            args: vec![hook.to_string_lossy().into_owned()],
            env: self.env.clone(),
            cwd: "/".to_owned(),
            identity: self.identity.clone(),
            io: Io::Pipes { stdin: false },
            cgroup: None,
        };
        // Of its own, so that the deadline ends all that it started, and nothing that an earlier one left running.
        let cgroup = self.groups.helper(&format!("hook-{}", self.state.count.get()));
        let (result, output) = command::run(self.reaper, plan, cgroup, self.each).await;
        let name = shown_name(hook);
        for line in output.lines() {
            let line: String = line.chars().filter(|c| !c.is_control()).collect();
            crate::console(&format!("hook {name}: {line}"));
        }
        let folder = hook.parent().unwrap_or(hook).to_owned();
        result.map_err(|source| HookError::Failed { name, folder, source })
    }
}

fn runner(agent: &Agent, own: BTreeMap<String, String>, each: Duration) -> Runner<'_> {
    let root = Identity {
        name: "root".to_owned(),
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        home: "/root".to_owned(),
    };
    let identity = Accounts::load().resolve("0").unwrap_or(root);
    Runner {
        reaper: &agent.processes.reaper,
        groups: &agent.processes.groups,
        state: &agent.restore.hooks,
        env: agent.environment(&identity, own, false),
        identity,
        each,
    }
}

/// The executables that want to know of a restore.
pub(super) fn after_restore(places: &Places) -> Vec<PathBuf> {
    find(&places.after_restore()).unwrap_or_else(|error| {
        crate::console(&error.to_string());
        Vec::new()
    })
}

/// Runs them. One that fails is told of, and the next one is run.
pub(super) async fn run_after_restore(agent: Rc<Agent>, hooks: Vec<PathBuf>, is_copy: bool, generation: String) {
    let own = BTreeMap::from([
        ("HEARTH_RESTORED_COPY".to_owned(), u8::from(is_copy).to_string()),
        ("HEARTH_GENERATION".to_owned(), generation),
    ]);
    let _turn = agent.restore.hooks.turn.lock().await;
    for error in run_each(&runner(&agent, own, EACH), &hooks).await {
        crate::console(&error.to_string());
    }
}

async fn run_each(runner: &Runner<'_>, hooks: &[PathBuf]) -> Vec<HookError> {
    let mut errors = Vec::new();
    for hook in hooks {
        errors.extend(runner.run(hook).await.err());
    }
    errors
}

/// Runs what has to be done before a snapshot, until one fails.
pub(super) async fn run_before_snapshot(agent: &Rc<Agent>) -> Result<(), HookError> {
    let Some(folder) = agent.boot.places.as_ref().map(super::Places::before_snapshot) else {
        return Ok(());
    };
    let all = async {
        let _turn = agent.restore.hooks.turn.lock().await;
        run_until_failure(&runner(agent, BTreeMap::new(), EACH), &folder).await
    };
    let late = |_| HookError::TimedOut {
        folder: folder.clone(),
        limit: ALL_BEFORE,
    };
    tokio::time::timeout(ALL_BEFORE, all).await.map_err(late)?
}

async fn run_until_failure(runner: &Runner<'_>, folder: &Path) -> Result<(), HookError> {
    for hook in find(folder)? {
        runner.run(&hook).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
