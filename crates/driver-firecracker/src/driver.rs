//! The driver itself.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use hearth_domain::DriverKind;
use hearth_driver::{Capabilities, Check, Driver, DriverError, Liveness, StartPlan, VmmExit, VmmHandle};
use hearth_ids::MachineId;
use serde::{Deserialize, Serialize};

use crate::{
    api::{Action, ApiClient, ApiSocket, VmState},
    config::FirecrackerConfig,
    jail, launch,
    layout::{Layout, Stream},
    processes,
    programs::Programs,
    start::{self, refused},
    streams::{self, Streams},
};

/// Drives Firecracker.
#[derive(Debug)]
pub struct FirecrackerDriver {
    config: FirecrackerConfig,
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
}

impl FirecrackerDriver {
    /// A driver so configured. Looks at nothing yet: see [`Driver::probe`].
    pub fn new(config: FirecrackerConfig) -> Self {
        Self {
            config,
            streams: Streams::default(),
        }
    }

    /// The API of a running VMM, for what the trait does not have: balloon, limiters, metadata, metrics.
    pub fn api(&self, handle: &VmmHandle) -> Result<ApiClient, DriverError> {
        let extra = Extra::deserialize(&handle.extra)
            .map_err(|error| DriverError::io("read the handle")(std::io::Error::other(error)))?;
        Ok(self.client(extra.api, extra.uid))
    }

    fn client(&self, api: PathBuf, uid: u32) -> ApiClient {
        ApiClient::new(ApiSocket::new(api, uid), self.config.call_timeout())
    }

    async fn boot(&self, plan: &StartPlan) -> Result<VmmHandle, DriverError> {
        let programs = Programs::find(&self.config).await?;
        let layout = Layout::of(plan, &programs, self.config.confinement);
        for stream in Stream::ALL {
            streams::make(stream, &plan.folder, plan.user).map_err(DriverError::io("make the VMM's pipes"))?;
        }
        jail::build(plan, &layout)?;
        self.streams
            .follow(&plan.folder)
            .map_err(DriverError::io("read the VMM's pipes"))?;
        let child = launch::launch(plan, &programs, &layout)?;
        let api = self.client(layout.api.clone(), plan.user.uid);
        start::api_answers(&api, &self.config, || true).await?;
        start::configure(&api, plan, &layout.seen, &self.config, programs.features()).await?;
        let extra = Extra {
            api: layout.api,
            uid: plan.user.uid,
            jail: layout.root,
            version: programs.version.to_string(),
        };
        Ok(VmmHandle {
            machine: plan.machine,
            driver: DriverKind::Firecracker,
            pid: child.id(),
            start_ticks: launch::start_ticks(child.id()).map_err(DriverError::io("look at the VMM"))?,
            folder: plan.folder.clone(),
            extra: serde_json::to_value(extra).unwrap_or_default(),
        })
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
            accelerated: true,
        }
    }

    async fn probe(&self) -> Vec<Check> {
        Vec::new()
    }

    async fn start(&self, plan: &StartPlan) -> Result<VmmHandle, DriverError> {
        let result = self.boot(plan).await;
        if result.is_err() {
            self.clean(plan.machine, &plan.folder).await?;
        }
        result
    }

    async fn recover(&self, _handle: &VmmHandle) -> Result<Liveness, DriverError> {
        Ok(Liveness::Gone)
    }

    async fn wait(&self, _handle: &VmmHandle) -> VmmExit {
        VmmExit::default()
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

    async fn kill(&self, _handle: &VmmHandle) -> Result<(), DriverError> {
        Ok(())
    }

    async fn console_tail(&self, folder: &Path, max_bytes: usize) -> Vec<u8> {
        self.streams
            .tail(Stream::Console, folder, max_bytes)
            .unwrap_or_default()
    }

    async fn clean(&self, machine: MachineId, folder: &Path) -> Result<(), DriverError> {
        self.streams.leave(folder);
        for pid in processes::of_machine(machine, folder) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
                let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        jail::remove(folder)
    }
}
