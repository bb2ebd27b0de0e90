//! Going down: what is under way ends, what is new is not taken.

use std::sync::Arc;

use tokio::{net::TcpStream, sync::Notify, time::timeout};

use crate::{
    client::{get, text},
    instance::{self, FakeInstance},
    world::{LONG, World, route},
};

#[tokio::test]
async fn a_call_under_way_is_answered_before_the_gateway_is_gone() {
    let route = route("slow");
    let function = route.function.id;
    let world = World::new(vec![route]).await;
    let (came, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let held = (Arc::clone(&came), Arc::clone(&go));
    let instance = FakeInstance::serve(move |_| {
        let (came, go) = held.clone();
        async move {
            came.notify_one();
            go.notified().await;
            instance::text("done")
        }
    })
    .await;
    world.register(function, 1, instance.address).await;
    let client = world.client();
    let call = tokio::spawn(async move { text(client.send(get("/fn/acme/slow")).await).await });
    came.notified().await;
    world.shutdown.cancel();
    let refused = async {
        while TcpStream::connect(world.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, refused).await.expect("new connections are still taken");
    assert!(!world.serving.is_finished());
    go.notify_one();
    assert_eq!(call.await.unwrap(), "done");
    timeout(LONG, world.serving).await.expect("it does not end").unwrap();
    timeout(LONG, world.gateway.close()).await.expect("tasks do not end");
}
