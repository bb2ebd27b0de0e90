//! What a node takes from its neighbours, seen from here: roots and kernels. The real ones are the stores; tests bring
//! their own.

use std::{fmt, path::PathBuf, str::FromStr};

use hearth_domain::{DriverKind, SealedSecret};
use hearth_driver::KernelFiles;
use hearth_ids::{MachineId, ProjectId, SnapshotId};
use zeroize::Zeroizing;

/// Why something is not to be had, in words.
pub type ProvisionError = Box<dyn std::error::Error + Send + Sync>;

/// What an image says of the program in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RootConfig {
    /// Program, and its first arguments.
    pub entrypoint: Vec<String>,
    /// Further arguments, or the program where there is no entrypoint.
    pub cmd: Vec<String>,
    /// `KEY=value` lines.
    pub env: Vec<String>,
    /// Working folder.
    pub working_dir: Option<String>,
    /// `user[:group]`.
    pub user: Option<String>,
    /// Signal that asks it to end.
    pub stop_signal: Option<String>,
}

/// What a machine holds of images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldRoot {
    /// The root's file.
    pub path: PathBuf,
    /// Files of what lies over it, bottom to top.
    pub layers: Vec<PathBuf>,
    /// What the root's image says of the program. Layers say nothing.
    pub config: RootConfig,
}

/// Who holds images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Holder {
    /// A machine, for as long as it exists.
    Machine(MachineId),
    /// A snapshot, likewise.
    Snapshot(SnapshotId),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(id) => id.fmt(f),
            Self::Snapshot(id) => id.fmt(f),
        }
    }
}

impl FromStr for Holder {
    type Err = hearth_ids::InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let machine = text.parse().map(Self::Machine);
        machine.or_else(|_| text.parse().map(Self::Snapshot))
    }
}

/// Gives machines their roots.
pub trait Roots: Send + Sync {
    /// Keeps the image, and those that lie over it, from being removed for as long as the holder exists. Idempotent.
    /// Where it fails, some may be held already: [`Roots::release`] lets go of them.
    fn hold(&self, image_id: &str, layers: &[String], holder: Holder) -> Result<HeldRoot, ProvisionError>;

    /// Ends a hold of all images. Idempotent.
    fn release(&self, holder: Holder) -> Result<(), ProvisionError>;

    /// Who holds an image.
    fn holders(&self) -> Result<Vec<Holder>, ProvisionError>;
}

/// Opens what the control plane closed for machines.
pub trait Secrets: Send + Sync {
    /// The value of a secret that was closed for a project. It is forgotten when it is dropped.
    fn open(&self, project: ProjectId, secret: &SealedSecret) -> Result<Zeroizing<Vec<u8>>, ProvisionError>;
}

/// Gives machines their kernels.
pub trait Kernels: Send + Sync {
    /// The files of a bundle, with an initramfs that carries the current agent. Blocks when it has to be made.
    fn files(&self, kernel_id: &str, driver: DriverKind) -> Result<KernelFiles, ProvisionError>;

    /// Which agent that is: equal for equal agents only.
    fn agent_version(&self) -> &str;

    /// Memory in MiB below which no guest of a bundle can even say that it has too little.
    fn memory_min_mib(&self, kernel_id: &str) -> Result<u64, ProvisionError>;
}
