//! Kernels.

#![allow(
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "these comments are the help, where [X] stands for an optional X"
)]

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum KernelCommand {
    /// Bring in a kernel: a Debian package, or a vmlinuz with its modules
    Import(KernelImportArgs),
    /// Build a small kernel for quick boots from Debian's source package; takes minutes
    Build {
        /// Source tar [default: /usr/src/linux-source-*.tar.xz]
        #[arg(long)]
        source: Option<PathBuf>,
        /// Compilers at once [default: one a CPU]
        #[arg(short, long)]
        jobs: Option<u32>,
    },
    /// List kernels
    #[command(alias = "list")]
    Ls,
    /// Remove kernels
    #[command(alias = "remove")]
    Rm {
        /// IDs or versions
        #[arg(required = true)]
        kernels: Vec<String>,
    },
    /// Show the default kernel, or choose it
    Default {
        /// ID or version
        kernel: Option<String>,
    },
}

#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("kernel").required(true),
    override_usage = "hearth kernel import --deb FILE\n       hearth kernel import --vmlinuz FILE [--modules FOLDER]"
)]
pub(crate) struct KernelImportArgs {
    /// A linux-image-….deb
    #[arg(long, value_name = "FILE", group = "kernel", conflicts_with = "modules")]
    pub(crate) deb: Option<PathBuf>,
    /// A bzImage
    #[arg(long, value_name = "FILE", group = "kernel")]
    pub(crate) vmlinuz: Option<PathBuf>,
    /// The folder of its modules (lib/modules/VERSION) [default: none; everything is built in]
    #[arg(long, value_name = "FOLDER", requires = "vmlinuz")]
    pub(crate) modules: Option<PathBuf>,
}
