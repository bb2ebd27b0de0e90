//! Bodies that are held in memory have a bound for all together, and one for each client.

use hearth_domain::Contract;
use hearth_gateway::{ClientLimits, GatewayConfig, Route};
use http::Request;

use crate::{
    client::request,
    instance::{self, FakeInstance},
    world::{World, route},
};

const BODY: usize = 8_000;

fn bounds(all: usize, each: usize) -> GatewayConfig {
    GatewayConfig {
        client: ClientLimits {
            held_bytes: all,
            held_bytes_per_address: each,
            ..ClientLimits::default()
        },
        ..GatewayConfig::default()
    }
}

fn lambda(name: &str) -> Route {
    let mut route = route(name);
    route.versions.get_mut(&1).unwrap().contract = Contract::Lambda;
    route
}

fn call(path: &str) -> Request<hearth_gateway::Body> {
    let mut request = request("POST", path, "x".repeat(BODY));
    request
        .headers_mut()
        .insert("content-type", "text/plain".parse().unwrap());
    request
}

#[tokio::test]
async fn events_that_wait_take_no_more_memory_than_they_may() {
    // One of them fits, and two do not.
    for (all, each) in [(BODY * 2, usize::MAX), (usize::MAX, BODY * 2)] {
        let world = World::with(bounds(all, each), vec![lambda("waits")]).await;
        let first = tokio::spawn(world.client().send(call("/fn/acme/waits")));
        // Its event is whole and waits.
        let claim = world.wanted().await;
        let refused = world.client().send(call("/fn/acme/waits")).await;
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.headers()["retry-after"], "1");
        let instance = FakeInstance::serve(async |_| instance::text("1")).await;
        world.register(claim.request.function_id, 1, instance.address).await;
        assert_eq!(first.await.unwrap().status(), 200);
        assert_eq!(world.client().send(call("/fn/acme/waits")).await.status(), 200);
    }
}

#[tokio::test]
async fn bodies_of_kept_calls_take_no_more_memory_than_they_may() {
    let world = World::with(bounds(BODY * 5 / 2, usize::MAX), vec![route("later")]).await;
    let keep = || {
        let mut call = call("/fn/acme/later");
        call.headers_mut().insert("prefer", "respond-async".parse().unwrap());
        world.client().send(call)
    };
    assert_eq!(keep().await.status(), 202);
    assert_eq!(keep().await.status(), 202);
    // Whoever keeps them has not let go of them yet.
    assert_eq!(keep().await.status(), 503);
    world.told.accepted.lock().unwrap().clear();
    assert_eq!(keep().await.status(), 202);
}
