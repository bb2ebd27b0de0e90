//! Images.

#![allow(
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "these comments are the help, where [X] stands for an optional X"
)]

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Fetch an image from a registry
    Pull {
        /// Reference, such as debian:12 or registry.example.com/team/app@sha256:…
        reference: String,
    },
    /// Bring in an OCI layout (folder or tar), a docker archive, or a root file system as a tar
    Import(ImageImportArgs),
    /// List images
    #[command(alias = "list")]
    Ls {
        /// Only IDs
        #[arg(short, long)]
        quiet: bool,
    },
    /// Show an image in full, as JSON
    Inspect {
        /// Names or IDs
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Remove images
    #[command(alias = "remove")]
    Rm {
        /// Names or IDs
        #[arg(required = true)]
        images: Vec<String>,
        /// Remove all of an image's names
        #[arg(short, long)]
        force: bool,
    },
    /// Remove what nothing refers to
    Prune {
        /// Also images that have a name, if no machine uses them
        #[arg(short, long)]
        all: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ImageImportArgs {
    /// File or folder; - is standard input
    pub(crate) source: PathBuf,
    /// Name for the image
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// What it is: oci, docker or root [default: found out]
    #[arg(long)]
    pub(crate) kind: Option<ImportKindArg>,
    /// Command of the image, where the source has none
    #[arg(long, value_name = "COMMAND LINE")]
    pub(crate) cmd: Option<String>,
    /// Change to the image, as in a Dockerfile: CMD, ENTRYPOINT, ENV, LABEL, STOPSIGNAL, USER or WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum ImportKindArg {
    Oci,
    Docker,
    Root,
}
