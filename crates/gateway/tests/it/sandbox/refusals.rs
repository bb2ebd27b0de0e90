//! What is said in a sandbox's stead.

use std::{net::SocketAddr, time::Duration};

use hearth_gateway::{Body, GatewayConfig, NoSandbox};
use hearth_ids::SandboxId;
use http::Request;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

use super::{own_address, post, soon, to, world};
use crate::{
    client::{get, text},
    instance::FakeInstance,
    world::{LONG, World},
};

async fn refusal(world: &World, request: Request<Body>) -> (u16, Value) {
    let response = world.client().send(request).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let status = response.status().as_u16();
    (status, serde_json::from_str(&text(response).await).unwrap())
}

/// A port at which nobody listens.
async fn closed() -> SocketAddr {
    let listener = TcpListener::bind((own_address(), 0)).await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn who_is_not_there_is_told_apart_from_who_does_not_listen() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let at = closed().await;
    let (nobody, id) = (SandboxId::new(), house.enter(at, |_| ()));
    let not_found = json!({"sandboxId": nobody.to_string(), "message": "The sandbox was not found", "code": 502});
    assert_eq!(refusal(&world, to(at, nobody, "/")).await, (502, not_found));
    let message = "The sandbox is running but port is not open";
    let not_open = json!({"sandboxId": id.to_string(), "message": message, "port": at.port(), "code": 502});
    assert_eq!(refusal(&world, to(at, id, "/")).await, (502, not_open.clone()));
    // A body that nobody takes is in nobody's way.
    let request = post(at, id, "/", Body::full(vec![7; 1024 * 1024]));
    assert_eq!(refusal(&world, request).await, (502, not_open));
}

#[tokio::test]
async fn a_port_that_says_nothing_is_not_open() {
    let mut config = GatewayConfig::default();
    config.sandboxes.connect_timeout = Duration::from_millis(300);
    let (world, house) = world(config, Vec::new()).await;
    let silent = Silent::new().await;
    let at = silent.at;
    let id = house.enter(at, |_| ());
    let (status, body) = refusal(&world, to(at, id, "/")).await;
    assert_eq!(status, 502);
    assert_eq!(body["message"], "The sandbox is running but port is not open");
}

/// A port at which nobody takes what comes, so that the kernel drops whatever comes after.
struct Silent {
    at: SocketAddr,
    _held: (TcpListener, Vec<TcpStream>),
}

impl Silent {
    async fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((own_address(), 0).into()).unwrap();
        let listener = socket.listen(1).unwrap();
        let at = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = timeout(Duration::from_millis(300), TcpStream::connect(at)).await {
            waiting.push(stream.unwrap());
            assert!(waiting.len() < 100, "the kernel takes any number");
        }
        Self {
            at,
            _held: (listener, waiting),
        }
    }
}

#[tokio::test]
async fn nobody_waits_for_a_port_of_who_is_gone() {
    let mut config = GatewayConfig::default();
    config.sandboxes.connect_timeout = LONG * 2;
    let (world, house) = world(config, Vec::new()).await;
    let silent = Silent::new().await;
    let at = silent.at;
    let id = house.enter(at, |_| ());
    let client = world.client();
    let sending = tokio::spawn(async move { client.send(to(at, id, "/")).await });
    soon("the request", async {
        while house.asked() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    house.go(id);
    let response = soon("the refusal", sending).await.unwrap();
    assert!(text(response).await.contains("The sandbox was not found"));
}

#[tokio::test]
async fn one_that_cannot_be_resumed_now_may_be_later() {
    let mut config = GatewayConfig::default();
    config.sandboxes.find_timeout = Duration::from_millis(100);
    let (world, house) = world(config, Vec::new()).await;
    let at = closed().await;
    let id = house.enter(at, |known| {
        known.missing = Some(NoSandbox::Unavailable("disk <full>".to_owned()));
    });
    let response = world.client().send(to(at, id, "/")).await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    let body = text(response).await;
    assert!(body.contains("\"code\":503") && !body.contains("disk"), "{body}");
}

#[tokio::test]
async fn browsers_are_shown_a_page_and_nothing_of_theirs_is_in_it() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    let at = closed().await;
    let id = house.enter(at, |_| ());
    let mut request = to(at, id, "/%3Cscript%3E");
    let accept = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";
    request.headers_mut().insert("accept", accept.parse().unwrap());
    let response = world.client().send(request).await;
    assert_eq!(response.status(), 502);
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(response.headers()["content-security-policy"], "default-src 'none'");
    let page = text(response).await;
    assert!(
        page.contains("port is not open") && page.contains(&id.to_string()),
        "{page}"
    );
    for (accept, page) in [
        ("text/html", true),
        ("application/json, text/html", false),
        ("*/*", false),
    ] {
        let mut request = get("/");
        for (name, value) in [
            ("accept", accept),
            ("e2b-sandbox-id", "<script>alert(\"x\")</script>"),
            ("e2b-sandbox-port", "80"),
        ] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let response = world.client().send(request).await;
        assert_eq!(response.status(), 502);
        let is_page = response.headers()["content-type"] != "application/json";
        assert_eq!(is_page, page, "{accept}");
        let body = text(response).await;
        assert!(body.contains("was not found") && !body.contains("<script"), "{body}");
    }
}

#[tokio::test]
async fn answers_that_are_none_are_told_apart() {
    let (world, house) = world(GatewayConfig::default(), Vec::new()).await;
    for (says, message) in [
        ("", "The sandbox closed the connection before it had answered"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "The sandbox's answer is not valid HTTP/1.1"),
    ] {
        let listener = TcpListener::bind((own_address(), 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 1024];
                let _ = stream.read(&mut buffer).await.unwrap();
                stream.write_all(says.as_bytes()).await.unwrap();
            }
        });
        let id = house.enter(at, |_| ());
        let (status, body) = refusal(&world, to(at, id, "/")).await;
        assert_eq!((status, body["message"].as_str()), (502, Some(message)), "{says:?}");
        serving.abort();
    }
}

#[tokio::test]
async fn there_are_so_many_streams_and_no_more() {
    let mut config = GatewayConfig::default();
    config.sandboxes.streams_per_sandbox = 1;
    config.sandboxes.streams = 2;
    let (world, house) = world(config, Vec::new()).await;
    let program = FakeInstance::serve(async |request: Request<hyper::body::Incoming>| {
        http::Response::new(Body::new(request.into_body()))
    })
    .await;
    let at = program.address;
    let [one, two, three] = [(); 3].map(|()| house.enter(at, |_| ()));
    let open = async |id| {
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<bytes::Bytes>(1);
        let pieces = futures::stream::poll_fn(move |cx| receiver.poll_recv(cx));
        let pieces = futures::StreamExt::map(pieces, |piece| {
            Ok::<_, std::convert::Infallible>(hyper::body::Frame::data(piece))
        });
        let request = post(at, id, "/", Body::new(http_body_util::StreamBody::new(pieces)));
        (sender, world.client().send(request).await)
    };
    let first = open(one).await;
    assert_eq!(first.1.status(), 200);
    assert_eq!(refusal(&world, to(at, one, "/")).await.0, 503);
    let second = open(two).await;
    assert_eq!(second.1.status(), 200);
    assert_eq!(refusal(&world, to(at, three, "/")).await.0, 503);
    drop(first);
    soon("a free place", async {
        while world.client().send(to(at, one, "/")).await.status() != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
