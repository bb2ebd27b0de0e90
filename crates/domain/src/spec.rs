//! What a machine should be.

use std::{collections::BTreeMap, net::IpAddr};

use hearth_ids::{BuildId, FunctionId, MachineId, ProjectId, SandboxId, SnapshotId, VolumeId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{DiskMib, EgressRules, MachineName, MemoryMib, RecoverPolicy, Vcpus};

/// All that is decided about a machine before it starts. Immutable once the machine is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSpec {
    /// The machine's identity.
    pub id: MachineId,
    /// Whose it is.
    #[serde(default)]
    pub project: ProjectId,
    /// What made it, where that was not a person: it decides when the machine ends.
    #[serde(default)]
    pub owner: Option<MachineOwner>,
    /// What people call it; unique in a project.
    pub name: MachineName,
    /// The reference that the user gave, for show.
    pub image: String,
    /// The image's digest, which is what runs.
    pub image_id: String,
    /// Digests of images that lie over it, bottom to top; read-only as it is. At most [`MachineSpec::LAYERS_MAX`].
    #[serde(default)]
    pub layers: Vec<String>,
    /// ID of the kernel bundle.
    pub kernel_id: String,
    /// CPUs, memory, disk.
    pub resources: Resources,
    /// The program.
    pub workload: Workload,
    /// How it is connected.
    pub network: NetworkMode,
    /// What it may reach, of what such a connection reaches. It may be changed while there is the machine.
    #[serde(default)]
    pub egress: EgressRules,
    /// Ports of the guest that the node answers for.
    pub ports: Vec<PortMapping>,
    /// Which VMM runs it.
    pub driver: DriverKind,
    /// What happens when the program ends.
    pub restart: RestartPolicy,
    /// What happens when its VMM ends under it.
    #[serde(default)]
    pub recover: RecoverPolicy,
    /// How long a stop waits for the guest before it is killed, in milliseconds.
    pub stop_timeout_ms: u64,
    /// Whether the machine is removed once it has stopped.
    pub auto_remove: bool,
    /// The snapshot that its first start goes on from, instead of a boot. A later start boots the image; as does the first, with a copy
    /// of the disk, if the snapshot has no memory.
    #[serde(default)]
    pub snapshot: Option<SnapshotId>,
    /// Whether of that snapshot the disk alone is taken, so that the machine boots in any case.
    #[serde(default)]
    pub boots: bool,
    /// Shared folders that it mounts, at each start. What is made of a snapshot of it has them no more, unless it asks for them.
    #[serde(default)]
    pub volumes: Vec<VolumeMount>,
}

/// A volume at a place in a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// Which.
    pub volume: VolumeId,
    /// Where; absolute.
    pub path: String,
}

impl MachineSpec {
    /// Most images that may lie over a machine's own: each is a drive, and VMMs have room for some twenty devices.
    pub const LAYERS_MAX: usize = 8;

    /// The same as a snapshot keeps it: what is made of that asks for its own shared folders, and goes on although this booted.
    #[must_use]
    pub fn without_volumes(self) -> Self {
        Self {
            volumes: Vec::new(),
            boots: false,
            ..self
        }
    }

    /// Whether it waits for whoever wants a machine of its snapshot.
    pub fn is_warm(&self) -> bool {
        matches!(self.owner, Some(MachineOwner::Warm { .. }))
    }
}

/// What a machine holds of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Virtual CPUs.
    pub vcpus: Vcpus,
    /// Guest memory.
    pub memory_mib: MemoryMib,
    /// Own disk over the image; without one, changes live in the guest's memory.
    pub disk_mib: Option<DiskMib>,
}

/// The program of a machine. `None` and empty mean: as the image says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a yes or no of its own")]
pub struct Workload {
    /// Replaces the image's entrypoint (and then its command, too).
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    pub cmd: Vec<String>,
    /// Added to the image's environment.
    pub env: BTreeMap<String, String>,
    /// Working folder.
    pub working_dir: Option<String>,
    /// `user[:group]`, by name or number.
    pub user: Option<String>,
    /// Signal that asks the program to end, such as `SIGTERM`.
    pub stop_signal: Option<String>,
    /// Runs on a pseudo-terminal.
    pub tty: bool,
    /// Keeps standard input open for an attached client.
    pub stdin: bool,
    /// The agent serves the Lambda Runtime API to the program, and answers calls for it.
    pub runtime_api: bool,
    /// No program of the image's is run: the machine is there for commands, which get `env`, `working_dir` and `user` where they
    /// bring none, and lasts until it is stopped. What stands in `cmd` is started with each boot, and its end is not the machine's.
    pub idle: bool,
    /// What the program is given that nobody may read here: the node opens it when the guest is told what to run.
    pub secrets: Vec<SealedSecret>,
}

/// A secret that was closed by the control plane, bound to its project, and where the program finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    /// Where the program finds it.
    pub target: SecretTarget,
    /// The closed box, as text.
    pub sealed: String,
}

/// Where a program finds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretTarget {
    /// A variable of its environment.
    Env(String),
    /// A file that its user alone may read, by absolute path; it lies in memory.
    File(String),
}

/// What made a machine that no person asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum MachineOwner {
    /// It is an instance of a function.
    Function {
        /// Which.
        function: FunctionId,
        /// Its version.
        version: u32,
    },
    /// It waits for whoever wants a machine of a snapshot.
    Warm {
        /// Which.
        snapshot: SnapshotId,
    },
    /// It is a sandbox.
    Sandbox {
        /// Which.
        sandbox: SandboxId,
    },
    /// A template of sandboxes is made in it.
    Build {
        /// By which build.
        build: BuildId,
    },
}

impl MachineOwner {
    /// The sandbox, where it is one.
    pub fn sandbox(&self) -> Option<SandboxId> {
        match self {
            Self::Sandbox { sandbox } => Some(*sandbox),
            Self::Function { .. } | Self::Warm { .. } | Self::Build { .. } => None,
        }
    }

    /// The function and its version, of an instance of one.
    pub fn function(&self) -> Option<(FunctionId, u32)> {
        match self {
            Self::Function { function, version } => Some((*function, *version)),
            Self::Warm { .. } | Self::Sandbox { .. } | Self::Build { .. } => None,
        }
    }
}

/// How a machine is connected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// A slot of its own: out to the world, and to nothing near.
    #[default]
    Default,
    /// Only the node's link to the agent.
    None,
    /// A port on the node's bridge.
    Bridge,
}

/// Transport of a published port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// A port of the node that leads to a port of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortMapping {
    /// Address on the node; all of them if absent.
    pub host_ip: Option<IpAddr>,
    /// Port on the node.
    pub host_port: u16,
    /// Port in the guest.
    pub guest_port: u16,
    /// Transport.
    pub protocol: Protocol,
}

impl PortMapping {
    /// Whether both claim the same port of the same address.
    pub fn clashes_with(&self, other: &Self) -> bool {
        let same_address = match (self.host_ip, other.host_ip) {
            (Some(one), Some(other)) => one == other || one.is_unspecified() || other.is_unspecified(),
            _ => true,
        };
        self.protocol == other.protocol && self.host_port == other.host_port && same_address
    }
}

/// What starts machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriverKind {
    /// Firecracker, through its jailer.
    Firecracker,
    /// QEMU's `microvm` machine.
    Qemu,
    /// In process, for tests.
    Fake,
}

/// What happens when a machine's program ends by itself. A stop by the user is never undone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "policy")]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// It is started again if it failed, at most `max` times in a row.
    OnFailure {
        /// Without one, without end.
        max: Option<u32>,
    },
    /// It is started again.
    Always,
}

/// A text that names none of the choices.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field} {value:?} is not valid: use {choices}")]
pub struct InvalidSpec {
    field: &'static str,
    value: String,
    choices: &'static str,
}

impl InvalidSpec {
    fn new(field: &'static str, value: &str, choices: &'static str) -> Self {
        Self {
            field,
            value: value.chars().take(80).collect(),
            choices,
        }
    }
}

impl DriverKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firecracker => "firecracker",
            Self::Qemu => "qemu",
            Self::Fake => "fake",
        }
    }
}

impl std::fmt::Display for DriverKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for DriverKind {
    type Err = InvalidSpec;

    fn from_str(value: &str) -> Result<Self, InvalidSpec> {
        match value {
            "firecracker" => Ok(Self::Firecracker),
            "qemu" => Ok(Self::Qemu),
            "fake" => Ok(Self::Fake),
            _ => Err(InvalidSpec::new("driver", value, "firecracker or qemu")),
        }
    }
}

impl std::str::FromStr for NetworkMode {
    type Err = InvalidSpec;

    fn from_str(value: &str) -> Result<Self, InvalidSpec> {
        match value {
            "default" => Ok(Self::Default),
            "none" => Ok(Self::None),
            "bridge" => Ok(Self::Bridge),
            _ => Err(InvalidSpec::new("network", value, "default, none or bridge")),
        }
    }
}

impl std::str::FromStr for RestartPolicy {
    type Err = InvalidSpec;

    fn from_str(value: &str) -> Result<Self, InvalidSpec> {
        let refused = || InvalidSpec::new("restart", value, "no, on-failure, on-failure:N or always");
        match value.split_once(':') {
            None if value == "no" => Ok(Self::No),
            None if value == "always" => Ok(Self::Always),
            None if value == "on-failure" => Ok(Self::OnFailure { max: None }),
            Some(("on-failure", max)) => max
                .parse()
                .map(|max| Self::OnFailure { max: Some(max) })
                .map_err(|_| refused()),
            _ => Err(refused()),
        }
    }
}

impl std::str::FromStr for PortMapping {
    type Err = InvalidSpec;

    /// Reads `[HOST_IP:]HOST:GUEST[/tcp|/udp]`, as docker writes it; an IPv6 address stands in brackets.
    fn from_str(value: &str) -> Result<Self, InvalidSpec> {
        let refused = || InvalidSpec::new("publish", value, "[HOST_IP:]HOST_PORT:GUEST_PORT[/tcp|/udp]");
        let (ports, protocol) = match value.rsplit_once('/') {
            None => (value, Protocol::Tcp),
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some(_) => return Err(refused()),
        };
        let (host, guest_port) = ports.rsplit_once(':').ok_or_else(refused)?;
        let (host_ip, host_port) = match host.rsplit_once(':') {
            None => (None, host),
            Some((ip, port)) => {
                let ip = ip.trim_start_matches('[').trim_end_matches(']');
                (Some(ip.parse().map_err(|_| refused())?), port)
            }
        };
        let port = |text: &str| text.parse::<u16>().ok().filter(|p| *p != 0).ok_or_else(refused);
        Ok(Self {
            host_ip,
            host_port: port(host_port)?,
            guest_port: port(guest_port)?,
            protocol,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_published_ports() {
        let plain: PortMapping = "8080:80".parse().unwrap();
        assert_eq!(
            (plain.host_ip, plain.host_port, plain.guest_port, plain.protocol),
            (None, 8080, 80, Protocol::Tcp)
        );
        let full: PortMapping = "127.0.0.1:53:5353/udp".parse().unwrap();
        assert_eq!(full.host_ip, Some("127.0.0.1".parse().unwrap()));
        assert_eq!(full.protocol, Protocol::Udp);
        assert_eq!(
            "[::1]:80:81".parse::<PortMapping>().unwrap().host_ip,
            Some("::1".parse().unwrap())
        );
        for bad in ["", "80", "0:80", "80:0", "x:80", "80:80/sctp", "1.2.3:80:80", "70000:1"] {
            assert!(bad.parse::<PortMapping>().is_err(), "{bad}");
        }
    }

    #[test]
    fn mappings_clash_by_port_protocol_and_address() {
        let mapping = |text: &str| text.parse::<PortMapping>().unwrap();
        assert!(mapping("80:1").clashes_with(&mapping("127.0.0.1:80:2")));
        assert!(!mapping("127.0.0.2:80:1").clashes_with(&mapping("127.0.0.1:80:2")));
        assert!(!mapping("80:1/udp").clashes_with(&mapping("80:1")));
    }

    #[test]
    fn reads_restart_policies() {
        assert_eq!("on-failure:3".parse(), Ok(RestartPolicy::OnFailure { max: Some(3) }));
        assert_eq!("always".parse(), Ok(RestartPolicy::Always));
        for bad in ["", "on-failure:", "on-failure:x", "always:3", "unless-stopped"] {
            assert!(bad.parse::<RestartPolicy>().is_err(), "{bad}");
        }
    }
}
