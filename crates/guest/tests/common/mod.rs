//! The agent as an ordinary process.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Lines},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

/// A running agent, where it listens, and what else it says. `more` follows the folder of its secret files: a folder that stands for the guest's
/// root, and one in which it may make groups. It is to be killed.
pub(crate) fn spawn(secrets: &Path, more: &[&OsStr]) -> (Child, SocketAddr, Lines<BufReader<ChildStdout>>) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_hearth-guest"))
        .args(["--test", "127.0.0.1:0"])
        .arg(secrets)
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let address = lines.next().unwrap().unwrap().parse().unwrap();
    (process, address, lines)
}
