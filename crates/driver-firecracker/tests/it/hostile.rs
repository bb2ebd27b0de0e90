//! A VMM that was taken over answers what it likes: the client must stay within its bounds.

use std::{io, path::PathBuf, time::Duration};

use hearth_driver_firecracker::api::{ApiClient, ApiError, ApiSocket};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
    time::Instant,
};

/// Long enough for a bound to be reached on a busy machine.
const DEADLINE: Duration = Duration::from_secs(2);

struct Hostile {
    _folder: TempDir,
    server: JoinHandle<()>,
    path: PathBuf,
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A server that reads a request's beginning and then sends `head`, and `body` again and again until nobody listens.
fn serve(head: &'static str, body: impl Into<Vec<u8>>) -> Hostile {
    let body = body.into();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _from)) = listener.accept().await {
            let _gone = answer(&mut stream, head, &body).await;
        }
    });
    Hostile {
        _folder: folder,
        server,
        path,
    }
}

async fn answer(stream: &mut UnixStream, head: &str, body: &[u8]) -> io::Result<()> {
    let mut request = [0; 4096];
    let _length = stream.read(&mut request).await?;
    stream.write_all(head.as_bytes()).await?;
    while !body.is_empty() {
        stream.write_all(body).await?;
    }
    stream.shutdown().await
}

async fn ask(hostile: &Hostile) -> ApiError {
    let uid = rustix::process::getuid().as_raw();
    let client = ApiClient::new(ApiSocket::new(hostile.path.clone(), uid), DEADLINE);
    let started = Instant::now();
    let answer = client.get::<Value>("/").await;
    assert!(started.elapsed() < DEADLINE * 2, "the deadline holds");
    answer.unwrap_err()
}

#[tokio::test]
async fn an_endless_body_is_cut_off() {
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    let hostile = serve("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk);
    assert!(matches!(ask(&hostile).await, ApiError::Garbled { .. }));
}

#[tokio::test]
async fn a_body_announced_too_long_is_cut_off() {
    let hostile = serve(
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    );
    assert!(matches!(ask(&hostile).await, ApiError::Garbled { .. }));
}

#[tokio::test]
async fn endless_headers_are_cut_off() {
    let hostile = serve(
        "HTTP/1.1 200 OK\r\n",
        b"X-Filler: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n",
    );
    assert!(matches!(ask(&hostile).await, ApiError::Garbled { .. }));
}

#[tokio::test]
async fn what_is_no_http_is_an_error() {
    let hostile = serve("SSH-2.0-OpenSSH_9.2\r\n\0\0\0\0", b"");
    assert!(matches!(ask(&hostile).await, ApiError::Garbled { .. }));
}

#[tokio::test]
async fn what_is_no_json_is_an_error() {
    let hostile = serve("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope", b"");
    assert!(matches!(ask(&hostile).await, ApiError::Garbled { .. }));
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let hostile = serve("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n", b"");
    // The server closes its side without an end of headers.
    assert!(matches!(ask(&hostile).await, ApiError::Garbled { .. }));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    // Accepts by its backlog, never answers.
    let _listener = UnixListener::bind(&path).unwrap();
    let silent = Hostile {
        _folder: folder,
        server: tokio::spawn(async {}),
        path,
    };
    assert!(matches!(
        ask(&silent).await,
        ApiError::TimedOut { timeout_ms: 2_000, .. }
    ));
}

#[tokio::test]
async fn a_fault_is_kept_short_and_printable() {
    let hostile = serve(
        "HTTP/1.1 400 Bad\r\nContent-Length: 33\r\n\r\n{\"fault_message\":\"\\u001b[2Jboo!\"}",
        b"",
    );
    let ApiError::Refused { fault, status, .. } = ask(&hostile).await else {
        panic!("no refusal")
    };
    assert_eq!((fault.as_str(), status.as_u16()), (" [2Jboo!", 400));
}
