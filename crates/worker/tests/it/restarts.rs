//! A worker that opens on a node with machines: whatever the last one left is taken up or removed.

use hearth_coord::InstanceKey;
use hearth_domain::{Contract, MachineEvent};
use hearth_ids::MachineId;
use hearth_node_api::NodeService as _;

use crate::world::{World, listener, spec, until};

#[tokio::test]
async fn instances_that_serve_go_on_serving() {
    let (world, listener) = (World::new().await, listener().await);
    let function = world.listening("serve", &listener);
    let keys = [world.instance(function).await, world.instance(function).await];
    let world = world.restarted().await;
    let registered = world.until_registered(2).await;
    for key in &keys {
        assert!(registered.iter().any(|instance| instance.key == *key), "{registered:?}");
    }
    assert_eq!(world.node.count(), 2);
    assert!(world.around.archived.borrow().is_empty());
}

#[tokio::test]
async fn what_was_half_made_is_finished_or_removed() {
    let (world, listener) = (World::new().await, listener().await);
    let function = world.listening("serve", &listener);
    // Killed between create and start, in the start, and after the program's end.
    let (created, starting, ended) = (
        spec(function, 1, "serve"),
        spec(function, 1, "wait"),
        spec(function, 1, "exit 0"),
    );
    let others = spec(function, 1, "serve");
    let others = hearth_domain::MachineSpec { owner: None, ..others };
    for spec in [&created, &starting, &ended, &others] {
        world.node.create(spec.clone()).await.unwrap();
    }
    for id in [starting.id, ended.id, others.id] {
        world.node.start(id).await.unwrap();
    }
    let world = world.restarted().await;
    let key = |machine: MachineId| InstanceKey { function, machine };
    world.until_gone(&key(created.id)).await;
    world.until_gone(&key(ended.id)).await;
    assert_eq!(world.archived(ended.id).await, "started\n");
    assert_eq!(world.worker.counts().starting, 1);
    world.node.happen(starting.id, MachineEvent::Ready).unwrap();
    assert_eq!(world.until_registered(1).await[0].key, key(starting.id));
    assert!(world.node.spec(others.id).is_some(), "no machine of ours");
}

#[tokio::test]
async fn whoever_wants_one_more_has_the_one_that_was_half_made() {
    let (world, listener) = (World::new().await, listener().await);
    let function = world.listening("serve", &listener);
    let starting = spec(function, 1, "wait");
    world.node.create(starting.clone()).await.unwrap();
    world.node.start(starting.id).await.unwrap();
    let world = world.restarted().await;
    assert_eq!(
        (world.worker.found(function, 1), world.worker.found(function, 2)),
        (1, 0)
    );
    let (first, second) = (world.ask(function).await, world.ask(function).await);
    // The second one wants another.
    let made = world.outcome(second).await.unwrap();
    assert_ne!(made.machine, starting.id);
    assert_eq!(world.worker.found(function, 1), 0);
    world.node.happen(starting.id, MachineEvent::Ready).unwrap();
    assert_eq!(world.outcome(first).await.unwrap().machine, starting.id);
    assert_eq!(world.node.count(), 2);
}

#[tokio::test]
async fn instances_of_what_is_gone_are_removed() {
    let (world, listener) = (World::new().await, listener().await);
    let (kept, gone) = (world.listening("serve", &listener), world.listening("serve", &listener));
    let (kept, gone) = (world.instance(kept).await, world.instance(gone).await);
    world.around.versions.lock().unwrap().remove(&(gone.function, 1));
    let world = world.restarted().await;
    world.until_gone(&gone).await;
    assert_eq!(world.until_registered(1).await[0].key, kept);
    world.archived(gone.machine).await;
}

#[tokio::test]
async fn one_that_does_not_serve_any_more_is_removed() {
    let (world, listener) = (World::new().await, listener().await);
    let function = world.listening("serve", &listener);
    let key = world.instance(function).await;
    world.worker.close(std::time::Duration::from_secs(5)).await;
    assert!(!world.worker.serves());
    drop(listener);
    let around = std::sync::Arc::clone(&world.around);
    let port = 1;
    around.versions.lock().unwrap().insert(
        (function, 1),
        crate::world::Version {
            words: "serve",
            contract: Contract::Http { port },
            port,
        },
    );
    let node = std::sync::Arc::clone(&world.node);
    let world = World::on(node, around, std::time::Duration::from_millis(100)).await;
    world.until_gone(&key).await;
    until(async || (world.node.count() == 0).then_some(())).await;
}
