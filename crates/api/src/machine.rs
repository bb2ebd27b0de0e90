//! Machines.

use std::net::IpAddr;

use hearth_domain::{DriverKind, StateWord};
use hearth_ids::{MachineId, SnapshotId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::SecretUse;

/// What a new machine shall be. Whatever is absent is as the image or the node says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a yes or no of its own")]
pub struct CreateMachine {
    /// Reference or ID of an image that the node has; it may be absent where a snapshot is given.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schema(example = "docker.io/library/busybox:latest", max_length = 512)]
    pub image: String,
    /// Name or ID of a snapshot. The machine's first start goes on from there instead of booting, so image, kernel, driver,
    /// CPUs, memory, disk, network and program are the snapshot's; what of them is given must be the same. From one without memory
    /// it boots with the disk, and driver, CPUs, memory and network may be others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 63)]
    pub snapshot: Option<String>,
    /// Name; one is made up if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
    pub name: Option<String>,
    /// Replaces the image's entrypoint, and then its command, too. An empty list takes the entrypoint away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Environment, each as `NAME=value`, added to the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Secrets of the project that the program gets, as they are now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretUse>,
    /// Virtual CPUs; 1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 32)]
    pub cpus: Option<u64>,
    /// Memory in MiB; 256 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 16, maximum = 1_048_576)]
    pub memory_mib: Option<u64>,
    /// Own disk in MiB; changes live in memory if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 16, maximum = 16_777_216)]
    pub disk_mib: Option<u64>,
    /// Working folder, an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// `user[:group]`, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How it is connected; `default` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkMode>,
    /// Ports that the node answers for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// What starts it; the node's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// What happens when its program ends.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// What happens when its VMM ends under it, or the node does.
    #[serde(default)]
    pub recover: RecoverPolicy,
    /// Signal that asks the program to end, such as `SIGTERM`; as the image says if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// How long a stop waits for the program, in milliseconds; 10 s if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 3_600_000)]
    pub stop_timeout_ms: Option<u64>,
    /// Runs on a pseudo-terminal.
    #[serde(default)]
    pub tty: bool,
    /// Keeps standard input open for an attached client.
    #[serde(default)]
    pub stdin: bool,
    /// Removes the machine once it is at rest.
    #[serde(default)]
    pub auto_remove: bool,
    /// ID of the kernel, or a unique beginning of it; the node's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Starts it at once.
    #[serde(default)]
    pub start: bool,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "each is a yes or no of its own")]
pub struct Machine {
    /// Identity.
    #[schema(value_type = String, example = "mch01k9zs7m3q6ev2y8d4xw0abcde")]
    pub id: MachineId,
    /// Name.
    pub name: String,
    /// The image as it was asked for.
    pub image: String,
    /// Digest of the image.
    pub image_id: String,
    /// ID of the kernel.
    pub kernel_id: String,
    /// What starts it.
    pub driver: Driver,
    /// What it is doing.
    pub state: MachineState,
    /// Whether it is paused on disk: nothing of it runs, and it holds no memory.
    #[serde(default)]
    pub on_disk: bool,
    /// The snapshot that its first start went on from, or whose disk it began with; it may be gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub snapshot: Option<SnapshotId>,
    /// How its program ended, if it is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitStatus>,
    /// What went wrong, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When its program started, the last time that it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it came to rest, if it is at rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// Restarts by its policy, in a row.
    pub restarts: u32,
    /// What it holds.
    pub resources: Resources,
    /// Entrypoint that replaces the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Command that replaces the image's.
    #[serde(default)]
    pub cmd: Vec<String>,
    /// The program and its arguments as they run: the image's and the machine's together.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment that is added to the image's.
    #[serde(default)]
    pub env: Vec<String>,
    /// Working folder, if not the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// User, if not the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Runs on a pseudo-terminal.
    pub tty: bool,
    /// Keeps standard input open.
    pub stdin: bool,
    /// How it is connected.
    pub network: NetworkMode,
    /// Ports that the node answers for.
    #[serde(default)]
    pub ports: Vec<PortMapping>,
    /// What happens when its program ends.
    pub restart: RestartPolicy,
    /// What happens when its VMM ends under it, or the node does.
    #[serde(default)]
    pub recover: RecoverPolicy,
    /// When the snapshot was made that it goes back to in that case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub recovery_point_at: Option<Timestamp>,
    /// How long a stop waits for the program, in milliseconds.
    pub stop_timeout_ms: u64,
    /// It is removed once it is at rest.
    pub auto_remove: bool,
    /// Where the node reaches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Process ID of its VMM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its last transitions, oldest first; not in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Transition>,
}

/// A page of machines, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineList {
    /// The machines.
    pub machines: Vec<Machine>,
    /// Asks for the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// What a wait came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitResult {
    /// Whose.
    #[schema(value_type = String)]
    pub id: MachineId,
    /// Whether the condition holds; otherwise the time ran out, and the client may ask again.
    pub reached: bool,
    /// The machine's state; that before it was removed, if it was.
    pub state: MachineState,
    /// Whether the machine is gone.
    pub removed: bool,
    /// How its program ended, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitStatus>,
    /// What went wrong, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a machine holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Resources {
    /// Virtual CPUs.
    pub cpus: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Own disk in MiB, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_mib: Option<u64>,
}

/// How a machine's program ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExitStatus {
    /// Exit code as a shell has it: 128 + signal for a signal, 126 and 127 for a program that could not be run.
    pub code: i32,
    /// Signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The guest's kernel killed it for want of memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// Why it could not run, where it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A step from one state to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Transition {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// From where.
    pub from: MachineState,
    /// To where.
    pub to: MachineState,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a machine is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MachineState {
    /// Accepted; nothing is held yet.
    Pending,
    /// What it needs is being made.
    Preparing,
    /// It boots.
    Starting,
    /// Its program runs.
    Running,
    /// It stands still, in memory or on disk.
    Paused,
    /// Asked to end.
    Stopping,
    /// Ended.
    Stopped,
    /// Ended otherwise than by its program or its user.
    Failed,
    /// Gone.
    Destroyed,
}

impl MachineState {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        StateWord::from(self).as_str()
    }

    /// Whether the machine has ended.
    pub fn is_at_rest(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed | Self::Destroyed)
    }
}

impl std::fmt::Display for MachineState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What starts machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// Firecracker, through its jailer.
    Firecracker,
    /// QEMU's `microvm` machine.
    Qemu,
    /// In process, for tests.
    Fake,
}

/// How a machine is connected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// Out to the world, and to nothing near.
    #[default]
    Default,
    /// Not at all.
    None,
    /// A port on the node's bridge.
    Bridge,
}

/// A port of the node that leads to a port of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortMapping {
    /// Address on the node; all of them if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "127.0.0.1")]
    pub host_ip: Option<IpAddr>,
    /// Port on the node.
    #[schema(minimum = 1, maximum = 65535)]
    pub host_port: u16,
    /// Port in the machine.
    #[schema(minimum = 1, maximum = 65535)]
    pub guest_port: u16,
    /// Transport.
    #[serde(default)]
    pub protocol: Protocol,
}

/// Transport of a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// What happens when a machine's program ends by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestartPolicy {
    /// Whether it is started again.
    #[serde(default)]
    pub policy: RestartWord,
    /// With `on-failure`: at most so many times in a row; without end if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
}

/// Whether a machine is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RestartWord {
    /// It is not.
    #[default]
    No,
    /// It is, if it failed.
    OnFailure,
    /// It is.
    Always,
}

/// What happens when a machine's VMM ends though nobody ended it: by a crash of its own, of its guest's kernel, or of the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecoverPolicy {
    /// Whether it goes back to where it was.
    #[serde(default)]
    pub policy: RecoverWord,
    /// With `snapshot`: seconds from one recovery point to the next; 300 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 86_400)]
    pub interval_s: Option<u64>,
}

/// Whether a machine goes back to where it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RecoverWord {
    /// It has failed.
    #[default]
    No,
    /// It goes back to its recovery point, a snapshot that the node makes of it every so often, and keeps for it alone.
    Snapshot,
}

macro_rules! same_words {
    ($wire:ty, $domain:ty, $($word:ident),*) => {
        impl From<$domain> for $wire {
            fn from(value: $domain) -> Self {
                match value { $(<$domain>::$word => Self::$word,)* }
            }
        }

        impl From<$wire> for $domain {
            fn from(value: $wire) -> Self {
                match value { $(<$wire>::$word => Self::$word,)* }
            }
        }
    };
}

same_words!(
    MachineState,
    StateWord,
    Pending,
    Preparing,
    Starting,
    Running,
    Paused,
    Stopping,
    Stopped,
    Failed,
    Destroyed
);
same_words!(Driver, DriverKind, Firecracker, Qemu, Fake);
same_words!(NetworkMode, hearth_domain::NetworkMode, Default, None, Bridge);
same_words!(Protocol, hearth_domain::Protocol, Tcp, Udp);

impl From<hearth_domain::RestartPolicy> for RestartPolicy {
    fn from(value: hearth_domain::RestartPolicy) -> Self {
        use hearth_domain::RestartPolicy as D;
        match value {
            D::No => Self {
                policy: RestartWord::No,
                max: None,
            },
            D::OnFailure { max } => Self {
                policy: RestartWord::OnFailure,
                max,
            },
            D::Always => Self {
                policy: RestartWord::Always,
                max: None,
            },
        }
    }
}

impl From<hearth_domain::RecoverPolicy> for RecoverPolicy {
    fn from(value: hearth_domain::RecoverPolicy) -> Self {
        let interval_s = value.interval_s().map(u64::from);
        let policy = if interval_s.is_some() {
            RecoverWord::Snapshot
        } else {
            RecoverWord::No
        };
        Self { policy, interval_s }
    }
}

impl From<hearth_domain::PortMapping> for PortMapping {
    fn from(value: hearth_domain::PortMapping) -> Self {
        let hearth_domain::PortMapping {
            host_ip,
            host_port,
            guest_port,
            protocol,
        } = value;
        Self {
            host_ip,
            host_port,
            guest_port,
            protocol: protocol.into(),
        }
    }
}

impl From<hearth_domain::ExitStatus> for ExitStatus {
    fn from(value: hearth_domain::ExitStatus) -> Self {
        let hearth_domain::ExitStatus {
            code,
            signal,
            oom_killed,
            message,
        } = value;
        Self {
            code,
            signal,
            oom_killed,
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_domain() {
        for word in StateWord::ALL {
            let wire = MachineState::from(word);
            assert_eq!(serde_json::to_value(wire).unwrap(), word.as_str());
            assert_eq!(StateWord::from(wire), word);
        }
    }

    #[test]
    fn a_create_needs_but_an_image_and_knows_its_fields() {
        let created: CreateMachine = serde_json::from_str(r#"{"image":"busybox"}"#).unwrap();
        assert_eq!(
            created,
            CreateMachine {
                image: "busybox".into(),
                ..CreateMachine::default()
            }
        );
        let error = serde_json::from_str::<CreateMachine>(r#"{"image":"busybox","memory":1}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `memory`"), "{error}");
    }
}
