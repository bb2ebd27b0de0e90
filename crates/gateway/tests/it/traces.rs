//! Of which trace a call is.

use hearth_telemetry::trace::{self, TraceConfig};
use http::Request;
use hyper::body::Incoming;

use crate::{
    client::{get, text, with_key},
    instance::{self, FakeInstance},
    world::{World, route},
};

#[tokio::test]
async fn strangers_do_not_say_of_which_trace_a_call_is() {
    let config = TraceConfig {
        // Nobody is there, and nothing is sent.
        endpoint: "http://127.0.0.1:9".to_owned(),
        ratio: 0.0,
        version: "0",
    };
    trace::open(&config).unwrap();
    let mut closed = route("closed");
    closed.function.public = false;
    let open = route("open");
    let ids = [closed.function.id, open.function.id];
    let world = World::new(vec![closed, open]).await;
    let instance = FakeInstance::serve(async |request: Request<Incoming>| {
        instance::text(request.headers()["traceparent"].to_str().unwrap().to_owned())
    })
    .await;
    for function in ids {
        world.register(function, 1, instance.address).await;
    }
    let theirs = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (path, believed) in [("/fn/acme/open", false), ("/fn/acme/closed", true)] {
        let mut request = get(path);
        if believed {
            request = with_key(request);
        }
        let parent = format!("00-{theirs}-00f067aa0ba902b7-01").parse().unwrap();
        request.headers_mut().insert("traceparent", parent);
        let seen = text(world.client().send(request).await).await;
        assert_eq!(seen.contains(theirs), believed, "{seen}");
        assert_eq!(seen.ends_with("-01"), believed, "{seen}");
    }
}
