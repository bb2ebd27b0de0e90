//! What nodes' room, as far as it is known, makes of waiting and of starts.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures::future::join_all;
use hearth_coord::{ProvisionQueue as _, ProvisionRequest};
use hearth_gateway::{GatewayConfig, ProvisionFailure, Route};
use hearth_ids::{FunctionId, RequestId};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::{sync::Semaphore, task::JoinHandle, time::timeout};

use crate::{
    client::{get, with_key},
    instance::{self, FakeInstance},
    world::{LONG, World, route},
};

const PATH: &str = "/fn/acme/f";

/// A function whose instances have one call at a time.
fn function() -> Route {
    let mut route = route("f");
    route.function.scale.concurrency = 1;
    route.function.public = false;
    route
}

fn config(change: impl FnOnce(&mut GatewayConfig)) -> GatewayConfig {
    let mut config = GatewayConfig::default();
    change(&mut config);
    config
}

fn call(world: &World) -> JoinHandle<Response<Incoming>> {
    tokio::spawn(world.client().send(with_key(get(PATH))))
}

/// An instance that answers as long as there are permits.
async fn instance(go: &Arc<Semaphore>) -> FakeInstance {
    let go = Arc::clone(go);
    let answer = move |_: Request<Incoming>| {
        let go = Arc::clone(&go);
        async move {
            go.acquire().await.unwrap().forget();
            instance::text("ok")
        }
    };
    FakeInstance::serve(answer).await
}

/// The call was refused for want of room.
fn assert_no_room(response: &Response<Incoming>) {
    let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap());
    let told = Some("no_room: no node has room for an instance");
    assert_eq!(response.status(), 503);
    assert_eq!((header("x-hearth-error"), header("retry-after")), (told, Some("5")));
}

/// Another function's, which nobody serves.
fn request_of_others() -> ProvisionRequest {
    ProvisionRequest {
        request_id: RequestId::new(),
        function_id: FunctionId::new(),
        project_id: None,
        cpu: 1,
        memory_mb: 128,
        version: Some(1),
        deadline_unix_ms: None,
        traceparent: None,
    }
}

/// Calls until an instance is asked for.
async fn until_wanted(world: &World) {
    let asked = async {
        while world.queue.stats().waiting == 0 {
            let _told_or_given_up = timeout(Duration::from_millis(100), call(world)).await;
        }
    };
    timeout(LONG, asked).await.expect("no instance is wanted ever again");
}

/// Fails the next request for want of room.
async fn refuse(world: &World, function: FunctionId) {
    let claim = world.wanted().await;
    world.queue.done(&claim).await.unwrap();
    let failure = ProvisionFailure::NoRoom;
    world
        .gateway
        .provision_failed(function, claim.request.request_id, &failure);
}

#[tokio::test]
async fn no_more_are_asked_for_than_there_is_room_for_and_the_rest_waits() {
    let world = World::new(vec![function()]).await;
    world.has_room(2);
    let calls: Vec<_> = (0..5).map(|_| call(&world)).collect();
    let go = Arc::new(Semaphore::new(0));
    let instances = [instance(&go).await, instance(&go).await];
    for instance in &instances {
        world.provision(instance).await;
    }
    // Longer than until it is planned anew.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(world.queue.len().await.unwrap(), 0);
    go.add_permits(5);
    for call in join_all(calls).await {
        assert_eq!(call.unwrap().status(), 200);
    }
    assert_eq!(world.queue.len().await.unwrap(), 0, "the node is as full as before");
}

#[tokio::test]
async fn room_that_comes_is_seen_without_a_look() {
    const ROUNDS: u32 = 5;
    let world = World::new(vec![function()]).await;
    world.has_room(1);
    let calls: Vec<_> = (0..=ROUNDS).map(|_| call(&world)).collect();
    let go = Arc::new(Semaphore::new(0));
    let mut instances = vec![instance(&go).await];
    world.provision(&instances[0]).await;
    let began = Instant::now();
    for _ in 0..ROUNDS {
        let next = instance(&go).await;
        // Else the look that the last instance brought may see it.
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.has_room(1);
        world.provision(&next).await;
        instances.push(next);
    }
    // Whoever only looks does so once a second.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    go.add_permits(calls.len());
    for call in join_all(calls).await {
        assert_eq!(call.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn what_others_asked_for_delays_and_keeps_nobody_out() {
    let world = World::new(vec![function()]).await;
    world.has_room(3);
    for _ in 0..5 {
        world.queue.push(request_of_others()).await.unwrap();
    }
    let calls = [call(&world), call(&world)];
    let asked = async {
        while world.queue.stats().waiting < 6 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, asked).await.expect("it stands in no line");
    for _ in 0..5 {
        let claim = world.wanted().await;
        world.queue.done(&claim).await.unwrap();
    }
    let go = Arc::new(Semaphore::new(2));
    let instance = instance(&go).await;
    world.provision(&instance).await;
    for call in calls {
        assert_eq!(call.await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_pool_is_filled_in_rounds() {
    let config = config(|config| config.waiting.provisions_max = 2);
    let mut route = function();
    route.function.scale.min = 5;
    let world = World::with(config, vec![route]).await;
    let go = Arc::new(Semaphore::new(0));
    let mut instances = Vec::new();
    for on_their_way in [2, 2, 2, 2, 1] {
        let asked = async {
            while world.queue.stats().waiting < on_their_way {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, asked).await.expect("too few are asked for");
        // Longer than until the next look that a change brings.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(world.queue.stats().waiting, on_their_way);
        let next = instance(&go).await;
        world.provision(&next).await;
        instances.push(next);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(world.queue.len().await.unwrap(), 0);
}

#[tokio::test]
async fn room_that_wavers_is_looked_at_now_and_then() {
    let one = function();
    let id = one.function.id;
    let world = World::new(vec![one]).await;
    world.has_room(0);
    let go = Arc::new(Semaphore::new(0));
    let busy = instance(&go).await;
    world.register(id, 1, busy.address).await;
    let calls = [call(&world), call(&world)];
    while busy.requests() == 0 {
        tokio::task::yield_now().await;
    }
    let looks = || u64::from(world.nodes.asked.load(Ordering::Relaxed));
    let (before, began) = (looks(), Instant::now());
    for _ in 0..300 {
        world.has_room(0);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (looked, took) = (looks() - before, began.elapsed());
    // And one a second without any change, and those that the calls brought.
    let most = u64::try_from(took.as_millis()).unwrap() / 50 + took.as_secs() + 5;
    assert!((1..=most).contains(&looked), "{looked} looks in {took:?}");
    go.add_permits(2);
    for call in calls {
        assert_eq!(call.await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_full_node_is_told_of_without_asking_it() {
    let world = World::new(vec![function()]).await;
    world.has_room(0);
    for _ in 0..3 {
        assert_no_room(&call(&world).await.unwrap());
    }
    assert_eq!(world.queue.len().await.unwrap(), 0);
    // The next call finds what is there then.
    world.has_room(1);
    let go = Arc::new(Semaphore::new(1));
    let served = call(&world);
    let next = instance(&go).await;
    world.provision(&next).await;
    assert_eq!(served.await.unwrap().status(), 200);
}

#[tokio::test]
async fn room_that_comes_ends_the_pause_after_a_refusal() {
    let route = function();
    let id = route.function.id;
    let config = config(|config| config.waiting.provision_backoff = Duration::from_mins(1));
    let world = World::with(config, vec![route]).await;
    world.has_room(1);
    let refused = call(&world);
    while world.queue.stats().waiting == 0 {
        tokio::task::yield_now().await;
    }
    // Somebody else was faster.
    world.has_room(0);
    refuse(&world, id).await;
    assert_no_room(&refused.await.unwrap());
    assert_no_room(&call(&world).await.unwrap());
    world.has_room(1);
    until_wanted(&world).await;
}

#[tokio::test]
async fn a_refusal_for_something_else_is_not_tried_again_at_each_change() {
    let route = function();
    let id = route.function.id;
    let config = config(|config| config.waiting.provision_backoff = Duration::from_mins(1));
    let world = World::with(config, vec![route]).await;
    world.has_room(5);
    let refused = call(&world);
    refuse(&world, id).await;
    assert_no_room(&refused.await.unwrap());
    for room in [6, 5, 7] {
        world.has_room(room);
        assert_no_room(&call(&world).await.unwrap());
    }
    assert_eq!(world.queue.len().await.unwrap(), 0);
}

#[tokio::test]
async fn a_figure_that_stands_still_keeps_nobody_out_for_ever() {
    let route = function();
    let id = route.function.id;
    let config = config(|config| config.waiting.room_doubt = Duration::from_millis(50));
    let world = World::with(config, vec![route]).await;
    world.has_room(0);
    assert_no_room(&call(&world).await.unwrap());
    until_wanted(&world).await;
    assert_eq!(world.queue.len().await.unwrap(), 1, "no more than one");
    refuse(&world, id).await;
    assert_no_room(&call(&world).await.unwrap());
}

#[tokio::test]
async fn who_is_refused_waits_for_what_is_on_its_way() {
    let route = function();
    let id = route.function.id;
    let world = World::new(vec![route]).await;
    let calls = [call(&world), call(&world)];
    while world.queue.stats().waiting < 2 {
        tokio::task::yield_now().await;
    }
    refuse(&world, id).await;
    let go = Arc::new(Semaphore::new(2));
    let instance = instance(&go).await;
    world.provision(&instance).await;
    for call in calls {
        assert_eq!(call.await.unwrap().status(), 200);
    }
    assert_eq!(instance.requests(), 2);
}

#[tokio::test]
async fn who_waited_in_vain_is_told_that_there_was_no_room_for_more() {
    let config = config(|config| config.waiting.timeout = Duration::from_millis(500));
    let mut one = function();
    one.function.scale.max = 2;
    let id = one.function.id;
    let world = World::with(config, vec![one]).await;
    world.has_room(0);
    let go = Arc::new(Semaphore::new(0));
    let busy = [instance(&go).await, instance(&go).await];
    world.register(id, 1, busy[0].address).await;
    let first = call(&world);
    while busy[0].requests() == 0 {
        tokio::task::yield_now().await;
    }
    assert_no_room(&call(&world).await.unwrap());
    // With as many as there may be it is not the node's room that is wanting.
    world.register(id, 1, busy[1].address).await;
    let second = call(&world);
    while busy[1].requests() == 0 {
        tokio::task::yield_now().await;
    }
    let response = call(&world).await.unwrap();
    let told = response.headers()["x-hearth-error"].to_str().unwrap();
    assert!(told.contains("no instance had a free place"), "{told}");
    go.add_permits(2);
    for call in [first, second] {
        assert_eq!(call.await.unwrap().status(), 200);
    }
}
