//! From a request to an instance, or to why there is none.

use std::time::{Duration, SystemTime};

use hearth_coord::{ProvisionQueue as _, ProvisionRequest};
use hearth_domain::{Allocation, Contract, MachineEvent, MachineState};
use hearth_ids::FunctionId;
use hearth_node_api::{ErrorKind, NodeError, NodeService as _, fake::FakeNode};
use hearth_worker::{InstanceCounts, ProvisionFailure};

use crate::world::{World, agent, listener, request, until};

#[tokio::test]
async fn a_request_becomes_an_instance_that_is_registered() {
    let (world, listener) = (World::new().await, listener().await);
    let function = world.listening("serve", &listener);
    let key = world.instance(function).await;
    let registered = world.registered().await;
    let [instance] = registered.as_slice() else {
        panic!("{registered:?}")
    };
    assert_eq!(instance.key, key);
    assert_eq!(instance.proxy_port, listener.local_addr().unwrap().port());
    assert_eq!(instance.internal_vm_ip.to_string(), "127.0.0.1");
    assert_eq!((instance.version, instance.worker_id.as_str()), (1, "here"));
    let known = world.worker.instances(function);
    assert!(known.len() == 1 && known[0].serving && known[0].machine == key.machine);
    let counts = InstanceCounts {
        serving: 1,
        ..InstanceCounts::default()
    };
    assert_eq!(world.worker.counts(), counts);
    assert!(world.worker.serves());
    until(async || (world.queue.stats().claimed == 0).then_some(())).await;
    assert!(world.around.withdrawn.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_request_that_comes_twice_is_served_once_and_two_are_two() {
    let (world, listener) = (World::new().await, listener().await);
    let function = world.listening("serve", &listener);
    let twice = request(function);
    world.queue.push(twice.clone()).await.unwrap();
    world.queue.push(twice.clone()).await.unwrap();
    world.outcome(twice.request_id).await.unwrap();
    world.instance(function).await;
    assert_eq!(world.registered().await.len(), 2);
    assert_eq!(world.node.count(), 2);
}

#[tokio::test]
async fn a_runtime_that_is_ready_is_one_that_says_so() {
    let world = World::new().await;
    let ready = agent("200 OK", "").await;
    let function = world.function("serve", Contract::Lambda, ready.port());
    world.instance(function).await;
    let failed = agent(
        "500 Internal Server Error",
        r#"{"errorType":"Runtime.ImportModuleError","errorMessage":"no module named main"}"#,
    )
    .await;
    let function = world.function("serve", Contract::Lambda, failed.port());
    let id = world.ask(function).await;
    let failure = world.outcome(id).await.unwrap_err();
    let told = "its runtime failed to start: Runtime.ImportModuleError: no module named main";
    assert_eq!(failure, ProvisionFailure::Broken(told.into()));
    until(async || (world.node.count() == 1).then_some(())).await;
    // One that ended said nothing itself, but may have written why.
    let ended = agent(
        "500 Internal Server Error",
        r#"{"errorType":"Runtime.ExitError","errorMessage":"exit status 126"}"#,
    )
    .await;
    let function = world.function("serve", Contract::Lambda, ended.port());
    let id = world.ask(function).await;
    let failure = world.outcome(id).await.unwrap_err().to_string();
    assert!(
        failure.ends_with("Runtime.ExitError: exit status 126; its last words:\nstarted"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_program_that_never_listens_is_given_up_with_its_last_words() {
    let world = World::on(FakeNode::new(), std::sync::Arc::default(), Duration::from_millis(200)).await;
    let port = listener().await.local_addr().unwrap().port();
    let function = world.function("serve", Contract::Http { port }, port);
    let id = world.ask(function).await;
    let failure = world.outcome(id).await.unwrap_err().to_string();
    assert!(
        failure.contains(&format!("nothing listens on its port {port}")),
        "{failure}"
    );
    assert!(failure.ends_with("its last words:\nstarted"), "{failure}");
    until(async || (world.node.count() == 0).then_some(())).await;
    assert!(world.registered().await.is_empty());
    assert_eq!(world.around.archived.borrow().len(), 1, "its log is kept all the same");
}

#[tokio::test]
async fn a_program_that_ends_before_it_is_ready_says_why() {
    let (world, listener) = (World::new().await, listener().await);
    let function = world.listening("crash", &listener);
    let id = world.ask(function).await;
    let failure = world.outcome(id).await.unwrap_err().to_string();
    assert!(failure.contains("ended with code 1 before it was ready"), "{failure}");
    assert!(failure.contains("boom: no such module"), "{failure}");
    until(async || (world.node.count() == 0).then_some(())).await;
}

#[tokio::test]
async fn what_requests_hold_already_is_told_until_they_are_done() {
    let (world, listener) = (World::new().await, listener().await);
    let function = world.listening("wait", &listener);
    // Two of one function are made at a time; the third waits for its turn, and holds nothing.
    for _ in 0..3 {
        world.ask(function).await;
    }
    until(async || (world.node.count() == 2).then_some(())).await;
    let two = Allocation {
        vcpus: 2,
        memory_mib: 128,
    };
    assert_eq!(world.worker.placed(), two);
    assert_eq!(world.node.books().borrow().allocation, two);
    assert_eq!((world.queue.stats().cpu, world.queue.stats().memory_mb), (3, 192));
    for machine in world.node.machines() {
        world.node.happen(machine.id, MachineEvent::Ready).unwrap();
    }
    until(async || (world.worker.counts().serving == 2).then_some(())).await;
    let third = until(async || {
        let third = world.node.machines().into_iter().find(|machine| {
            let status = world.node.status(machine.id);
            status.is_some_and(|status| status.state == MachineState::Starting)
        });
        third.filter(|_| world.worker.placed().vcpus == 1)
    })
    .await;
    world.worker.retire_starting(function, None);
    until(async || world.node.spec(third.id).is_none().then_some(())).await;
    until(async || (world.queue.stats().claimed == 0).then_some(())).await;
    until(async || (world.worker.placed() == Allocation::default()).then_some(())).await;
    assert_eq!(world.node.books().borrow().allocation, two, "they serve");
}

#[tokio::test]
async fn programs_that_are_never_ready_take_no_turns_from_others() {
    let (world, listener) = (World::new().await, listener().await);
    // More than are made at a time, of all functions, and nobody listens there.
    for _ in 0..6 {
        let port = crate::world::listener().await.local_addr().unwrap().port();
        let silent = world.function("serve", Contract::Http { port }, port);
        world.ask(silent).await;
    }
    until(async || (world.worker.counts().starting == 6).then_some(())).await;
    let other = world.listening("serve", &listener);
    world.instance(other).await;
}

#[tokio::test]
async fn a_panic_leaves_neither_a_share_nor_a_turn_behind() {
    let (world, listener) = (World::new().await, listener().await);
    let function = world.listening("panic", &listener);
    // As many as are made at a time, of all functions.
    for _ in 0..4 {
        world.ask(function).await;
    }
    until(async || (world.node.count() == 4).then_some(())).await;
    until(async || (world.worker.placed() == Allocation::default()).then_some(())).await;
    let other = world.listening("serve", &listener);
    world.instance(other).await;
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_made() {
    let (world, listener) = (World::new().await, listener().await);
    let function = world.listening("wait", &listener);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let deadline = now + Duration::from_secs(1);
    // Two of one function are made at a time; the others wait for their turn, and taken they are.
    for _ in 0..5 {
        let wanted = ProvisionRequest {
            deadline_unix_ms: u64::try_from(deadline.as_millis()).ok(),
            ..request(function)
        };
        world.queue.push(wanted).await.unwrap();
    }
    until(async || (world.queue.stats().claimed == 5 && world.node.count() == 2).then_some(())).await;
    until(async || (world.queue.stats().cpu == 0).then_some(())).await;
    assert_eq!(world.worker.placed(), Allocation::default(), "the queue tells of none");
    assert_eq!(world.node.books().borrow().allocation.vcpus, 2);
    world.worker.retire_starting(function, None);
    until(async || (world.queue.stats().claimed == 0).then_some(())).await;
    until(async || (world.node.count() == 0).then_some(())).await;
    assert_eq!(
        world.around.outcomes.borrow().len(),
        2,
        "the other three were not begun"
    );
}

#[tokio::test]
async fn what_cannot_be_made_leaves_nothing() {
    let (world, listener) = (World::new().await, listener().await);
    let function = world.listening("serve", &listener);
    for (kind, no_room) in [(ErrorKind::NoCapacity, true), (ErrorKind::Internal, false)] {
        let error = NodeError::new(kind, "the node is odd");
        *world.node.refusal.lock().unwrap() = Some(error);
        let id = world.ask(function).await;
        let failure = world.outcome(id).await.unwrap_err();
        assert_eq!(matches!(failure, ProvisionFailure::NoRoom(_)), no_room, "{failure}");
        assert!(failure.to_string().contains("the node is odd"));
    }
    assert_eq!(world.around.withdrawn.lock().unwrap().len(), 2, "off the books again");
    let id = world.ask(FunctionId::new()).await;
    assert!(world.outcome(id).await.unwrap_err().to_string().contains("gone"));
    until(async || (world.worker.counts() == InstanceCounts::default()).then_some(())).await;
    assert_eq!(world.node.count(), 0);
    world.instance(function).await;
}

#[tokio::test]
async fn an_instance_that_is_retired_on_its_way_never_serves() {
    let (world, listener) = (World::new().await, listener().await);
    let function = world.listening("wait", &listener);
    let id = world.ask(function).await;
    let machine = until(async || {
        let machine = world.worker.instances(function).first()?.machine;
        world.node.status(machine).filter(|status| status.sequence == 2)?;
        Some(machine)
    })
    .await;
    assert_eq!(world.worker.counts().starting, 1);
    world.worker.retire_starting(function, Some(2));
    assert_eq!(world.worker.counts().starting, 1, "another version's");
    world.worker.retire_starting(function, Some(1));
    assert!(world.outcome(id).await.is_err());
    until(async || world.node.spec(machine).is_none().then_some(())).await;
    assert!(world.registered().await.is_empty());

    // The same, when it became ready at that moment.
    let id = world.ask(function).await;
    let machine = until(async || {
        let machine = world.worker.instances(function).first()?.machine;
        world.node.status(machine).filter(|status| status.sequence == 2)?;
        Some(machine)
    })
    .await;
    world.node.happen(machine, MachineEvent::Ready).unwrap();
    world.worker.retire_starting(function, None);
    assert!(world.outcome(id).await.is_err());
    until(async || world.node.spec(machine).is_none().then_some(())).await;
    assert!(world.registered().await.is_empty());
}
