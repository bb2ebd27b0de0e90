//! Streams between a client and a machine. Every channel in them is bounded by whoever makes it.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::stream::BoxStream;
use hearth_domain::ExitStatus;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::NodeError;

/// Which of a machine's logs, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogQuery {
    /// Goes on with what is written later, until the machine is at rest.
    pub follow: bool,
    /// Only what was written from then on, in milliseconds since the Unix epoch.
    pub since_unix_ms: Option<u64>,
    /// Only the last so many lines of what is there.
    pub tail: Option<u64>,
}

/// Where a piece of output was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of a program's output, cut anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogChunk {
    /// Its place in the machine's log; grows, not always by one.
    pub sequence: u64,
    /// When the guest read it from the program, in nanoseconds since the Unix epoch.
    pub unix_ns: u64,
    /// Where it was written.
    pub stream: LogStream,
    /// What was written.
    pub bytes: Bytes,
}

/// What a client sends to a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Bytes of its standard input.
    Stdin(Bytes),
    /// The end of its standard input.
    CloseStdin,
    /// A new size of its terminal.
    Resize(TerminalSize),
    /// A signal.
    Signal(i32),
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}

/// A client's line to a machine's program. Dropping it leaves the program alone.
pub struct Attachment {
    /// All that the program wrote, from the very start. Ends when the machine is at rest.
    pub output: BoxStream<'static, Result<LogChunk, NodeError>>,
    /// To the program.
    pub input: mpsc::Sender<Input>,
}

/// A command to run in a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecRequest {
    /// Program and arguments; at least one.
    pub cmd: Vec<String>,
    /// Added to the workload's environment.
    pub env: BTreeMap<String, String>,
    /// Working folder; without one, the workload's.
    pub working_dir: Option<String>,
    /// `user[:group]`; without one, the workload's.
    pub user: Option<String>,
    /// Runs on a pseudo-terminal of this size.
    pub tty: Option<TerminalSize>,
    /// Keeps standard input open; without it, the program reads the end at once.
    pub stdin: bool,
    /// It goes on when nobody follows it any more, instead of being killed.
    pub keep: bool,
}

/// What comes back from a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecEvent {
    /// Bytes of its standard output, or of its terminal.
    Stdout(Bytes),
    /// Bytes of its standard error.
    Stderr(Bytes),
    /// It ended; nothing follows.
    Exited(ExitStatus),
}

/// A client's line to a command in a machine. Dropping it kills the command.
pub struct ExecSession {
    /// What the command writes, and then how it ended.
    pub output: BoxStream<'static, Result<ExecEvent, NodeError>>,
    /// To the command.
    pub input: mpsc::Sender<Input>,
}

/// What lies at a path of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStat {
    /// Name, without its folder.
    pub name: String,
    /// Kind of entry.
    pub kind: EntryKind,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Permission bits.
    pub mode: u32,
    /// When it was last changed, in milliseconds since the Unix epoch.
    pub modified_unix_ms: u64,
    /// Where a symbolic link leads.
    pub link_target: Option<String>,
}

/// Kind of an entry of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Anything else.
    Other,
}
