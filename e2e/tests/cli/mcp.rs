//! `mcp`: an agent's tools, driven by the protocol's own client over standard input and output, and by plain requests over HTTP.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::Stdio,
    time::Duration,
};

use hearth_e2e::{
    Host, HostOptions, PYTHON,
    http::{Url, send},
    wait_for,
};
use rmcp::{RoleClient, ServiceExt as _, model::CallToolRequestParams, service::RunningService};
use serde_json::{Value, json};
use tokio::process::Child;

use crate::on_each_driver;

const PATIENCE: Duration = Duration::from_mins(2);

/// A server that answers as the code interpreter does.
const INTERPRETER: &str = r#"
import socket
EVENTS = rb"""{"type": "stdout", "text": "ran\n"}
{"type": "result", "is_main_result": true, "text": "42", "png": "iVBORw0KGgo="}
{"type": "end_of_execution"}
"""
server = socket.create_server(("127.0.0.1", 49999))
while True:
    client, _ = server.accept()
    asked = b""
    while not asked.endswith(b'{"code":"print(1)"}'):
        piece = client.recv(65536)
        if not piece:
            break
        asked += piece
    else:
        client.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + EVENTS)
    client.close()
"#;

/// An agent, and what it started.
struct Agent {
    service: RunningService<RoleClient, ()>,
    server: Child,
}

impl Agent {
    async fn start(host: &Host, args: &[&str]) -> Self {
        let mut command = tokio::process::Command::from(host.command(&[&["mcp"], args].concat()));
        let mut server = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pipes = (server.stdout.take().unwrap(), server.stdin.take().unwrap());
        let service = ().serve(pipes).await.unwrap();
        Self { service, server }
    }

    /// What a tool answers: whether it failed, what is structured, and all its contents.
    async fn ask(&self, name: &'static str, arguments: Value) -> (bool, Value, Value) {
        let arguments = arguments.as_object().cloned().unwrap();
        let called = self
            .service
            .call_tool(CallToolRequestParams::new(name).with_arguments(arguments));
        let answer = tokio::time::timeout(PATIENCE, called).await.unwrap().unwrap();
        let content = serde_json::to_value(&answer.content).unwrap();
        let failed = answer.is_error == Some(true);
        (failed, answer.structured_content.unwrap_or_default(), content)
    }

    async fn done(&self, name: &'static str, arguments: Value) -> Value {
        let (failed, answer, content) = self.ask(name, arguments).await;
        assert!(!failed, "{name}: {content}");
        answer
    }

    async fn refused(&self, name: &'static str, arguments: Value) -> String {
        let (failed, _, content) = self.ask(name, arguments).await;
        assert!(failed, "{name}: {content}");
        content[0]["text"].as_str().unwrap().to_owned()
    }

    async fn leave(mut self) {
        self.service.cancel().await.unwrap();
        let ended = tokio::time::timeout(PATIENCE, self.server.wait()).await.unwrap();
        assert!(ended.unwrap().success());
    }
}

fn with_template(host: &Host) {
    let args = [
        "template", "build", "base", "--image", PYTHON, "--memory", "256m", "--cpus", "1", "--ready", "true",
    ];
    host.hearth(&args).ok();
}

fn sandboxes(host: &Host) -> String {
    host.hearth(&["sandbox", "ls", "-q"]).ok().to_owned()
}

fn waiting<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

#[test]
fn an_agent_works_in_a_sandbox_that_goes_with_it() {
    on_each_driver(|host| {
        with_template(host);
        waiting(async {
            let agent = Agent::start(host, &[]).await;
            let made = agent.done("sandbox_create", json!({ "env": { "A": "given" } })).await;
            let id = made["sandbox"].as_str().unwrap().to_owned();
            assert_eq!(sandboxes(host), id);
            commands(&agent, &id).await;
            files(&agent, &id).await;
            code(&agent, &id).await;
            let paused = agent.done("sandbox_pause", json!({ "sandbox": id })).await;
            assert_eq!(paused["state"], "paused");
            let ran = agent
                .done("run_command", json!({ "sandbox": id, "command": "cat kept/a.txt" }))
                .await;
            assert_eq!(ran["stdout"], "one\ntwo\n", "it was resumed: {ran}");
            agent.leave().await;
        });
        assert_eq!(sandboxes(host), "", "it went with its agent");
    });
}

async fn commands(agent: &Agent, id: &str) {
    let run = async |mut arguments: Value| {
        arguments["sandbox"] = id.into();
        agent.done("run_command", arguments).await
    };
    let ran = run(json!({ "command": "echo $A $B; pwd; cat; echo bad >&2; exit 7", "env": { "B": "b" }, "working_dir": "/tmp", "stdin": "in" })).await;
    assert_eq!(
        (&ran["exit_code"], &ran["stdout"], &ran["stderr"]),
        (&7.into(), &"given b\n/tmp\nin".into(), &"bad\n".into())
    );
    let ran = run(json!({ "command": "printf '\\033[31mred\\033[0m\\377\\000'; cat" })).await;
    assert_eq!(
        ran["stdout"], "red\u{fffd}\u{fffd}",
        "nothing waits for an input that nobody gave"
    );
    let ran = run(json!({ "command": "seq 1 100000", "max_output_bytes": 1024 })).await;
    let (text, cut) = (
        ran["stdout"].as_str().unwrap(),
        ran["stdout_cut_bytes"].as_u64().unwrap(),
    );
    assert!(
        text.starts_with("1\n2\n") && text.ends_with("99999\n100000\n") && text.len() < 1100,
        "{ran}"
    );
    assert_eq!(cut, 588_895 - 1024);
    let ran = run(json!({ "command": "echo begun; sleep 1234", "timeout_s": 1 })).await;
    assert_eq!(
        (&ran["timed_out"], &ran["exit_code"], &ran["stdout"]),
        (&true.into(), &Value::Null, &"begun\n".into())
    );
    let look =
        "for i in $(seq 100); do cat /proc/[0-9]*/comm 2>/dev/null | grep -qx sleep || exit 0; sleep 0.1; done; exit 1";
    assert_eq!(run(json!({ "command": look })).await["exit_code"], 0, "it was killed");
    let refused = agent
        .refused("run_command", json!({ "sandbox": "sbx0none", "command": "true" }))
        .await;
    assert!(
        refused.contains("sbx0none") && refused.contains("sandbox_not_found"),
        "{refused}"
    );
}

async fn files(agent: &Agent, id: &str) {
    let ask = |mut arguments: Value| {
        arguments["sandbox"] = id.into();
        arguments
    };
    for (content, append) in [("one\n", false), ("two\n", true)] {
        let arguments = ask(json!({ "path": "kept/a.txt", "content": content, "append": append }));
        agent.done("write_file", arguments).await;
    }
    let bytes = json!({ "path": "kept/it's -b\n", "content": "AP8=", "encoding": "base64" });
    assert_eq!(agent.done("write_file", ask(bytes)).await["size_bytes"], 2);
    let read = agent.done("read_file", ask(json!({ "path": "kept/it's -b\n" }))).await;
    assert_eq!(
        (&read["content"], &read["encoding"]),
        (&"AP8=".into(), &"base64".into())
    );
    let first = agent
        .done("read_file", ask(json!({ "path": "kept/a.txt", "max_bytes": 4 })))
        .await;
    assert_eq!(
        (&first["content"], &first["next_offset_bytes"], &first["size_bytes"]),
        (&"one\n".into(), &4.into(), &8.into())
    );
    let rest = agent
        .done("read_file", ask(json!({ "path": "kept/a.txt", "offset_bytes": 4 })))
        .await;
    assert_eq!(
        (&rest["content"], &rest["next_offset_bytes"]),
        (&"two\n".into(), &Value::Null)
    );
    let listed = agent.done("list_files", ask(json!({ "path": "kept" }))).await;
    let entries = listed["entries"].as_array().unwrap();
    assert_eq!(listed["total"], 2);
    assert_eq!(
        (&entries[0]["name"], &entries[0]["kind"], &entries[0]["size_bytes"]),
        (&"a.txt".into(), &"file".into(), &8.into())
    );
    let none = agent.refused("read_file", ask(json!({ "path": "/none" }))).await;
    assert!(none.contains("/none") && none.contains("list_files"), "{none}");
    let folder = agent.refused("read_file", ask(json!({ "path": "/tmp" }))).await;
    assert!(folder.contains("regular file"), "{folder}");
    let file = agent.refused("list_files", ask(json!({ "path": "kept/a.txt" }))).await;
    assert!(file.contains("not a folder"), "{file}");
}

async fn code(agent: &Agent, id: &str) {
    let run = json!({ "sandbox": id, "code": "print(1)" });
    let absent = agent.refused("run_code", run.clone()).await;
    assert!(absent.contains("run_command"), "{absent}");
    let script = json!({ "sandbox": id, "path": "/tmp/interpreter.py", "content": INTERPRETER });
    agent.done("write_file", script).await;
    let start = "nohup python3 /tmp/interpreter.py >/dev/null 2>&1 & \
                 for i in $(seq 300); do (: </dev/tcp/127.0.0.1/49999) 2>/dev/null && exit 0; sleep 0.1; done; exit 1";
    let started = agent
        .done("run_command", json!({ "sandbox": id, "command": start }))
        .await;
    assert_eq!(started["exit_code"], 0, "{started}");
    let (failed, ran, content) = agent.ask("run_code", run).await;
    assert!(!failed, "{content}");
    assert_eq!(
        (&ran["stdout"], &ran["results"][0]["text"]),
        (&"ran\n".into(), &"42".into())
    );
    assert_eq!(
        (&content[1]["type"], &content[1]["data"]),
        (&"image".into(), &"iVBORw0KGgo=".into())
    );
}

#[test]
fn what_is_to_stay_stays() {
    on_each_driver(|host| {
        with_template(host);
        waiting(async {
            let agent = Agent::start(host, &["--keep"]).await;
            agent.done("sandbox_create", json!({ "timeout_s": 600 })).await;
            agent.leave().await;
        });
        let id = sandboxes(host);
        assert!(id.starts_with("sbx"), "{id}");
        host.hearth(&["sandbox", "kill", &id]).ok();
    });
}

#[test]
fn a_server_that_is_told_to_stop_leaves_nothing() {
    let host = Host::start();
    with_template(&host);
    waiting(async {
        let mut agent = Agent::start(&host, &[]).await;
        agent.done("sandbox_create", json!({})).await;
        let pid = rustix::process::Pid::from_raw(agent.server.id().unwrap().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let ended = tokio::time::timeout(PATIENCE, agent.server.wait()).await.unwrap();
        assert!(ended.unwrap().success());
    });
    assert_eq!(sandboxes(&host), "");
}

#[test]
fn over_http_whose_key_comes_acts() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let host = Host::with(&HostOptions::default().arg("--listen").arg(&address));
    with_template(&host);
    host.hearth(&["mcp", "--listen", "127.0.0.1:0"]).failed(1, &["--host"]);
    let key = |role| host.hearth(&["key", "create", "--role", role]).ok().to_owned();
    let (developer, viewer) = (key("developer"), key("viewer"));
    let mut server = host
        .command(&["--host", &format!("http://{address}"), "mcp", "--listen", "127.0.0.1:0"])
        .env_remove("HEARTH_SOCKET")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(server.stderr.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    let url = Url::of(first.trim().split(' ').next_back().unwrap());
    let asked = |headers: &[(&str, &str)], name: &str, arguments: Value| {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": name, "arguments": arguments } });
        let usual = [
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
        ];
        let answer = send(
            &url,
            "POST",
            &[&usual, headers].concat(),
            call.to_string().as_bytes(),
            PATIENCE,
        )
        .unwrap();
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        (answer.status, body["result"].clone())
    };
    let by = |key: &str| format!("Bearer {key}");
    let (developer, viewer) = (by(&developer), by(&viewer));
    assert_eq!(asked(&[], "sandbox_list", json!({})).0, 401);
    assert_eq!(
        asked(&[("Authorization", "Bearer hth_x")], "sandbox_list", json!({})).0,
        401
    );
    let foreign = [
        ("Authorization", developer.as_str()),
        ("Origin", "https://evil.example"),
    ];
    assert_eq!(asked(&foreign, "sandbox_list", json!({})).0, 403);
    let (_, denied) = asked(&[("Authorization", &viewer)], "sandbox_create", json!({}));
    assert_eq!(denied["isError"], true, "{denied}");

    let (status, made) = asked(&[("Authorization", &developer)], "sandbox_create", json!({}));
    let id = made["structuredContent"]["sandbox"].clone();
    assert!(status == 200 && id.is_string(), "{made}");
    let run = json!({ "sandbox": id, "command": "uname -s" });
    let (_, ran) = asked(&[("Authorization", &developer)], "run_command", run);
    assert_eq!(ran["structuredContent"]["stdout"], "Linux\n", "{ran}");
    let (_, place) = asked(
        &[("Authorization", &viewer)],
        "port_url",
        json!({ "sandbox": id, "port": 80 }),
    );
    assert!(
        place["structuredContent"]["url"]
            .as_str()
            .is_some_and(|url| url.contains("80-sbx")),
        "{place}"
    );
    let pid = rustix::process::Pid::from_raw(server.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended = wait_for("the server to end", || server.try_wait().unwrap());
    assert!(ended.success());
    assert_eq!(
        sandboxes(&host),
        id.as_str().unwrap(),
        "over HTTP there is no session that ends"
    );
    host.hearth(&["sandbox", "kill", id.as_str().unwrap()]).ok();
}
