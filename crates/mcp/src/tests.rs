//! Both transports, with a daemon that only looks like one.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{delete, get},
};
use hearth_api::{PROBLEM_JSON, Problem, ProblemCode};
use hearth_client::{Client, Endpoint};
use rmcp::{ServiceExt as _, model::CallToolRequestParams, service::RunningService};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    http::{HttpError, HttpOptions, listen},
    stdio::{StdioError, StdioOptions, serve},
};

const PATIENCE: Duration = Duration::from_secs(20);
const ID: &str = "sbx00000000000000000000000001";

/// What was asked of the daemon: by whom, and for what.
type Asked = Arc<Mutex<Vec<String>>>;

/// A daemon that knows the key `good` and makes one sandbox.
async fn daemon() -> (SocketAddr, Asked) {
    let asked = Asked::default();
    let router = Router::new()
        .route("/v1/sandboxes", get(sandboxes).post(create))
        .route("/v1/sandboxes/{id}", delete(remove))
        .with_state(Arc::clone(&asked));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, asked)
}

/// Gives a refusal, if the key is none.
fn note(asked: &Asked, headers: &HeaderMap, what: &str) -> Option<Response> {
    let key = headers
        .get("authorization")
        .map_or("nobody", |key| key.to_str().unwrap());
    asked.lock().unwrap().push(format!("{key} {what}"));
    (key == "Bearer bad").then(|| {
        let problem = Problem::new(ProblemCode::Unauthorized, "the key is not valid");
        let kind = [("content-type", PROBLEM_JSON)];
        (StatusCode::UNAUTHORIZED, kind, Json(problem)).into_response()
    })
}

async fn sandboxes(State(asked): State<Asked>, headers: HeaderMap) -> Response {
    let listed = Json(json!({ "sandboxes": [], "total": 0 }));
    note(&asked, &headers, "list").unwrap_or_else(|| listed.into_response())
}

async fn create(State(asked): State<Asked>, headers: HeaderMap, Json(request): Json<Value>) -> Response {
    if let Some(refused) = note(&asked, &headers, &format!("create {}", request["template"])) {
        return refused;
    }
    let made = json!({
        "id": ID, "machine": "mch00000000000000000000000000", "template": "tpl00000000000000000000000000",
        "state": "running", "started_at": "2026-01-01T00:00:00Z", "ends_at": "2026-01-01T00:30:00Z", "timeout_s": 1800,
        "on_timeout": "kill", "auto_resume": false, "keep_alive": false, "private_traffic": false, "recover": {},
        "resources": { "cpus": 1, "memory_mib": 256 },
    });
    (StatusCode::CREATED, Json(made)).into_response()
}

async fn remove(State(asked): State<Asked>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let noted = note(&asked, &headers, &format!("remove {id}"));
    noted.unwrap_or_else(|| StatusCode::NO_CONTENT.into_response())
}

fn client(daemon: SocketAddr) -> Client {
    Client::new(Endpoint::Tcp(daemon))
}

type Agent = RunningService<rmcp::RoleClient, ()>;

async fn agent(daemon: SocketAddr, options: StdioOptions) -> (Agent, JoinHandle<Result<(), StdioError>>) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (input, output) = tokio::io::split(theirs);
    let server = tokio::spawn(serve(client(daemon), options, input, output));
    (().serve(ours).await.unwrap(), server)
}

fn called(name: &'static str, arguments: &Value) -> CallToolRequestParams {
    CallToolRequestParams::new(name).with_arguments(arguments.as_object().cloned().unwrap())
}

async fn leave(agent: Agent, server: JoinHandle<Result<(), StdioError>>) {
    agent.cancel().await.unwrap();
    timeout(PATIENCE, server).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn an_agents_sandboxes_go_with_it_unless_they_are_kept() {
    for keep in [false, true] {
        let (address, asked) = daemon().await;
        let (agent, server) = agent(address, StdioOptions { keep }).await;
        assert_eq!(agent.list_all_tools().await.unwrap().len(), 11);
        let made = agent.call_tool(called("sandbox_create", &json!({}))).await.unwrap();
        assert_eq!(made.structured_content.unwrap()["sandbox"], ID);
        leave(agent, server).await;
        let asked = asked.lock().unwrap().clone();
        assert_eq!(asked[0], "nobody create \"base\"");
        assert_eq!(asked.contains(&format!("nobody remove {ID}")), !keep, "{asked:?}");
    }
}

#[tokio::test]
async fn what_an_agent_removed_is_not_removed_again() {
    let (address, asked) = daemon().await;
    let (agent, server) = agent(address, StdioOptions::default()).await;
    agent.call_tool(called("sandbox_create", &json!({}))).await.unwrap();
    agent
        .call_tool(called("sandbox_kill", &json!({ "sandbox": ID })))
        .await
        .unwrap();
    leave(agent, server).await;
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn what_a_tool_cannot_do_is_told_as_its_answer() {
    let (address, _) = daemon().await;
    let (agent, server) = agent(address, StdioOptions::default()).await;
    for (name, arguments, words) in [
        ("sandbox_create", json!({ "timeout_s": 0 }), "timeout_s is \"0\""),
        ("sandbox_kill", json!({ "sandbox": "../x" }), "write an ID"),
        ("run_command", json!({ "sandbox": ID }), "command"),
        ("sandbox_pause", json!({ "sandbox": ID }), "404"),
    ] {
        let refused = agent.call_tool(called(name, &arguments)).await.unwrap();
        let text = serde_json::to_string(&refused.content).unwrap();
        assert_eq!(refused.is_error, Some(true), "{name}: {text}");
        assert!(
            refused.structured_content.is_none() && text.replace('\\', "").contains(words),
            "{name}: {text}"
        );
    }
    assert!(agent.call_tool(called("sandbox_fly", &json!({}))).await.is_err());
    leave(agent, server).await;
}

/// A server over HTTP, until it is dropped.
struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), HttpError>>,
}

impl Served {
    async fn start(daemon: SocketAddr) -> Self {
        let options = HttpOptions {
            listen: "127.0.0.1:0".parse().unwrap(),
            hosts: vec!["mcp.example".into()],
            origins: vec!["https://app.example:443".into()],
        };
        let stop = CancellationToken::new();
        let (tell, told) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(listen(client(daemon), options, stop.clone(), |address| {
            tell.send(address).unwrap();
        }));
        let address = timeout(PATIENCE, told).await.unwrap().unwrap();
        Self { address, stop, task }
    }

    async fn end(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }

    /// Status and body of a call of the protocol, with these headers.
    async fn post(&self, headers: &[(&str, &str)], call: &Value) -> (u16, String) {
        let body = call.to_string();
        let mut head = format!(
            "POST /mcp HTTP/1.1\r\nContent-Length: {}\r\nConnection: close\r\n",
            body.len()
        );
        let usual = [
            ("host", "127.0.0.1"),
            ("authorization", "Bearer good"),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        let usual = usual
            .iter()
            .filter(|(name, _)| headers.iter().all(|(other, _)| other != name));
        for (name, value) in headers.iter().chain(usual).filter(|(_, value)| !value.is_empty()) {
            head.extend([*name, ": ", *value, "\r\n"]);
        }
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }
}

fn call(name: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": name, "arguments": {} } })
}

#[tokio::test]
async fn over_http_each_call_is_its_keys() {
    let (daemon, asked) = daemon().await;
    let served = Served::start(daemon).await;
    let (status, answer) = served.post(&[], &call("sandbox_create")).await;
    assert!(status == 200 && answer.contains(ID), "{answer}");
    for key in ["", "Basic good", "Bearer bad"] {
        let (status, answer) = served.post(&[("authorization", key)], &call("sandbox_create")).await;
        assert_eq!(status, 401, "{key}: {answer}");
        assert!(answer.to_lowercase().contains("www-authenticate: bearer"), "{answer}");
    }
    served.end().await;
    let asked = asked.lock().unwrap().clone();
    let made = asked
        .iter()
        .filter(|asked| asked.contains("create"))
        .collect::<Vec<_>>();
    assert_eq!(
        made,
        ["Bearer good create \"base\""],
        "and nothing is removed: {asked:?}"
    );
    assert!(!asked.iter().any(|asked| asked.contains("remove")), "{asked:?}");
}

#[tokio::test]
async fn pages_from_elsewhere_are_refused() {
    let (daemon, asked) = daemon().await;
    let served = Served::start(daemon).await;
    for (header, value, wanted) in [
        ("host", "rebound.example", 403),
        ("host", "127.0.0.1.example", 403),
        ("host", "localhost", 200),
        ("host", "mcp.example", 200),
        ("origin", "https://evil.example", 403),
        ("origin", "http://127.0.0.1", 403),
        ("origin", "null", 403),
        ("origin", "https://app.example", 200),
    ] {
        let (status, answer) = served.post(&[(header, value)], &call("sandbox_list")).await;
        assert_eq!(status, wanted, "{header}: {value}: {answer}");
    }
    served.end().await;
    // One of each for the key; those that were let in asked once more.
    assert_eq!(asked.lock().unwrap().len(), 8 + 3);
}

#[tokio::test]
async fn a_request_is_bounded_and_a_foreign_address_refused() {
    let (daemon, _) = daemon().await;
    let served = Served::start(daemon).await;
    let long = json!({ "jsonrpc": "2.0", "id": 1, "method": "x".repeat(5 << 20) });
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let body = long.to_string();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer good\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // It may be refused before it is read to its end.
    let _ = stream.write_all(body.as_bytes()).await;
    let mut answer = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    served.end().await;
    let options = HttpOptions {
        listen: "0.0.0.0:0".parse().unwrap(),
        hosts: Vec::new(),
        origins: Vec::new(),
    };
    let refused = listen(client(daemon), options, CancellationToken::new(), |_| {}).await;
    assert!(matches!(refused, Err(HttpError::NotLoopback(_))));
}
