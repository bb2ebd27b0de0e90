//! What goes into a driver and what comes out.

use std::path::PathBuf;

use hearth_domain::DriverKind;
use hearth_ids::MachineId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::VmmIdentity;

/// All that a VMM needs to boot one machine. The files exist and stay until the machine is cleaned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartPlan {
    /// Whose VMM it is.
    pub machine: MachineId,
    /// A folder for the driver's own files (sockets, console log, pid file), made empty and owned by `user`. Its path
    /// is short enough for a unix socket in it.
    pub folder: PathBuf,
    /// What boots.
    pub kernel: KernelFiles,
    /// The EROFS root, the guest's first disk; read-only, shared between machines. Its folder may be shut to `user`: the
    /// driver hands over the file itself.
    pub root: PathBuf,
    /// EROFS images that lie over the root, bottom to top: the guest's next disks, read-only and handed over as it is.
    pub layers: Vec<PathBuf>,
    /// The machine's own raw ext4 disk, the guest's last and the only one that is not read-only, by which the guest
    /// tells it from the others; writable by `user`.
    pub disk: Option<PathBuf>,
    /// Virtual CPUs.
    pub vcpus: u8,
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// The network card.
    pub net: NetAttachment,
    /// cgroup folders, one a hierarchy, that the VMM is put into; limits are already set there.
    pub cgroups: Vec<PathBuf>,
    /// Whom the VMM runs as.
    pub user: VmmUser,
}

/// A kernel bundle's files, readable by all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelFiles {
    /// For QEMU.
    pub bzimage: PathBuf,
    /// The uncompressed ELF, for Firecracker, and for QEMU where it can enter it.
    pub vmlinux: PathBuf,
    /// Whether `vmlinux` has a PVH entry: QEMU then enters it as it is, and the guest need not unpack itself.
    pub pvh: bool,
    /// The agent and its modules.
    pub initramfs: PathBuf,
    /// Command line, the same for every machine of the driver (the agent is configured by call).
    pub cmdline: String,
}

/// Where the guest's network card is plugged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetAttachment {
    /// Path of the network namespace that holds the tap; `None` is the host's own.
    pub netns: Option<PathBuf>,
    /// Name of the tap, which exists and which `user` may open.
    pub tap: String,
    /// The card's address, as `aa:bb:cc:dd:ee:ff`.
    pub mac: String,
}

/// An unprivileged user, of no other process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmmUser {
    /// User ID.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
}

/// How to find a VMM again. Written to the machine's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmmHandle {
    /// Whose VMM it is.
    pub machine: MachineId,
    /// Which driver made it.
    pub driver: DriverKind,
    /// Process ID.
    pub pid: u32,
    /// When the process started, in clock ticks since boot (field 22 of `/proc/<pid>/stat`): pids come round again.
    pub start_ticks: u64,
    /// The driver's folder of the machine.
    pub folder: PathBuf,
    /// Whatever else the driver needs.
    #[serde(default)]
    pub extra: serde_json::Value,
}

/// Whether a VMM lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It does.
    Alive,
    /// It does not, or the pid is now another's.
    Gone,
}

/// What a save wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// The VMM that it was saved from. It may be older than one that is started now.
    pub identity: VmmIdentity,
    /// Bytes of the guest's memory, without what it never wrote.
    pub memory_bytes: u64,
    /// Bytes of the devices' state.
    pub devices_bytes: u64,
}

/// How a VMM ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmmExit {
    /// Exit code, where this process is its parent and could see it.
    pub code: Option<i32>,
    /// Signal that ended it, likewise.
    pub signal: Option<i32>,
}

/// What a driver can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a yes or no of its own")]
pub struct Capabilities {
    /// A real guest with an agent comes up; without it the node speaks to nobody.
    pub guest: bool,
    /// VMMs outlive this process.
    pub outlives: bool,
    /// Pause and resume.
    pub pause: bool,
    /// Save and restore.
    pub snapshot: bool,
    /// Hardware virtualisation is in use.
    pub accelerated: bool,
}

/// Why no machine of a driver can start on this host.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}; {advice}")]
pub struct Unusable {
    /// What is missing.
    pub reason: String,
    /// How to mend it.
    pub advice: String,
}

/// One row of `hearth doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at, such as `kvm`.
    pub name: String,
    /// What came out.
    pub outcome: CheckOutcome,
    /// What was found, in a sentence.
    pub detail: String,
    /// How to mend it, where there is something to mend.
    pub advice: Option<String>,
}

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckOutcome {
    /// It works.
    Ok,
    /// Hearth works without it, less well.
    Warning,
    /// Machines cannot run so.
    Failed,
}

/// Why a driver could not do something.
#[derive(Debug, Error)]
pub enum DriverError {
    /// The VMM's program is not there.
    #[error("cannot find {program}: {advice}")]
    MissingProgram {
        /// Which.
        program: String,
        /// Where it comes from.
        advice: &'static str,
    },
    /// A system call failed.
    #[error("cannot {action}")]
    Io {
        /// What was being done, with what.
        action: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The VMM ended while it was being started; its last words tell why.
    #[error("the VMM ended while it was being started: {output}")]
    DiedEarly {
        /// The end of what it wrote.
        output: String,
    },
    /// The VMM refused a request on its control socket.
    #[error("the VMM refused to {action}: {message}")]
    Refused {
        /// What was asked.
        action: String,
        /// Its answer.
        message: String,
    },
    /// The VMM did not answer in time.
    #[error("the VMM did not {action} within {timeout_ms} ms")]
    TimedOut {
        /// What was asked.
        action: String,
        /// How long it had.
        timeout_ms: u64,
    },
    /// The driver cannot do this at all.
    #[error("driver {driver} cannot {action}")]
    Unsupported {
        /// Which driver.
        driver: DriverKind,
        /// What was asked.
        action: &'static str,
    },
    /// Told to fail (the fake driver only).
    #[error("told to fail at {step}")]
    Injected {
        /// The step.
        step: String,
    },
}

impl DriverError {
    /// For `map_err`: an I/O error with what was being done.
    pub fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}
