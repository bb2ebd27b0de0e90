//! A server on a socket of its own, and a plain client for it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use hearth_api::{CreateMachine, Driver, Machine, Problem, ProblemCode};
use hearth_control::{Control, ControlConfig, FunctionsConfig, Listener};
use hearth_gateway::GatewayListener;
use hearth_image::{ImageStore, ImportKind, ImportOptions, ImportSource, ProgressSink, StoreConfig};
use hearth_kernel::KernelStore;
use hearth_seal::Seal;
use hearth_store::Store;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    net::{TcpListener, UnixStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use hearth_node_api::fake::FakeNode;

/// Everything here is quick; what takes longer hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// What a volume may hold.
pub(crate) const VOLUME_BYTES: u64 = 4 << 20;
pub(crate) const IMAGE: &str = "localhost/test:1";

pub(crate) struct Fixture {
    pub(crate) node: Arc<FakeNode>,
    pub(crate) folder: Arc<tempfile::TempDir>,
    pub(crate) socket: PathBuf,
    /// The key that a new host begins with.
    pub(crate) first_key: Option<String>,
    /// Where the gateway listens.
    pub(crate) gateway: SocketAddr,
    shutdown: CancellationToken,
    server: Option<JoinHandle<()>>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn lines<T: DeserializeOwned>(&self) -> Vec<T> {
        let lines = self.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    /// The problem, after a look at all that every problem must have.
    pub(crate) fn problem(&self) -> Problem {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let problem: Problem = self.json();
        assert_eq!(problem.status, self.status.as_u16());
        assert_ne!(problem.code, ProblemCode::Unknown);
        let request_id = self.headers["x-request-id"].to_str().unwrap();
        assert_eq!(problem.instance, Some(format!("urn:hearth:request:{request_id}")));
        problem
    }
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(FakeNode::new(), Arc::new(tempfile::tempdir().unwrap())).await
    }

    /// With memory for instances that wait.
    pub(crate) async fn warm() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let socket = folder.path().join("s");
        let listener = Listener::unix(&socket).unwrap();
        Self::opened(FakeNode::new(), folder, socket, vec![listener], 1024).await
    }

    /// A server on a node and a folder that there may have been before.
    pub(crate) async fn with(node: Arc<FakeNode>, folder: Arc<tempfile::TempDir>) -> Self {
        let socket = folder.path().join("s");
        let listener = Listener::unix(&socket).unwrap();
        Self::listening(node, folder, socket, vec![listener]).await
    }

    pub(crate) async fn listening(
        node: Arc<FakeNode>,
        folder: Arc<tempfile::TempDir>,
        socket: PathBuf,
        listeners: Vec<Listener>,
    ) -> Self {
        Self::opened(node, folder, socket, listeners, 0).await
    }

    async fn opened(
        node: Arc<FakeNode>,
        folder: Arc<tempfile::TempDir>,
        socket: PathBuf,
        listeners: Vec<Listener>,
        warm_memory_mib: u64,
    ) -> Self {
        let path = folder.path();
        let images = ImageStore::open(&path.join("images"), StoreConfig::default())
            .await
            .unwrap();
        if images.resolve(IMAGE).is_err() {
            let name = Some(IMAGE.parse().unwrap());
            let options = ImportOptions {
                name,
                kind: Some(ImportKind::RootTar),
                ..ImportOptions::default()
            };
            let source = ImportSource::Path(root_tar(path));
            images.import(source, options, ProgressSink::none()).await.unwrap();
        }
        let kernels = Arc::new(KernelStore::open(&path.join("kernels")).unwrap());
        let store = Store::open(&path.join("hearth.db")).await.unwrap();
        let config = ControlConfig {
            tmp_dir: path.to_owned(),
            template_files_dir: path.join("template-files"),
            kernel_cache_dir: path.join("cache"),
            seal: Arc::new(Seal::new([7; 32])),
            volumes: Arc::new(hearth_volume::Volumes::open(&path.join("volumes"), b"secret", VOLUME_BYTES).unwrap()),
            group: "no-such-group".into(),
            functions: FunctionsConfig {
                logs_dir: path.join("function-logs"),
                gateway: hearth_gateway::GatewayConfig::default(),
                base_url: None,
                ready_timeout: std::time::Duration::from_secs(10),
                warm_memory_mib,
            },
        };
        let mut control = Control::open(config, Arc::clone(&node) as _, images, kernels, store)
            .await
            .unwrap();
        let first_key = control.take_first_key();
        let shutdown = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = listener.local_addr().unwrap();
        let gateways = vec![GatewayListener { listener, tls: None }];
        let server = Some(tokio::spawn(control.serve(listeners, gateways, shutdown.clone())));
        Self {
            node,
            folder,
            socket,
            first_key,
            gateway,
            shutdown,
            server,
        }
    }

    /// Ends the server, and waits until it did.
    pub(crate) async fn stop(&mut self) {
        self.shutdown.cancel();
        if let Some(server) = self.server.take() {
            timeout(DEADLINE, server).await.unwrap().unwrap();
        }
    }

    /// Ends the server and opens another one in its place.
    pub(crate) async fn reopen(mut self) -> Self {
        self.stop().await;
        Self::with(Arc::clone(&self.node), Arc::clone(&self.folder)).await
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        timeout(DEADLINE, send(&self.socket, request)).await.unwrap()
    }

    pub(crate) async fn call(&self, method: Method, path: &str) -> Answer {
        self.send(request(method, path).body(Full::default()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path).await
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        self.call(Method::POST, path).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path).await
    }

    pub(crate) async fn post_json<T: Serialize>(&self, path: &str, body: &T) -> Answer {
        self.send(json_request(path, serde_json::to_vec(body).unwrap())).await
    }

    pub(crate) async fn make(&self, request: CreateMachine) -> Machine {
        let answer = self.post_json("/v1/machines", &request).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.json()
    }

    /// Asks until the answer is as wanted.
    pub(crate) async fn until(&self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let asking = async {
            loop {
                let answer = self.get(path).await;
                if wanted(&answer) {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, asking).await.unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(crate) fn request(method: Method, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header("host", "hearth")
}

pub(crate) fn json_request(path: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
    let request = request(Method::POST, path).header("content-type", "application/json");
    request.body(Full::from(body)).unwrap()
}

pub(crate) async fn send(socket: &Path, request: Request<Full<Bytes>>) -> Answer {
    let stream = UnixStream::connect(socket).await.unwrap();
    send_on(stream, request).await
}

pub(crate) async fn send_on<S>(stream: S, request: Request<Full<Bytes>>) -> Answer
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    connection.abort();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

/// A machine of the fake driver that runs these words.
pub(crate) fn machine(words: &[&str]) -> CreateMachine {
    CreateMachine {
        image: IMAGE.into(),
        driver: Some(Driver::Fake),
        cmd: words.iter().map(ToString::to_string).collect(),
        ..CreateMachine::default()
    }
}

/// A root file system of one file.
pub(crate) fn root_tar(folder: &Path) -> PathBuf {
    let path = folder.join("root.tar");
    let mut archive = tar::Builder::new(std::fs::File::create(&path).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o755);
    header.set_cksum();
    archive.append_data(&mut header, "hello", b"hi".as_slice()).unwrap();
    archive.finish().unwrap();
    path
}
