//! Requests to ports of sandboxes: they put ends off, and resume.

use bytes::Bytes;
use hearth_api::{Sandbox, SandboxState};
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tokio::net::TcpStream;

use super::{fixture, made, path, seen, until_gone};
use crate::{
    fixture::{Answer, Fixture, send_on},
    program::Program,
};

async fn ask(f: &Fixture, sandbox: &Sandbox, port: u16, token: Option<&str>) -> Answer {
    let mut request = Request::builder()
        .uri("/hello")
        .header("host", "localhost")
        .header("e2b-sandbox-id", sandbox.id.to_string())
        .header("e2b-sandbox-port", port);
    if let Some(token) = token {
        request = request.header("e2b-traffic-access-token", token);
    }
    let request = request.body(Full::<Bytes>::default()).unwrap();
    send_on(TcpStream::connect(f.gateway).await.unwrap(), request).await
}

#[tokio::test]
async fn a_request_reaches_the_port_and_resumes_where_that_is_wished() {
    let (f, program) = (fixture().await, Program::serve().await);
    let plain = made(&f, json!({})).await;
    let resumes = made(&f, json!({ "auto_resume": true, "timeout_s": 60 })).await;
    for sandbox in [&plain, &resumes] {
        assert_eq!(ask(&f, sandbox, program.port, None).await.status, StatusCode::OK);
        assert_eq!(f.post(&path(sandbox, "/pause")).await.status, StatusCode::OK);
    }
    let refused = ask(&f, &plain, program.port, None).await;
    assert_eq!(refused.status, StatusCode::BAD_GATEWAY, "{refused:?}");
    assert_eq!(seen(&f, &plain).await.state, SandboxState::Paused);
    assert_eq!(ask(&f, &resumes, program.port, None).await.status, StatusCode::OK);
    let now = seen(&f, &resumes).await;
    assert_eq!(now.state, SandboxState::Running);
    assert!(now.started_at > resumes.started_at && now.ends_at > resumes.ends_at);
}

#[tokio::test]
async fn one_that_would_boot_is_not_resumed_by_who_passes_by() {
    let (f, program) = (fixture().await, Program::serve().await);
    let sandbox = made(&f, json!({ "auto_resume": true })).await;
    let paused = f
        .post_json(&path(&sandbox, "/pause"), &json!({ "memory": false }))
        .await;
    assert_eq!(paused.status, StatusCode::OK);
    let refused = ask(&f, &sandbox, program.port, None).await;
    assert_eq!(refused.status, StatusCode::BAD_GATEWAY, "{refused:?}");
    assert_eq!(seen(&f, &sandbox).await.state, SandboxState::Stopped);
}

#[tokio::test]
async fn a_private_one_is_not_woken_by_strangers_at_its_agents_port() {
    let f = fixture().await;
    let fields = json!({ "auto_resume": true, "private_traffic": true });
    let sandbox = made(&f, fields).await;
    assert_eq!(f.post(&path(&sandbox, "/pause")).await.status, StatusCode::OK);
    let token = sandbox.access_token.clone().unwrap();
    for (shown, state) in [
        (None, SandboxState::Paused),
        (Some("no"), SandboxState::Paused),
        (Some(token.as_str()), SandboxState::Running),
    ] {
        let mut request = Request::builder()
            .uri("/health")
            .header("host", "localhost")
            .header("e2b-sandbox-id", sandbox.id.to_string())
            .header("e2b-sandbox-port", 49983);
        if let Some(shown) = shown {
            request = request.header("x-access-token", shown);
        }
        let request = request.body(Full::<Bytes>::default()).unwrap();
        send_on(TcpStream::connect(f.gateway).await.unwrap(), request).await;
        assert_eq!(seen(&f, &sandbox).await.state, state, "{shown:?}");
    }
}

#[tokio::test]
async fn requests_put_the_end_off_where_that_is_wished() {
    let (f, program) = (fixture().await, Program::serve().await);
    let kept = made(&f, json!({ "timeout_s": 2, "keep_alive": true })).await;
    let plain = made(&f, json!({ "timeout_s": 2 })).await;
    // Until well after the time of both.
    let mut ended = None;
    while jiff::Timestamp::now().duration_since(kept.ends_at).as_millis() < 1500 {
        assert_eq!(ask(&f, &kept, program.port, None).await.status, StatusCode::OK);
        if ended.is_none() && f.get(&path(&plain, "")).await.status == StatusCode::NOT_FOUND {
            ended = Some(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(ended.is_some(), "the other one ended meanwhile");
    assert_eq!(seen(&f, &kept).await.state, SandboxState::Running);
    until_gone(&f, &kept).await;
}

#[tokio::test]
async fn a_request_that_is_under_way_puts_the_end_off() {
    use tokio::io::AsyncWriteExt as _;
    let (f, program) = (fixture().await, Program::serve().await);
    let kept = made(&f, json!({ "timeout_s": 1, "keep_alive": true })).await;
    let mut hanging = TcpStream::connect(f.gateway).await.unwrap();
    let head = format!(
        "GET /hang HTTP/1.1\r\nhost: h\r\ne2b-sandbox-id: {}\r\ne2b-sandbox-port: {}\r\n\r\n",
        kept.id, program.port
    );
    hanging.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    assert_eq!(seen(&f, &kept).await.state, SandboxState::Running);
    drop(hanging);
    until_gone(&f, &kept).await;
}

#[tokio::test]
async fn a_private_port_asks_for_its_token() {
    let (f, program) = (fixture().await, Program::serve().await);
    let sandbox = made(&f, json!({ "private_traffic": true })).await;
    let token = sandbox.traffic_token.clone().unwrap();
    for wrong in [None, Some("no")] {
        let refused = ask(&f, &sandbox, program.port, wrong).await;
        assert!(refused.status.is_client_error(), "{refused:?}");
    }
    let reached = ask(&f, &sandbox, program.port, Some(&token)).await;
    assert_eq!(reached.status, StatusCode::OK);
}
