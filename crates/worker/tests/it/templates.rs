//! Instances that are made into templates, and those that go on from one.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use hearth_coord::{ProvisionQueue as _, ProvisionRequest};
use hearth_domain::{Contract, MachineSpec, StateWord};
use hearth_ids::{FunctionId, MachineId, RequestId, SnapshotId};
use hearth_node_api::{ErrorKind, NodeError, NodeService as _, SnapshotRequest};
use hearth_worker::ProvisionFailure;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{World, listener, request, until};

#[tokio::test]
async fn a_template_is_made_of_an_instance_that_nobody_called_yet() {
    let (world, listener) = (World::new().await, listener().await);
    let function = world.listening("serve", &listener);
    let template = SnapshotId::new();
    *world.around.wanted_template.lock().unwrap() = Some(template);
    let key = world.instance(function).await;
    let made = world.node.snapshots().await.unwrap();
    assert_eq!(made.len(), 1);
    assert_eq!((made[0].id, made[0].spec.id), (template, key.machine));
    assert_eq!(*world.around.templates_told.lock().unwrap(), [(template, Some(true))]);
    // Whoever comes next goes on from it.
    *world.around.template.lock().unwrap() = Some(template);
    let next = world.instance(function).await;
    assert_eq!(world.node.spec(next.machine).unwrap().snapshot, Some(template));
}

#[tokio::test]
async fn an_instance_boots_where_its_template_is_of_no_use() {
    let (world, listener) = (World::new().await, listener().await);
    let function = world.listening("serve", &listener);
    let gone = SnapshotId::new();
    *world.around.template.lock().unwrap() = Some(gone);
    let key = world.instance(function).await;
    assert_eq!(world.node.spec(key.machine).unwrap().snapshot, None);
    assert_eq!(*world.around.templates_told.lock().unwrap(), [(gone, None)]);
    assert_eq!(world.around.withdrawn.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_instance_that_fails_makes_no_template() {
    let world = World::new().await;
    let function = world.function("exit 1", hearth_domain::Contract::Http { port: 1 }, 1);
    let template = SnapshotId::new();
    *world.around.wanted_template.lock().unwrap() = Some(template);
    let id = world.ask(function).await;
    world.outcome(id).await.unwrap_err();
    assert_eq!(*world.around.templates_told.lock().unwrap(), [(template, Some(false))]);
    assert!(world.node.snapshots().await.unwrap().is_empty());
}

/// Asks for an instance of whichever version is the newest: none waits of one that nobody named.
async fn ask_for_newest(world: &World, function: FunctionId) -> RequestId {
    let wanted = ProvisionRequest {
        version: None,
        ..request(function)
    };
    let id = wanted.request_id;
    world.queue.push(wanted).await.unwrap();
    id
}

/// A world with a template, and what asks for it: a function whose instances stay about to start.
async fn with_template_of_slow() -> (World, FunctionId, SnapshotId) {
    let (world, listener) = (World::new().await, listener().await);
    let made = world.listening("serve", &listener);
    let template = SnapshotId::new();
    *world.around.wanted_template.lock().unwrap() = Some(template);
    let id = ask_for_newest(&world, made).await;
    world.outcome(id).await.unwrap();
    *world.around.template.lock().unwrap() = Some(template);
    let slow = world.listening("wait", &listener);
    (world, slow, template)
}

/// The template stays, and whoever asked has no other instance made for it.
async fn only_hindered(world: &World, id: RequestId, template: SnapshotId) {
    let failure = world.outcome(id).await.unwrap_err();
    assert!(matches!(failure, ProvisionFailure::Hindered(_)), "{failure}");
    assert_eq!(*world.around.templates_told.lock().unwrap(), [(template, Some(true))]);
    let second = world.node.later_refusal.lock().unwrap().take();
    assert!(second.is_some(), "another one was asked for");
}

/// Has the node make one more machine, and refuse the next one.
fn one_more(world: &World) {
    let refusal = NodeError::new(ErrorKind::Internal, "that was one");
    *world.node.later_refusal.lock().unwrap() = Some((1, refusal));
}

#[tokio::test]
async fn one_that_is_ended_on_its_way_says_nothing_of_its_template() {
    let (world, slow, template) = with_template_of_slow().await;
    one_more(&world);
    let id = ask_for_newest(&world, slow).await;
    let machine = until(async || {
        let machine = world.worker.instances(slow).first()?.machine;
        world.node.status(machine).filter(|status| status.sequence == 2)?;
        Some(machine)
    })
    .await;
    assert_eq!(world.node.spec(machine).unwrap().snapshot, Some(template));
    world.worker.retire_starting(slow, None);
    only_hindered(&world, id, template).await;
    is_gone(&world, machine).await;
}

#[tokio::test]
async fn one_that_is_not_wanted_any_more_says_nothing_of_its_template() {
    let (world, slow, template) = with_template_of_slow().await;
    one_more(&world);
    let door = world.node.door.lock().await;
    let id = ask_for_newest(&world, slow).await;
    until(async || (world.worker.counts().starting == 1).then_some(())).await;
    world.around.versions.lock().unwrap().remove(&(slow, 1));
    drop(door);
    only_hindered(&world, id, template).await;
    until(async || world.worker.instances(slow).is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_node_that_closes_says_nothing_of_a_template() {
    let (world, slow, template) = with_template_of_slow().await;
    // Nothing else is made.
    *world.node.later_refusal.lock().unwrap() = Some((0, NodeError::new(ErrorKind::Internal, "nothing")));
    *world.node.refusal.lock().unwrap() = Some(NodeError::new(ErrorKind::Unavailable, "the node is closing"));
    let id = ask_for_newest(&world, slow).await;
    only_hindered(&world, id, template).await;
    assert_eq!(world.around.withdrawn.lock().unwrap().len(), 1);
}

/// Waits until so many instances of a function wait, paused; gives their machines.
async fn waiting(world: &World, count: usize) -> Vec<MachineId> {
    until(async || {
        let paused = |spec: &MachineSpec| {
            let status = world.node.status(spec.id);
            status.is_some_and(|status| status.state.word() == StateWord::Paused)
        };
        let specs = world.node.machines().into_iter().filter(paused);
        let machines: Vec<MachineId> = specs.map(|spec| spec.id).collect();
        (machines.len() == count && world.worker.counts().warm == count as u64).then_some(machines)
    })
    .await
}

async fn is_gone(world: &World, machine: MachineId) {
    until(async || world.node.status(machine).is_none().then_some(())).await;
}

/// A world in which instances go on from a template.
async fn with_template() -> (World, FunctionId) {
    let (world, listener) = (World::new().await, listener().await);
    let function = world.listening("serve", &listener);
    // As long as the test.
    Box::leak(Box::new(listener));
    let template = SnapshotId::new();
    *world.around.wanted_template.lock().unwrap() = Some(template);
    world.instance(function).await;
    *world.around.template.lock().unwrap() = Some(template);
    (world, function)
}

#[tokio::test]
async fn an_instance_that_waits_is_had_once() {
    let (world, function) = with_template().await;
    let first = waiting(&world, 1).await[0];
    let key = world.instance(function).await;
    assert_eq!(key.machine, first);
    assert_eq!(world.node.status(first).unwrap().state.word(), StateWord::Running);
    // Nobody else has it, however many ask at once.
    let second = waiting(&world, 1).await[0];
    let (one, other) = tokio::join!(world.ask(function), world.ask(function));
    let had = [world.outcome(one).await.unwrap(), world.outcome(other).await.unwrap()];
    assert_ne!(had[0], had[1]);
    assert!(had.iter().any(|key| key.machine == second));
}

#[tokio::test]
async fn one_that_ended_while_it_waited_is_not_given_out() {
    let (world, function) = with_template().await;
    let waits = waiting(&world, 1).await[0];
    world.node.stop(waits, None).await.unwrap();
    let key = world.instance(function).await;
    assert_ne!(key.machine, waits);
    is_gone(&world, waits).await;
}

#[tokio::test]
async fn those_that_wait_go_where_there_is_no_room() {
    let (world, _) = with_template().await;
    let waits = waiting(&world, 1).await[0];
    let other = world.listening("serve", &listener().await);
    *world.node.refusal.lock().unwrap() = Some(NodeError::new(ErrorKind::NoCapacity, "full"));
    let id = world.ask(other).await;
    world.outcome(id).await.unwrap_err();
    is_gone(&world, waits).await;
    assert_eq!(world.worker.counts().warm, 0);
}

#[tokio::test]
async fn the_next_worker_takes_up_those_that_wait() {
    let (world, function) = with_template().await;
    let waits = waiting(&world, 1).await[0];
    let world = world.restarted().await;
    let key = world.instance(function).await;
    assert_eq!(key.machine, waits);
}

#[tokio::test]
async fn those_that_wait_go_with_their_template() {
    let (world, _) = with_template().await;
    let waits = waiting(&world, 1).await[0];
    *world.around.template.lock().unwrap() = None;
    is_gone(&world, waits).await;
    assert_eq!(world.worker.counts().warm, 0);
}

#[tokio::test]
async fn only_what_went_on_from_the_template_of_now_is_given_out() {
    let (mut world, function) = with_template().await;
    for restarts in [false, true] {
        let old = waiting(&world, 1).await[0];
        let template = SnapshotId::new();
        let request = SnapshotRequest {
            id: template,
            machine: old,
            memory: true,
        };
        world.node.snapshot(request).await.unwrap();
        if restarts {
            world = world.restarted().await;
        }
        // Most likely before anybody looks at those that wait.
        *world.around.template.lock().unwrap() = Some(template);
        let key = world.instance(function).await;
        assert_ne!(key.machine, old);
        assert_eq!(world.node.spec(key.machine).unwrap().snapshot, Some(template));
        is_gone(&world, old).await;
    }
}

#[tokio::test]
async fn those_that_wait_go_with_their_version() {
    let (world, function) = with_template().await;
    let waits = waiting(&world, 1).await[0];
    world.around.versions.lock().unwrap().clear();
    world.worker.retire_starting(function, None);
    is_gone(&world, waits).await;
}

/// The agent of a runtime that waits for its snapshot, and for calls once it was told to go on.
async fn agent_before_its_snapshot() -> (SocketAddr, Arc<AtomicBool>) {
    let listener = listener().await;
    let (address, told) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
    let goes_on = told.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.unwrap_or(0);
            let answer = if head[..read].starts_with(b"POST /_hearth/go-on ") {
                goes_on.store(true, Ordering::SeqCst);
                "HTTP/1.1 204 No Content\r\n\r\n"
            } else if goes_on.load(Ordering::SeqCst) {
                "HTTP/1.1 200 OK\r\nx-hearth-waits-for: calls\r\ncontent-length: 0\r\n\r\n"
            } else {
                "HTTP/1.1 200 OK\r\nx-hearth-waits-for: snapshot\r\ncontent-length: 0\r\n\r\n"
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (address, told)
}

#[tokio::test]
async fn a_runtime_that_waits_for_its_snapshot_goes_on_once_it_is_made() {
    for makes_one in [true, false] {
        let world = World::new().await;
        let (address, told) = agent_before_its_snapshot().await;
        let function = world.function("serve", Contract::Lambda, address.port());
        let template = SnapshotId::new();
        if makes_one {
            *world.around.wanted_template.lock().unwrap() = Some(template);
        }
        world.instance(function).await;
        assert!(told.load(Ordering::SeqCst));
        assert_eq!(world.node.snapshots().await.unwrap().len(), usize::from(makes_one));
    }
}

#[tokio::test]
async fn what_one_project_may_have_is_no_others_business() {
    let (world, _) = with_template().await;
    let waits = waiting(&world, 1).await[0];
    let other = world.listening("serve", &listener().await);
    *world.around.quota_reached.lock().unwrap() = true;
    let id = world.ask(other).await;
    world.outcome(id).await.unwrap_err();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(world.node.status(waits).unwrap().state.word(), StateWord::Paused);
}
