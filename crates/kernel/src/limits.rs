//! Bounds on everything that comes from a package, a kernel image or a modules folder.
//!
//! Each is several times what the largest distribution kernels of today need.

const MIB: u64 = 1 << 20;

/// A `.deb` file (Ubuntu's largest: 150 MiB).
pub(crate) const DEB_BYTES: u64 = 1024 * MIB;
/// All that a `.deb`'s data archive may unpack to.
pub(crate) const DEB_UNPACKED_BYTES: u64 = 4096 * MIB;
/// Entries in a `.deb`'s data archive, and files in a modules folder.
pub(crate) const ENTRIES: usize = 50_000;
/// A compressed kernel.
pub(crate) const VMLINUZ_BYTES: u64 = 128 * MIB;
/// The ELF kernel inside.
pub(crate) const VMLINUX_BYTES: u64 = 768 * MIB;
/// One module, as stored and as unpacked.
pub(crate) const MODULE_BYTES: u64 = 64 * MIB;
/// All modules of one package, as stored.
pub(crate) const POOL_BYTES: u64 = 2048 * MIB;
/// `config`, `modules.builtin` and the like.
pub(crate) const TEXT_BYTES: u64 = 16 * MIB;
/// Modules that one guest may need, dependencies included.
pub(crate) const PLANNED_MODULES: usize = 200;
/// All of these together, unpacked.
pub(crate) const PLANNED_BYTES: u64 = 256 * MIB;
/// All that may be unpacked to find them, and the least that one module counts for.
pub(crate) const PLANNING_BYTES: u64 = 4096 * MIB;
pub(crate) const LOAD_BYTES: u64 = MIB / 16;
/// What a module says of itself (mostly aliases, some KiB of them), and all aliases together.
pub(crate) const MODINFO_BYTES: usize = 1 << 20;
pub(crate) const ALIASES_BYTES: usize = 64 << 20;
/// Depth of a modules folder, and of a chain of dependencies.
pub(crate) const DEPTH: usize = 24;
/// Memory that an xz or zstd decoder may take for its dictionary.
pub(crate) const DECODER_BYTES: u64 = 256 * MIB;
