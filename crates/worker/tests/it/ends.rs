//! How instances end, and how they stay found.

use hearth_coord::{InstanceChange, InstanceRegistry as _};
use hearth_domain::MachineEvent;
use hearth_node_api::{LogStream, NodeService as _};

use crate::world::{World, listener, until};

#[tokio::test]
async fn a_retired_instance_leaves_the_registry_and_then_its_log() {
    let (world, listener) = (World::new().await, listener().await);
    let function = world.listening("serve", &listener);
    let key = world.instance(function).await;
    let other = world.instance(function).await;
    world.node.write(key.machine, LogStream::Stdout, "a line\n");
    // No call is sent to a machine that is being stopped: it is gone from the registry before.
    let mut changes = world.registry.watch().await.unwrap();
    let status = world.node.watch(key.machine).unwrap();
    world.worker.retire(key.clone());
    world.worker.retire(key.clone());
    while let Some(change) = futures::StreamExt::next(&mut changes).await {
        if change == InstanceChange::Gone(key.clone()) {
            break;
        }
    }
    assert_eq!(world.archived(key.machine).await, "started\na line\n");
    assert!(
        status.borrow().state.is_at_rest(),
        "the log of a machine that runs is not whole"
    );
    world.until_gone(&key).await;
    assert_eq!(world.around.archived.borrow().len(), 1, "ended once");
    assert_eq!(world.registered().await[0].key, other);
}

#[tokio::test]
async fn a_machine_that_ends_by_itself_is_taken_out_of_service() {
    let (world, listener) = (World::new().await, listener().await);
    let function = world.listening("serve", &listener);
    let key = world.instance(function).await;
    world.node.write(key.machine, LogStream::Stderr, "last\n");
    world.node.kill(key.machine, 9).await.unwrap();
    world.until_gone(&key).await;
    assert_eq!(world.archived(key.machine).await, "started\nlast\n");
}

#[tokio::test]
async fn a_machine_that_ends_while_nobody_listens_is_noticed() {
    let (world, listener) = (World::new().await, listener().await);
    let function = world.listening("serve", &listener);
    let (key, busy) = (world.instance(function).await, world.instance(function).await);
    // Nothing of this yields, so the worker hears of none of it before more has happened than is kept.
    let happen = |event| world.node.happen(busy.machine, event).unwrap();
    world.node.kill(key.machine, 9).await.unwrap();
    for _ in 0..3000 {
        happen(MachineEvent::Pause);
        happen(MachineEvent::Resume);
    }
    world.until_gone(&key).await;
    assert_eq!(world.registered().await[0].key, busy);
}

#[tokio::test]
async fn a_lease_that_is_lost_is_replaced_and_everything_registered_anew() {
    let (world, listener) = (World::new().await, listener().await);
    let function = world.listening("serve", &listener);
    let key = world.instance(function).await;
    world.registry.revoke(1).await.unwrap();
    assert!(world.registered().await.is_empty());
    // One that comes then finds out at once, and brings the others with it.
    let second = world.instance(function).await;
    assert_eq!(world.until_registered(2).await.len(), 2);
    // Without one, whoever keeps the lease alive finds out.
    world.registry.revoke(2).await.unwrap();
    let registered = world.until_registered(2).await;
    let keys: Vec<_> = registered.iter().map(|instance| &instance.key).collect();
    assert!(keys.contains(&&key) && keys.contains(&&second), "{registered:?}");
    assert!(world.worker.serves());
}

#[tokio::test]
async fn what_cannot_be_ended_is_tried_again() {
    let (world, listener) = (World::new().await, listener().await);
    let function = world.listening("serve", &listener);
    let key = world.instance(function).await;
    // A machine whose folder was lost: nothing is left to stop, and nothing hangs.
    world.node.lose(key.machine);
    world.worker.retire(key.clone());
    world.until_gone(&key).await;
    let counts = until(async || Some(world.worker.counts()).filter(|counts| counts.ending == 0)).await;
    assert_eq!(counts.serving, 0);
}
