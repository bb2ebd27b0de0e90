//! Kernels.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::event::ProblemLine;

/// A kernel bundle that the node has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Kernel {
    /// SHA-256 of what it was made of.
    pub id: String,
    /// The kernel's release, such as `6.1.0-56-cloud-amd64`.
    pub version: String,
    /// The way that it came: `deb`, `files` or `build`.
    pub source_kind: String,
    /// Name of the file or source that it came from.
    pub source: String,
    /// Modules that the guest loads, in order.
    pub modules: Vec<String>,
    /// Needed features that are built in.
    pub builtins: Vec<String>,
    /// Optional features that this kernel has not.
    pub absent: Vec<String>,
    /// Whether it can be booted without unpacking.
    pub pvh: bool,
    /// Size of the compressed kernel.
    pub bzimage_bytes: u64,
    /// Size of the ELF kernel.
    pub vmlinux_bytes: u64,
    /// When it came to the node.
    #[schema(value_type = String, format = DateTime)]
    pub added_at: Timestamp,
    /// Machines get it unless they ask for another.
    pub default: bool,
    /// IDs of the machines that use it.
    #[serde(default)]
    pub used_by: Vec<String>,
}

/// All kernels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KernelList {
    /// The kernels, newest first.
    pub kernels: Vec<Kernel>,
}

/// Files of the node that a kernel is made of; for clients on the node itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum ImportKernel {
    /// A Debian package.
    Deb {
        /// Its absolute path on the node.
        path: String,
    },
    /// Plain files.
    Files {
        /// Absolute path of the bzImage.
        vmlinuz: String,
        /// Absolute path of its modules, such as `/lib/modules/6.1.0-56-cloud-amd64`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        modules: Option<String>,
        /// Absolute path of its configuration.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        config: Option<String>,
    },
    /// A kernel that the node builds from Debian's source package; takes minutes.
    Build {
        /// Absolute path of the source archive; the installed `linux-source-…` package if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
        /// How many compilers run at once; one for each CPU if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(minimum = 1, maximum = 1024)]
        jobs: Option<u32>,
    },
}

/// How far an import is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KernelProgress {
    /// What is being done.
    pub phase: KernelPhase,
    /// Bytes done, where that is known.
    #[serde(default)]
    pub current_bytes: u64,
    /// Bytes in all, 0 where unknown.
    #[serde(default)]
    pub total_bytes: u64,
    /// A line of a build's output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What an import is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KernelPhase {
    /// The package comes to the node.
    Receiving,
    /// The package is read.
    Reading,
    /// The ELF kernel is taken out.
    Extracting,
    /// Drivers and what they need are looked up.
    Resolving,
    /// The bundle is written.
    Storing,
    /// The kernel is compiled.
    Building,
    /// Something that only a newer server does.
    #[serde(other)]
    Unknown,
}

/// A line of the stream of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum KernelLine {
    /// How far it is.
    Progress(KernelProgress),
    /// It is done; nothing follows.
    Result {
        /// The kernel.
        kernel: Box<Kernel>,
    },
    /// It failed; nothing follows.
    Problem(ProblemLine),
}
