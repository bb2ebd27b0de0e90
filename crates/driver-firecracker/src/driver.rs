//! The driver itself.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use hearth_domain::DriverKind;
use hearth_driver::{
    Capabilities, Check, Driver, DriverError, Liveness, Saved, SavedState, StartPlan, Unusable, VmmExit, VmmHandle,
    VmmIdentity,
    launch::{self, Launcher},
    process::ProcessId,
};
use hearth_ids::MachineId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;
use tracing::warn;

use crate::{
    api::{Action, ApiClient, ApiSocket, HugePages, VmState},
    cgroups,
    config::FirecrackerConfig,
    jail,
    launch::launch_plan,
    layout::{Layout, Origin, Stream},
    probe, processes,
    programs::Programs,
    save::{self, Subject},
    start::{self, refused},
    streams::{self, Streams},
};

/// How long after a call broke off the VMM's end is waited for.
const AFTERMATH: Duration = Duration::from_millis(200);

/// How much of its output is told of a VMM that ended while it was started.
const LAST_WORDS_BYTES: usize = 2_000;

/// How much of the metrics is looked through for the last line: Firecracker's lines have 10 KB.
const METRICS_BYTES: usize = 128 * 1024;

/// Drives Firecracker.
#[derive(Debug)]
pub struct FirecrackerDriver {
    config: FirecrackerConfig,
    launcher: Launcher,
    streams: Streams,
}

/// What a handle holds beyond what every driver's does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Extra {
    /// The API socket on the host.
    api: PathBuf,
    /// Whose it is.
    uid: u32,
    /// The jail's root, if there is one.
    jail: Option<PathBuf>,
    /// Firecracker's version.
    version: String,
    /// The guest's memory in MiB.
    #[serde(default)]
    memory_mib: u32,
    /// Whether it was restored.
    #[serde(default)]
    restored: bool,
}

impl Extra {
    fn of(handle: &VmmHandle) -> Result<Self, DriverError> {
        Self::deserialize(&handle.extra)
            .map_err(|error| DriverError::io("read the VMM's handle")(io::Error::other(error)))
    }
}

impl FirecrackerDriver {
    /// A driver so configured. Looks at nothing yet: see [`Driver::probe`].
    pub fn new(config: FirecrackerConfig, launcher: Launcher) -> Self {
        Self {
            config,
            launcher,
            streams: Streams::default(),
        }
    }

    /// The API of a running VMM, for what the trait does not have: balloon, limiters, metadata.
    pub fn api(&self, handle: &VmmHandle) -> Result<ApiClient, DriverError> {
        let extra = Extra::of(handle)?;
        Ok(self.client(extra.api, extra.uid))
    }

    /// The VMM's counters, written anew. What is not JSON is an error: a VMM that was taken over writes what it likes.
    pub async fn metrics(&self, handle: &VmmHandle) -> Result<Value, DriverError> {
        const ACTION: &str = "write metrics";
        self.api(handle)?
            .act(Action::FlushMetrics)
            .await
            .map_err(refused(ACTION))?;
        let tail = self.streams.tail(Stream::Metrics, &handle.folder, METRICS_BYTES);
        let tail = tail.map_err(DriverError::io("read the VMM's metrics"))?;
        let last = tail
            .split(|byte| *byte == b'\n')
            .rfind(|line| !line.is_empty())
            .unwrap_or_default();
        serde_json::from_slice(last).map_err(|error| DriverError::Refused {
            action: ACTION.to_owned(),
            message: error.to_string(),
        })
    }

    /// The last bytes of the VMM's own log.
    pub fn log_tail(&self, folder: &Path, max_bytes: usize) -> Vec<u8> {
        self.streams.tail(Stream::Log, folder, max_bytes).unwrap_or_else(|error| {
            warn!(error = &error as &dyn std::error::Error, folder = %folder.display(), "cannot read the VMM's log");
            Vec::new()
        })
    }

    fn client(&self, api: PathBuf, uid: u32) -> ApiClient {
        ApiClient::new(ApiSocket::new(api, uid), self.config.call_timeout())
    }

    /// Everything before a process exists.
    fn prepare(&self, plan: &StartPlan, layout: &Layout, origin: Origin<'_>) -> Result<(), DriverError> {
        let make = format!("make the folder {}", plan.folder.display());
        fs::create_dir_all(&plan.folder).map_err(DriverError::io(make))?;
        for stream in Stream::ALL {
            let make = format!("make the pipe {}", stream.fifo(&plan.folder).display());
            streams::make(stream, &plan.folder, plan.user).map_err(DriverError::io(make))?;
        }
        jail::build(plan, layout, origin)?;
        if let Origin::Saved(saved) = origin {
            save::hand_over(&saved.devices, &layout.transit(&plan.folder), plan.user)?;
        }
        self.streams
            .follow(&plan.folder)
            .map_err(DriverError::io("read the VMM's output"))
    }

    /// From a plan to a guest that runs, or stands where it was saved.
    async fn bring_up(&self, plan: &StartPlan, origin: Origin<'_>) -> Result<VmmHandle, DriverError> {
        let programs = Programs::find(&self.config).await?;
        let beyond = self.config.beyond(programs.features());
        let action = match origin {
            Origin::Kernel => beyond,
            Origin::Saved(_) => beyond.or_else(|| save::hindrance(programs.version, self.config.huge_pages)),
        };
        if let Some(action) = action {
            return Err(self.unsupported(action));
        }
        let layout = Layout::of(plan, &programs, self.config.confinement);
        self.prepare(plan, &layout, origin)?;
        let vmm = self.launch(plan, &programs, &layout, origin).await?;
        let extra = Extra {
            api: layout.api,
            uid: plan.user.uid,
            jail: layout.root,
            version: programs.version.to_string(),
            memory_mib: plan.memory_mib,
            restored: matches!(origin, Origin::Saved(_)),
        };
        Ok(VmmHandle {
            machine: plan.machine,
            driver: self.kind(),
            pid: vmm.pid,
            start_ticks: vmm.start_ticks,
            folder: plan.folder.clone(),
            extra: serde_json::to_value(extra)
                .map_err(|error| DriverError::io("write the VMM's handle")(io::Error::other(error)))?,
        })
    }

    /// From files to a guest. When the VMM ends meanwhile, its last words say why.
    async fn launch(
        &self,
        plan: &StartPlan,
        programs: &Programs,
        layout: &Layout,
        origin: Origin<'_>,
    ) -> Result<ProcessId, DriverError> {
        let launch_plan = launch_plan(plan, programs, layout, &self.config, origin);
        let vmm = self.launcher.spawn(&launch_plan)?;
        let configure = async {
            let api = self.client(layout.api.clone(), plan.user.uid);
            start::api_answers(&api, &self.config).await?;
            cgroups::check(&plan.cgroups, vmm.pid)?;
            match origin {
                Origin::Kernel => start::configure(&api, plan, &layout.seen, &self.config, programs.features()).await,
                Origin::Saved(_) => {
                    let devices = layout.transit(&plan.folder).devices;
                    start::load(&api, plan, &layout.seen, &devices.seen, &self.config).await?;
                    hearth_driver::saved::forget(&devices.host)
                }
            }
        };
        let result = tokio::select! {
            biased;
            _exit = self.launcher.wait(vmm) => return Err(self.last_words(&plan.folder).await),
            configured = configure => configured,
        };
        let Err(error) = result else { return Ok(vmm) };
        // A call that breaks off is often the first sign of the end.
        let broke_off = matches!(error, DriverError::Io { .. });
        if broke_off && timeout(AFTERMATH, self.launcher.wait(vmm)).await.is_ok() {
            return Err(self.last_words(&plan.folder).await);
        }
        // What it wrote stays for the node to look at, until it cleans.
        self.launcher.kill(vmm, &plan.folder).await?;
        Err(error)
    }

    /// What a VMM that ended wrote last, on its console and in its log.
    async fn last_words(&self, folder: &Path) -> DriverError {
        launch::settle(folder).await;
        let mut output = launch::output_tail(folder, LAST_WORDS_BYTES);
        output.extend(self.log_tail(folder, LAST_WORDS_BYTES));
        DriverError::DiedEarly {
            output: String::from_utf8_lossy(&output).trim().to_owned(),
        }
    }
}

fn mebibytes(count: u32) -> u64 {
    u64::from(count) << 20
}

fn process_of(handle: &VmmHandle) -> ProcessId {
    ProcessId {
        pid: handle.pid,
        start_ticks: handle.start_ticks,
    }
}

#[async_trait]
impl Driver for FirecrackerDriver {
    fn kind(&self) -> DriverKind {
        DriverKind::Firecracker
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            guest: true,
            outlives: true,
            pause: true,
            snapshot: self.config.huge_pages != Some(HugePages::TwoMebibytes),
            accelerated: hearth_driver::kvm::usable().is_ok(),
        }
    }

    async fn usable(&self) -> Result<(), Unusable> {
        probe::usable(&self.config).await
    }

    async fn probe(&self) -> Vec<Check> {
        probe::probe(&self.config).await
    }

    async fn start(&self, plan: &StartPlan) -> Result<VmmHandle, DriverError> {
        self.bring_up(plan, Origin::Kernel).await
    }

    async fn identity(&self) -> Result<VmmIdentity, DriverError> {
        let programs = Programs::find(&self.config).await?;
        if let Some(action) = save::hindrance(programs.version, self.config.huge_pages) {
            return Err(self.unsupported(action));
        }
        Ok(save::identity(programs.version, self.config.cpu_template))
    }

    async fn save(&self, handle: &VmmHandle, folder: &Path) -> Result<Saved, DriverError> {
        let extra = Extra::of(handle)?;
        let deadline = self.config.call_timeout() + save::writing_time(extra.memory_mib);
        let api = self.client(extra.api, extra.uid).with_deadline(deadline);
        let subject = Subject {
            vmm: process_of(handle),
            uid: extra.uid,
            jail: extra.jail,
            folder: handle.folder.clone(),
            memory_bytes: mebibytes(extra.memory_mib),
            restored: extra.restored,
        };
        save::save(&api, subject, folder).await
    }

    async fn restore(&self, plan: &StartPlan, saved: &SavedState) -> Result<VmmHandle, DriverError> {
        hearth_driver::saved::check_memory(&saved.memory, mebibytes(plan.memory_mib))?;
        self.bring_up(plan, Origin::Saved(saved)).await
    }

    async fn recover(&self, handle: &VmmHandle) -> Result<Liveness, DriverError> {
        if !process_of(handle).is_alive() {
            return Ok(Liveness::Gone);
        }
        if let Err(error) = self.streams.follow(&handle.folder) {
            // The VMM lives nonetheless; what it logs is lost.
            let error = &error as &dyn std::error::Error;
            warn!(error, folder = %handle.folder.display(), "cannot read the VMM's log and metrics");
        }
        Ok(Liveness::Alive)
    }

    async fn wait(&self, handle: &VmmHandle) -> VmmExit {
        self.launcher.wait(process_of(handle)).await
    }

    async fn pause(&self, handle: &VmmHandle) -> Result<(), DriverError> {
        self.api(handle)?
            .set_vm_state(VmState::Paused)
            .await
            .map_err(refused("pause"))
    }

    async fn resume(&self, handle: &VmmHandle) -> Result<(), DriverError> {
        self.api(handle)?
            .set_vm_state(VmState::Resumed)
            .await
            .map_err(refused("resume"))
    }

    async fn press_power_button(&self, handle: &VmmHandle) -> Result<(), DriverError> {
        self.api(handle)?
            .act(Action::SendCtrlAltDel)
            .await
            .map_err(refused("press Ctrl-Alt-Del"))
    }

    async fn kill(&self, handle: &VmmHandle) -> Result<(), DriverError> {
        self.launcher.kill(process_of(handle), &handle.folder).await
    }

    async fn console_tail(&self, folder: &Path, max_bytes: usize) -> Vec<u8> {
        launch::output_tail(folder, max_bytes)
    }

    async fn clean(&self, machine: MachineId, folder: &Path) -> Result<(), DriverError> {
        self.streams.leave(folder);
        for process in processes::of_jail(folder) {
            self.launcher.kill(process, folder).await?;
        }
        jail::unmount(folder)?;
        launch::clean(machine, folder).await
    }
}
