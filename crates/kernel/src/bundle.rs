//! A bundle: its description, and how it lies on disk.
//!
//! ```text
//! <id>/bundle.json   bzImage   vmlinux   modules/NNN-name.ko   initramfs-g<generation>-<digest of the agent>
//! ```

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::elf;
use crate::error::KernelError;

/// A kernel bundle in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bundle {
    /// SHA-256 of the inputs, 64 hexadecimal digits.
    pub id: String,
    /// The kernel's release, such as `6.1.0-56-cloud-amd64`.
    pub version: String,
    /// Where it came from.
    pub source: BundleSource,
    /// Modules in load order.
    pub modules: Vec<BundleModule>,
    /// Needed features that are built in.
    pub builtins: Vec<String>,
    /// Optional features that this kernel has not.
    pub absent: Vec<String>,
    /// Whether the ELF kernel has a PVH entry, so that QEMU boots it without unpacking a bzImage.
    pub pvh: bool,
    /// Size of `bzImage`.
    pub bzimage_bytes: u64,
    /// Size of `vmlinux`.
    pub vmlinux_bytes: u64,
    /// When it was imported.
    pub made_at: jiff::Timestamp,
    /// SHA-256 of the agent in the newest initramfs, if one was made.
    #[serde(skip_deserializing, default)]
    pub agent_digest: Option<String>,
    /// The compressed kernel, for QEMU.
    #[serde(skip_deserializing, default)]
    pub bzimage: PathBuf,
    /// The ELF kernel, for Firecracker.
    #[serde(skip_deserializing, default)]
    pub vmlinux: PathBuf,
}

/// Where a bundle came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleSource {
    /// The way that it came.
    pub kind: SourceKind,
    /// The name of the file or source that it came from, for people.
    pub name: String,
}

/// The way that a bundle came into the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// From a Debian package.
    Deb,
    /// From plain files.
    Files,
    /// Built here.
    Build,
}

/// A module of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleModule {
    /// The module's name, with `_`.
    pub name: String,
    /// Its file in `modules/` and in the initramfs.
    pub file: String,
    /// Whether a guest can do without it.
    pub optional: bool,
    /// Its size.
    pub bytes: u64,
    /// Its digest.
    pub sha256: String,
}

pub(crate) const MANIFEST: &str = "bundle.json";
pub(crate) const BZIMAGE: &str = "bzImage";
pub(crate) const VMLINUX: &str = "vmlinux";
pub(crate) const MODULES: &str = "modules";

/// Holds an ELF file's header and some 70 program headers; a kernel has five.
const ELF_HEAD_BYTES: u64 = 4096;
/// What a VMM aligns an initramfs to.
const PAGE_BYTES: u64 = 4096;

impl Bundle {
    /// Reads the bundle in `folder`, whose name must be its ID.
    pub(crate) fn load(folder: &Path) -> Result<Self, KernelError> {
        let id = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let damaged = |reason: String| KernelError::Damaged {
            id: short(id).to_owned(),
            reason,
        };
        let text = fs::read(folder.join(MANIFEST)).map_err(KernelError::io("read", folder.join(MANIFEST)))?;
        let mut bundle: Self =
            serde_json::from_slice(&text).map_err(|error| damaged(format!("{MANIFEST}: {error}")))?;
        if bundle.id != id {
            return Err(damaged(format!("{MANIFEST} is that of {}", bundle.id)));
        }
        bundle.bzimage = folder.join(BZIMAGE);
        bundle.vmlinux = folder.join(VMLINUX);
        for (path, bytes) in [
            (&bundle.bzimage, bundle.bzimage_bytes),
            (&bundle.vmlinux, bundle.vmlinux_bytes),
        ] {
            if fs::metadata(path).map_or(0, |found| found.len()) != bytes {
                return Err(damaged(format!("{} does not have its {bytes} bytes", path.display())));
            }
        }
        bundle.agent_digest = newest_initramfs(folder);
        Ok(bundle)
    }

    /// The bundle's folder.
    pub fn folder(&self) -> &Path {
        self.bzimage.parent().unwrap_or(Path::new(""))
    }

    /// Memory in MiB below which no guest comes up: what the kernel fills when it is loaded, and the initramfs above it.
    /// With less, the kernel overwrites itself or is not there when it is jumped to; it hangs or resets, and in either
    /// case says nothing. (With hardly more it panics, and says so.)
    pub fn memory_min_mib(&self) -> Result<u64, KernelError> {
        let mut head = Vec::new();
        fs::File::open(&self.vmlinux)
            .and_then(|file| file.take(ELF_HEAD_BYTES).read_to_end(&mut head))
            .map_err(KernelError::io("read", &self.vmlinux))?;
        let kernel_end = elf::memory_end(&head).ok_or_else(|| KernelError::Damaged {
            id: self.short_id().to_owned(),
            reason: format!("{VMLINUX} has no program headers"),
        })?;
        let initramfs = self.agent_digest.as_deref().map(initramfs_name);
        let initramfs = initramfs.and_then(|name| fs::metadata(self.folder().join(name)).ok());
        let initramfs_bytes = initramfs.map_or(0, |found| found.len().next_multiple_of(PAGE_BYTES));
        Ok(kernel_end.saturating_add(initramfs_bytes).div_ceil(1 << 20))
    }

    /// The first digits of the ID, for people.
    pub fn short_id(&self) -> &str {
        short(&self.id)
    }
}

pub(crate) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// The name of the initramfs that carries the agent of this digest.
pub(crate) fn initramfs_name(agent_digest: &str) -> String {
    format!("{}{agent_digest}", initramfs_prefix())
}

fn initramfs_prefix() -> String {
    format!("initramfs-g{}-", crate::initramfs::GENERATION)
}

fn newest_initramfs(folder: &Path) -> Option<String> {
    let prefix = initramfs_prefix();
    let entries = fs::read_dir(folder).ok()?.flatten();
    let images = entries.filter_map(|entry| {
        let digest = entry.file_name().to_str()?.strip_prefix(&prefix)?.to_owned();
        Some((entry.metadata().ok()?.modified().ok()?, digest))
    });
    images.max().map(|(_, digest)| digest)
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The digest of a bundle's inputs: the kernel, and the modules with their order and need.
pub(crate) fn bundle_id(bzimage: &[u8], modules: &[BundleModule]) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("hearth kernel bundle 1\nbzImage {}\n", sha256(bzimage)));
    for module in modules {
        let mark = if module.optional { "-" } else { "" };
        hash.update(format!("{mark}{} {}\n", module.file, module.sha256));
    }
    hex::encode(hash.finalize())
}
