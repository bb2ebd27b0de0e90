//! Snapshots of disks alone: of whom they can be made, what boots with them, and what is refused.

use crate::support::{World, disk, mark, marked, memory, spec, spoil, with_disk};
use hearth_domain::{MachineSpec, NetworkMode, StateWord};
use hearth_driver::fake::{FailurePlan, Step};
use hearth_ids::{MachineId, SnapshotId};
use hearth_node::Node;
use hearth_node_api::{ErrorKind, NodeService, PauseMode, SnapshotInfo, SnapshotRequest};

fn without_memory(machine: MachineId) -> SnapshotRequest {
    SnapshotRequest {
        id: SnapshotId::new(),
        machine,
        memory: false,
    }
}

/// A machine that boots with the disk of a snapshot, and is run by more than the other was.
fn booting(info: &SnapshotInfo) -> MachineSpec {
    let mut spec = MachineSpec {
        id: MachineId::new(),
        snapshot: Some(info.id),
        kernel_id: "another".to_owned(),
        ..info.spec.clone()
    };
    spec.resources.vcpus = 2.try_into().unwrap();
    spec.resources.memory_mib = memory(32);
    spec
}

#[tokio::test]
async fn a_disk_may_grow_and_memory_may_be_left() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, with_disk()).await;
    mark(&disk(&world, id), *b"then");
    let request = SnapshotRequest {
        memory: true,
        ..without_memory(id)
    };
    let info = node.snapshot(request).await.unwrap();
    let sized = |disk: u64| {
        let mut spec = MachineSpec {
            boots: true,
            ..booting(&info)
        };
        spec.resources.disk_mib = Some(disk.try_into().unwrap());
        spec
    };
    let grown = sized(32);
    world.running(&node, grown.clone()).await;
    assert_eq!(&marked(&disk(&world, grown.id)), b"then");
    assert_eq!(std::fs::metadata(disk(&world, grown.id)).unwrap().len(), 32 << 20);
    let request = SnapshotRequest {
        id: SnapshotId::new(),
        machine: grown.id,
        memory: false,
    };
    let larger = node.snapshot(request).await.unwrap();
    let smaller = MachineSpec {
        id: MachineId::new(),
        snapshot: Some(larger.id),
        ..sized(16)
    };
    let error = node.create(smaller).await.unwrap_err();
    assert!(error.message.contains("never gets smaller"), "{error}");
    // Where its memory is wanted, it is as it was.
    let whole = MachineSpec {
        boots: false,
        ..sized(16)
    };
    let error = node.create(whole).await.unwrap_err();
    assert!(error.message.contains("goes on as it was"), "{error}");
    for machine in [id, grown.id] {
        node.remove(machine, true).await.unwrap();
    }
    for snapshot in [info.id, larger.id] {
        node.remove_snapshot(snapshot).await.unwrap();
    }
    world.nothing_is_left(&node).await;
}

/// A field of a machine's record, as a daemon that comes next would read it.
fn recorded(world: &World, machine: MachineId, field: &str) -> serde_json::Value {
    let path = world.machines_dir().join(machine.to_string()).join("state.json");
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    record[field].clone()
}

/// Makes a snapshot of what a machine has on its disk, has the machine write on, and boots another with what it had then.
async fn boots_with_what_was(world: &World, node: &Node, machine: MachineId, state: StateWord) {
    mark(&disk(world, machine), *b"then");
    let info = node.snapshot(without_memory(machine)).await.unwrap();
    assert_eq!(node.status(machine).unwrap().state.word(), state);
    mark(&disk(world, machine), *b"now!");
    let names: Vec<&str> = info.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["disk"], "{state}");
    assert!(!info.has_memory() && !info.programs_held && info.vmm_version.is_empty());

    let copy = booting(&info);
    node.create(copy.clone()).await.unwrap();
    node.remove_snapshot(info.id).await.unwrap();
    let folder = world.machines_dir().join(copy.id.to_string());
    assert!(!folder.join("saved").exists(), "{state}");
    assert_eq!(recorded(world, copy.id, "copied_disk"), true);
    node.start(copy.id).await.unwrap();
    world.is(node, copy.id, StateWord::Running).await;
    assert_eq!(&marked(&disk(world, copy.id)), b"then", "{state}");
    assert_eq!(recorded(world, copy.id, "copied_disk"), false, "it is told once");
    // It is a machine like any: it goes on with its own disk, and snapshots of it come from where it did.
    mark(&disk(world, copy.id), *b"own!");
    node.restart(copy.id, None).await.unwrap();
    world.is(node, copy.id, StateWord::Running).await;
    assert_eq!(&marked(&disk(world, copy.id)), b"own!");
    let whole = SnapshotRequest {
        memory: true,
        ..without_memory(copy.id)
    };
    let grandchild = node.snapshot(whole).await.unwrap();
    assert_eq!(
        (grandchild.has_memory(), &grandchild.parents[..]),
        (true, &[info.id][..])
    );
    node.remove_snapshot(grandchild.id).await.unwrap();
    node.remove(copy.id, true).await.unwrap();
}

#[tokio::test]
async fn machines_boot_with_the_disk_that_another_had() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, with_disk()).await;
    boots_with_what_was(&world, &node, id, StateWord::Running).await;
    assert_eq!(world.driver.paused(id), Some(false), "it stands still");
    node.pause(id, PauseMode::Memory).await.unwrap();
    boots_with_what_was(&world, &node, id, StateWord::Paused).await;
    assert_eq!(world.driver.paused(id), Some(true), "it goes on");
    node.pause(id, PauseMode::Disk).await.unwrap();
    boots_with_what_was(&world, &node, id, StateWord::Paused).await;
    assert!(node.status(id).unwrap().on_disk);
    node.resume(id).await.unwrap();
    node.stop(id, None).await.unwrap();
    boots_with_what_was(&world, &node, id, StateWord::Stopped).await;
    node.remove(id, false).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn a_disk_outlives_the_daemon_and_its_machine() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, with_disk()).await;
    mark(&disk(&world, id), *b"then");
    let info = node.snapshot(without_memory(id)).await.unwrap();
    // Asked for twice, it is made once.
    let again = SnapshotRequest {
        id: info.id,
        ..without_memory(id)
    };
    assert_eq!(node.snapshot(again).await.unwrap(), info);
    let made_before = booting(&info);
    node.create(made_before.clone()).await.unwrap();
    node.remove(id, true).await.unwrap();
    node.close().await;
    let world = world.after_a_crash();
    let node = world.open().await;
    assert_eq!(node.snapshots().await.unwrap(), std::slice::from_ref(&info));
    node.start(made_before.id).await.unwrap();
    world.is(&node, made_before.id, StateWord::Running).await;
    let made_after = booting(&info);
    world.running(&node, made_after.clone()).await;
    for machine in [made_before.id, made_after.id] {
        assert_eq!(&marked(&disk(&world, machine)), b"then");
        node.remove(machine, true).await.unwrap();
    }
    node.remove_snapshot(info.id).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn what_has_no_disk_is_refused() {
    let world = World::new();
    let node = world.open().await;
    let diskless = world.running(&node, spec()).await;
    let refused = node.snapshot(without_memory(diskless)).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::InvalidInput);
    assert!(refused.message.contains("has no disk of its own"), "{refused}");
    assert_eq!(world.driver.paused(diskless), Some(false));
    let new = with_disk();
    node.create(new.clone()).await.unwrap();
    let refused = node.snapshot(without_memory(new.id)).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Conflict);
    assert!(refused.message.contains("has no disk yet"), "{refused}");
    for machine in [diskless, new.id] {
        node.remove(machine, true).await.unwrap();
    }
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn a_disk_lies_over_its_own_image_alone() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, with_disk()).await;
    let info = node.snapshot(without_memory(id)).await.unwrap();
    let refuse = async |change: fn(&mut MachineSpec), word: &str| {
        let mut copy = booting(&info);
        change(&mut copy);
        let error = node.create(copy).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidInput, "{error}");
        assert!(error.message.contains(word), "{error}");
    };
    refuse(|spec| spec.image_id = "other".into(), "image").await;
    refuse(|spec| spec.layers = vec!["more".into()], "layers").await;
    refuse(|spec| spec.resources.disk_mib = None, "disk").await;
    let error = node.rollback(id, info.id).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidInput);
    assert!(error.message.contains("no memory to go on from"), "{error}");
    assert_eq!(node.status(id).unwrap().state.word(), StateWord::Running);

    let saved = world.snapshots_dir().join(info.id.to_string()).join("disk");
    spoil(&saved);
    let error = node.create(booting(&info)).await.unwrap_err();
    assert!(error.message.contains("disk is not what it was"), "{error}");
    spoil(&saved);
    let copy = booting(&info);
    world.running(&node, copy.clone()).await;
    for machine in [id, copy.id] {
        node.remove(machine, true).await.unwrap();
    }
    node.remove_snapshot(info.id).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn a_machine_on_the_bridge_has_a_disk_like_others() {
    let world = World::new();
    let node = world.open().await;
    let bridged = MachineSpec {
        network: NetworkMode::Bridge,
        ..with_disk()
    };
    let id = world.running(&node, bridged).await;
    let info = node.snapshot(without_memory(id)).await.unwrap();
    let copy = booting(&info);
    world.running(&node, copy.clone()).await;
    for machine in [id, copy.id] {
        node.remove(machine, true).await.unwrap();
    }
    node.remove_snapshot(info.id).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn a_copy_that_fails_leaves_the_machine_running_and_nothing_else() {
    for step in [Step::Pause, Step::PauseLate] {
        let world = World::new();
        let node = world.open().await;
        let id = world.running(&node, with_disk()).await;
        world.driver.fail(FailurePlan::next(step));
        let request = without_memory(id);
        assert!(node.snapshot(request).await.is_err());
        world.goes_on(id).await;
        assert_eq!(node.snapshots().await.unwrap(), []);
        assert_eq!(std::fs::read_dir(world.snapshots_dir()).unwrap().count(), 0);
        // The same ID may be tried again.
        node.snapshot(request).await.unwrap();
        node.remove_snapshot(request.id).await.unwrap();
        node.remove(id, true).await.unwrap();
        world.nothing_is_left(&node).await;
    }
}
