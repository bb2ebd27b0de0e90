//! An agent with a workload that is called, and connections to both of its ports.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Child;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hearth_guest_api::guest::record::{Body, Exited};
use hearth_guest_api::guest::{InitRequest, Workload};
use hearth_guest_api::{GuestClient, GuestTokens};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::common::spawn;

pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A running agent; killed when dropped.
pub(crate) struct Agent {
    process: Child,
    pub(crate) client: GuestClient,
    _secrets: tempfile::TempDir,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Agent {
    /// Returns when the agent has ended by itself.
    pub(crate) fn wait(&mut self) {
        let deadline = Instant::now() + LIMIT;
        while self.process.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the agent does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the agent itself has in memory.
    pub(crate) fn memory_mib(&self) -> u64 {
        self.status_mib("VmRSS:")
    }

    /// The most that it ever had.
    pub(crate) fn peak_memory_mib(&self) -> u64 {
        self.status_mib("VmHWM:")
    }

    fn status_mib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
    }
}

pub(crate) struct Rig {
    pub(crate) agent: Agent,
    pub(crate) runtime: SocketAddr,
    pub(crate) calls: SocketAddr,
}

/// A workload that is a script, with its input.
pub(crate) fn shell(script: &str) -> Workload {
    Workload {
        args: ["sh", "-c", script].map(Into::into).into(),
        stdin: true,
        ..Workload::default()
    }
}

impl Rig {
    pub(crate) async fn start(workload: Workload) -> Self {
        let secrets = tempfile::tempdir().unwrap();
        let (process, address, mut lines) = spawn(secrets.path(), &[]);
        let tokens = GuestTokens {
            host: "host-token".into(),
            access: "access-token".into(),
        };
        let client = GuestClient::new(address, tokens);
        let agent = Agent {
            process,
            client,
            _secrets: secrets,
        };
        agent.client.wait_ready(Instant::now() + LIMIT).await.unwrap();
        let workload = Workload {
            runtime_api: true,
            ..workload
        };
        let request = InitRequest {
            workload: Some(workload),
            ..InitRequest::default()
        };
        agent.client.init(request).await.unwrap();
        let line = lines.next().unwrap().unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let ["runtime", runtime, "calls", calls] = words.as_slice() else {
            panic!("not the ports: {line}");
        };
        let (runtime, calls) = (runtime.parse().unwrap(), calls.parse().unwrap());
        Self { agent, runtime, calls }
    }

    pub(crate) async fn caller(&self) -> Connection {
        Connection::open(self.calls).await
    }

    pub(crate) async fn runtime(&self) -> Connection {
        Connection::open(self.runtime).await
    }

    /// A caller whose connection is gone at once when it is dropped.
    pub(crate) fn raw(&self, request: &str) -> std::net::TcpStream {
        raw(self.calls, request)
    }

    /// A poller whose connection is gone at once when it is dropped.
    pub(crate) fn raw_runtime(&self, request: &str) -> std::net::TcpStream {
        raw(self.runtime, request)
    }

    /// Waits until the workload's log contains the text.
    pub(crate) async fn output_until(&self, text: &str) {
        let mut output = String::new();
        self.follow(|body| {
            if let Body::Chunk(chunk) = body {
                output.push_str(&String::from_utf8_lossy(&chunk.data));
            }
            output.contains(text).then_some(())
        })
        .await;
    }

    /// Waits until the host knows of the workload's end.
    pub(crate) async fn exited(&self) -> Exited {
        self.follow(|body| match body {
            Body::Exited(exited) => Some(exited.clone()),
            _ => None,
        })
        .await
    }

    async fn follow<T>(&self, mut found: impl FnMut(&Body) -> Option<T>) -> T {
        let mut records = self.agent.client.follow(0).await.unwrap();
        loop {
            let record = tokio::time::timeout(LIMIT, records.next()).await.unwrap().unwrap();
            if let Some(found) = record.unwrap().body.as_ref().and_then(&mut found) {
                return found;
            }
        }
    }

    /// Waits until the agent has seen what happened on its connections before: it serves all of them on one thread.
    pub(crate) async fn settled(&self) {
        for _ in 0..3 {
            self.agent.client.metrics().await.unwrap();
        }
    }
}

fn raw(address: SocketAddr, request: &str) -> std::net::TcpStream {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

type RequestBody = UnsyncBoxBody<Bytes, Infallible>;

/// One connection, kept.
pub(crate) struct Connection {
    requests: SendRequest<RequestBody>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// An answer that has arrived whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) body: Bytes,
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        header(&self.headers, name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }
}

/// An answer that arrives piece by piece.
pub(crate) struct Arriving {
    response: Response<Incoming>,
    pub(crate) trailers: HeaderMap,
    /// Gone when this is dropped.
    _connection: Connection,
}

impl Arriving {
    pub(crate) fn header(&self, name: &str) -> &str {
        header(self.response.headers(), name)
    }

    /// The next piece; an error when the answer is cut.
    pub(crate) async fn piece(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            let frame = tokio::time::timeout(LIMIT, self.response.body_mut().frame())
                .await
                .unwrap()?;
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => return Some(Ok(data)),
                Ok(Err(frame)) => self.trailers = frame.into_trailers().unwrap(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// A request whose body is sent piece by piece.
pub(crate) struct Upload {
    frames: mpsc::Sender<Frame<Bytes>>,
    reply: JoinHandle<Reply>,
}

impl Upload {
    pub(crate) async fn piece(&mut self, piece: &str) {
        // The other side may have answered and closed already, which the reply then shows.
        let _ = self
            .frames
            .send(Frame::data(Bytes::copy_from_slice(piece.as_bytes())))
            .await;
    }

    pub(crate) async fn end(self, trailers: Option<HeaderMap>) -> Reply {
        if let Some(trailers) = trailers {
            self.frames.send(Frame::trailers(trailers)).await.unwrap();
        }
        drop(self.frames);
        tokio::time::timeout(LIMIT, self.reply).await.unwrap().unwrap()
    }
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (requests, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { requests, driver }
    }

    /// Breaks the connection off.
    pub(crate) fn close(&self) {
        self.driver.abort();
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await
    }

    pub(crate) async fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let request = request(method, path, headers, whole(body));
        tokio::time::timeout(LIMIT, answer(self.requests.send_request(request)))
            .await
            .unwrap()
    }

    /// Sends, and gives the answer as soon as its head is there.
    pub(crate) async fn begin(mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Arriving {
        let request = request(method, path, headers, whole(body));
        let response = self.requests.send_request(request).await.unwrap();
        Arriving {
            response,
            trailers: HeaderMap::new(),
            _connection: self,
        }
    }

    /// A POST whose body follows.
    pub(crate) async fn upload(&mut self, path: &str, headers: &[(&str, &str)]) -> Upload {
        self.requests.ready().await.unwrap();
        let (frames, receiver) = mpsc::channel::<Frame<Bytes>>(1);
        let stream = futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|frame| (Ok(frame), receiver))
        });
        let names = "lambda-runtime-function-error-type, lambda-runtime-function-error-body, x-other";
        let mut request = request("POST", path, headers, StreamBody::new(stream).boxed_unsync());
        request.headers_mut().insert("trailer", names.parse().unwrap());
        let reply = tokio::spawn(answer(self.requests.send_request(request)));
        Upload { frames, reply }
    }
}

fn whole(body: &str) -> RequestBody {
    Full::from(body.to_owned()).boxed_unsync()
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: RequestBody) -> Request<RequestBody> {
    let builder = Request::builder().method(method).uri(path).header("host", "guest");
    headers
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .fold(builder, |builder, (name, value)| builder.header(*name, *value))
        .body(body)
        .unwrap()
}

async fn answer(sent: impl Future<Output = hyper::Result<Response<Incoming>>>) -> Reply {
    let (head, body) = sent.await.unwrap().into_parts();
    Reply {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}
