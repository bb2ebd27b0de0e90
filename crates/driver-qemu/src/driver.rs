//! The driver itself.

use std::{
    env,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use async_trait::async_trait;
use hearth_domain::DriverKind;
use hearth_driver::{
    Capabilities, Check, Driver, DriverError, Liveness, Saved, SavedState, StartPlan, Unusable, VmmExit, VmmHandle,
    VmmIdentity,
    access::check_readable,
    launch::{self, GuestMemory, LaunchPlan, Launcher},
    process::ProcessId,
    tsc,
};
use hearth_ids::MachineId;
use serde_json::json;

use crate::{
    accel::{Accel, AccelChoice},
    command::{self, Origin, QMP_SOCKET},
    kernel, probe, qmp, save,
};

/// QEMU's program, as distributions name it.
const PROGRAM: &str = "qemu-system-x86_64";
/// How long QEMU may take until it answers. It needs 50 ms; many at once on few CPUs need more.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How often the control socket is looked for.
const SOCKET_POLL: Duration = Duration::from_millis(3);
/// How many bytes of a dead QEMU's output go into the error.
const LAST_WORDS_BYTES: usize = 2000;

/// What can be chosen.
#[derive(Debug, Clone, Default)]
pub struct QemuOptions {
    /// Path of QEMU; `None` looks on `PATH`.
    pub program: Option<PathBuf>,
    /// How instructions are executed.
    pub accel: AccelChoice,
}

/// Starts machines by QEMU.
#[derive(Debug)]
pub struct QemuDriver {
    options: QemuOptions,
    launcher: Launcher,
    accel: OnceLock<Accel>,
}

impl QemuDriver {
    /// A driver. Nothing is tried before it is needed.
    pub fn new(options: QemuOptions, launcher: Launcher) -> Self {
        Self {
            options,
            launcher,
            accel: OnceLock::new(),
        }
    }

    /// What executes the guests' instructions. The first call may take 100 ms.
    pub fn accel(&self) -> Accel {
        *self.accel.get_or_init(|| self.options.accel.resolve())
    }

    fn program(&self) -> Result<PathBuf, DriverError> {
        find_program(self.options.program.as_deref()).ok_or_else(|| DriverError::MissingProgram {
            program: self.program_name(),
            advice: probe::INSTALL_ADVICE,
        })
    }

    /// The program as it is looked for.
    fn program_name(&self) -> String {
        let chosen = self.options.program.as_ref();
        chosen.map_or_else(|| PROGRAM.into(), |path| path.display().to_string())
    }

    /// What executes instructions, found out off the runtime's threads.
    async fn found_accel(&self) -> Result<Accel, DriverError> {
        if let Some(accel) = self.accel.get() {
            return Ok(*accel);
        }
        let choice = self.options.accel;
        let accel = blocking("find out what executes instructions", move || choice.resolve()).await?;
        Ok(*self.accel.get_or_init(|| accel))
    }

    async fn boot_plan(&self, plan: &StartPlan) -> Result<LaunchPlan, DriverError> {
        let accel = self.found_accel().await?;
        let files = plan.kernel.clone();
        let origin = blocking("prepare the start", move || {
            let tsc_khz = (accel == Accel::Tcg).then(tsc::host_khz).flatten();
            Origin::Boot {
                kernel: kernel::image(&files),
                command_line: kernel::command_line(&files.cmdline, accel, tsc_khz),
            }
        });
        let origin = origin.await?;
        if let Origin::Boot { kernel, .. } = &origin {
            check_readable("kernel", kernel, plan.user)?;
        }
        check_readable("initramfs", &plan.kernel.initramfs, plan.user)?;
        let mut launch_plan = self.launch_plan(plan, accel, &origin)?;
        launch_plan.memory = Some(GuestMemory::Empty(memory_bytes(plan)));
        Ok(launch_plan)
    }

    fn launch_plan(&self, plan: &StartPlan, accel: Accel, origin: &Origin) -> Result<LaunchPlan, DriverError> {
        let program = self.program()?;
        if let Some(disk) = &plan.disk {
            check_readable("disk", disk, plan.user)?;
        }
        Ok(LaunchPlan {
            args: command::arguments(plan, accel, origin),
            cgroups: plan.cgroups.clone(),
            netns: plan.net.netns.clone(),
            tap: Some(plan.net.tap.clone()),
            root: Some(plan.root.clone()),
            layers: plan.layers.clone(),
            user: Some(plan.user),
            ..LaunchPlan::new(&plan.folder, program)
        })
    }

    /// Launches QEMU, and returns once it says that it is in the wanted state.
    async fn launch(&self, plan: &StartPlan, launch_plan: &LaunchPlan, wanted: &str) -> Result<VmmHandle, DriverError> {
        let process = self.launcher.spawn(launch_plan)?;
        let reached = tokio::time::timeout(START_TIMEOUT, reached(process, &plan.folder, wanted)).await;
        let reached = reached.unwrap_or_else(|_| {
            Err(DriverError::TimedOut {
                action: "answer on its control socket".into(),
                timeout_ms: u64::try_from(START_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
            })
        });
        if let Err(error) = reached {
            self.launcher.kill(process, &plan.folder).await?;
            return Err(error);
        }
        Ok(VmmHandle {
            machine: plan.machine,
            driver: DriverKind::Qemu,
            pid: process.pid,
            start_ticks: process.start_ticks,
            folder: plan.folder.clone(),
            extra: json!({ "accel": self.accel().as_str(), "memory_mib": plan.memory_mib }),
        })
    }

    async fn command(&self, handle: &VmmHandle, command: &str, action: &str) -> Result<(), DriverError> {
        let socket = handle.folder.join(QMP_SOCKET);
        qmp::execute(&socket, handle.pid, command, action).await.map(drop)
    }
}

/// Returns once QEMU says that it is `running`, or `paused`.
async fn reached(process: ProcessId, folder: &Path, wanted: &str) -> Result<(), DriverError> {
    let socket = folder.join(QMP_SOCKET);
    loop {
        if !process.is_alive() {
            launch::settle(folder).await;
            return Err(DriverError::DiedEarly {
                output: last_words(folder),
            });
        }
        if socket.exists() {
            match qmp::execute(&socket, process.pid, "query-status", "tell its state").await {
                Ok(status) if status["status"] == wanted => return Ok(()),
                Ok(_) => {}
                // Bound, not yet listening; or dying, which the next turn finds.
                Err(DriverError::Io { source, .. }) => tracing::debug!(pid = process.pid, %source, "QMP not ready"),
                Err(e) => return Err(e),
            }
        }
        tokio::time::sleep(SOCKET_POLL).await;
    }
}

/// Does what takes time where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    action: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, DriverError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| DriverError::io(action)(std::io::Error::other(error)))
}

fn memory_bytes(plan: &StartPlan) -> u64 {
    u64::from(plan.memory_mib) << 20
}

/// QEMU: the one chosen, or the first on `PATH`.
pub(crate) fn find_program(chosen: Option<&Path>) -> Option<PathBuf> {
    if let Some(path) = chosen {
        return path.is_file().then(|| path.to_owned());
    }
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    env::split_paths(&path)
        .map(|folder| folder.join(PROGRAM))
        .find(|p| p.is_absolute() && p.is_file())
}

fn process_of(handle: &VmmHandle) -> ProcessId {
    ProcessId {
        pid: handle.pid,
        start_ticks: handle.start_ticks,
    }
}

fn last_words(folder: &Path) -> String {
    let tail = String::from_utf8_lossy(&launch::output_tail(folder, LAST_WORDS_BYTES))
        .trim()
        .to_owned();
    if tail.is_empty() {
        "it said nothing".into()
    } else {
        tail
    }
}

#[async_trait]
impl Driver for QemuDriver {
    fn kind(&self) -> DriverKind {
        DriverKind::Qemu
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            guest: true,
            outlives: true,
            pause: true,
            snapshot: true,
            accelerated: self.accel() == Accel::Kvm,
        }
    }

    async fn usable(&self) -> Result<(), Unusable> {
        if find_program(self.options.program.as_deref()).is_some() {
            return Ok(());
        }
        Err(Unusable {
            reason: format!("cannot find {}", self.program_name()),
            advice: probe::INSTALL_ADVICE.into(),
        })
    }

    async fn probe(&self) -> Vec<Check> {
        probe::probe(&self.options).await
    }

    async fn start(&self, plan: &StartPlan) -> Result<VmmHandle, DriverError> {
        let launch_plan = self.boot_plan(plan).await?;
        self.launch(plan, &launch_plan, "running").await
    }

    async fn identity(&self) -> Result<VmmIdentity, DriverError> {
        let accel = self.found_accel().await?;
        save::identity_of_program(&self.program()?, accel).await
    }

    async fn save(&self, handle: &VmmHandle, folder: &Path) -> Result<Saved, DriverError> {
        // As it was when that VMM was started: the host may be another since.
        let accel = match handle.extra["accel"].as_str() {
            Some("kvm") => Accel::Kvm,
            Some("tcg") => Accel::Tcg,
            _ => self.found_accel().await?,
        };
        save::save(handle, accel, folder).await
    }

    async fn restore(&self, plan: &StartPlan, saved: &SavedState) -> Result<VmmHandle, DriverError> {
        let accel = self.found_accel().await?;
        let mut launch_plan = self.launch_plan(plan, accel, &Origin::Saved)?;
        launch_plan.memory = Some(GuestMemory::Saved(saved.memory.clone()));
        launch_plan.devices = Some(saved.devices.clone());
        hearth_driver::saved::check_memory(&saved.memory, memory_bytes(plan))?;
        self.launch(plan, &launch_plan, "paused").await
    }

    async fn recover(&self, handle: &VmmHandle) -> Result<Liveness, DriverError> {
        Ok(if process_of(handle).is_alive() {
            Liveness::Alive
        } else {
            Liveness::Gone
        })
    }

    async fn wait(&self, handle: &VmmHandle) -> VmmExit {
        let exit = self.launcher.wait(process_of(handle)).await;
        launch::settle(&handle.folder).await;
        exit
    }

    async fn pause(&self, handle: &VmmHandle) -> Result<(), DriverError> {
        self.command(handle, "stop", "pause").await
    }

    async fn resume(&self, handle: &VmmHandle) -> Result<(), DriverError> {
        self.command(handle, "cont", "resume").await
    }

    async fn press_power_button(&self, handle: &VmmHandle) -> Result<(), DriverError> {
        self.command(handle, "system_powerdown", "press the power button").await
    }

    async fn kill(&self, handle: &VmmHandle) -> Result<(), DriverError> {
        self.launcher.kill(process_of(handle), &handle.folder).await
    }

    async fn console_tail(&self, folder: &Path, max_bytes: usize) -> Vec<u8> {
        launch::output_tail(folder, max_bytes)
    }

    async fn clean(&self, machine: MachineId, folder: &Path) -> Result<(), DriverError> {
        launch::clean(machine, folder).await
    }
}
