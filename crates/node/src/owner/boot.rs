//! From pending to running.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use hearth_domain::{MachineEvent, StateWord};
use hearth_driver::{DriverError, KernelFiles, NetAttachment, StartPlan, VmmUser};
use hearth_network::{Slot, SlotRequest, TapOwner};
use hearth_node_api::GuestBoot;
use rand::RngCore;

use super::{Life, volumes::check_mounted};
use crate::{
    cgroup::Limits,
    disk, fault, guest_link,
    provisions::{HeldRoot, Holder, RootConfig},
    services::chain,
};

/// How much of the console is looked through for the cause of a failed boot, in bytes.
const CONSOLE_SEARCH_BYTES: usize = 16 << 10;
/// How much of it goes into the reason, in bytes.
const CONSOLE_TAIL_BYTES: usize = 1500;
/// CPU time for the VMM's own threads beside the guest's, in thousandths of a CPU.
const VMM_CPU_MILLIS: u64 = 500;
/// Threads and processes that a VMM may have beside one a vCPU.
const VMM_TASKS: u64 = 128;

/// Why the machine did not come up, for people.
type Reason = String;

impl Life {
    /// Brings the machine up, from wherever its record says it is, until its program runs.
    pub(super) async fn bring_up(&mut self) -> Result<(), Reason> {
        if self.record().state.word() == StateWord::Pending {
            self.enter(MachineEvent::Prepare);
            fault::point("prepare.recorded");
        }
        let held = self.hold_root()?;
        let config = held.config.clone();
        if let Some(handle) = self.record().handle.clone() {
            if self.record().greeting.is_some() {
                // A predecessor may have died before it let the vCPUs go.
                self.go_on(&handle).await;
            }
        } else {
            let plan = self.prepare(held).await?;
            if self.record().saved.is_some() {
                self.launch_saved(&plan).await?;
            } else {
                self.launch(&plan).await?;
            }
        }
        if self.record().greeting.is_some() {
            self.greet(&config).await?;
            self.publish_guest(self.guest_client());
            self.enter_with(MachineEvent::Ready, |record| record.guest_boot = None);
            fault::point("ready.recorded");
            return Ok(());
        }
        self.await_guest(&config).await
    }

    pub(super) fn hold_root(&self) -> Result<HeldRoot, Reason> {
        let spec = &self.spec;
        let held = self
            .services
            .roots
            .hold(&spec.image_id, &spec.layers, Holder::Machine(spec.id));
        held.map_err(|error| format!("image {} is not to be had: {}", spec.image, chain(&*error)))
    }

    /// Gathers what the VMM needs. What an earlier, cut off try left is taken up or replaced.
    pub(super) async fn prepare(&mut self, held: HeldRoot) -> Result<StartPlan, Reason> {
        if let Err(unusable) = self.driver.usable().await {
            let driver = self.spec.driver;
            return Err(format!("driver {driver} cannot be used on this node: {unusable}"));
        }
        let mut kernel = self.kernel_files().await?;
        // Once more: with a new release of the agent, the initramfs may have grown.
        self.services
            .check_memory(&self.spec, &*self.driver)
            .map_err(|refused| refused.message)?;
        let user = VmmUser {
            uid: self.record().vmm_uid,
            gid: self.record().vmm_uid,
        };
        let cgroups = self.make_cgroups()?;
        fault::point("prepare.cgroup");
        let slot = self.acquire_slot(user).await?;
        if let Some(ip) = &slot.kernel_ip {
            kernel.cmdline = format!("{} {ip}", kernel.cmdline);
        }
        fault::point("prepare.slot");
        let disk = self.make_disk(user).await?;
        let folder = self
            .folder
            .renew_vmm(user.uid, user.gid)
            .map_err(|error| format!("cannot make the VMM's folder {}: {error}", self.folder.vmm().display()))?;
        fault::point("prepare.disk");
        Ok(StartPlan {
            machine: self.spec.id,
            folder,
            kernel,
            root: held.path,
            layers: held.layers,
            disk,
            vcpus: self.spec.resources.vcpus.get(),
            memory_mib: self.spec.resources.memory_mib.get(),
            net: attachment(&slot),
            cgroups,
            user,
        })
    }

    async fn kernel_files(&self) -> Result<KernelFiles, Reason> {
        if !self.driver.capabilities().guest {
            // Boots nothing, and may have been asked for where there is no kernel at all.
            return Ok(KernelFiles {
                bzimage: PathBuf::new(),
                vmlinux: PathBuf::new(),
                pvh: false,
                initramfs: PathBuf::new(),
                cmdline: String::new(),
            });
        }
        let (services, kernel_id) = (self.services.clone(), self.spec.kernel_id.clone());
        let driver = self.spec.driver;
        tokio::task::spawn_blocking(move || services.kernels.files(&kernel_id, driver))
            .await
            .map_err(|error| format!("preparing the kernel was cut off: {error}"))?
            .map_err(|error| format!("kernel {} is not to be had: {}", self.spec.kernel_id, chain(&*error)))
    }

    fn make_cgroups(&self) -> Result<Vec<PathBuf>, Reason> {
        if !self.driver.capabilities().outlives {
            return Ok(Vec::new());
        }
        let resources = self.spec.resources;
        let memory_mib = u64::from(resources.memory_mib.get()) + self.services.config.vmm_overhead_mib;
        let limits = Limits {
            cpu_millis: u64::from(resources.vcpus.get()) * 1000 + VMM_CPU_MILLIS,
            memory_bytes: memory_mib << 20,
            tasks: u64::from(resources.vcpus.get()) + VMM_TASKS,
        };
        self.services
            .cgroups
            .create(self.spec.id, &limits)
            .map_err(|error| chain(&error))
    }

    async fn acquire_slot(&mut self, user: VmmUser) -> Result<Slot, Reason> {
        let request = SlotRequest {
            mode: self.spec.network,
            ports: self.spec.ports.clone(),
            tap_owner: TapOwner {
                uid: user.uid,
                gid: user.gid,
            },
        };
        let network = self.network().clone();
        // A start that was cut off may have got one already.
        let there = network.slot_of(self.spec.id);
        let is_new = there.is_none();
        let slot = match there {
            Some(slot) => slot,
            None => network
                .acquire(self.spec.id, request)
                .await
                .map_err(|error| format!("cannot connect the machine: {}", chain(&error)))?,
        };
        self.set_slot(Some(slot.clone()));
        // Before a vCPU runs. A new slot has no rules.
        if !is_new || !self.egress().is_open() {
            self.enforce_egress()
                .await
                .map_err(|error| format!("cannot set what the machine may reach: {}", chain(&error)))?;
        }
        Ok(slot)
    }

    async fn make_disk(&self, user: VmmUser) -> Result<Option<PathBuf>, Reason> {
        let Some(size) = self.spec.resources.disk_mib else {
            return Ok(None);
        };
        let path = self.folder.disk();
        disk::ensure(&path, size.get(), user.uid, user.gid)
            .await
            .map_err(|error| chain(&error))?;
        Ok(Some(path))
    }

    /// Starts the VMM.
    async fn launch(&mut self, plan: &StartPlan) -> Result<(), Reason> {
        self.forget_recovery().await;
        self.begin_launch(0);
        fault::point("launch.recorded");
        let handle = match self.driver.start(plan).await {
            Ok(handle) => handle,
            // A guest can end its VMM before the VMM is heard of: a kernel without room does.
            Err(error @ DriverError::DiedEarly { .. }) => return Err(self.explain(chain(&error), &plan.folder).await),
            Err(error) => return Err(chain(&error)),
        };
        fault::point("launch.started");
        self.change(|record| record.handle = Some(handle));
        fault::point("launch.handle");
        Ok(())
    }

    /// Waits for the agent and tells it what to run.
    async fn await_guest(&mut self, config: &RootConfig) -> Result<(), Reason> {
        let mut guest_boot = None;
        if let (Some(client), Some(handle)) = (self.guest_client(), self.record().handle.clone()) {
            let mut request = guest_link::init_request(&self.spec, config, self.slot(), &*self.services.secrets)?;
            // A copy of a disk shows it as another machine's, until it is this one's.
            request.restore = self.record().copied_disk.then(|| self.restore_of_copy());
            self.serve_volumes().await?;
            let volumes = self.volumes_of_guest().await?;
            let asked = volumes.mounts.len();
            request.volumes = Some(volumes);
            let deadline = Instant::now() + Duration::from_millis(self.services.config.boot_timeout_ms);
            let ready = async {
                client.wait_ready(deadline).await?;
                fault::point("ready.reached");
                // Only now: its clock would be late by as long as its boot took.
                request.clock_unix_ns = guest_link::clock_unix_ns();
                client.init(request).await
            };
            let outcome = tokio::select! {
                outcome = ready => outcome.map_err(|error| chain(&error)),
                _ = self.driver.wait(&handle) => Err("its VMM ended while the guest was booting".to_owned()),
            };
            let told = match outcome {
                Ok(told) => told,
                Err(reason) => return Err(self.explain(reason, &handle.folder).await),
            };
            check_mounted(asked, told.volumes)?;
            guest_boot = Some(GuestBoot {
                listening_ns: told.listening_ns,
                root_ready_ns: told.root_ready_ns,
            });
            fault::point("ready.initialised");
            self.publish_guest(Some(client));
        }
        self.enter_with(MachineEvent::Ready, |record| {
            record.guest_boot = guest_boot;
            record.copied_disk = false;
        });
        fault::point("ready.recorded");
        Ok(())
    }

    /// The reason of a failed boot, with what the guest said last.
    async fn explain(&self, reason: String, folder: &Path) -> Reason {
        let console = self.driver.console_tail(folder, CONSOLE_SEARCH_BYTES).await;
        let console = printable(&console);
        let memory_mib = self.spec.resources.memory_mib;
        let failed = format!("the guest did not come up with {memory_mib} MiB of memory: {reason}");
        if console.is_empty() {
            return format!(
                "{failed}; its console is silent (too little memory for the kernel also looks like this: try more with --memory)"
            );
        }
        let hint = if STARVED.iter().any(|sign| console.contains(sign)) {
            "; this looks like too little memory: try more with --memory"
        } else {
            ""
        };
        format!("{failed}{hint}; {}", last_words(&console))
    }
}

/// What a guest's kernel says when memory is short.
const STARVED: [&str; 5] = [
    "Out of memory",
    "out of memory",
    "deadlocked on memory",
    "not enough memory",
    "Cannot allocate",
];

/// A console's last lines, and the panic before them: what the kernel prints after one is long.
fn last_words(console: &str) -> String {
    let mut from = console.len().saturating_sub(CONSOLE_TAIL_BYTES);
    while !console.is_char_boundary(from) {
        from += 1;
    }
    // A line that is cut would be found neither here nor before.
    if let Some(end) = console[from..].find('\n').filter(|_| from > 0) {
        from += end + 1;
    }
    let tail = &console[from..];
    let panic = console[..from].lines().rev().find(|line| line.contains("Kernel panic"));
    match panic {
        Some(panic) => format!("its console says {:?} and ends with:\n{tail}", panic.trim()),
        None => format!("its console ends with:\n{tail}"),
    }
}

fn attachment(slot: &Slot) -> NetAttachment {
    NetAttachment {
        netns: slot.netns.clone(),
        tap: slot.tap.clone(),
        mac: slot.guest_mac.to_string(),
    }
}

/// 256 bits that nobody can guess.
pub(crate) fn new_token() -> String {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    data_encoding::HEXLOWER.encode(&bytes)
}

/// A console as it can be shown: no escape sequences, no control characters but line ends.
pub(crate) fn printable(console: &[u8]) -> String {
    let text = String::from_utf8_lossy(console);
    let mut shown = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                if chars.next() == Some('[') {
                    let _ = chars.by_ref().find(|c| ('@'..='~').contains(c));
                }
            }
            '\n' => shown.push('\n'),
            c if c.is_control() => {}
            c => shown.push(c),
        }
    }
    shown.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_cannot_paint_the_users_terminal() {
        assert_eq!(printable(b"a\x1b[31mb\x1b[0m\r\nc\x07\x1b"), "ab\nc");
    }

    #[test]
    fn a_panic_is_told_though_much_follows_it() {
        let after = "[ 0.9]  some_function+0x1/0x2\n".repeat(100);
        let told = last_words(&format!("[ 0.1] Kernel panic - not syncing: x\n{after}é"));
        assert!(
            told.contains(r#"says "[ 0.1] Kernel panic - not syncing: x" and ends"#),
            "{told}"
        );
        assert!(told.len() < CONSOLE_TAIL_BYTES + 200);
        // Wherever the cut falls, the line is told whole.
        for length in CONSOLE_TAIL_BYTES - 60..CONSOLE_TAIL_BYTES + 60 {
            let told = last_words(&format!("Kernel panic - not syncing: x\n{}", "y".repeat(length)));
            assert!(told.contains("Kernel panic - not syncing: x"), "{length}: {told}");
        }
        assert_eq!(last_words("Kernel panic"), "its console ends with:\nKernel panic");
    }

    #[test]
    fn tokens_differ() {
        assert_ne!(new_token(), new_token());
        assert_eq!(new_token().len(), 64);
    }
}
