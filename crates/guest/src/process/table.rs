//! The processes that run beside the workload, by number and by tag.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use hearth_guest_api::connect::{Code, ConnectError};
use hearth_guest_api::process::process_selector::Selector;
use hearth_guest_api::process::{ProcessConfig, ProcessSelector};

use super::cgroup::Groups;
use super::hold::Hold;
use super::reaper::Reaper;
use super::spawn::{SpawnError, SpawnPlan, spawn};
use super::{Attached, Process};

/// More at once are refused, so that a client in a loop cannot exhaust the guest through the agent.
const MAX_PROCESSES: usize = 1024;

/// What runs, and how to start more.
pub(crate) struct ProcessTable {
    pub(crate) reaper: Reaper,
    pub(crate) groups: Groups,
    pub(crate) hold: Rc<Hold>,
    running: RefCell<BTreeMap<i32, Rc<Process>>>,
    started: Cell<u64>,
}

/// Why a process was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("{MAX_PROCESSES} processes already run; end some first")]
    TooMany,
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("cannot watch the process's pipes: {0}")]
    Attach(std::io::Error),
}

impl ProcessTable {
    pub(crate) fn new(reaper: Reaper, groups: Groups) -> Rc<Self> {
        Rc::new(Self {
            reaper,
            hold: Hold::new(groups.clone()),
            groups,
            running: RefCell::default(),
            started: Cell::new(0),
        })
    }

    /// Starts a process; never while programs are held. The task that moves its output ends with it.
    pub(crate) fn start(
        self: &Rc<Self>,
        mut plan: SpawnPlan,
        config: ProcessConfig,
        tag: Option<String>,
    ) -> Result<Rc<Process>, StartError> {
        if self.running.borrow().len() >= MAX_PROCESSES {
            return Err(StartError::TooMany);
        }
        self.started.set(self.started.get() + 1);
        let cgroup = self.groups.program(&format!("exec-{}", self.started.get()));
        plan.cgroup = cgroup.as_ref().and_then(super::cgroup::Cgroup::procs);
        let spawned = spawn(plan)?;
        let exit = self.reaper.register(spawned.pid);
        let Attached { input, outputs } = Attached::new(spawned.ends).map_err(StartError::Attach)?;
        let process = Process {
            pid: spawned.pid,
            tag,
            config,
            input: RefCell::new(input),
            exit,
            listeners: RefCell::new(Some(Vec::new())),
            _cgroup: cgroup,
        };
        let process = Rc::new(process);
        self.running.borrow_mut().insert(process.pid, Rc::clone(&process));
        let (table, running) = (Rc::clone(self), Rc::clone(&process));
        tokio::task::spawn_local(async move {
            running.run(outputs).await;
            table.running.borrow_mut().remove(&running.pid);
        });
        Ok(process)
    }

    pub(crate) fn list(&self) -> Vec<Rc<Process>> {
        self.running.borrow().values().cloned().collect()
    }

    pub(crate) fn find(&self, selector: Option<ProcessSelector>) -> Result<Rc<Process>, ConnectError> {
        let selector = selector.and_then(|selector| selector.selector);
        let running = self.running.borrow();
        let (found, wanted) = match &selector {
            Some(Selector::Pid(pid)) => (
                i32::try_from(*pid).ok().and_then(|pid| running.get(&pid)),
                format!("pid {pid}"),
            ),
            Some(Selector::Tag(tag)) => (
                running.values().find(|process| process.tag.as_ref() == Some(tag)),
                format!("tag {tag}"),
            ),
            None => {
                return Err(ConnectError::new(
                    Code::InvalidArgument,
                    "`process` is missing: give `pid` or `tag`",
                ));
            }
        };
        found
            .cloned()
            .ok_or_else(|| ConnectError::new(Code::NotFound, format!("process with {wanted} not found")))
    }
}
