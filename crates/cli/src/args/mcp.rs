//! Sandboxes as tools for agents.

#![allow(
    rustdoc::bare_urls,
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "these comments are the help, where [X] stands for an optional X"
)]

use std::net::SocketAddr;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct McpArgs {
    /// Serve over HTTP at http://ADDRESS/mcp instead of standard input and output, to all who send a key as bearer token; on loopback only
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Name that a proxy before it is called by; may be given more than once
    #[arg(long, value_name = "NAME", requires = "listen")]
    pub(crate) allow_host: Vec<String>,
    /// Origin of web pages that may call it, such as https://app.example:443; may be given more than once
    #[arg(long, value_name = "ORIGIN", requires = "listen")]
    pub(crate) allow_origin: Vec<String>,
    /// Let sandboxes that the agent made stay when it goes, until their own time is over
    #[arg(long, conflicts_with = "listen")]
    pub(crate) keep: bool,
}
