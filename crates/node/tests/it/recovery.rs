//! Machines that keep recovery points, and go back to them.

use std::{fs, path::PathBuf, time::Duration};

use hearth_domain::{MachineSpec, MachineState, RecoverPolicy, StateWord};
use hearth_driver::VmmExit;
use hearth_ids::MachineId;
use hearth_node::Node;
use hearth_node_api::{NodeService, PauseMode};

use crate::support::{World, disk, mark, marked, memory, spec, spoil, with_disk};

/// Long enough for what a test does with one recovery point.
const INTERVAL_S: u64 = 3;

fn recoverable() -> MachineSpec {
    MachineSpec {
        recover: RecoverPolicy::snapshot(Some(INTERVAL_S)).unwrap(),
        ..with_disk()
    }
}

/// Its recovery points' folders.
fn points(world: &World, machine: MachineId) -> Vec<PathBuf> {
    let entries = fs::read_dir(world.machines_dir().join(machine.to_string()))
        .unwrap()
        .flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("recovery-"))
        .map(|entry| entry.path())
        .collect()
}

fn made_ms(node: &Node, machine: MachineId) -> Option<u64> {
    node.status(machine).unwrap().recovery_point_unix_ms
}

/// Waits for a recovery point that was made after the last.
async fn next_point(node: &Node, machine: MachineId) {
    let last = made_ms(node, machine);
    for _ in 0..2000 {
        if made_ms(node, machine) > last {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("no recovery point is made");
}

fn crash(world: &World, machine: MachineId) {
    let exit = VmmExit {
        code: None,
        signal: Some(11),
    };
    assert!(world.driver.exit(machine, exit));
}

/// Has the machine crash, and another take all memory as soon as it has given back what it held; that one's ID.
async fn crash_and_fill(world: &World, node: &Node, machine: MachineId) -> MachineId {
    let mut large = spec();
    large.resources.memory_mib = memory(node.info().await.unwrap().capacity.memory_mib);
    crash(world, machine);
    while node.create(large.clone()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    large.id
}

/// Waits until the machine runs in its n-th course.
async fn is_back(node: &Node, machine: MachineId, restarts: u32) {
    for _ in 0..2000 {
        let status = node.status(machine).unwrap();
        if status.state.word() == StateWord::Running && status.restarts == restarts {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it does not come back: {:?}", node.status(machine).unwrap());
}

#[tokio::test]
async fn a_machine_whose_vmm_crashes_goes_back() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, recoverable()).await;
    mark(&disk(&world, id), *b"kept");
    next_point(&node, id).await;
    for restarts in 1..=3 {
        mark(&disk(&world, id), *b"lost");
        crash(&world, id);
        is_back(&node, id, restarts).await;
        assert_eq!(&marked(&disk(&world, id)), b"kept");
        assert_eq!(world.driver.paused(id), Some(false));
        assert_eq!(points(&world, id).len(), 1, "it may need it again");
    }
    // What ends it so soon each time is in what it goes back to.
    crash(&world, id);
    world.is(&node, id, StateWord::Failed).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let MachineState::Failed { reason } = node.status(id).unwrap().state else {
        panic!("it came back once more");
    };
    assert!(reason.contains("signal 11"), "{reason}");
    node.start(id).await.unwrap();
    world.is(&node, id, StateWord::Running).await;
    assert_eq!(made_ms(&node, id), None, "a boot does not follow from it");
    assert!(points(&world, id).is_empty());
    node.remove(id, true).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn recovery_points_replace_each_other_and_end_with_a_course() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, recoverable()).await;
    next_point(&node, id).await;
    mark(&disk(&world, id), *b"new!");
    next_point(&node, id).await;
    for _ in 0..200 {
        if points(&world, id).len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(points(&world, id).len(), 1);
    assert_eq!(node.snapshots().await.unwrap(), [], "it is the machine's own");
    node.pause(id, PauseMode::Disk).await.unwrap();
    assert_eq!(points(&world, id).len(), 1, "it sleeps within its course");
    node.resume(id).await.unwrap();
    crash(&world, id);
    is_back(&node, id, 1).await;
    assert_eq!(&marked(&disk(&world, id)), b"new!");
    node.stop(id, None).await.unwrap();
    world.is(&node, id, StateWord::Stopped).await;
    assert_eq!(made_ms(&node, id), None);
    assert!(points(&world, id).is_empty());
    // By its program's end it stays where it is.
    node.start(id).await.unwrap();
    world.is(&node, id, StateWord::Running).await;
    next_point(&node, id).await;
    assert!(world.driver.exit(id, VmmExit::default()));
    world.is(&node, id, StateWord::Stopped).await;
    assert!(points(&world, id).is_empty());
    node.remove(id, true).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn a_damaged_recovery_point_is_refused() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, recoverable()).await;
    next_point(&node, id).await;
    spoil(&points(&world, id)[0].join("memory"));
    mark(&disk(&world, id), *b"kept");
    crash(&world, id);
    world.is(&node, id, StateWord::Failed).await;
    // Forgotten first, and then removed.
    for _ in 0..1000 {
        if made_ms(&node, id).is_none() && points(&world, id).is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Its disk is not given for one that no memory goes with, and it boots if somebody wants it to.
    assert!(points(&world, id).is_empty());
    assert_eq!(&marked(&disk(&world, id)), b"kept");
    node.start(id).await.unwrap();
    world.is(&node, id, StateWord::Running).await;
    assert_eq!(&marked(&disk(&world, id)), b"kept");
    node.remove(id, true).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn a_machine_that_finds_no_room_goes_back_once_there_is_some() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, recoverable()).await;
    next_point(&node, id).await;
    mark(&disk(&world, id), *b"lost");
    let mut books = node.books();
    assert_eq!(books.borrow().turned_away.times, 0);
    let large = crash_and_fill(&world, &node, id).await;
    // Whoever could make room hears of each try.
    books.wait_for(|books| books.turned_away.times > 1).await.unwrap();
    assert_eq!(node.status(id).unwrap().state.word(), StateWord::Failed);
    node.remove(large, true).await.unwrap();
    world.is(&node, id, StateWord::Running).await;
    assert_ne!(&marked(&disk(&world, id)), b"lost");
    node.remove(id, true).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn who_starts_a_machine_that_is_to_go_back_has_it_go_back() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, recoverable()).await;
    mark(&disk(&world, id), *b"kept");
    next_point(&node, id).await;
    mark(&disk(&world, id), *b"lost");
    let large = crash_and_fill(&world, &node, id).await;
    assert!(node.start(id).await.is_err(), "there is no room");
    node.remove(large, true).await.unwrap();
    node.start(id).await.unwrap();
    world.is(&node, id, StateWord::Running).await;
    assert_eq!(&marked(&disk(&world, id)), b"kept");
    // A stop is the end of it, also where the machine has failed already.
    crash(&world, id);
    world.is(&node, id, StateWord::Failed).await;
    node.stop(id, None).await.unwrap();
    let stays = node.status(id).unwrap();
    if stays.state.word() == StateWord::Failed {
        assert_eq!(stays.recovery_point_unix_ms, None);
    }
    node.remove(id, true).await.unwrap();
    world.nothing_is_left(&node).await;
}
