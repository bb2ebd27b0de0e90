//! A driver whose machines run nothing: in process, at once, and told to fail at will.
//!
//! It costs well below a KiB a machine, so that thousands can be asked for. Its VMMs have the pid of this process and a
//! start number of their own, so a handle of an earlier process is recognised as gone.

use std::{
    collections::HashMap,
    fs, io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use hearth_domain::DriverKind;
use hearth_ids::MachineId;
use tokio::{sync::watch, task::AbortHandle};

use crate::{
    Capabilities, Check, CheckOutcome, Driver, DriverError, Liveness, Saved, SavedState, StartPlan, Unusable, VmmExit,
    VmmHandle, VmmIdentity, process::ProcessId,
};

const SIGKILL: i32 = 9;
/// What is saved of a machine that runs nothing.
const MEMORY: &[u8] = b"no memory";
const DEVICES: &[u8] = b"no devices";

/// The calls that can be told to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// [`Driver::start`], before there is anything.
    Start,
    /// [`Driver::start`], after the VMM came up: the caller gets an error although there is something to clean.
    StartLate,
    /// [`Driver::recover`].
    Recover,
    /// [`Driver::pause`].
    Pause,
    /// [`Driver::pause`], after the vCPUs stopped: the caller gets an error although they did.
    PauseLate,
    /// [`Driver::resume`].
    Resume,
    /// [`Driver::save`].
    Save,
    /// [`Driver::restore`].
    Restore,
    /// [`Driver::press_power_button`].
    Power,
    /// [`Driver::kill`].
    Kill,
    /// [`Driver::clean`].
    Clean,
}

impl Step {
    fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::StartLate => "the end of start",
            Self::Recover => "recover",
            Self::Pause => "pause",
            Self::PauseLate => "the end of pause",
            Self::Resume => "resume",
            Self::Save => "save",
            Self::Restore => "restore",
            Self::Power => "power button",
            Self::Kill => "kill",
            Self::Clean => "clean",
        }
    }
}

/// A call that is to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailurePlan {
    /// Which call.
    pub step: Step,
    /// How many such calls succeed before.
    pub after: u32,
    /// How many fail then.
    pub times: u32,
    /// Of this machine alone, or of any.
    pub machine: Option<MachineId>,
}

impl FailurePlan {
    /// The next such call fails, and no other.
    pub fn next(step: Step) -> Self {
        Self {
            step,
            after: 0,
            times: 1,
            machine: None,
        }
    }

    /// Whether this call, which it counts, fails.
    fn strikes(&mut self, step: Step, machine: MachineId) -> bool {
        if self.step != step || self.machine.is_some_and(|m| m != machine) || self.times == 0 {
            return false;
        }
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

/// The driver. Clones share their machines.
#[derive(Debug, Clone, Default)]
pub struct FakeDriver {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    vmms: HashMap<MachineId, Vmm>,
    failures: Vec<FailurePlan>,
    dies_after: Option<Duration>,
    started: u64,
    power_button_ignored: bool,
    unusable: Option<Unusable>,
    identity: Option<VmmIdentity>,
}

#[derive(Debug)]
struct Vmm {
    start_ticks: u64,
    paused: bool,
    /// `Some` once it has ended.
    exit: watch::Sender<Option<VmmExit>>,
    death: Option<AbortHandle>,
}

impl Vmm {
    fn end(&mut self, exit: VmmExit) -> bool {
        if let Some(death) = self.death.take() {
            death.abort();
        }
        self.exit
            .send_if_modified(|slot| slot.is_none().then(|| *slot = Some(exit)).is_some())
    }

    fn is_alive(&self) -> bool {
        self.exit.borrow().is_none()
    }
}

impl Inner {
    fn strike(&mut self, step: Step, machine: MachineId) -> Result<(), DriverError> {
        let mut struck = false;
        for plan in &mut self.failures {
            // Each plan counts the call, also when another one makes it fail already.
            struck |= plan.strikes(step, machine);
        }
        self.failures.retain(|plan| plan.times > 0);
        if struck {
            Err(DriverError::Injected {
                step: step.as_str().into(),
            })
        } else {
            Ok(())
        }
    }

    fn vmm(&mut self, handle: &VmmHandle) -> Option<&mut Vmm> {
        let own = handle.pid == std::process::id();
        self.vmms
            .get_mut(&handle.machine)
            .filter(|vmm| own && vmm.start_ticks == handle.start_ticks)
    }

    fn living(&mut self, handle: &VmmHandle, action: &str) -> Result<&mut Vmm, DriverError> {
        self.vmm(handle)
            .filter(|vmm| vmm.is_alive())
            .ok_or_else(|| DriverError::Refused {
                action: action.into(),
                message: "the VMM is gone".into(),
            })
    }
}

impl FakeDriver {
    /// Makes a call fail.
    pub fn fail(&self, plan: FailurePlan) {
        self.inner().failures.push(plan);
    }

    /// Each VMM that is started from now on ends by itself after this time; `None`: it does not.
    pub fn die_after(&self, time: Option<Duration>) {
        self.inner().dies_after = time;
    }

    /// Whether machines pay no heed to their power button.
    pub fn ignore_power_button(&self, ignored: bool) {
        self.inner().power_button_ignored = ignored;
    }

    /// Whether its host lacks what machines need.
    pub fn lack(&self, unusable: Option<Unusable>) {
        self.inner().unusable = unusable;
    }

    /// What its VMMs say they are, from now on.
    pub fn pose_as(&self, identity: VmmIdentity) {
        self.inner().identity = Some(identity);
    }

    /// Ends a machine's VMM as if by itself. `false` if none lives.
    pub fn exit(&self, machine: MachineId, exit: VmmExit) -> bool {
        self.inner().vmms.get_mut(&machine).is_some_and(|vmm| vmm.end(exit))
    }

    /// How many VMMs live.
    pub fn living(&self) -> usize {
        self.inner().vmms.values().filter(|vmm| vmm.is_alive()).count()
    }

    /// Whether a machine is paused; `None` if it does not live.
    pub fn paused(&self, machine: MachineId) -> Option<bool> {
        self.inner()
            .vmms
            .get(&machine)
            .filter(|vmm| vmm.is_alive())
            .map(|vmm| vmm.paused)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task ends with the machine: whatever ends it aborts the task.
    fn schedule_death(&self, machine: MachineId, time: Duration) -> AbortHandle {
        let inner = Arc::downgrade(&self.inner);
        let task = tokio::spawn(async move {
            tokio::time::sleep(time).await;
            if let Some(inner) = inner.upgrade() {
                let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(vmm) = inner.vmms.get_mut(&machine) {
                    vmm.end(VmmExit {
                        code: Some(1),
                        signal: None,
                    });
                }
            }
        });
        task.abort_handle()
    }
}

/// Larger than that of any VMM of an earlier process with our pid.
fn first_start_number() -> u64 {
    ProcessId::own().map_or(0, |own| own.start_ticks) << 20
}

fn identity() -> VmmIdentity {
    VmmIdentity {
        version: "1".into(),
        accelerator: "none".into(),
        cpu_features: Vec::new(),
    }
}

#[async_trait]
impl Driver for FakeDriver {
    fn kind(&self) -> DriverKind {
        DriverKind::Fake
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            guest: false,
            outlives: false,
            pause: true,
            snapshot: true,
            accelerated: false,
        }
    }

    async fn usable(&self) -> Result<(), Unusable> {
        self.inner().unusable.clone().map_or(Ok(()), Err)
    }

    async fn probe(&self) -> Vec<Check> {
        vec![Check {
            name: "fake".into(),
            outcome: CheckOutcome::Ok,
            detail: "machines of this driver run nothing".into(),
            advice: None,
        }]
    }

    async fn identity(&self) -> Result<VmmIdentity, DriverError> {
        Ok(self.inner().identity.clone().unwrap_or_else(identity))
    }

    async fn save(&self, handle: &VmmHandle, folder: &Path) -> Result<Saved, DriverError> {
        let mut inner = self.inner();
        inner.strike(Step::Save, handle.machine)?;
        if !inner.living(handle, "save its state")?.paused {
            return Err(DriverError::Refused {
                action: "save its state".into(),
                message: "its vCPUs run".into(),
            });
        }
        let files = SavedState::in_folder(folder);
        let written = fs::write(&files.memory, MEMORY).and_then(|()| fs::write(&files.devices, DEVICES));
        written.map_err(DriverError::io(format!("write into {}", folder.display())))?;
        Ok(Saved {
            identity: inner.identity.clone().unwrap_or_else(identity),
            memory_bytes: MEMORY.len() as u64,
            devices_bytes: DEVICES.len() as u64,
        })
    }

    async fn restore(&self, plan: &StartPlan, saved: &SavedState) -> Result<VmmHandle, DriverError> {
        self.inner().strike(Step::Restore, plan.machine)?;
        for (path, wanted) in [(&saved.memory, MEMORY), (&saved.devices, DEVICES)] {
            let found = fs::read(path).map_err(DriverError::io(format!("read {}", path.display())))?;
            if found != wanted {
                return Err(DriverError::DiedEarly {
                    output: format!("{} is not what was saved", path.display()),
                });
            }
        }
        let handle = self.start(plan).await?;
        self.inner().living(&handle, "restore")?.paused = true;
        Ok(handle)
    }

    async fn start(&self, plan: &StartPlan) -> Result<VmmHandle, DriverError> {
        let mut inner = self.inner();
        inner.strike(Step::Start, plan.machine)?;
        if inner.started == 0 {
            inner.started = first_start_number();
        }
        inner.started += 1;
        let start_ticks = inner.started;
        let death = inner.dies_after.map(|time| self.schedule_death(plan.machine, time));
        let vmm = Vmm {
            start_ticks,
            paused: false,
            exit: watch::Sender::new(None),
            death,
        };
        if let Some(mut former) = inner.vmms.insert(plan.machine, vmm) {
            former.end(VmmExit {
                code: None,
                signal: Some(SIGKILL),
            });
        }
        inner.strike(Step::StartLate, plan.machine)?;
        Ok(VmmHandle {
            machine: plan.machine,
            driver: DriverKind::Fake,
            pid: std::process::id(),
            start_ticks,
            folder: plan.folder.clone(),
            extra: serde_json::Value::Null,
        })
    }

    async fn recover(&self, handle: &VmmHandle) -> Result<Liveness, DriverError> {
        let mut inner = self.inner();
        inner.strike(Step::Recover, handle.machine)?;
        let alive = inner.vmm(handle).is_some_and(|vmm| vmm.is_alive());
        Ok(if alive { Liveness::Alive } else { Liveness::Gone })
    }

    async fn wait(&self, handle: &VmmHandle) -> VmmExit {
        let receiver = self.inner().vmm(handle).map(|vmm| vmm.exit.subscribe());
        let Some(mut receiver) = receiver else {
            return VmmExit::default();
        };
        match receiver.wait_for(Option::is_some).await {
            Ok(exit) => exit.unwrap_or_default(),
            Err(_) => VmmExit::default(),
        }
    }

    async fn pause(&self, handle: &VmmHandle) -> Result<(), DriverError> {
        let mut inner = self.inner();
        inner.strike(Step::Pause, handle.machine)?;
        inner.living(handle, "pause")?.paused = true;
        inner.strike(Step::PauseLate, handle.machine)
    }

    async fn resume(&self, handle: &VmmHandle) -> Result<(), DriverError> {
        let mut inner = self.inner();
        inner.strike(Step::Resume, handle.machine)?;
        inner.living(handle, "resume")?.paused = false;
        Ok(())
    }

    async fn press_power_button(&self, handle: &VmmHandle) -> Result<(), DriverError> {
        let mut inner = self.inner();
        inner.strike(Step::Power, handle.machine)?;
        let ignored = inner.power_button_ignored;
        let vmm = inner.living(handle, "press the power button")?;
        if !ignored {
            vmm.end(VmmExit {
                code: Some(0),
                signal: None,
            });
        }
        Ok(())
    }

    async fn kill(&self, handle: &VmmHandle) -> Result<(), DriverError> {
        let mut inner = self.inner();
        inner.strike(Step::Kill, handle.machine)?;
        if let Some(vmm) = inner.vmm(handle) {
            vmm.end(VmmExit {
                code: None,
                signal: Some(SIGKILL),
            });
        }
        Ok(())
    }

    async fn console_tail(&self, _folder: &Path, max_bytes: usize) -> Vec<u8> {
        let text: &[u8] = b"a machine of the fake driver has no console\n";
        text[text.len().saturating_sub(max_bytes)..].to_vec()
    }

    async fn clean(&self, machine: MachineId, folder: &Path) -> Result<(), DriverError> {
        let vmm = {
            let mut inner = self.inner();
            inner.strike(Step::Clean, machine)?;
            inner.vmms.remove(&machine)
        };
        if let Some(mut vmm) = vmm {
            vmm.end(VmmExit {
                code: None,
                signal: Some(SIGKILL),
            });
        }
        match fs::remove_dir_all(folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(DriverError::io(format!("remove the folder {}", folder.display()))(e))
            }
            _ => Ok(()),
        }
    }
}
