//! Functions that answer a gibibyte: no more of it is in memory than is on its way, and less where it must be held whole.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use hearth_domain::Contract;
use hearth_gateway::{Body, CallError, GatewayConfig, Route};
use http::{Request, Response, header::CONTENT_LENGTH};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::{sync::watch, time::timeout};

use crate::{
    client::{get, request},
    doubles::until,
    instance::{self, FakeInstance},
    world::{LONG, World, route},
};

const CHUNK: usize = 64 * 1024;
const CHUNKS: usize = 16 * 1024;
const GIBIBYTE: u64 = 1 << 30;
/// What buffers and an allocator may keep on the way, in KiB.
const LITTLE_KIB: u64 = 64 * 1024;

/// A function with one place for one call, which may take long.
fn large(contract: Contract) -> Route {
    let mut route = route("large");
    let facts = route.versions.get_mut(&1).unwrap();
    facts.timeout_ms = 600_000;
    facts.contract = contract;
    route.function.scale.max = 1;
    route.function.scale.concurrency = 1;
    route
}

/// What an instance's answer has come to.
#[derive(Clone, Default)]
struct Sending {
    bytes: Arc<AtomicU64>,
    /// Held by each answer that has not ended.
    open: Arc<watch::Sender<()>>,
}

impl Sending {
    /// A gibibyte, whose length is told or not.
    fn answer(&self, told: bool) -> Response<Body> {
        let (chunk, bytes) = (Bytes::from(vec![7; CHUNK]), Arc::clone(&self.bytes));
        let is_open = self.open.subscribe();
        let frames = stream::repeat(chunk).take(CHUNKS).map(move |chunk| {
            let _held = &is_open;
            bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            Ok::<_, Infallible>(Frame::data(chunk))
        });
        let mut response = Response::new(Body::new(StreamBody::new(frames)));
        if told {
            response.headers_mut().insert(CONTENT_LENGTH, GIBIBYTE.into());
        }
        response
    }

    /// Waits until the instance sends nothing any more.
    async fn ended(&self) {
        let ended = timeout(LONG, self.open.closed()).await;
        ended.expect("the instance still sends");
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// The most that this process ever had in memory, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn assert_little_since(before: u64) {
    let now = peak_kib();
    assert!(now < before + LITTLE_KIB, "{before} KiB became {now} KiB");
}

/// Reads so many bytes, or all that there is; how many it were.
async fn read(body: &mut Incoming, most: u64) -> u64 {
    let mut received = 0;
    while received < most {
        let frame = timeout(LONG, body.frame()).await.expect("it stands still");
        let Some(frame) = frame else { break };
        received += frame.unwrap().into_data().unwrap().len() as u64;
    }
    received
}

#[tokio::test]
async fn a_gibibyte_streams_through_both_ways_in_little_memory() {
    let route = large(Contract::Http { port: 8080 });
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    // It sends back what it gets, as it gets it.
    let instance =
        FakeInstance::serve(async |request: Request<Incoming>| Response::new(Body::new(request.into_body()))).await;
    world.register(function, 1, instance.address).await;
    let before = peak_kib();
    let (_, sent) = Sending::default().answer(false).into_parts();
    let wish = request("POST", "/fn/acme/large", "").map(|_| sent);
    let mut body = world.client().send(wish).await.into_body();
    assert_eq!(read(&mut body, u64::MAX).await, GIBIBYTE);
    assert_little_since(before);
    let calls = until(&world.told.calls, |calls| calls.len() == 1).await;
    assert_eq!((calls[0].bytes_in, calls[0].bytes_out), (GIBIBYTE, GIBIBYTE));
}

#[tokio::test]
async fn an_answer_of_a_gibibyte_comes_whole_with_its_length_and_without() {
    let route = large(Contract::Http { port: 8080 });
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let instance = FakeInstance::serve(async |request: Request<Incoming>| {
        Sending::default().answer(request.uri().path() == "/told")
    })
    .await;
    world.register(function, 1, instance.address).await;
    let before = peak_kib();
    for (number, path) in ["told", "untold"].into_iter().enumerate() {
        let response = world.client().send(get(&format!("/fn/acme/large/{path}"))).await;
        let told = response
            .headers()
            .get(CONTENT_LENGTH)
            .map(|length| length.to_str().unwrap());
        assert_eq!(told, (path == "told").then_some("1073741824"));
        assert_eq!(read(&mut response.into_body(), u64::MAX).await, GIBIBYTE);
        let calls = until(&world.told.calls, |calls| calls.len() > number).await;
        assert_eq!((calls[number].bytes_out, &calls[number].error), (GIBIBYTE, &None));
    }
    assert_little_since(before);
}

/// The answer to the first request whose connection is let in.
async fn admitted(world: &World, path: &str) -> Response<Incoming> {
    let admitted = async {
        loop {
            let mut sender = world.client().connect().await;
            let wish = get(&format!("/fn/acme/large/{path}"));
            if let Ok(response) = sender.send_request(wish).await {
                return response;
            }
        }
    };
    timeout(LONG, admitted).await.expect("another's connection is held")
}

#[tokio::test]
async fn who_stops_half_way_through_a_gibibyte_gives_up_place_and_connection() {
    let route = large(Contract::Http { port: 8080 });
    let function = route.function.id;
    let mut config = GatewayConfig::default();
    config.client.body_idle = Duration::from_millis(500);
    config.client.connections = 1;
    let world = World::with(config, vec![route]).await;
    let sending = Sending::default();
    let answers = sending.clone();
    let instance = FakeInstance::serve(move |request: Request<Incoming>| {
        let answer = match request.uri().path() {
            "/small" => instance::text("small"),
            path => answers.answer(path == "/told"),
        };
        std::future::ready(answer)
    })
    .await;
    world.register(function, 1, instance.address).await;
    let before = peak_kib();
    for (number, path) in ["told", "untold"].into_iter().enumerate() {
        let mut body = admitted(&world, path).await.into_body();
        assert!(read(&mut body, GIBIBYTE / 2).await >= GIBIBYTE / 2);
        // It is there, and reads no more.
        sending.ended().await;
        let calls = until(&world.told.calls, |calls| calls.len() > 2 * number).await;
        assert_eq!(calls[2 * number].error, Some(CallError::ClientGone));
        assert!(
            sending.bytes() < GIBIBYTE * 3 / 4 * (number as u64 + 1),
            "it read on for nobody"
        );
        // The one place, and the one connection that there may be.
        assert_eq!(admitted(&world, "small").await.status(), 200);
        until(&world.told.calls, |calls| calls.len() == 2 * number + 2).await;
        drop(body);
    }
    assert_little_since(before);
}

#[tokio::test]
async fn an_answer_that_is_held_whole_is_cut_off_where_it_is_too_long() {
    let route = large(Contract::Lambda);
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let sending = Sending::default();
    let answers = sending.clone();
    let instance = FakeInstance::serve(move |request: Request<Incoming>| {
        let answers = answers.clone();
        async move {
            let event = request.into_body().collect().await.unwrap().to_bytes();
            let event = String::from_utf8_lossy(&event).into_owned();
            if event.contains("small") {
                return instance::text("1");
            }
            answers.answer(event.contains("/told"))
        }
    })
    .await;
    world.register(function, 1, instance.address).await;
    let before = peak_kib();
    for (number, path) in ["told", "untold"].into_iter().enumerate() {
        let (status, said) = world.client().get(&format!("/fn/acme/large/{path}")).await;
        assert_eq!(status, 502, "{said}");
        let calls = until(&world.told.calls, |calls| calls.len() > 2 * number).await;
        let limit = GatewayConfig::default().upstream.answer_bytes;
        let told = CallError::BadAnswer(format!("it is longer than {limit} bytes"));
        assert_eq!(calls[2 * number].error, Some(told));
        sending.ended().await;
        assert!(sending.bytes() < 64 * (1 << 20), "{} bytes were read", sending.bytes());
        // Its place is free again.
        assert_eq!(world.client().get("/fn/acme/large/small").await.0, 200);
        until(&world.told.calls, |calls| calls.len() == 2 * number + 2).await;
    }
    assert_little_since(before);
}
