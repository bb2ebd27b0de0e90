//! Waiting for instances, and how many there are.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::future::join_all;
use hearth_coord::{InstanceRegistry as _, ProvisionQueue as _};
use hearth_gateway::{GatewayConfig, ProvisionFailure, RetireReason, RouteTable};
use tokio::sync::Semaphore;

use crate::{
    client::{get, text, with_key},
    doubles::until,
    instance::{self, FakeInstance},
    world::{World, route},
};

fn config(change: impl FnOnce(&mut GatewayConfig)) -> GatewayConfig {
    let mut config = GatewayConfig::default();
    change(&mut config);
    config
}

#[tokio::test]
async fn a_thousand_callers_cause_one_start() {
    let world = World::new(vec![route("cold")]).await;
    let client = world.client();
    let calls: Vec<_> = (0..1000)
        .map(|_| tokio::spawn(async move { client.get("/fn/acme/cold").await }))
        .collect();
    let instance = FakeInstance::serve(async |_| instance::text("up")).await;
    world.provision(&instance).await;
    for call in join_all(calls).await {
        assert_eq!(call.unwrap(), (200, "up".to_owned()));
    }
    assert_eq!(world.queue.len().await.unwrap(), 0, "one start was enough");
    assert_eq!(instance.requests(), 1000);
}

#[tokio::test]
async fn an_instance_never_has_more_calls_than_it_may() {
    let mut route = route("busy");
    route.function.scale.concurrency = 3;
    route.function.scale.max = 4;
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let mut instances = Vec::new();
    for _ in 0..4 {
        let instance = FakeInstance::serve(async |_| {
            for _ in 0..rand::random_range(0..20) {
                tokio::task::yield_now().await;
            }
            instance::text("ok")
        });
        let instance = instance.await;
        world.register(function, 1, instance.address).await;
        instances.push(instance);
    }
    let client = world.client();
    let calls = (0..200).map(|_| {
        tokio::spawn(async move {
            for _ in 0..5 {
                assert_eq!(client.get("/fn/acme/busy").await.0, 200);
            }
        })
    });
    for call in join_all(calls.collect::<Vec<_>>()).await {
        call.unwrap();
    }
    let most: Vec<_> = instances
        .iter()
        .map(|instance| instance.load.most.load(Ordering::SeqCst))
        .collect();
    assert!(most.iter().all(|most| *most <= 3), "{most:?}");
    assert!(
        instances.iter().all(|instance| instance.requests() > 100),
        "calls are spread"
    );
}

#[tokio::test]
async fn a_full_line_and_a_late_instance_are_said_at_once_and_in_time() {
    let config = config(|config| {
        config.waiting.queue = 2;
        config.waiting.timeout = Duration::from_millis(600);
    });
    let world = World::with(config, vec![route("none")]).await;
    let client = world.client();
    let waiting: Vec<_> = (0..2)
        .map(|_| tokio::spawn(client.send(get("/fn/acme/none"))))
        .collect();
    world.wanted().await;
    // Both wait by now: one instance is wanted for both only once the first of them does, and the line is looked at under a lock.
    let refused = loop {
        let response = client.send(get("/fn/acme/none")).await;
        if response.status() == 503 && response.headers()["retry-after"] == "1" {
            break response;
        }
    };
    assert!(
        !refused.headers().contains_key("x-hearth-error"),
        "strangers are not told why"
    );
    for call in waiting {
        let response = call.await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "5");
    }
}

#[tokio::test]
async fn who_goes_away_leaves_the_line() {
    let config = config(|config| config.waiting.queue = 1);
    let world = World::with(config, vec![route("cold")]).await;
    let client = world.client();
    let impatient = tokio::spawn(client.send(get("/fn/acme/cold")));
    world.wanted().await;
    impatient.abort();
    let calls = until(&world.told.calls, |calls| calls.len() == 1).await;
    assert_eq!(calls[0].status, 499);
    // There is room for another one now.
    let patient = tokio::spawn(async move { client.get("/fn/acme/cold").await });
    let instance = FakeInstance::serve(async |_| instance::text("up")).await;
    let function = world.gateway.routes().route(calls[0].function).unwrap().function.id;
    world.register(function, 1, instance.address).await;
    assert_eq!(patient.await.unwrap(), (200, "up".to_owned()));
    assert_eq!(instance.requests(), 1, "the call that was given up never came");
}

#[tokio::test]
async fn who_goes_away_under_way_frees_the_place_and_cancels() {
    let mut route = route("one");
    route.function.scale.concurrency = 1;
    route.function.scale.max = 1;
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let came = Arc::new(Semaphore::new(0));
    let arrived = Arc::clone(&came);
    let instance = FakeInstance::serve(move |request: http::Request<hyper::body::Incoming>| {
        let came = Arc::clone(&came);
        async move {
            if request.uri().path() == "/hang" {
                came.add_permits(1);
                std::future::pending::<()>().await;
            }
            instance::text("ok")
        }
    })
    .await;
    world.register(function, 1, instance.address).await;
    let client = world.client();
    let hanging = tokio::spawn(client.send(get("/fn/acme/one/hang")));
    arrived.acquire().await.unwrap().forget();
    let next = tokio::spawn(async move { client.get("/fn/acme/one").await });
    hanging.abort();
    assert_eq!(next.await.unwrap(), (200, "ok".to_owned()));
    let gone = async {
        while instance.load.now.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::world::LONG, gone)
        .await
        .expect("the instance still works for nobody");
}

#[tokio::test]
async fn an_idle_instance_is_drained_and_retired() {
    let mut route = route("idle");
    route.function.scale.idle_ms = 50;
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let instance = FakeInstance::serve(async |_| instance::text("ok")).await;
    let key = world.register(function, 1, instance.address).await;
    assert_eq!(world.client().get("/fn/acme/idle").await.0, 200);
    let retired = until(&world.told.retired, |retired| !retired.is_empty()).await;
    assert_eq!(retired, [(key, RetireReason::Idle)]);
    // It gets no more calls: another instance is wanted.
    let client = world.client();
    let call = tokio::spawn(async move { client.get("/fn/acme/idle").await });
    let second = FakeInstance::serve(async |_| instance::text("second")).await;
    world.provision(&second).await;
    assert_eq!(call.await.unwrap().1, "second");
}

#[tokio::test]
async fn the_least_are_there_from_the_start() {
    let mut route = route("min");
    route.function.scale.min = 2;
    let world = World::new(vec![route]).await;
    let (one, two) = (world.wanted().await, world.wanted().await);
    assert_ne!(one.request.request_id, two.request.request_id);
    assert_eq!(world.queue.len().await.unwrap(), 0);
}

#[tokio::test]
async fn failed_starts_are_told_and_not_waited_for() {
    let config = config(|config| config.waiting.provision_backoff = Duration::from_millis(10));
    let mut route = route("broken");
    route.function.public = false;
    let function = route.function.id;
    let world = World::with(config, vec![route]).await;
    let client = world.client();
    let mut request = get("/fn/acme/broken");
    request
        .headers_mut()
        .insert("authorization", "Bearer good".parse().unwrap());
    let call = tokio::spawn(client.send(request));
    for _ in 0..3 {
        let claim = world.wanted().await;
        world.queue.done(&claim).await.unwrap();
        let failure = ProvisionFailure::Failed("image gone".to_owned());
        world
            .gateway
            .provision_failed(function, claim.request.request_id, &failure);
    }
    let response = call.await.unwrap();
    assert_eq!(response.status(), 502);
    assert!(
        response.headers()["x-hearth-error"]
            .to_str()
            .unwrap()
            .contains("image gone")
    );
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}

#[tokio::test]
async fn want_of_room_is_told_at_once() {
    let route = route("large");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let call = tokio::spawn(world.client().send(get("/fn/acme/large")));
    let claim = world.wanted().await;
    world
        .gateway
        .provision_failed(function, claim.request.request_id, &ProvisionFailure::NoRoom);
    let response = call.await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    // Whoever comes back later finds it tried anew.
    let again = async {
        while world.queue.len().await.unwrap() == 0 {
            let _refused_or_given_up =
                tokio::time::timeout(Duration::from_millis(100), world.client().send(get("/fn/acme/large"))).await;
        }
    };
    tokio::time::timeout(crate::world::LONG, again)
        .await
        .expect("no instance is wanted ever again");
}

#[tokio::test]
async fn a_function_that_is_deleted_lets_its_instances_and_callers_go() {
    let mut route = route("gone");
    route.function.scale.concurrency = 1;
    route.function.scale.max = 1;
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let go = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&go);
    let instance = FakeInstance::serve(move |_| {
        let go = Arc::clone(&held);
        async move {
            go.acquire().await.unwrap().forget();
            instance::text("last")
        }
    })
    .await;
    let key = world.register(function, 1, instance.address).await;
    let client = world.client();
    let under_way = tokio::spawn(async move { client.get("/fn/acme/gone").await });
    while instance.requests() == 0 {
        tokio::task::yield_now().await;
    }
    let waiting = tokio::spawn(async move { client.get("/fn/acme/gone").await });
    tokio::task::yield_now().await;
    world.gateway.set_routes(RouteTable::default());
    assert_eq!(waiting.await.unwrap().0, 404);
    assert!(world.told.retired.borrow().is_empty(), "a call is under way");
    go.add_permits(1);
    assert_eq!(under_way.await.unwrap(), (200, "last".to_owned()));
    let retired = until(&world.told.retired, |retired| !retired.is_empty()).await;
    assert_eq!(retired, [(key, RetireReason::VersionGone)]);
}

#[tokio::test]
async fn versions_have_instances_of_their_own() {
    let mut route = route("two");
    let facts = route.versions[&1];
    route.versions.insert(2, facts);
    route
        .aliases
        .insert("next".to_owned(), hearth_domain::Traffic::all_to(2));
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let one = FakeInstance::serve(async |_| instance::text("one")).await;
    let two = FakeInstance::serve(async |_| instance::text("two")).await;
    world.register(function, 1, one.address).await;
    let key = world.register(function, 2, two.address).await;
    for (path, expected) in [
        ("two", "one"),
        ("two:next", "two"),
        ("two:1", "one"),
        ("two:2", "two"),
        ("two:$LATEST", "two"),
    ] {
        let response = world.client().send(with_key(get(&format!("/fn/acme/{path}")))).await;
        assert_eq!(text(response).await, expected, "{path}");
    }
    let none = world.client().send(with_key(get("/fn/acme/two:3"))).await;
    assert_eq!(none.status(), 404);
    world.registry.deregister(&key).await.unwrap();
    let client = world.client();
    let call = tokio::spawn(async move { client.get("/fn/acme/two:next").await });
    assert_eq!(world.wanted().await.request.version, Some(2));
    call.abort();
}

#[tokio::test]
async fn versions_that_are_not_live_share_as_many_instances_as_one_may_have() {
    let mut route = route("many");
    let facts = route.versions[&1];
    for version in 2..=4 {
        route.versions.insert(version, facts);
        let traffic = hearth_domain::Traffic::all_to(version);
        route.aliases.insert(format!("v{version}"), traffic);
    }
    route.function.scale.max = 2;
    route.function.scale.concurrency = 1;
    let world = World::new(vec![route]).await;
    let client = world.client();
    let mut calls = Vec::new();
    let mut wanted = Vec::new();
    // Each has one, and the first of them as many as all may have.
    for (path, count) in [("many:v2", 2), ("many:v3", 1), ("many:v4", 1), ("many", 2)] {
        for _ in 0..4 {
            calls.push(tokio::spawn(
                async move { client.get(&format!("/fn/acme/{path}")).await },
            ));
        }
        for _ in 0..count {
            wanted.push(world.wanted().await.request.version.unwrap());
        }
    }
    assert_eq!(wanted, [2, 2, 3, 4, 1, 1]);
    // Who looks again finds no more room.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(world.queue.len().await.unwrap(), 0);
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}
