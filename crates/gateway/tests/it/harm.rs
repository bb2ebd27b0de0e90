//! Clients that would wear the gateway out.

use std::time::Duration;

use hearth_gateway::GatewayConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    instance::{self, FakeInstance},
    world::{LONG, World, route},
};

async fn world(change: impl FnOnce(&mut GatewayConfig)) -> (World, FakeInstance) {
    let mut config = GatewayConfig::default();
    change(&mut config);
    let route = route("f");
    let function = route.function.id;
    let world = World::with(config, vec![route]).await;
    let instance = FakeInstance::serve(async |_| instance::text("ok")).await;
    world.register(function, 1, instance.address).await;
    assert_eq!(world.client().get("/fn/acme/f").await.0, 200);
    (world, instance)
}

#[tokio::test]
async fn heads_beyond_their_bounds_are_refused() {
    let (world, instance) = world(|_| ()).await;
    let many = "x: y\r\n".repeat(200);
    let long = format!("x: {}\r\n", "y".repeat(70 * 1024));
    let path = format!("/fn/acme/f?{}", "a".repeat(20 * 1024));
    for (path, headers, status) in [
        ("/fn/acme/f", many.as_str(), "431"),
        ("/fn/acme/f", long.as_str(), "431"),
        (path.as_str(), "", "414"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: g\r\n{headers}\r\n");
        let answer = world.client().raw(request.as_bytes(), Duration::from_millis(500)).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer:.200}");
    }
    assert_eq!(instance.requests(), 1);
    assert_eq!(world.client().get("/fn/acme/f").await.0, 200);
}

#[tokio::test]
async fn who_dribbles_or_says_nothing_is_let_go() {
    let (world, _instance) = world(|config| config.client.head_timeout = Duration::from_millis(300)).await;
    let beginnings: [&[u8]; 4] = [b"", b"P", b"GET / HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"];
    for beginning in beginnings {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        let mut rest = Vec::new();
        if beginning.starts_with(b"PRI *") {
            // HTTP/2 may be idle as long as it answers pings; this one does not.
            continue;
        }
        let ended = timeout(LONG, stream.read_to_end(&mut rest)).await;
        assert!(
            ended.is_ok(),
            "{:?} holds its connection",
            String::from_utf8_lossy(beginning)
        );
    }
    assert_eq!(world.client().get("/fn/acme/f").await.0, 200);
}

#[tokio::test]
async fn who_opens_too_many_connections_is_shut_out() {
    let (world, _instance) = world(|config| config.client.connections_per_address = 3).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(world.client().connect().await);
    }
    let ended = async {
        loop {
            // Those of before may still be on their way out.
            let mut stream = TcpStream::connect(world.address).await.unwrap();
            if let Ok(Ok(0) | Err(_)) = timeout(Duration::from_millis(200), stream.read(&mut [0; 1])).await {
                break;
            }
        }
    };
    timeout(LONG, ended).await.expect("a fourth is let in");
    drop(open);
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET /run/` of nobody: `:method GET`, `:scheme http`, `:path /`, `:authority g`.
const HEADERS: [u8; 6] = [0x82, 0x86, 0x84, 0x41, 0x01, b'g'];

#[tokio::test]
async fn a_flood_of_resets_ends_its_connection_only() {
    let (world, _instance) = world(|_| ()).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    flood.extend(frame(4, 0, 0, &[]));
    for number in 0..5000 {
        flood.extend(frame(1, 0x5, number * 2 + 1, &HEADERS));
        flood.extend(frame(3, 0, number * 2 + 1, &8u32.to_be_bytes()));
    }
    // It may be ended while we still write.
    let _broken_off = stream.write_all(&flood).await;
    let mut answer = Vec::new();
    let ended = timeout(LONG, stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the connection goes on");
    // Nobody has seen thousands of requests through.
    assert_eq!(world.client().get("/fn/acme/f").await.0, 200);
}

#[tokio::test]
async fn http_2_is_spoken_without_tls_too() {
    let (world, _instance) = world(|_| ()).await;
    let stream = TcpStream::connect(world.address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let request = http::Request::get("http://f.acme.fn.localhost/x");
        let request = request.body(hearth_gateway::Body::empty()).unwrap();
        let response = timeout(LONG, sender.send_request(request)).await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
    }
}
