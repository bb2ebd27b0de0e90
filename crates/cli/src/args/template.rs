//! Templates of sandboxes.

#![allow(
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "these comments are the help, where [X] stands for an optional X"
)]

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hearth_domain::{DiskMib, MemoryMib, Vcpus};

use super::value::{disk, memory, pair, vcpus};

#[derive(Debug, Subcommand)]
pub(crate) enum TemplateCommand {
    /// Build a template of a Dockerfile or an image, and print its ID
    Build(Box<BuildArgs>),
    /// List templates
    #[command(alias = "list")]
    Ls {
        /// Only IDs
        #[arg(short, long)]
        quiet: bool,
    },
    /// Show templates with their builds, as JSON
    #[command(visible_alias = "inspect")]
    Get {
        /// Names or IDs
        #[arg(required = true, value_name = "TEMPLATE")]
        templates: Vec<String>,
    },
    /// Remove templates with their builds; sandboxes of them stay
    #[command(alias = "remove")]
    Rm {
        /// Names or IDs
        #[arg(required = true, value_name = "TEMPLATE")]
        templates: Vec<String>,
    },
    /// Remove what steps of earlier builds left for later ones
    Prune,
    /// Let other projects make sandboxes of templates
    Publish {
        /// Take it back
        #[arg(long)]
        private: bool,
        /// Names or IDs
        #[arg(required = true, value_name = "TEMPLATE")]
        templates: Vec<String>,
    },
    /// Let tags mean the build that NAME:TAG means
    Tag {
        /// Let them mean nothing any more
        #[arg(long)]
        remove: bool,
        /// NAME or NAME:TAG
        template: String,
        /// Tags
        #[arg(required = true, value_name = "TAG")]
        tags: Vec<String>,
    },
    /// Show what a build said
    Logs {
        /// Go on with what it says later
        #[arg(short, long)]
        follow: bool,
        /// Name or ID
        template: String,
        /// ID of the build [default: the newest]
        build: Option<String>,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
What is in FOLDER/.dockerignore is not copied. Ctrl-C leaves the build alone, and it goes on.
Exit codes: 0 the template is built; 1 it is not; 130 Ctrl-C.")]
pub(crate) struct BuildArgs {
    /// The Dockerfile [default: FOLDER/Dockerfile]
    #[arg(short, long)]
    pub(crate) file: Option<PathBuf>,
    /// Begin and end with an image, without a Dockerfile
    #[arg(long, conflicts_with = "file")]
    pub(crate) image: Option<String>,
    /// Begin and end with another template, without a Dockerfile
    #[arg(long, conflicts_with_all = ["file", "image"])]
    pub(crate) template: Option<String>,
    /// A value for an ARG of the Dockerfile
    #[arg(long = "build-arg", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) arguments: Vec<(String, String)>,
    /// The stage of the Dockerfile to build, by its name or number [default: the last]
    #[arg(long, value_name = "STAGE", conflicts_with_all = ["image", "template"])]
    pub(crate) target: Option<String>,
    /// What is started before the snapshot, and runs in each sandbox [default: the Dockerfile's ENTRYPOINT and CMD]
    #[arg(long, value_name = "COMMAND")]
    pub(crate) start: Option<String>,
    /// Tried until it succeeds before the snapshot is made [default: 20 s pass, where something is started]
    #[arg(long, value_name = "COMMAND")]
    pub(crate) ready: Option<String>,
    /// Virtual CPUs of its sandboxes [default: 2]
    #[arg(long, value_parser = vcpus)]
    pub(crate) cpus: Option<Vcpus>,
    /// Their memory, such as 512m or 2g [default: 512m]
    #[arg(short, long, value_parser = memory)]
    pub(crate) memory: Option<MemoryMib>,
    /// Their disk, such as 10g [default: 4g]
    #[arg(long, value_parser = disk)]
    pub(crate) disk: Option<DiskMib>,
    /// Let other projects make sandboxes of it
    #[arg(long)]
    pub(crate) public: bool,
    /// What will mean this build [default: default]
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// Use nothing that was made before
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Print the build's ID and do not follow it
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// The template's name, with a tag or without: NAME or NAME:TAG
    pub(crate) name: String,
    /// Folder that COPY copies from
    #[arg(default_value = ".")]
    pub(crate) folder: PathBuf,
}
