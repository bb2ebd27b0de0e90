//! Snapshots, forks and sleep: what is kept, what is given back, and what is refused.

use std::fs;

use crate::support::{World, disk, mark, marked, spec, spoil, with_disk};
use hearth_domain::{MachineSpec, RestartPolicy, StateWord};
use hearth_driver::{
    VmmIdentity,
    fake::{FailurePlan, Step},
};
use hearth_ids::{MachineId, SnapshotId};
use hearth_node::Node;
use hearth_node_api::{ErrorKind, NodeService, PauseMode, SnapshotInfo, SnapshotRequest};

/// A machine that goes on from a snapshot.
fn copy_of(info: &SnapshotInfo) -> MachineSpec {
    MachineSpec {
        id: MachineId::new(),
        snapshot: Some(info.id),
        ..info.spec.clone()
    }
}

async fn snapshot(node: &Node, machine: MachineId) -> SnapshotInfo {
    let request = SnapshotRequest {
        id: SnapshotId::new(),
        machine,
        memory: true,
    };
    node.snapshot(request).await.unwrap()
}

#[tokio::test]
async fn a_machine_sleeps_and_wakes() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, with_disk()).await;
    mark(&disk(&world, id), *b"mine");
    for _ in 0..3 {
        node.pause(id, PauseMode::Disk).await.unwrap();
        let status = node.status(id).unwrap();
        assert_eq!(
            (status.state.word(), status.on_disk, status.pid),
            (StateWord::Paused, true, None)
        );
        world.nothing_is_held(&node).await;
        node.pause(id, PauseMode::Disk).await.unwrap();
        node.pause(id, PauseMode::Memory).await.unwrap();
        node.resume(id).await.unwrap();
        node.resume(id).await.unwrap();
        let status = node.status(id).unwrap();
        assert_eq!((status.state.word(), status.on_disk), (StateWord::Running, false));
        assert_eq!(world.driver.paused(id), Some(false));
    }
    assert_eq!(&marked(&disk(&world, id)), b"mine");
    // One that is paused already goes to disk as well.
    node.pause(id, PauseMode::Memory).await.unwrap();
    node.pause(id, PauseMode::Disk).await.unwrap();
    assert_eq!(world.driver.living(), 0);
    node.remove(id, true).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn a_sleeper_ends_as_others_do() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, spec()).await;
    node.pause(id, PauseMode::Disk).await.unwrap();
    node.stop(id, None).await.unwrap();
    world.is(&node, id, StateWord::Stopped).await;
    node.start(id).await.unwrap();
    world.is(&node, id, StateWord::Running).await;
    node.pause(id, PauseMode::Disk).await.unwrap();
    assert_eq!(node.kill(id, 15).await.unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(node.remove(id, false).await.unwrap_err().kind, ErrorKind::Conflict);
    node.restart(id, None).await.unwrap();
    world.is(&node, id, StateWord::Running).await;
    node.pause(id, PauseMode::Disk).await.unwrap();
    node.kill(id, 9).await.unwrap();
    world.is(&node, id, StateWord::Stopped).await;
    let saved = world.machines_dir().join(id.to_string()).join("saved");
    assert!(!saved.exists());
    node.remove(id, false).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn a_sleeper_outlives_its_daemon() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, with_disk()).await;
    node.pause(id, PauseMode::Disk).await.unwrap();
    node.close().await;
    let world = world.after_a_crash();
    let node = world.open().await;
    assert!(node.status(id).unwrap().on_disk);
    world.nothing_is_held(&node).await;
    node.resume(id).await.unwrap();
    assert_eq!(node.status(id).unwrap().state.word(), StateWord::Running);
    node.remove(id, true).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn a_sleep_that_fails_leaves_the_machine_running() {
    for step in [Step::Pause, Step::PauseLate, Step::Save] {
        let world = World::new();
        let node = world.open().await;
        let id = world.running(&node, spec()).await;
        world.driver.fail(FailurePlan::next(step));
        assert!(node.pause(id, PauseMode::Disk).await.is_err());
        assert_eq!(node.status(id).unwrap().state.word(), StateWord::Running);
        world.goes_on(id).await;
        let folder = world.machines_dir().join(id.to_string());
        assert!(!folder.join("saved").exists() && !folder.join(".saving").exists());
        node.remove(id, true).await.unwrap();
        world.nothing_is_left(&node).await;
    }
}

#[tokio::test]
async fn a_machine_that_cannot_wake_sleeps_on() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, spec()).await;
    node.pause(id, PauseMode::Disk).await.unwrap();
    world.driver.fail(FailurePlan::next(Step::Restore));
    let error = node.resume(id).await.unwrap_err();
    assert!(error.message.contains("stays paused"), "{error}");
    assert!(node.status(id).unwrap().on_disk);
    world.nothing_is_held(&node).await;
    node.resume(id).await.unwrap();
    node.pause(id, PauseMode::Disk).await.unwrap();
    // What was spoiled is refused before a VMM sees it, and nothing of it is lost by the try.
    let saved = world.machines_dir().join(id.to_string()).join("saved");
    for part in ["memory", "devices", "manifest.json", "manifest.mac"] {
        spoil(&saved.join(part));
        let error = node.resume(id).await.unwrap_err();
        assert!(
            error.message.contains(part) || error.message.contains("manifest"),
            "{part}: {error}"
        );
        assert!(node.status(id).unwrap().on_disk);
        spoil(&saved.join(part));
    }
    node.resume(id).await.unwrap();
    node.remove(id, true).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn copies_go_on_from_a_snapshot() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, with_disk()).await;
    mark(&disk(&world, id), *b"then");
    let info = snapshot(&node, id).await;
    assert_eq!(world.driver.paused(id), Some(false));
    mark(&disk(&world, id), *b"now!");
    let names: Vec<&str> = info.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["memory", "devices", "disk"]);
    // Asked for twice, it is made once.
    let again = SnapshotRequest {
        id: info.id,
        machine: id,
        memory: true,
    };
    assert_eq!(node.snapshot(again).await.unwrap(), info);
    assert_eq!(node.snapshots().await.unwrap(), std::slice::from_ref(&info));

    let copies = [copy_of(&info), copy_of(&info)];
    for copy in &copies {
        node.create(copy.clone()).await.unwrap();
    }
    // From here on the copies need neither the snapshot nor their source.
    node.remove(id, true).await.unwrap();
    node.remove_snapshot(info.id).await.unwrap();
    node.remove_snapshot(info.id).await.unwrap();
    for copy in &copies {
        node.start(copy.id).await.unwrap();
        world.is(&node, copy.id, StateWord::Running).await;
        assert_eq!(world.driver.paused(copy.id), Some(false));
        assert_eq!(&marked(&disk(&world, copy.id)), b"then");
    }
    let grandchild = snapshot(&node, copies[0].id).await;
    assert_eq!(grandchild.parents, [info.id]);
    node.remove_snapshot(grandchild.id).await.unwrap();
    for copy in &copies {
        // Its next start is a boot.
        node.restart(copy.id, None).await.unwrap();
        world.is(&node, copy.id, StateWord::Running).await;
        node.remove(copy.id, true).await.unwrap();
    }
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn a_snapshot_holds_its_image_until_it_is_removed() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, spec()).await;
    let info = snapshot(&node, id).await;
    node.remove(id, true).await.unwrap();
    node.close().await;
    let world = world.after_a_crash();
    let node = world.open().await;
    assert_eq!(hearth_node::Roots::holders(&*world.roots).unwrap().len(), 1);
    let copy = copy_of(&info);
    world.running(&node, copy.clone()).await;
    node.remove(copy.id, true).await.unwrap();
    node.remove_snapshot(info.id).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn sleepers_and_paused_machines_have_snapshots_too() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, with_disk()).await;
    mark(&disk(&world, id), *b"then");
    for mode in [PauseMode::Memory, PauseMode::Disk] {
        node.pause(id, mode).await.unwrap();
        let info = snapshot(&node, id).await;
        assert_eq!(node.status(id).unwrap().state.word(), StateWord::Paused);
        let copy = copy_of(&info);
        world.running(&node, copy.clone()).await;
        assert_eq!(&marked(&disk(&world, copy.id)), b"then");
        node.remove(copy.id, true).await.unwrap();
        node.remove_snapshot(info.id).await.unwrap();
    }
    node.resume(id).await.unwrap();
    node.remove(id, true).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn what_is_not_as_it_was_is_refused() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, with_disk()).await;
    let info = snapshot(&node, id).await;
    let refuse = async |change: fn(&mut MachineSpec), word: &str| {
        let mut copy = copy_of(&info);
        change(&mut copy);
        let error = node.create(copy).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidInput, "{error}");
        assert!(error.message.contains(word), "{error}");
    };
    refuse(|spec| spec.image_id = "other".into(), "image").await;
    refuse(|spec| spec.kernel_id = "other".into(), "kernel").await;
    refuse(|spec| spec.resources.vcpus = 2.try_into().unwrap(), "cpus").await;
    refuse(|spec| spec.resources.memory_mib = 32.try_into().unwrap(), "memory").await;
    refuse(|spec| spec.resources.disk_mib = None, "disk").await;
    refuse(|spec| spec.network = hearth_domain::NetworkMode::Bridge, "bridge").await;
    let unknown = SnapshotId::new();
    let mut copy = copy_of(&info);
    copy.snapshot = Some(unknown);
    assert_eq!(node.create(copy).await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(node.rollback(id, unknown).await.unwrap_err().kind, ErrorKind::NotFound);

    let folder = world.snapshots_dir().join(info.id.to_string());
    spoil(&folder.join("disk"));
    let error = node.create(copy_of(&info)).await.unwrap_err();
    assert!(error.message.contains("disk is not what it was"), "{error}");
    spoil(&folder.join("disk"));
    // Memory and devices are compared when the machine starts.
    spoil(&folder.join("memory"));
    let copy = copy_of(&info);
    node.create(copy.clone()).await.unwrap();
    node.start(copy.id).await.unwrap();
    world.is(&node, copy.id, StateWord::Failed).await;
    let told = node.status(copy.id).unwrap();
    let reason = told.history.last().unwrap().reason.clone().unwrap();
    assert!(reason.contains("memory is not what it was"), "{reason}");
    spoil(&folder.join("memory"));
    node.start(copy.id).await.unwrap();
    world.is(&node, copy.id, StateWord::Running).await;
    node.remove(copy.id, true).await.unwrap();
    node.remove(id, true).await.unwrap();
    node.remove_snapshot(info.id).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn what_was_saved_elsewhere_is_refused() {
    let world = World::new();
    let node = world.open().await;
    let features = |names: &[&str]| VmmIdentity {
        version: "1".into(),
        accelerator: "kvm".into(),
        cpu_features: names.iter().map(|name| (*name).to_owned()).collect(),
    };
    world.driver.pose_as(features(&["avx", "avx512f"]));
    let id = world.running(&node, spec()).await;
    let info = snapshot(&node, id).await;
    assert_eq!(info.cpu_features, ["avx", "avx512f"]);
    let made_before = copy_of(&info);
    node.create(made_before.clone()).await.unwrap();
    node.pause(id, PauseMode::Disk).await.unwrap();
    for (here, word) in [
        (features(&["avx"]), "processor lacks avx512f"),
        (
            VmmIdentity {
                version: "2".into(),
                ..features(&["avx", "avx512f"])
            },
            "version 1",
        ),
        (
            VmmIdentity {
                accelerator: "tcg".into(),
                ..features(&["avx", "avx512f"])
            },
            "kvm",
        ),
    ] {
        world.driver.pose_as(here);
        let living = world.driver.living();
        for error in [
            node.create(copy_of(&info)).await.unwrap_err(),
            node.resume(id).await.unwrap_err(),
            node.rollback(id, info.id).await.unwrap_err(),
        ] {
            assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
            assert!(error.message.contains(word), "{error}");
        }
        node.start(made_before.id).await.unwrap();
        world.is(&node, made_before.id, StateWord::Failed).await;
        assert_eq!(world.driver.living(), living, "a VMM saw it");
    }
    // What has more is fine.
    world.driver.pose_as(features(&["amx_tile", "avx", "avx512f"]));
    node.resume(id).await.unwrap();
    node.start(made_before.id).await.unwrap();
    world.is(&node, made_before.id, StateWord::Running).await;
    for machine in [id, made_before.id] {
        node.remove(machine, true).await.unwrap();
    }
    node.remove_snapshot(info.id).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn damaged_snapshots_are_seen_when_the_node_comes_up() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, spec()).await;
    let (cut, forged, whole) = (
        snapshot(&node, id).await,
        snapshot(&node, id).await,
        snapshot(&node, id).await,
    );
    node.remove(id, true).await.unwrap();
    node.close().await;
    let path = |info: &SnapshotInfo| world.snapshots_dir().join(info.id.to_string());
    let memory = fs::OpenOptions::new()
        .write(true)
        .open(path(&cut).join("memory"))
        .unwrap();
    memory.set_len(3).unwrap();
    spoil(&path(&forged).join("manifest.json"));
    fs::create_dir(world.snapshots_dir().join(".making-half")).unwrap();
    let world = world.after_a_crash();
    let node = world.open().await;
    assert_eq!(node.snapshots().await.unwrap(), std::slice::from_ref(&whole));
    for (info, word) in [(&cut, "has 3 bytes"), (&forged, "was not written by this node")] {
        let error = node.create(copy_of(info)).await.unwrap_err();
        assert!(error.message.contains(word), "{error}");
    }
    for info in [&cut, &forged, &whole] {
        node.remove_snapshot(info.id).await.unwrap();
    }
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn a_snapshot_that_fails_leaves_the_machine_running_and_nothing_else() {
    for step in [Step::Pause, Step::PauseLate, Step::Save] {
        let world = World::new();
        let node = world.open().await;
        let id = world.running(&node, spec()).await;
        world.driver.fail(FailurePlan::next(step));
        let request = SnapshotRequest {
            id: SnapshotId::new(),
            machine: id,
            memory: true,
        };
        assert!(node.snapshot(request).await.is_err());
        world.goes_on(id).await;
        assert_eq!(node.snapshots().await.unwrap(), []);
        // The same ID may be tried again.
        node.snapshot(request).await.unwrap();
        node.remove_snapshot(request.id).await.unwrap();
        node.stop(id, None).await.unwrap();
        let request = SnapshotRequest {
            id: SnapshotId::new(),
            machine: id,
            memory: true,
        };
        assert_eq!(node.snapshot(request).await.unwrap_err().kind, ErrorKind::Conflict);
        node.remove(id, true).await.unwrap();
        world.nothing_is_left(&node).await;
    }
}

#[tokio::test]
async fn a_machine_goes_back() {
    let world = World::new();
    let node = world.open().await;
    // A policy must not bring it back by a boot in between.
    let spec = MachineSpec {
        restart: RestartPolicy::Always,
        ..with_disk()
    };
    let id = world.running(&node, spec).await;
    mark(&disk(&world, id), *b"then");
    let info = snapshot(&node, id).await;
    let prepare: [(&str, Option<PauseMode>, bool); 4] = [
        ("running", None, false),
        ("paused", Some(PauseMode::Memory), false),
        ("asleep", Some(PauseMode::Disk), false),
        ("stopped", None, true),
    ];
    for (case, pause, stop) in prepare {
        mark(&disk(&world, id), *b"now!");
        if let Some(mode) = pause {
            node.pause(id, mode).await.unwrap();
        }
        if stop {
            node.stop(id, None).await.unwrap();
        }
        node.rollback(id, info.id).await.unwrap();
        world.is(&node, id, StateWord::Running).await;
        assert_eq!(&marked(&disk(&world, id)), b"then", "{case}");
        assert_eq!(world.driver.paused(id), Some(false), "{case}");
    }
    node.remove_snapshot(info.id).await.unwrap();
    node.remove(id, true).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn two_ways_back_at_once_do_not_mix() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, with_disk()).await;
    let mut made = Vec::new();
    for text in [*b"one ", *b"two "] {
        mark(&disk(&world, id), text);
        made.push((snapshot(&node, id).await, text));
    }
    for _ in 0..5 {
        let (first, second) = (node.rollback(id, made[0].0.id), node.rollback(id, made[1].0.id));
        let outcomes = tokio::join!(first, second);
        assert!(outcomes.0.is_ok() || outcomes.1.is_ok(), "{outcomes:?}");
        world.is(&node, id, StateWord::Running).await;
        let found = marked(&disk(&world, id));
        assert!(made.iter().any(|(_, text)| *text == found), "{found:?}");
    }
    for (info, _) in made {
        node.remove_snapshot(info.id).await.unwrap();
    }
    node.remove(id, true).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn a_way_back_that_finds_no_room_starts_nothing_later() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, spec()).await;
    let info = snapshot(&node, id).await;
    node.stop(id, None).await.unwrap();
    // All the memory that there is.
    let capacity = node.info().await.unwrap().capacity.memory_mib;
    let mut all = spec();
    all.resources.memory_mib = crate::support::memory(capacity);
    let all = world.running(&node, all).await;
    assert_eq!(
        node.rollback(id, info.id).await.unwrap_err().kind,
        ErrorKind::NoCapacity
    );
    node.remove(all, true).await.unwrap();
    node.close().await;
    let world = world.after_a_crash();
    let node = world.open().await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(node.status(id).unwrap().state.word(), StateWord::Stopped);
    // Nothing was given for what found no room, nor is it taken up later: it boots.
    let parents = node.snapshots().await.unwrap();
    assert_eq!(parents.len(), 1);
    assert!(!world.machines_dir().join(id.to_string()).join("rollback").exists());
    assert!(!world.machines_dir().join(id.to_string()).join("saved").exists());
    node.start(id).await.unwrap();
    world.is(&node, id, StateWord::Running).await;
    node.remove(id, true).await.unwrap();
    node.remove_snapshot(info.id).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn a_machine_on_the_bridge_sleeps_and_goes_on_from_nothing_else() {
    let world = World::new();
    let node = world.open().await;
    let bridged = hearth_domain::MachineSpec {
        network: hearth_domain::NetworkMode::Bridge,
        ..spec()
    };
    let recoverable = hearth_domain::MachineSpec {
        recover: hearth_domain::RecoverPolicy::snapshot(Some(60)).unwrap(),
        ..bridged.clone()
    };
    let refused = node.create(recoverable).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::InvalidInput);
    let machine = world.running(&node, bridged).await;
    let id = SnapshotId::new();
    let refused = node
        .snapshot(SnapshotRequest {
            id,
            machine,
            memory: true,
        })
        .await
        .unwrap_err();
    assert_eq!(refused.kind, ErrorKind::InvalidInput);
    assert!(refused.message.contains("bridge"), "{refused}");
    for mode in [PauseMode::Disk, PauseMode::Memory] {
        node.pause(machine, mode).await.unwrap();
        // Whoever waits for it to run would wait for ever.
        let refused = node.start(machine).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Conflict);
        node.resume(machine).await.unwrap();
        world.is(&node, machine, StateWord::Running).await;
    }
    node.start(machine).await.unwrap();
    node.remove(machine, true).await.unwrap();
    world.nothing_is_left(&node).await;
}
