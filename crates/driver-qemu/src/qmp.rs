//! QEMU's control socket: JSON lines, one command a connection.
//!
//! The peer is trusted by half: a guest may have broken out into its QEMU. So lines have a greatest length, every
//! exchange has a deadline, and the socket's other end must be the very process of the handle, for the socket lies in a
//! folder in which that process may put another in its place.

use std::{io, path::Path, time::Duration};

use hearth_driver::DriverError;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

/// Greatest length of a line from QEMU. The longest that we ask for has a few hundred bytes.
const MAX_LINE_BYTES: u64 = 64 * 1024;
/// Greatest number of events between a command and its answer.
const MAX_EVENTS: usize = 256;
/// How long connection, greeting and answer may take together. Long, for a QEMU that shares two CPUs with many.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(rename = "return")]
    value: Option<Value>,
    error: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    desc: String,
}

/// Executes a command on the QEMU `pid` that listens at `socket`. `action` is for the error: "pause", "resume".
pub(crate) async fn execute(socket: &Path, pid: u32, command: &str, action: &str) -> Result<Value, DriverError> {
    execute_with(socket, pid, json!({ "execute": command }), action).await
}

/// The same for a command with arguments: `{"execute": …, "arguments": {…}}`.
pub(crate) async fn execute_with(socket: &Path, pid: u32, command: Value, action: &str) -> Result<Value, DriverError> {
    match tokio::time::timeout(TIMEOUT, exchange(socket, pid, &command)).await {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(message))) => Err(DriverError::Refused {
            action: action.into(),
            message,
        }),
        Ok(Err(e)) => Err(DriverError::io(format!(
            "{action} by the control socket {}",
            socket.display()
        ))(e)),
        Err(_) => {
            let timeout_ms = u64::try_from(TIMEOUT.as_millis()).unwrap_or(u64::MAX);
            Err(DriverError::TimedOut {
                action: action.into(),
                timeout_ms,
            })
        }
    }
}

async fn exchange(socket: &Path, pid: u32, command: &Value) -> io::Result<Result<Value, String>> {
    let stream = UnixStream::connect(socket).await?;
    if stream.peer_cred()?.pid().and_then(|p| u32::try_from(p).ok()) != Some(pid) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the socket belongs to another process",
        ));
    }
    let mut stream = BufReader::new(stream);
    let greeting: Value = parse(&read_line(&mut stream).await?)?;
    if greeting.get("QMP").is_none() {
        return Err(invalid("no QMP greeting"));
    }
    if let Err(message) = call(&mut stream, &json!({ "execute": "qmp_capabilities" })).await? {
        return Ok(Err(message));
    }
    call(&mut stream, command).await
}

async fn call(stream: &mut BufReader<UnixStream>, command: &Value) -> io::Result<Result<Value, String>> {
    let request = command.to_string() + "\n";
    stream.get_mut().write_all(request.as_bytes()).await?;
    for _ in 0..MAX_EVENTS {
        let answer: Answer = parse(&read_line(stream).await?)?;
        match answer {
            Answer { value: Some(value), .. } => return Ok(Ok(value)),
            Answer {
                error: Some(Refusal { desc }),
                ..
            } => return Ok(Err(desc.chars().take(500).collect())),
            Answer { .. } => {} // an event
        }
    }
    Err(invalid("too many events"))
}

async fn read_line(stream: &mut (impl AsyncBufReadExt + AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    stream.take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await?;
    match line.last() {
        Some(b'\n') => Ok(line),
        Some(_) if line.len() as u64 == MAX_LINE_BYTES => Err(invalid("a line is too long")),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn parse<T: serde::de::DeserializeOwned>(line: &[u8]) -> io::Result<T> {
    serde_json::from_slice(line).map_err(|e| invalid(&e.to_string()))
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    /// A peer that says `lines` whatever it is asked, then stays silent.
    async fn with_peer(lines: &'static [u8], pid: u32) -> Result<Value, DriverError> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(lines).await;
            std::future::pending::<()>().await;
        });
        let result = execute(&socket, pid, "stop", "pause").await;
        peer.abort();
        result
    }

    #[tokio::test]
    async fn passes_over_events_and_reads_the_answer() {
        let lines = b"{\"QMP\":{}}\r\n{\"return\":{}}\r\n{\"event\":\"STOP\"}\r\n{\"return\":{\"a\":1}}\r\n";
        assert_eq!(with_peer(lines, std::process::id()).await.unwrap(), json!({"a": 1}));
    }

    #[tokio::test]
    async fn refusals_name_the_action() {
        let lines = b"{\"QMP\":{}}\n{\"return\":{}}\n{\"error\":{\"class\":\"X\",\"desc\":\"no\"}}\n";
        let error = with_peer(lines, std::process::id()).await.unwrap_err();
        assert_eq!(error.to_string(), "the VMM refused to pause: no");
    }

    #[tokio::test]
    async fn a_stranger_at_the_socket_is_not_spoken_to() {
        assert!(matches!(
            with_peer(b"{\"QMP\":{}}\n", 1).await,
            Err(DriverError::Io { .. })
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn floods_rubbish_and_silence_end() {
        static FLOOD: [u8; 100_000] = [b'x'; 100_000];
        let own = std::process::id();
        assert!(matches!(with_peer(&FLOOD, own).await, Err(DriverError::Io { .. })));
        assert!(matches!(with_peer(b"{}\n", own).await, Err(DriverError::Io { .. })));
        assert!(matches!(
            with_peer(b"not json\n", own).await,
            Err(DriverError::Io { .. })
        ));
        assert!(matches!(with_peer(b"", own).await, Err(DriverError::TimedOut { .. })));
    }
}
