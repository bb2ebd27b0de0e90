//! What a node takes from its neighbours, seen from here: roots and kernels. The real ones are the stores; tests bring
//! their own.

use std::path::PathBuf;

use hearth_domain::{DriverKind, SealedSecret};
use hearth_driver::KernelFiles;
use hearth_ids::{MachineId, ProjectId};
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

/// Gives machines their roots.
pub trait Roots: Send + Sync {
    /// Keeps the image, and those that lie over it, from being removed for as long as the machine exists. Idempotent.
    /// Where it fails, some may be held already: [`Roots::release`] lets go of them.
    fn hold(&self, image_id: &str, layers: &[String], machine: MachineId) -> Result<HeldRoot, ProvisionError>;

    /// Ends a hold of all images. Idempotent.
    fn release(&self, machine: MachineId) -> Result<(), ProvisionError>;

    /// Machines that hold an image.
    fn holders(&self) -> Result<Vec<MachineId>, ProvisionError>;
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

    /// Memory in MiB below which no guest of a bundle can even say that it has too little.
    fn memory_min_mib(&self, kernel_id: &str) -> Result<u64, ProvisionError>;
}
