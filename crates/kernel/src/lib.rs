//! Kernel bundles: what a machine boots.
//!
//! A bundle is a folder, addressed by the digest of its inputs, which holds a kernel in the two shapes that VMMs want
//! (`bzImage` for QEMU, the ELF `vmlinux` inside it for Firecracker), the modules that a guest needs in load order, and the
//! initramfs that carries them together with the guest agent.
//!
//! Invariants:
//! - A bundle in the store is complete: it is made in `tmp/` and renamed into place.
//! - Its kernel can run a guest: every needed driver is built in or among its modules, dependencies first.
//! - No name from an archive or a modules folder ever becomes a path; names on disk are made here.
//! - Everything read from outside is bounded (`limits`).
//!
//! ```text
//! .deb ─┐                     ┌─ bzimage: take the ELF out
//!       ├─► KernelParts ──────┼─ resolve: needed drivers → modules in load order
//! files ┘  (kernel, config,   └─ KernelStore: folder, digest, initramfs
//!           builtins, modules)
//! ```

mod ar;
mod bundle;
mod bzimage;
mod cmdline;
mod compile;
mod compression;
mod cpio;
mod deb;
mod elf;
mod error;
mod features;
mod files;
mod initramfs;
mod kconfig;
mod limits;
mod modinfo;
mod parts;
mod pool;
mod progress;
mod resolve;
mod step;
mod store;

pub use bundle::{Bundle, BundleModule, BundleSource, SourceKind};
pub use cmdline::cmdline;
pub use compile::{BuildOptions, GUEST_CONFIG, find_source};
pub use compression::Compression;
pub use error::{ErrorKind, KernelError};
pub use files::FileInputs;
pub use initramfs::build_initramfs;
pub use progress::KernelProgress;
pub use store::KernelStore;
