//! Instances that fail.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use hearth_coord::InstanceRegistry as _;
use hearth_gateway::{CallError, RetireReason};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    client::{get, request, text},
    doubles::until,
    instance::{self, FakeInstance},
    world::{World, route},
};

/// An instance that reads a request's head and then does to the connection what it likes.
async fn rude<F, A>(act: F) -> std::net::SocketAddr
where
    F: Fn(u32, tokio::net::TcpStream) -> A + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(act(number, stream));
        }
    });
    address
}

async fn head(stream: &mut tokio::net::TcpStream) -> bool {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => seen.push(byte),
            Err(_) => return false,
        }
    }
    true
}

#[tokio::test]
async fn a_late_answer_is_504_and_the_connection_is_closed() {
    let mut route = route("late");
    route.versions.get_mut(&1).unwrap().timeout_ms = 100;
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let instance = FakeInstance::serve(async |_| std::future::pending().await).await;
    world.register(function, 1, instance.address).await;
    let (status, body) = world.client().get("/fn/acme/late").await;
    assert_eq!((status, body.as_str()), (504, "the function did not answer in time\n"));
    while instance.load.now.load(Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
    let calls = until(&world.told.calls, |calls| calls.len() == 1).await;
    assert_eq!(calls[0].error, Some(CallError::Timeout { timeout_ms: 100 }));
}

#[tokio::test]
async fn a_crash_is_502_and_only_the_owner_is_told_why() {
    let route = route("crash");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let address = rude(|_, mut stream| async move {
        head(&mut stream).await;
    })
    .await;
    world.register(function, 1, address).await;
    let response = world.client().send(request("POST", "/fn/acme/crash", "x")).await;
    assert_eq!(response.status(), 502);
    assert!(!response.headers().contains_key("x-hearth-error"));
    assert_eq!(text(response).await, "the function failed\n");
    let mut owners = get("/fn/acme/crash");
    owners
        .headers_mut()
        .insert("authorization", "Bearer good".parse().unwrap());
    let response = world.client().send(owners).await;
    assert_eq!(response.status(), 502);
    let reason = response.headers()["x-hearth-error"].to_str().unwrap().to_owned();
    assert!(reason.starts_with("crashed: "), "{reason}");
    let problem: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(problem["code"], "crashed");
    assert_eq!(problem["status"], 502);
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    let route = route("half");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let address = rude(|_, mut stream| async move {
        head(&mut stream).await;
        let half = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
        stream.write_all(half).await.unwrap();
    })
    .await;
    world.register(function, 1, address).await;
    let response = world.client().send(get("/fn/acme/half")).await;
    assert_eq!(response.status(), 200);
    let body = http_body_util::BodyExt::collect(response.into_body()).await;
    assert!(body.is_err(), "half an answer looks like a whole one");
}

/// An instance that closes each connection after one answer without having said so.
async fn forgetful(requests: Arc<AtomicU32>) -> std::net::SocketAddr {
    rude(move |_, mut stream| {
        let requests = Arc::clone(&requests);
        async move {
            if !head(&mut stream).await {
                return;
            }
            requests.fetch_add(1, Ordering::SeqCst);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
            // The next request is read, and then the connection ends.
            head(&mut stream).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_stale_connection_is_replaced_only_where_that_is_safe() {
    let route = route("stale");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let requests = Arc::new(AtomicU32::new(0));
    world
        .register(function, 1, forgetful(Arc::clone(&requests)).await)
        .await;
    for _ in 0..3 {
        assert_eq!(world.client().get("/fn/acme/stale").await, (200, "ok".to_owned()));
    }
    assert_eq!(requests.load(Ordering::SeqCst), 3);
    let posted = world.client().send(request("POST", "/fn/acme/stale", "once")).await;
    assert_eq!(posted.status(), 502, "it may have been done: not twice");
}

#[tokio::test]
async fn an_instance_that_cannot_be_reached_is_left_for_another_and_retired() {
    let route = route("dead");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let dead = world.register(function, 1, nobody).await;
    let client = world.client();
    let call = tokio::spawn(async move { client.get("/fn/acme/dead").await });
    let retired = until(&world.told.retired, |retired| !retired.is_empty()).await;
    assert_eq!(retired, [(dead, RetireReason::Unreachable)]);
    let instance = FakeInstance::serve(async |_| instance::text("alive")).await;
    world.provision(&instance).await;
    assert_eq!(call.await.unwrap(), (200, "alive".to_owned()));
}

#[tokio::test]
async fn a_call_on_a_machine_that_vanished_ends_before_its_time() {
    let mut route = route("vanished");
    route.versions.get_mut(&1).unwrap().timeout_ms = 600_000;
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let key = world.register(function, 1, listener.local_addr().unwrap()).await;
    let call = tokio::spawn(world.client().send(request("POST", "/fn/acme/vanished", "x")));
    let (mut stream, _) = listener.accept().await.unwrap();
    assert!(head(&mut stream).await);
    // The connection stays open and silent, as that to a machine without power does.
    drop(listener);
    world.registry.deregister(&key).await.unwrap();
    let response = tokio::time::timeout(std::time::Duration::from_secs(20), call).await;
    assert_eq!(response.unwrap().unwrap().status(), 502);
    drop(stream);
}

#[tokio::test]
async fn a_call_on_an_instance_that_is_only_not_registered_goes_on() {
    let route = route("alive");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let go = Arc::new(tokio::sync::Semaphore::new(0));
    let held = Arc::clone(&go);
    let instance = FakeInstance::serve(move |_| {
        let go = Arc::clone(&held);
        async move {
            go.acquire().await.unwrap().forget();
            instance::text("still here")
        }
    })
    .await;
    let key = world.register(function, 1, instance.address).await;
    let call = tokio::spawn(world.client().get("/fn/acme/alive"));
    while instance.requests() == 0 {
        tokio::task::yield_now().await;
    }
    world.registry.deregister(&key).await.unwrap();
    // Until it was looked at.
    while instance.load.connections.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    go.add_permits(1);
    assert_eq!(call.await.unwrap(), (200, "still here".to_owned()));
}

#[tokio::test]
async fn what_is_no_answer_is_said_to_be_none_and_does_not_cast_suspicion() {
    let route = route("rude");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let address = rude(|number, mut stream| async move {
        head(&mut stream).await;
        let answer = match number {
            0 => format!("HTTP/1.1 200 OK\r\n{}\r\n", "set-cookie: a=1\r\n".repeat(150)),
            1 => "200 is what I say\r\n\r\n".to_owned(),
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned(),
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
        // Whatever else comes is not read; the end of the connection says no more than the answer.
        while stream.read_u8().await.is_ok() {}
    })
    .await;
    world.register(function, 1, address).await;
    for _ in 0..2 {
        assert_eq!(world.client().get("/fn/acme/rude").await.0, 502);
    }
    // An instance under suspicion is given no calls for a while; this one is at once.
    assert_eq!(world.client().get("/fn/acme/rude").await, (200, "ok".to_owned()));
    let calls = until(&world.told.calls, |calls| calls.len() == 3).await;
    for call in &calls[..2] {
        assert_eq!(call.error.as_ref().unwrap().code(), "bad_answer");
    }
    assert!(calls[2].queued.is_zero(), "it had to wait");
}
