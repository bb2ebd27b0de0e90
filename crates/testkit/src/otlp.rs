//! A receiver of traces by OTLP: a small server in Python over OpenTelemetry's own protobuf definitions (its package
//! `opentelemetry-proto`), since no Debian or Python package has the collector itself.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::pip::Shelf;

const PACKAGE: &str = "opentelemetry-proto==1.45.2";
const SCRIPT: &str = include_str!("otlp_receiver.py");
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A receiver that runs until it is dropped.
pub struct OtlpReceiver {
    child: Child,
    lines: Receiver<Value>,
    port: u16,
}

impl OtlpReceiver {
    /// Starts one on a free port. The error says what is missing, for a test to skip with.
    pub fn start() -> Result<Self, String> {
        let packages = packages()?;
        let mut child = Command::new("python3")
            .args(["-c", SCRIPT])
            .env("PYTHONPATH", packages)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run python3: {error}"))?;
        let output = child.stdout.take().ok_or("python3 has no output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            for line in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut receiver = Self { child, lines, port: 0 };
        let first: Value = receiver
            .lines
            .recv_timeout(START_TIMEOUT)
            .map_err(|_| "the OTLP receiver does not start")?;
        let port = first["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        receiver.port = port.ok_or("the OTLP receiver names no port")?;
        Ok(receiver)
    }

    /// What is to be given as the receiver's address.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All spans from now until those that came are as wanted, or the time is over.
    pub fn spans_until(&self, timeout: Duration, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let until = Instant::now() + timeout;
        let mut spans = Vec::new();
        while !wanted(&spans) {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(span) => spans.push(span),
                Err(_) => break,
            }
        }
        spans
    }
}

impl Drop for OtlpReceiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The package with what it depends on, from the cache of downloads or else by pip.
fn packages() -> Result<PathBuf, String> {
    let name = PACKAGE.replace("==", "-");
    Shelf::lock("otlp")?.packages(Path::new("python3"), &name, &["--only-binary=:all:"], &[PACKAGE])
}
