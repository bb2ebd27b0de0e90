//! The machine's one workload: what the image says to run, its records, its end.

use std::cell::RefCell;
use std::rc::Rc;

use hearth_guest_api::connect::{Code, ConnectError};
use hearth_guest_api::guest::record::Exited;
use hearth_guest_api::guest::{ExitKind, Stream};
use hearth_guest_api::signals;
use rustix::process::{Gid, Uid};
use tokio::sync::watch;

use crate::agent::Agent;
use crate::process::cgroup::Cgroup;
use crate::process::pipe::Pipe;
use crate::process::reaper::{self, Exit};
use crate::process::spawn::{Io, SpawnError, SpawnPlan, Spawned, spawn};
use crate::process::users::{Accounts, UserError};
use crate::process::{Attached, Input, Output, pump};
use crate::runtime_api::RuntimeApi;

/// Tells a workload where its Runtime API is; the name is Lambda's.
const RUNTIME_API_VARIABLE: &str = "AWS_LAMBDA_RUNTIME_API";
const CODE_INTERNAL: i32 = 125;
const CODE_NOT_EXECUTABLE: i32 = 126;
const CODE_NOT_FOUND: i32 = 127;

/// The started workload. One that failed to start has none of these, only its record.
pub(crate) struct Workload {
    pub(crate) pid: Option<i32>,
    pub(crate) input: RefCell<Input>,
    pub(crate) exit: watch::Receiver<Option<Exit>>,
    pub(crate) cgroup: Option<Cgroup>,
}

impl Workload {
    fn failed() -> Rc<Self> {
        let ended = Exit::Code(CODE_INTERNAL);
        Rc::new(Self {
            pid: None,
            input: RefCell::new(Input::Closed),
            exit: watch::channel(Some(ended)).1,
            cgroup: None,
        })
    }

    /// The pid, while it runs.
    pub(crate) fn running_pid(&self) -> Result<i32, ConnectError> {
        self.pid
            .filter(|_| self.exit.borrow().is_none())
            .ok_or_else(|| ConnectError::new(Code::FailedPrecondition, "the workload is not running"))
    }

    /// Kills everything that it started.
    pub(crate) fn kill_all(&self) {
        if self.cgroup.as_ref().is_some_and(Cgroup::kill) {
            return;
        }
        if let Some(pid) = self.pid {
            // Without a group of its own at least its session's first process group. It may be gone, which is what is wanted.
            let _ = crate::process::send_signal(pid, 9, true);
        }
    }
}

/// Starts the workload and the task that records it; never while programs are held. A failure to start is a record, not an
/// error: the host follows either way.
pub(crate) fn start(agent: &Rc<Agent>, request: hearth_guest_api::guest::Workload) -> Rc<Workload> {
    match try_start(agent, request) {
        Ok(workload) => workload,
        Err(failure) => {
            if let Some(api) = agent.runtime_api.borrow().as_ref() {
                api.never_ran(&failure);
            }
            agent.log.push_exited(failure);
            Workload::failed()
        }
    }
}

fn try_start(agent: &Rc<Agent>, mut request: hearth_guest_api::guest::Workload) -> Result<Rc<Workload>, Exited> {
    if request.runtime_api {
        request
            .env
            .insert(RUNTIME_API_VARIABLE.to_owned(), start_runtime_api(agent)?);
    }
    let identity = Accounts::load()
        .resolve(&request.user)
        .map_err(|error| bad_user(&error))?;
    let cwd = if request.cwd.is_empty() {
        "/".to_owned()
    } else {
        request.cwd
    };
    make_cwd(&cwd, identity.uid, identity.gid)?;
    let cgroup = agent.processes.groups.program("workload");
    let io = request.pty.map_or(Io::Pipes { stdin: request.stdin }, Io::Pty);
    let plan = SpawnPlan {
        args: request.args,
        env: agent.environment(&identity, request.env, request.pty.is_some()),
        cwd,
        identity,
        io,
        cgroup: cgroup.as_ref().and_then(Cgroup::procs),
    };
    let Spawned { pid, ends } = spawn(plan).map_err(|error| start_failure(&error))?;
    let exit = agent.processes.reaper.register(pid);
    let attached =
        Attached::new(ends).map_err(|error| failure(ExitKind::Internal, CODE_INTERNAL, format!("pipes: {error}")))?;
    agent.log.push_started(u32::try_from(pid).unwrap_or_default());
    let workload = Rc::new(Workload {
        pid: Some(pid),
        input: RefCell::new(attached.input),
        exit,
        cgroup,
    });
    tokio::task::spawn_local(record(Rc::clone(agent), Rc::clone(&workload), attached.outputs));
    Ok(workload)
}

/// Before the workload, which may ask for work at once. Gives its address.
fn start_runtime_api(agent: &Agent) -> Result<String, Exited> {
    let (api, address) = RuntimeApi::start(agent).map_err(|error| {
        failure(
            ExitKind::Internal,
            CODE_INTERNAL,
            format!("cannot serve the Lambda Runtime API: {error}"),
        )
    })?;
    agent.runtime_api.replace(Some(api));
    Ok(address)
}

/// Docker makes a missing working folder, owned by the user.
fn make_cwd(cwd: &str, uid: u32, gid: u32) -> Result<(), Exited> {
    if std::path::Path::new(cwd).exists() {
        return Ok(());
    }
    std::fs::create_dir_all(cwd)
        .and_then(|()| {
            Ok(rustix::fs::chown(
                cwd,
                Some(Uid::from_raw(uid)),
                Some(Gid::from_raw(gid)),
            )?)
        })
        .map_err(|error| {
            failure(
                ExitKind::BadCwd,
                CODE_NOT_EXECUTABLE,
                format!("cannot make the working folder `{cwd}`: {error}"),
            )
        })
}

async fn record(agent: Rc<Agent>, workload: Rc<Workload>, outputs: Vec<(Output, Rc<Pipe>)>) {
    let log = &agent.log;
    let api = agent.runtime_api.borrow().clone();
    if let Some(api) = &api {
        api.reads(outputs.iter().map(|(_, pipe)| Rc::clone(pipe)));
    }
    let api = api.as_ref();
    pump(outputs, workload.exit.clone(), |output, data| async move {
        let stream = match output {
            Output::Stdout => Stream::Stdout,
            Output::Stderr => Stream::Stderr,
            Output::Pty => Stream::Pty,
        };
        if let Some(api) = api {
            api.wrote(&data);
        }
        log.push_chunk(stream, data).await;
    })
    .await;
    let exit = reaper::exited(workload.exit.clone()).await;
    let oom_kills = workload.cgroup.as_ref().map_or(0, Cgroup::oom_kills);
    let exited = exited(exit, oom_kills);
    if let Some(api) = api {
        // First, since the host ends the machine once it has read the record.
        api.end(&exited).await;
    }
    log.push_exited(exited);
}

fn exited(exit: Exit, oom_kills: u64) -> Exited {
    // A worker killed for want of memory usually shows as its parent's failure; a success despite it is a success.
    let oom = oom_kills > 0 && exit != Exit::Code(0);
    let suffix = if oom { ", out of memory" } else { "" };
    match exit {
        Exit::Code(code) => Exited {
            kind: ExitKind::Exited.into(),
            code,
            signal: 0,
            oom,
            message: format!("exit status {code}{suffix}"),
        },
        Exit::Signal { number, core_dumped } => {
            let core = if core_dumped { " (core dumped)" } else { "" };
            let message = format!("signal: {}{core}{suffix}", signals::description(number));
            Exited {
                kind: ExitKind::Signaled.into(),
                code: exit.shell_code(),
                signal: number,
                oom,
                message,
            }
        }
    }
}

fn failure(kind: ExitKind, code: i32, message: String) -> Exited {
    Exited {
        kind: kind.into(),
        code,
        signal: 0,
        oom: false,
        message,
    }
}

fn bad_user(error: &UserError) -> Exited {
    failure(ExitKind::BadUser, CODE_NOT_EXECUTABLE, error.to_string())
}

fn start_failure(error: &SpawnError) -> Exited {
    let (kind, code) = match error {
        SpawnError::NotOnPath(_) | SpawnError::NotFound(_) => (ExitKind::NotFound, CODE_NOT_FOUND),
        SpawnError::NotExecutable { .. } => (ExitKind::NotExecutable, CODE_NOT_EXECUTABLE),
        SpawnError::BadCwd { .. } => (ExitKind::BadCwd, CODE_NOT_EXECUTABLE),
        SpawnError::Internal { .. } => (ExitKind::Internal, CODE_INTERNAL),
    };
    failure(kind, code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_as_a_shell_reports_them() {
        let killed = exited(
            Exit::Signal {
                number: 9,
                core_dumped: false,
            },
            1,
        );
        assert_eq!(
            (killed.code, killed.signal, killed.oom, killed.message.as_str()),
            (137, 9, true, "signal: killed, out of memory")
        );
        assert!(!exited(Exit::Code(0), 1).oom);
    }

    #[test]
    fn failures_have_dockers_codes() {
        let code = |error| start_failure(&error).code;
        assert_eq!(code(SpawnError::NotOnPath("x".into())), 127);
        assert_eq!(
            code(SpawnError::NotExecutable {
                command: "x".into(),
                reason: "permission denied".into()
            }),
            126
        );
    }
}
