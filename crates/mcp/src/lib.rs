//! Sandboxes as tools for agents, by the Model Context Protocol: over standard input and output for one agent on this host,
//! or over HTTP for all who hold a key.
//!
//! It is a client of the daemon's API and nothing else: what a caller may do, the daemon decides.
//!
//! ```text
//!   agent ── stdio ──► Server ─┐                    ┌─► client ── /v1 ──► daemon
//!   agents ── HTTP ──► guard ──┴─► tools ── exec ───┘
//! ```
//!
//! - What a guest wrote is bounded and cleaned before it is passed on ([`output`]).
//! - Each call has a deadline, and so many are under way at once ([`server`]).
//! - What a tool could not do is a result that says so, never an error of the protocol: agents read only the first.
//! - Over stdio, sandboxes end with their session ([`session::Own`]); over HTTP there are no sessions.

mod exec;
mod failure;
mod http;
mod output;
mod places;
mod server;
mod session;
mod stdio;
#[cfg(test)]
mod tests;
mod tools;

pub use http::{HttpError, HttpOptions, listen};
pub use stdio::{StdioError, StdioOptions, serve_stdio};
