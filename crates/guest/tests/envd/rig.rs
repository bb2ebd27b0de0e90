//! A running agent, and HTTP by hand.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common;

pub(crate) const LIMIT: Duration = Duration::from_secs(20);
const TOKEN: &str = "X-Access-Token: access-token\r\n";

/// A running agent that has its tokens; killed when dropped.
pub(crate) struct Agent {
    process: Child,
    pub(crate) address: SocketAddr,
    _secrets: tempfile::TempDir,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Whether it says that nothing may follow on its connection.
    pub(crate) is_last: bool,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The messages of a stream, the last being what its end says.
    pub(crate) fn frames(&self) -> Vec<Value> {
        let mut rest = self.body.as_slice();
        let mut frames = Vec::new();
        while let Some((header, after)) = rest.split_first_chunk::<5>() {
            let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
            frames.push(serde_json::from_slice(&after[..length]).unwrap());
            rest = &after[length..];
        }
        frames
    }
}

/// One connection, on which call may follow call.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.0.get_mut().write_all(bytes.as_ref())
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn answer(&mut self) -> Answer {
        let status = self.line().split(' ').nth(1).unwrap().parse().unwrap();
        let (mut length, mut is_last) = (None, false);
        loop {
            let line = self.line().to_ascii_lowercase();
            match line.split_once(": ") {
                Some(("content-length", value)) => length = value.parse().ok(),
                Some(("connection", "close")) => is_last = true,
                Some(_) => {}
                None => break,
            }
        }
        let body = match length {
            Some(length) => self.exactly(length),
            None if status == 204 => Vec::new(),
            None => self.chunks(),
        };
        Answer { status, body, is_last }
    }

    fn exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let length = usize::from_str_radix(&self.line(), 16).unwrap();
            body.extend(self.exactly(length));
            self.line();
            if length == 0 {
                return body;
            }
        }
    }
}

/// A frame of a Connect stream.
pub(crate) fn frame(message: &Value) -> Vec<u8> {
    let text = message.to_string();
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&[0], length.as_slice(), text.as_bytes()].concat()
}

/// A chunk of a body of unknown length.
pub(crate) fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// What an SDK asks for, to run this by a shell.
pub(crate) fn shell(script: &str) -> Value {
    json!({"process": {"cmd": "/bin/sh", "args": ["-c", script]}, "stdin": false})
}

impl Agent {
    pub(crate) fn start() -> Self {
        let secrets = tempfile::tempdir().unwrap();
        let (process, address, _) = common::spawn(secrets.path(), &[]);
        let agent = Self {
            process,
            address,
            _secrets: secrets,
        };
        let tokens = json!({"tokens": {"host": "host-token", "access": "access-token"}, "env": {"MACHINE": "1"}});
        let answer = agent.rpc("hearth.guest.v1.Guest/Init", &tokens);
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        agent
    }

    pub(crate) fn inotify_instances(&self) -> usize {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap();
        let target = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_link(entry.ok()?.path()).ok();
        folder
            .filter_map(target)
            .filter(|target| target.to_string_lossy().contains("inotify"))
            .count()
    }

    /// Does something while the agent stands still.
    pub(crate) fn stopped(&self, work: impl FnOnce()) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        work();
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    }

    /// The most that it ever had in memory at once.
    pub(crate) fn peak_memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
    }

    pub(crate) fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        Connection(BufReader::new(stream))
    }

    /// One request with the access token.
    pub(crate) fn request(&self, line: &str, headers: &str, body: &[u8]) -> Answer {
        let mut connection = self.connect();
        let length = body.len();
        let head = format!("{line} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{TOKEN}{headers}\r\n");
        connection.write(head).unwrap();
        connection.write(body).unwrap();
        connection.answer()
    }

    pub(crate) fn rpc(&self, method: &str, message: &Value) -> Answer {
        let json = "Content-Type: application/json\r\n";
        self.request(&format!("POST /{method}"), json, message.to_string().as_bytes())
    }

    /// A streaming call, read to its end.
    pub(crate) fn stream(&self, method: &str, headers: &str, message: &Value) -> Vec<Value> {
        let headers = format!("Content-Type: application/connect+json\r\n{headers}");
        self.request(&format!("POST /{method}"), &headers, &frame(message))
            .frames()
    }
}

/// The head of a streaming call whose body comes in chunks.
pub(crate) fn stream_head(method: &str) -> String {
    format!(
        "POST /{method} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: application/connect+json\r\n{TOKEN}\r\n"
    )
}

pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}
