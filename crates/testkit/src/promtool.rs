//! Prometheus' own checker.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

/// Holds a page of metrics against `promtool check metrics`; says so where there is no promtool.
///
/// # Panics
/// If something is wrong with them.
pub fn check_metrics(page: &str) {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        eprintln!("SKIPPED: promtool is missing (Debian: prometheus)");
        return;
    };
    let input = promtool.stdin.take();
    let written = input.map(|mut input| input.write_all(page.as_bytes()));
    assert!(matches!(written, Some(Ok(()))), "promtool takes no input: {written:?}");
    match promtool.wait_with_output() {
        Ok(said) => assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr)),
        Err(error) => panic!("promtool ended badly: {error}"),
    }
}
