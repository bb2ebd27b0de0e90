//! Machines: their lives, their failures, and what the next node finds of them.

use std::{fs, time::Duration};

use crate::support::{World, memory, spec};
use futures::StreamExt;
use hearth_domain::{Allocation, MachineSpec, RestartPolicy, StateWord};
use hearth_driver::{
    Unusable, VmmExit,
    fake::{FailurePlan, Step},
};
use hearth_ids::MachineId;
use hearth_node::{Holder, Roots as _};
use hearth_node_api::{ErrorKind, ExecRequest, LogQuery, NodeService, PauseMode};

#[tokio::test]
async fn a_machine_lives_and_is_gone() {
    let world = World::new();
    let node = world.open().await;
    let spec = spec();
    let id = spec.id;
    node.create(spec.clone()).await.unwrap();
    // Twice is once.
    node.create(spec).await.unwrap();
    world.is(&node, id, StateWord::Pending).await;
    node.start(id).await.unwrap();
    world.is(&node, id, StateWord::Running).await;
    assert_eq!(world.driver.living(), 1);
    node.pause(id, PauseMode::Memory).await.unwrap();
    assert_eq!(world.driver.paused(id), Some(true));
    node.resume(id).await.unwrap();
    node.stop(id, None).await.unwrap();
    world.is(&node, id, StateWord::Stopped).await;
    world.nothing_is_held(&node).await;
    node.start(id).await.unwrap();
    world.is(&node, id, StateWord::Running).await;
    node.remove(id, true).await.unwrap();
    node.remove(id, true).await.unwrap();
    assert!(node.status(id).is_none());
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn a_start_that_fails_gives_all_back() {
    for step in [Step::Start, Step::StartLate] {
        let world = World::new();
        let node = world.open().await;
        let spec = spec();
        let id = spec.id;
        node.create(spec).await.unwrap();
        world.driver.fail(FailurePlan::next(step));
        node.start(id).await.unwrap();
        world.is(&node, id, StateWord::Failed).await;
        let status = node.status(id).unwrap();
        assert!(status.history.last().unwrap().reason.is_some(), "{status:?}");
        world.nothing_is_held(&node).await;
        // What failed once may work the next time.
        node.start(id).await.unwrap();
        world.is(&node, id, StateWord::Running).await;
        node.remove(id, true).await.unwrap();
        world.nothing_is_left(&node).await;
    }
}

#[tokio::test]
async fn what_cannot_be_given_back_at_once_is_tried_again() {
    for step in [Step::Kill, Step::Clean, Step::Power] {
        let world = World::new();
        let node = world.open().await;
        let id = world.running(&node, spec()).await;
        world.driver.fail(FailurePlan::next(step));
        node.stop(id, Some(10)).await.unwrap();
        world.nothing_is_held(&node).await;
        node.remove(id, false).await.unwrap();
        world.nothing_is_left(&node).await;
    }
}

#[tokio::test]
async fn a_pause_that_fails_changes_nothing() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, spec()).await;
    world.driver.fail(FailurePlan::next(Step::Pause));
    assert!(node.pause(id, PauseMode::Memory).await.is_err());
    assert_eq!(node.status(id).unwrap().state.word(), StateWord::Running);
    node.pause(id, PauseMode::Memory).await.unwrap();
    world.driver.fail(FailurePlan::next(Step::Resume));
    assert!(node.resume(id).await.is_err());
    assert_eq!(node.status(id).unwrap().state.word(), StateWord::Paused);
    node.resume(id).await.unwrap();
    node.remove(id, true).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn wrong_commands_are_refused() {
    let world = World::new();
    let node = world.open().await;
    let spec = spec();
    let id = spec.id;
    node.create(spec).await.unwrap();
    for refused in [
        node.pause(id, PauseMode::Memory).await,
        node.resume(id).await,
        node.kill(id, 15).await,
    ] {
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Conflict);
    }
    node.start(id).await.unwrap();
    world.is(&node, id, StateWord::Running).await;
    node.start(id).await.unwrap();
    assert_eq!(node.remove(id, false).await.unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(
        node.exec(id, ExecRequest::default()).await.err().unwrap().kind,
        ErrorKind::Conflict
    );
    let nobody = MachineId::new();
    assert_eq!(node.start(nobody).await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(node.stop(nobody, None).await.unwrap_err().kind, ErrorKind::NotFound);
    node.kill(id, 9).await.unwrap();
    world.is(&node, id, StateWord::Stopped).await;
    node.stop(id, None).await.unwrap();
    node.remove(id, false).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn who_does_not_fit_is_refused_before_anything_is_made() {
    let world = World::new();
    let node = world.open().await;
    let mut books = node.books();
    let nothing_held = *books.borrow_and_update();
    let capacity = nothing_held.capacity.memory_mib;
    let mut large = spec();
    large.resources.memory_mib = memory(capacity - 16);
    let (id, held) = (large.id, nothing_held.allocation.plus(&large.resources));
    node.create(large).await.unwrap();
    assert!(books.has_changed().unwrap());
    assert_eq!(books.borrow_and_update().allocation, held);
    let mut second = spec();
    second.resources.memory_mib = memory(32);
    let refused = node.create(second.clone()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NoCapacity);
    assert_eq!(world.folders(), [id.to_string()]);
    assert!(!books.has_changed().unwrap(), "who is refused holds nothing");
    node.remove(id, false).await.unwrap();
    assert!(books.has_changed().unwrap());
    assert_eq!(*books.borrow_and_update(), nothing_held);
    world.running(&node, second.clone()).await;
    node.stop(second.id, None).await.unwrap();
    assert_eq!(*books.borrow(), nothing_held, "what is at rest holds nothing");
    node.remove(second.id, false).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn a_port_is_of_one_machine_from_its_making_until_it_rests() {
    let world = World::new();
    let node = world.open().await;
    let publishes = |port: &str| hearth_domain::MachineSpec {
        ports: vec![port.parse().unwrap()],
        ..spec()
    };
    let first = publishes("8080:80");
    node.create(first.clone()).await.unwrap();
    let refused = node.create(publishes("127.0.0.1:8080:81")).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Conflict);
    assert!(
        refused.message.contains("8080") && refused.message.contains(first.name.as_str()),
        "{refused}"
    );
    assert_eq!(world.folders(), [first.id.to_string()]);
    node.create(first.clone()).await.unwrap();
    node.start(first.id).await.unwrap();
    world.is(&node, first.id, StateWord::Running).await;
    node.stop(first.id, None).await.unwrap();

    // At rest it holds none; it may find it taken when it starts again.
    let second = publishes("8080:82");
    node.create(second.clone()).await.unwrap();
    assert_eq!(node.start(first.id).await.unwrap_err().kind, ErrorKind::Conflict);
    node.remove(second.id, true).await.unwrap();
    node.start(first.id).await.unwrap();
    node.remove(first.id, true).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn a_disk_that_the_file_system_cannot_hold_is_refused_with_what_is_free() {
    let world = World::new();
    let node = world.open().await;
    let with_disk = |mib: u64| {
        let mut spec = spec();
        spec.resources.disk_mib = Some(mib.try_into().unwrap());
        spec
    };
    let refused = node.create(with_disk(16_777_216)).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NoCapacity);
    assert!(
        refused.message.contains("16777216 MiB") && refused.message.contains("MiB free"),
        "{refused}"
    );
    world.nothing_is_left(&node).await;

    // Sparse, hence not yet taken, and yet promised: also by one at rest, and also after the node went down.
    let stat = rustix::fs::statvfs(world.machines_dir()).unwrap();
    let most = ((stat.f_bavail * stat.f_frsize) >> 20) * 6 / 10;
    let first = with_disk(most);
    let id = world.running(&node, first).await;
    node.stop(id, None).await.unwrap();
    assert_eq!(
        node.create(with_disk(most)).await.unwrap_err().kind,
        ErrorKind::NoCapacity
    );
    node.start(id).await.unwrap();
    world.is(&node, id, StateWord::Running).await;
    node.stop(id, None).await.unwrap();
    node.close().await;
    drop(node);
    let node = world.open().await;
    assert_eq!(
        node.create(with_disk(most)).await.unwrap_err().kind,
        ErrorKind::NoCapacity
    );
    node.remove(id, true).await.unwrap();
    let second = with_disk(most);
    node.create(second.clone()).await.unwrap();
    node.remove(second.id, true).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn a_driver_that_its_host_cannot_carry_is_refused_and_said() {
    let world = World::new();
    let node = world.open().await;
    let made_before = spec();
    node.create(made_before.clone()).await.unwrap();
    world.driver.lack(Some(Unusable {
        reason: "no such thing".to_owned(),
        advice: "buy one".to_owned(),
    }));
    for refused in [node.create(spec()).await, node.start(made_before.id).await] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Unavailable);
        assert_eq!(
            refused.message,
            "driver fake cannot be used on this node: no such thing; buy one"
        );
    }
    assert_eq!(world.folders(), [made_before.id.to_string()]);
    let shown = node.info().await.unwrap().drivers;
    assert_eq!(shown[0].unusable.as_deref(), Some("no such thing"));
    world.driver.lack(None);
    node.start(made_before.id).await.unwrap();
    world.is(&node, made_before.id, StateWord::Running).await;
    assert_eq!(node.info().await.unwrap().drivers[0].unusable, None);
    node.remove(made_before.id, true).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn an_image_that_is_gone_leaves_nothing_behind() {
    let world = World::new();
    let node = world.open().await;
    let mut spec = spec();
    spec.image_id = "gone".to_owned();
    assert_eq!(node.create(spec).await.unwrap_err().kind, ErrorKind::NotFound);
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn a_policy_restarts_with_pauses_that_grow() {
    let world = World::new();
    let node = world.open().await;
    let mut spec = spec();
    spec.restart = RestartPolicy::OnFailure { max: Some(3) };
    let id = world.running(&node, spec).await;
    // It ran once; then it never comes up. That must not count as the first run going on.
    world.driver.fail(FailurePlan {
        times: 100,
        ..FailurePlan::next(Step::Start)
    });
    let before = tokio::time::Instant::now();
    node.kill(id, 9).await.unwrap();
    node.start(id).await.unwrap();
    let mut watched = node.watch(id).unwrap();
    watched
        .wait_for(|status| status.restarts == 3 && status.state.is_at_rest())
        .await
        .unwrap();
    // 100 + 200 + 400 ms.
    assert!(before.elapsed() >= Duration::from_millis(700), "{:?}", before.elapsed());
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(node.status(id).unwrap().restarts, 3);
    world.nothing_is_held(&node).await;
    node.remove(id, false).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn always_is_until_someone_stops_it() {
    let world = World::new();
    let node = world.open().await;
    let mut spec = spec();
    spec.restart = RestartPolicy::Always;
    let id = world.running(&node, spec).await;
    assert!(world.driver.exit(id, VmmExit::default()));
    let mut watched = node.watch(id).unwrap();
    watched
        .wait_for(|status| status.restarts == 1 && status.state.word() == StateWord::Running)
        .await
        .unwrap();
    node.stop(id, None).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(node.status(id).unwrap().state.word(), StateWord::Stopped);
    node.remove(id, false).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn who_removes_itself_is_gone_and_its_readers_end() {
    let world = World::new();
    let node = world.open().await;
    let mut spec = spec();
    spec.auto_remove = true;
    let id = spec.id;
    node.create(spec).await.unwrap();
    let attached = node.attach(id).await.unwrap();
    node.start(id).await.unwrap();
    world.is(&node, id, StateWord::Running).await;
    let follow = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    let logs = node.logs(id, follow).await.unwrap();
    assert!(world.driver.exit(id, VmmExit::default()));
    world.is_gone(&node, id).await;
    for mut output in [attached.output, logs] {
        let ended = tokio::time::timeout(Duration::from_secs(5), output.next())
            .await
            .unwrap();
        assert!(ended.is_none());
    }
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn a_restart_keeps_even_one_that_removes_itself() {
    let world = World::new();
    let node = world.open().await;
    let mut spec = spec();
    spec.auto_remove = true;
    let id = world.running(&node, spec).await;
    let first = node.status(id).unwrap();
    for _ in 0..5 {
        node.restart(id, Some(0)).await.unwrap();
        world.is(&node, id, StateWord::Running).await;
    }
    assert!(node.status(id).unwrap().sequence > first.sequence);
    // With a stop beside it, it is gone, and whoever wanted it to run on hears so.
    let (restarted, stopped) = tokio::join!(node.restart(id, Some(0)), node.stop(id, Some(0)));
    stopped.unwrap();
    if let Err(error) = restarted {
        assert!(matches!(error.kind, ErrorKind::Conflict), "{error}");
        world.is_gone(&node, id).await;
    } else {
        node.remove(id, true).await.unwrap();
    }
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn who_comes_to_a_machine_on_its_way_out_is_told_so() {
    let world = World::new();
    let node = world.open().await;
    let mut spec = spec();
    spec.auto_remove = true;
    let id = world.running(&node, spec).await;
    // What holds the removal up for a while.
    world.driver.fail(FailurePlan {
        times: 2,
        ..FailurePlan::next(Step::Clean)
    });
    assert!(world.driver.exit(id, VmmExit::default()));
    // That it is to end is no longer a matter of dispute.
    let (stopped, killed, ()) = tokio::join!(
        node.stop(id, None),
        node.kill(id, 9),
        world.is_gone_or_conflicts(&node, id)
    );
    stopped.unwrap();
    killed.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn the_next_node_goes_on_with_what_was_to_follow_the_end() {
    for (again, gone) in [(true, false), (false, true)] {
        let world = World::new();
        let node = world.open().await;
        let mut spec = spec();
        spec.auto_remove = true;
        let id = spec.id;
        node.create(spec).await.unwrap();
        node.close().await;
        drop(node);
        // As a daemon leaves it that dies right after a machine came to rest.
        let path = world.machines_dir().join(id.to_string()).join("state.json");
        let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        record["state"] = serde_json::json!({"state": "stopped", "exit": {}});
        record["again"] = again.into();
        fs::write(&path, record.to_string()).unwrap();
        let node = world.open().await;
        if gone {
            world.is_gone(&node, id).await;
        } else {
            world.is(&node, id, StateWord::Running).await;
            node.remove(id, true).await.unwrap();
        }
        world.nothing_is_left(&node).await;
    }
}

#[tokio::test]
async fn a_stop_while_it_starts_stops_it() {
    let world = World::new();
    let node = world.open().await;
    for _ in 0..20 {
        let spec = spec();
        let id = spec.id;
        node.create(spec).await.unwrap();
        let (started, stopped) = tokio::join!(node.start(id), node.stop(id, Some(0)));
        started.unwrap();
        stopped.unwrap();
        node.stop(id, Some(0)).await.unwrap();
        world.is(&node, id, StateWord::Stopped).await;
        node.remove(id, false).await.unwrap();
    }
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn all_at_once_and_all_away() {
    let world = World::new();
    let node = world.open().await;
    let ids: Vec<_> = (0..50).map(|_| spec()).collect();
    let lives = ids.into_iter().map(|spec| {
        let (node, world) = (&node, &world);
        async move {
            let id = world.running(node, spec).await;
            let (killed, removed) = tokio::join!(node.kill(id, 9), node.remove(id, true));
            // One of both may find it gone.
            let _ = killed;
            removed.unwrap();
        }
    });
    futures::future::join_all(lives).await;
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn the_next_node_reports_a_vmm_that_is_gone() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, spec()).await;
    let mut again = spec();
    again.restart = RestartPolicy::Always;
    let again = world.running(&node, again).await;
    let rests = spec();
    node.create(rests.clone()).await.unwrap();
    node.close().await;
    drop(node);

    // Its machines ended with their process.
    let world = world.after_a_crash();
    let node = world.open().await;
    world.is(&node, id, StateWord::Failed).await;
    let reason = node.status(id).unwrap().history.last().unwrap().reason.clone();
    assert!(reason.is_some_and(|reason| reason.contains("while the daemon was away")));
    world.is(&node, again, StateWord::Running).await;
    assert_eq!(node.status(rests.id).unwrap().state.word(), StateWord::Pending);
    for id in [id, again, rests.id] {
        node.remove(id, true).await.unwrap();
    }
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn the_next_node_adopts_what_lives() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, spec()).await;
    node.close().await;
    drop(node);
    let node = world.open().await;
    assert_eq!(node.status(id).unwrap().state.word(), StateWord::Running);
    assert_ne!(node.info().await.unwrap().allocation, Allocation::default());
    node.stop(id, None).await.unwrap();
    node.remove(id, false).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn the_next_node_clears_away_what_was_half_made() {
    let world = World::new();
    let node = world.open().await;
    let broken = world.running(&node, spec()).await;
    let unknown = world.running(&node, spec()).await;
    node.close().await;
    drop(node);
    let machines = world.machines_dir();
    for half in [".making-mch", ".going-mch", "nonsense"] {
        fs::create_dir(machines.join(half)).unwrap();
        fs::write(machines.join(half).join("disk.ext4"), "x").unwrap();
    }
    fs::write(machines.join("stray"), "x").unwrap();
    fs::write(machines.join(broken.to_string()).join("state.json"), "{").unwrap();
    fs::write(machines.join(unknown.to_string()).join("spec.json"), "{").unwrap();
    // Held for a machine whose folder was never written.
    world.roots.hold_for(MachineId::new());
    let node = world.open().await;
    let ids: Vec<MachineId> = node.machines().into_iter().map(|spec| spec.id).collect();
    assert_eq!(ids, [broken]);
    let mut status = node.watch(broken).unwrap();
    let failed = status.wait_for(|status| status.state.word() == StateWord::Failed).await;
    assert!(format!("{:?}", failed.unwrap().state).contains("record cannot be read"));
    node.remove(broken, false).await.unwrap();
    world.nothing_is_left(&node).await;
    node.close().await;
}

#[tokio::test]
async fn the_next_node_takes_back_what_a_machine_at_rest_kept() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, spec()).await;
    node.stop(id, None).await.unwrap();
    node.close().await;
    drop(node);
    // As a node leaves it that gave up.
    let vmm = world.machines_dir().join(id.to_string()).join("vmm");
    fs::create_dir_all(&vmm).unwrap();
    let node = world.open().await;
    assert!(!vmm.exists());
    node.remove(id, false).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn an_order_to_close_is_heard_in_the_middle_of_anything() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, spec()).await;
    // A stop that finds nobody willing.
    world.driver.fail(FailurePlan {
        times: 100,
        ..FailurePlan::next(Step::Kill)
    });
    let stopping = {
        let node = node.clone();
        tokio::spawn(async move { node.stop(id, Some(0)).await })
    };
    world.is(&node, id, StateWord::Stopping).await;
    tokio::time::timeout(Duration::from_secs(5), node.close())
        .await
        .unwrap();
    assert_eq!(stopping.await.unwrap().unwrap_err().kind, ErrorKind::Unavailable);
    drop(node);
    let world = world.after_a_crash();
    let node = world.open().await;
    world.is(&node, id, StateWord::Stopped).await;
    node.remove(id, false).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn images_over_the_root_are_held_and_let_go_with_it() {
    let world = World::new();
    let node = world.open().await;
    let layered = |layers: &[&str]| MachineSpec {
        layers: layers.iter().map(|layer| (*layer).to_owned()).collect(),
        ..spec()
    };
    let id = world.running(&node, layered(&["source"])).await;
    node.stop(id, None).await.unwrap();
    // One of them that is not there, or one too many, and none is held.
    let gone = node.create(layered(&["source", "gone"])).await.unwrap_err();
    assert_eq!(gone.kind, ErrorKind::NotFound);
    let many = node.create(layered(&["source"; MachineSpec::LAYERS_MAX + 1])).await;
    let many = many.unwrap_err();
    assert_eq!(many.kind, ErrorKind::InvalidInput);
    assert!(
        many.message.contains("9 images") && many.message.contains("more than the 8"),
        "{many}"
    );
    assert_eq!(world.roots.holders().unwrap(), [Holder::Machine(id)]);
    node.remove(id, false).await.unwrap();
    world.nothing_is_left(&node).await;
}

#[tokio::test]
async fn restarts_that_come_together_are_all_answered() {
    let world = World::new();
    let node = world.open().await;
    let id = world.running(&node, spec()).await;
    for _ in 0..5 {
        let restarts = async { tokio::join!(node.restart(id, None), node.restart(id, None), node.restart(id, None)) };
        let answered = tokio::time::timeout(Duration::from_secs(20), restarts).await.unwrap();
        assert!(
            answered.0.is_ok() || answered.1.is_ok() || answered.2.is_ok(),
            "{answered:?}"
        );
        world.is(&node, id, StateWord::Running).await;
    }
    node.remove(id, true).await.unwrap();
    world.nothing_is_left(&node).await;
}
