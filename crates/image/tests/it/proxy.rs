//! An HTTP proxy in front of a registry that misbehaves as it is told. One request a connection.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What to do with a request.
pub(crate) enum Action {
    /// Pass it on.
    Forward,
    /// Pass it on, and end the connection after so many bytes of the body.
    Cut(usize),
    /// Pass it on, and fall silent after so many bytes of the body.
    Stall(usize),
    /// Pass it on, and send the body in pieces of so many bytes with pauses between them.
    Drip(usize, Duration),
    /// Answer it ourselves: status line and headers, then the body.
    Answer(String, Vec<u8>),
}

impl Action {
    pub(crate) fn status(status: &str, headers: &str) -> Self {
        Self::Answer(format!("HTTP/1.1 {status}\r\n{headers}"), Vec::new())
    }
}

type Rule = dyn Fn(&str, usize) -> Action + Send + Sync;

pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    upstream: String,
    rule: Box<Rule>,
    requests: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Proxy {
    /// `rule` gets the request's head and how many requests for the same path came before.
    pub(crate) fn start(upstream: &str, rule: impl Fn(&str, usize) -> Action + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            rule: Box::new(rule),
            requests: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &own));
        Self {
            port,
            shared,
            acceptor: Some(acceptor),
        }
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The heads of all requests so far whose first line contains `part`.
    pub(crate) fn requests(&self, part: &str) -> Vec<String> {
        let requests = self.shared.requests.lock().unwrap();
        requests
            .iter()
            .filter(|head| first_line(head).contains(part))
            .cloned()
            .collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        self.acceptor.take().unwrap().join().unwrap();
    }
}

fn first_line(head: &str) -> &str {
    head.lines().next().unwrap_or_default()
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut connections = Vec::new();
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let shared = Arc::clone(shared);
        // What breaks a connection is for the client to notice.
        connections.push(std::thread::spawn(move || drop(serve(stream.unwrap(), &shared))));
    }
    for connection in connections {
        connection.join().unwrap();
    }
}

fn serve(mut client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
        if head[0] == 0x16 {
            // TLS is not spoken here.
            return client.shutdown(Shutdown::Both);
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let before = {
        let mut requests = shared.requests.lock().unwrap();
        let before = requests
            .iter()
            .filter(|other| first_line(other) == first_line(&head))
            .count();
        requests.push(head.clone());
        before
    };
    let action = (shared.rule)(&head, before);
    if let Action::Answer(start, body) = action {
        let start = format!("{start}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        client.write_all(start.as_bytes())?;
        client.write_all(&body)?;
        return client.shutdown(Shutdown::Write);
    }
    let (start, body) = forward(&head, &shared.upstream)?;
    client.write_all(&start)?;
    match action {
        Action::Cut(length) => client.write_all(&body[..length.min(body.len())])?,
        Action::Stall(length) => {
            client.write_all(&body[..length.min(body.len())])?;
            while !shared.stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Action::Drip(length, pause) => {
            for piece in body.chunks(length) {
                if shared.stop.load(Ordering::Relaxed) {
                    break;
                }
                client.write_all(piece)?;
                std::thread::sleep(pause);
            }
        }
        _ => client.write_all(&body)?,
    }
    client.shutdown(Shutdown::Both)
}

fn forward(head: &str, upstream: &str) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    let mut server = TcpStream::connect(upstream)?;
    let kept = head.lines().skip(1).filter(|line| {
        let line = line.to_ascii_lowercase();
        !line.is_empty() && !line.starts_with("connection:") && !line.starts_with("authorization:")
    });
    let kept: String = kept.flat_map(|line| [line, "\r\n"]).collect();
    write!(server, "{}\r\n{kept}Connection: close\r\n\r\n", first_line(head))?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map_or(answer.len(), |at| at + 4);
    let body = answer.split_off(end);
    Ok((answer, body))
}
