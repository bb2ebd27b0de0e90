//! Clients that mean harm: a program gets nothing, or exactly one request of what they send.

use std::time::Duration;

use hearth_gateway::GatewayConfig;
use hearth_ids::SandboxId;
use http_body_util::BodyExt as _;

use super::world;
use crate::instance::{self, FakeInstance};

/// How long a connection is listened to that has nothing more to say.
const SILENCE: Duration = Duration::from_millis(300);

#[tokio::test]
async fn no_request_hides_in_another() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let program = FakeInstance::serve(move |request| {
        let seen = seen.clone();
        async move {
            let (parts, body): (http::request::Parts, hyper::body::Incoming) = request.into_parts();
            let length = parts.headers.get("content-length").cloned();
            let body = body.collect().await.unwrap().to_bytes();
            let body = String::from_utf8_lossy(&body);
            seen.send(format!("{} {} {length:?} {body}", parts.method, parts.uri))
                .unwrap();
            instance::text("ok")
        }
    })
    .await;
    let id = house.enter(program.address, |_| ());
    for case in cases(id, program.address.port()) {
        let request = format!("POST /one HTTP/1.1\r\n{}\r\n{}", case.head, case.body);
        let answer = world.client().raw(request.as_bytes(), SILENCE).await;
        let status = format!("HTTP/1.1 {}", case.status);
        assert!(answer.starts_with(&status), "{}: {answer}", case.what);
        let mut reached = Vec::new();
        while let Ok(request) = requests.try_recv() {
            reached.push(request);
        }
        let expected: Vec<String> = case.reaches.into_iter().map(ToOwned::to_owned).collect();
        assert_eq!(reached, expected, "{}", case.what);
    }
}

/// A request that can be read in more than one way, the status that its client sees, and what of it the program may get.
struct Case {
    what: &'static str,
    head: String,
    body: String,
    status: u16,
    reaches: Option<&'static str>,
}

fn cases(id: SandboxId, port: u16) -> Vec<Case> {
    let host = format!("Host: {port}-{id}.d\r\n");
    let named = format!("Host: h\r\nE2b-Sandbox-Id: {id}\r\nE2b-Sandbox-Port: {port}\r\n");
    let other = SandboxId::new();
    let mut cases: Vec<Case> = [
        ("two hosts", format!("{host}Host: {port}-{other}.d"), 400),
        ("the same host twice", format!("{host}{host}").trim().to_owned(), 400),
        ("two IDs", format!("{named}E2b-Sandbox-Id: {other}"), 400),
        ("the same ID twice", format!("{named}E2b-Sandbox-Id: {id}"), 400),
        ("two ports", format!("{named}E2b-Sandbox-Port: 1"), 400),
        (
            "two IDs beside a host",
            format!("{host}E2b-Sandbox-Id: {id}\r\nE2b-Sandbox-Id: {other}"),
            400,
        ),
        (
            "a list of IDs",
            format!("Host: h\r\nE2b-Sandbox-Id: {id}, {id}\r\nE2b-Sandbox-Port: 1"),
            502,
        ),
        (
            "two lengths",
            format!("{host}Content-Length: 5\r\nContent-Length: 40"),
            400,
        ),
        ("almost chunked", format!("{host}Transfer-Encoding: xchunked"), 400),
    ]
    .into_iter()
    .map(|(what, head, status)| Case {
        what,
        head: format!("{head}\r\n"),
        body: "hello".to_owned(),
        status,
        reaches: None,
    })
    .collect();
    let (length, chunked) = ("Content-Length: 4", "Transfer-Encoding: chunked");
    let hidden = format!("GET /hidden HTTP/1.1\r\n{host}\r\n");
    let upgrade = "Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA";
    cases.extend(
        [
            ("length and encoding", format!("{length}\r\n{chunked}"), hidden.as_str()),
            ("encoding and length", format!("{chunked}\r\n{length}"), &hidden),
            ("an upgrade to HTTP/2", format!("{upgrade}\r\n{chunked}"), ""),
            (
                "names that are of the connection",
                format!("Connection: host, transfer-encoding, e2b-sandbox-id\r\n{chunked}"),
                "",
            ),
        ]
        .map(|(what, head, hidden)| Case {
            what,
            head: format!("{host}{head}\r\n"),
            body: format!("5\r\nhello\r\n0\r\n\r\n{hidden}"),
            status: 200,
            reaches: Some("POST /one None hello"),
        }),
    );
    cases
}
