//! Which request goes where, and what a program sees of it.

use std::fmt::Write as _;

use bytes::Bytes;
use hearth_gateway::{Body, GatewayConfig};
use hearth_ids::SandboxId;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{h2, over_h2, own_address, post, soon, to, world};
use crate::{
    client::{get, text},
    instance::{self, FakeInstance},
    world::route,
};

/// Tells what it was asked: the request's line, its headers one a line, and its body.
async fn mirror() -> FakeInstance {
    FakeInstance::serve(reflect).await
}

async fn reflect(request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let mut told = format!("{} {} {:?}\n", parts.method, parts.uri, parts.version);
    for (name, value) in &parts.headers {
        writeln!(told, "{name}: {}", value.to_str().unwrap()).unwrap();
    }
    let body = body.collect().await.unwrap().to_bytes();
    told.push_str(&String::from_utf8_lossy(&body));
    instance::text(told)
}

#[tokio::test]
async fn a_host_leads_to_a_port_and_the_program_sees_its_own_request() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let mirror = mirror().await;
    let id = house.enter(mirror.address, |_| ());
    let mut request = post(mirror.address, id, "/a%20b//c/../d?x=%2F&y", Body::full("hello"));
    let host = request.headers()["host"].to_str().unwrap().to_owned();
    for (name, value) in [
        ("e2b-sandbox-id", "sbx"),
        ("e2b-sandbox-port", "49983"),
        ("e2b-traffic-access-token", "t"),
        ("x-hearth-token", "stolen"),
        ("x-hearth-deadline-ms", "1"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-access-token", "kept"),
        ("authorization", "Basic dXNlcjo="),
        ("connect-protocol-version", "1"),
        ("keepalive-ping-interval", "50"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    for round in ["HTTP/1.1", "HTTP/2"] {
        let request = again(&request, Body::full("hello"));
        let response = if round == "HTTP/2" {
            h2(&world).await.send_request(over_h2(request)).await.unwrap()
        } else {
            world.client().send(request).await
        };
        assert_eq!(response.status(), 200, "{round}");
        assert!(response.headers().contains_key("x-hearth-request-id"));
        let told = text(response).await;
        assert!(told.starts_with("POST /a%20b//c/../d?x=%2F&y HTTP/1.1\n"), "{told}");
        assert!(told.ends_with("hello"), "{told}");
        for kept in [
            &format!("\nhost: {host}\n"),
            &format!("\nx-forwarded-host: {host}\n"),
            "\nx-forwarded-for: 127.0.0.1\n",
            "\nx-forwarded-proto: http\n",
            "\nx-access-token: kept\n",
            "\nauthorization: Basic dXNlcjo=\n",
            "\nconnect-protocol-version: 1\n",
            "\nkeepalive-ping-interval: 50\n",
        ] {
            assert!(told.contains(kept), "{kept} is not in {told}");
        }
        for gone in ["e2b-", "x-hearth-token", "x-hearth-deadline-ms", "6.6.6.6"] {
            assert!(!told.contains(gone), "{gone} is in {told}");
        }
    }
}

/// The same request, with this body.
fn again(request: &Request<Body>, body: Body) -> Request<Body> {
    let mut copy = Request::new(body);
    copy.method_mut().clone_from(request.method());
    *copy.uri_mut() = request.uri().clone();
    copy.headers_mut().clone_from(request.headers());
    copy
}

#[tokio::test]
async fn headers_lead_to_a_port_where_the_host_says_nothing() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let mirror = mirror().await;
    let id = house.enter(mirror.address, |_| ());
    let mut request = get("/health");
    request
        .headers_mut()
        .insert("e2b-sandbox-id", id.to_string().parse().unwrap());
    request
        .headers_mut()
        .insert("e2b-sandbox-port", mirror.address.port().into());
    let response = world.client().send(request).await;
    assert_eq!(response.status(), 200);
    let told = text(response).await;
    assert!(told.contains("\nhost: gateway\n") && !told.contains("e2b-"), "{told}");
    let mut request = get("/health");
    request
        .headers_mut()
        .insert("e2b-sandbox-id", id.to_string().parse().unwrap());
    let response = world.client().send(request).await;
    assert_eq!(response.status(), 400);
    let body: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(body["code"], 400);
}

#[tokio::test]
async fn functions_keep_their_hosts_and_sandboxes_theirs() {
    let route = route("f");
    let function = route.function.id;
    let (world, house) = world(GatewayConfig::default(), vec![route]).await;
    let of_function = FakeInstance::serve(async |_| instance::text("function")).await;
    let of_sandbox = FakeInstance::serve(async |_| instance::text("sandbox")).await;
    world.register(function, 1, of_function.address).await;
    let id = house.enter(of_sandbox.address, |_| ());
    let port = of_sandbox.address.port();
    let by_host = format!("{port}-{id}.fn.e2b.localhost");
    let on_functions_host = format!("{port}-{id}.fn.localhost");
    for (host, path, headers, expected) in [
        ("f.acme.fn.localhost", "/", true, (200, "function")),
        ("127.0.0.1", "/fn/acme/f", false, (200, "function")),
        ("127.0.0.1", "/fn/acme/f", true, (200, "sandbox")),
        (by_host.as_str(), "/fn/acme/f", false, (200, "sandbox")),
        (on_functions_host.as_str(), "/fn/acme/f", true, (404, "")),
    ] {
        let mut request = Request::get(path).header("host", host);
        if headers {
            request = request.header("e2b-sandbox-id", id.to_string());
            request = request.header("e2b-sandbox-port", port);
        }
        let response = world.client().send(request.body(Body::empty()).unwrap()).await;
        let (status, body) = (response.status().as_u16(), text(response).await);
        assert_eq!(status, expected.0, "{host}{path}: {body}");
        assert!(expected.1.is_empty() || body == expected.1, "{host}{path}: {body}");
    }
}

#[tokio::test]
async fn a_mask_hides_the_host() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let mirror = mirror().await;
    let port = mirror.address.port();
    for (mask, seen) in [
        ("localhost:${PORT}", format!("localhost:{port}")),
        ("plain.example", "plain.example".to_owned()),
    ] {
        let id = house.enter(mirror.address, |known| known.mask_host = Some(mask.to_owned()));
        let told = text(world.client().send(to(mirror.address, id, "/")).await).await;
        assert!(told.contains(&format!("\nhost: {seen}\n")), "{told}");
        assert!(
            told.contains(&format!("\nx-forwarded-host: {port}-{id}.e2b.localhost\n")),
            "{told}"
        );
    }
}

#[tokio::test]
async fn methods_and_their_answers_pass_as_they_are() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let program = FakeInstance::serve(async |request: Request<Incoming>| {
        let answer = Response::builder().header("access-control-allow-origin", "*");
        let answer = match request.method().as_str() {
            "HEAD" => answer.header("content-length", 12345),
            "OPTIONS" => answer.status(204).header("access-control-allow-methods", "PROPFIND"),
            method => answer.header("x-method", method),
        };
        answer.body(Body::empty()).unwrap()
    })
    .await;
    let id = house.enter(program.address, |_| ());
    let send = async |method: &str| {
        let mut request = to(program.address, id, "/");
        *request.method_mut() = method.parse().unwrap();
        let response = world.client().send(request).await;
        assert_eq!(response.headers()["access-control-allow-origin"], "*", "{method}");
        response
    };
    assert_eq!(send("HEAD").await.headers()["content-length"], "12345");
    let options = send("OPTIONS").await;
    assert_eq!(options.status(), 204);
    assert_eq!(options.headers()["access-control-allow-methods"], "PROPFIND");
    for method in ["PROPFIND", "DELETE", "PATCH", "PUT"] {
        assert_eq!(send(method).await.headers()["x-method"], method);
    }
    let head = format!(
        "OPTIONS * HTTP/1.1\r\nhost: {}-{id}.d\r\nconnection: close\r\n\r\n",
        program.address.port()
    );
    let answer = world.client().raw(head.as_bytes(), crate::world::LONG).await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_is_asked() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let mirror = mirror().await;
    let id = house.enter(mirror.address, |_| ());
    let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {}-{id}.d\r\nexpect: 100-continue\r\ncontent-length: 5\r\nconnection: close\r\n\r\n",
        mirror.address.port()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut asked = [0; 25];
    soon("asked", stream.read_exact(&mut asked)).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.unwrap();
    let mut answer = String::new();
    soon("answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"),
        "{answer}"
    );
    assert!(answer.contains("\nexpect: 100-continue\n"), "{answer}");
}

/// Several requests of one HTTP/2 connection go on at once, each to its own port.
#[tokio::test]
async fn one_connection_leads_to_many_sandboxes() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let mirror = mirror().await;
    let ids: Vec<SandboxId> = (0..8).map(|_| house.enter(mirror.address, |_| ())).collect();
    let elsewhere = own_address();
    let other = tokio::net::TcpListener::bind((elsewhere, 0)).await.unwrap();
    let other = FakeInstance::serve_on(other, async |_| instance::text("other"));
    let far = house.enter(other.address, |_| ());
    let sender = h2(&world).await;
    let calls = ids.iter().map(|id| {
        let (mut sender, request) = (sender.clone(), to(mirror.address, *id, "/"));
        async move { text(sender.send_request(over_h2(request)).await.unwrap()).await }
    });
    let told = soon("answers", futures::future::join_all(calls)).await;
    for (id, told) in ids.iter().zip(told) {
        assert!(told.contains(&id.to_string()), "{told}");
    }
    let mut sender = sender;
    let answer = sender.send_request(over_h2(to(other.address, far, "/"))).await.unwrap();
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        Bytes::from("other")
    );
}
