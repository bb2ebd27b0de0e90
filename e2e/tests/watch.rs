//! One call of a function on a real machine, followed through metrics, log lines and spans.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use hearth_e2e::{Host, HostOptions, PYTHON, wait_for};
use hearth_testkit::{otlp::OtlpReceiver, promtool};
use serde_json::Value;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
/// Answers with what it was told of its trace.
const PROGRAM: &str = "
import os, socket
server = socket.create_server(('', int(os.environ['PORT'])))
while True:
    client, _ = server.accept()
    head = b''
    while b'\\r\\n\\r\\n' not in head:
        piece = client.recv(65536)
        if not piece: break
        head += piece
    lines = head.decode().lower().splitlines()
    told = next((line[12:].strip() for line in lines if line.startswith('traceparent:')), 'none')
    if head: client.sendall(f'HTTP/1.1 200 OK\\r\\nconnection: close\\r\\ncontent-length: {len(told)}\\r\\n\\r\\n{told}'.encode())
    client.close()
";
const PATIENCE: Duration = Duration::from_mins(2);

/// Gets a path and closes the connection: head and body.
fn get(address: &str, path: &str, more: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn metrics(address: &str) -> String {
    let (head, body) = get(address, "/metrics", "");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body
}

fn value(text: &str, series: &str) -> Option<f64> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A line's field, of the event or of the spans that it is in.
fn field<'l>(line: &'l Value, name: &str) -> Option<&'l str> {
    let spans = line["spans"].as_array().into_iter().flatten();
    let spans = spans.chain(std::iter::once(line));
    spans.filter_map(|part| part[name].as_str()).next_back()
}

#[test]
fn one_call_is_seen_in_metrics_lines_and_spans() {
    let receiver = match OtlpReceiver::start() {
        Ok(receiver) => receiver,
        Err(missing) => {
            eprintln!("SKIPPED: {missing}");
            return;
        }
    };
    let watched = format!("127.0.0.1:{}", free_port());
    let options = HostOptions::default()
        .arg("--log-json")
        .arg("--metrics")
        .arg(&watched)
        .arg("--otlp-endpoint")
        .arg(&receiver.endpoint());
    let mut host = Host::with(&options);
    let flags = ["--image", PYTHON, "--entrypoint", "python3"];
    let args = [&["--json", "fn", "deploy", "seen"], &flags[..], &["--", "-uc", PROGRAM]].concat();
    let deployed = host.hearth(&args).json();
    let url = deployed["function"]["urls"][0].as_str().unwrap().to_owned();
    let (gateway, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();

    // A stranger's trace would not be gone on with.
    let key = host.hearth(&["key", "create", "--role", "invoker"]).stdout;
    let key = key.lines().next().unwrap();
    let traced = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\nauthorization: Bearer {key}\r\n");
    let (head, told) = get(gateway, &format!("/{path}"), &traced);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}\n{}", host.log());
    let request = head
        .lines()
        .find_map(|line| line.strip_prefix("x-hearth-request-id: "))
        .unwrap()
        .to_owned();

    let text = metrics(&watched);
    promtool::check_metrics(&text);
    check_metrics(&text);
    check_lines(&host, &request);

    host.hearth(&["fn", "rm", "seen"]).ok();
    wait_for("the series of a function that is gone to go", || {
        (!metrics(&watched).contains("function=\"seen\"")).then_some(())
    });
    host.down();
    check_spans(&receiver, &told, &request);
}

fn check_metrics(text: &str) {
    let version = "project=\"default\",function=\"seen\",version=\"1\"";
    for (series, wanted) in [
        (
            format!("hearth_function_requests_total{{{version},class=\"2xx\"}}"),
            1.0,
        ),
        (format!("hearth_function_request_seconds_count{{{version}}}"), 1.0),
        (format!("hearth_function_cold_starts_total{{{version}}}"), 1.0),
        (format!("hearth_function_instances{{{version}}}"), 1.0),
        ("hearth_instances{state=\"serving\"}".to_owned(), 1.0),
        ("hearth_machines{state=\"running\"}".to_owned(), 1.0),
        ("hearth_cold_start_seconds_count".to_owned(), 1.0),
    ] {
        assert_eq!(value(text, &series), Some(wanted), "{series}\n{text}");
    }
    let seconds = |phase: &str| {
        let labels = format!("{{phase=\"{phase}\"}}");
        let count = value(text, &format!("hearth_cold_start_phase_seconds_count{labels}"));
        assert_eq!(count, Some(1.0), "{phase}\n{text}");
        value(text, &format!("hearth_cold_start_phase_seconds_sum{labels}")).unwrap()
    };
    let phases = [
        "queue_wait",
        "create",
        "prepare",
        "boot",
        "program_to_ready",
        "register",
    ];
    let sum: f64 = phases.map(seconds).iter().sum();
    let whole = value(text, "hearth_cold_start_seconds_sum").unwrap();
    assert!(
        sum <= whole * 1.1 && sum >= whole * 0.5,
        "phases take {sum} s of {whole} s"
    );
}

fn check_lines(host: &Host, request: &str) {
    let log = host.log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let mut calls = lines
        .iter()
        .filter(|line| line["target"] == "hearth::calls" && field(line, "request") == Some(request));
    let call = calls.next().unwrap();
    assert!(calls.next().is_none(), "one line a call");
    let [project, function, machine] =
        ["project", "function", "machine"].map(|name| field(call, name).unwrap_or_else(|| panic!("{name}: {call}")));
    // What its machine went through is told with the same IDs.
    let of_machine: Vec<&Value> = lines
        .iter()
        .filter(|line| line["message"] == "machine changed state" && field(line, "machine") == Some(machine))
        .collect();
    assert!(of_machine.len() >= 3, "{log}");
    for line in of_machine {
        assert_eq!(
            (field(line, "project"), field(line, "function")),
            (Some(project), Some(function)),
            "{line}"
        );
    }
    let served = lines.iter().find(|line| line["message"] == "instance serves").unwrap();
    assert_eq!(
        (field(served, "machine"), field(served, "function")),
        (Some(machine), Some(function))
    );
    assert!(field(served, "request").is_some(), "{served}");
}

fn check_spans(receiver: &OtlpReceiver, told: &str, request: &str) {
    let spans = receiver.spans_until(Duration::from_secs(20), |spans| {
        let ours = spans.iter().filter(|span| span["trace"] == TRACE);
        ours.count() >= 9
    });
    let ours: Vec<&Value> = spans.iter().filter(|span| span["trace"] == TRACE).collect();
    let named = |name: &str| {
        let found = ours.iter().find(|span| span["name"] == name);
        *found.unwrap_or_else(|| panic!("no span {name:?} among {spans:#?}"))
    };
    let call = named("call");
    assert_eq!(call["parent"], PARENT);
    assert_eq!(call["attributes"]["hearth.request"], request);
    assert_eq!(call["attributes"]["hearth.cold"], true);
    let span_id = call["span"].as_str().unwrap();
    assert_eq!(
        told,
        format!("00-{TRACE}-{span_id}-01"),
        "the program is told of its span"
    );
    for (name, parent) in [
        ("wait for an instance", "call"),
        ("make an instance", "call"),
        ("wait for a worker", "make an instance"),
        ("prepare the machine", "make an instance"),
        ("boot", "make an instance"),
        ("guest: kernel to agent", "boot"),
        ("guest: root", "boot"),
        ("program starts", "make an instance"),
    ] {
        let (span, parent) = (named(name), named(parent));
        assert_eq!(span["parent"], parent["span"], "{name}");
        let (from, to) = (span["from_ns"].as_u64().unwrap(), span["to_ns"].as_u64().unwrap());
        // Histories are in milliseconds.
        let (first, last) = (parent["from_ns"].as_u64().unwrap(), parent["to_ns"].as_u64().unwrap());
        assert!(
            from + 2_000_000 >= first && to <= last + 2_000_000,
            "{name} is not within its parent: {spans:#?}"
        );
    }
    // The command line's requests are spans, too.
    assert!(spans.iter().any(|span| span["name"] == "deploy_function"), "{spans:#?}");
}
