//! Snapshots, and what goes on from them: machines, forks, machines that were paused or are taken back.

use std::sync::Arc;

use hearth_api::{
    CreateMachine, CreateSnapshot, Fork, ForkMachine, Machine, MachineList, MachineState, NetworkMode, PortMapping,
    Problem, ProblemCode, Project, Protocol, RestartPolicy, RestartWord, Role, RollbackMachine, Snapshot, SnapshotList,
    SnapshotState,
};
use hearth_domain::{DriverKind, MachineSpec, StateWord};
use hearth_ids::{MachineId, SnapshotId};
use hearth_node_api::{ErrorKind, NodeError, NodeService as _, SnapshotRequest};
use hearth_store::{Desired, NewFork, NewMachine, NewSnapshot, SnapshotRow, Store};
use http::{Method, StatusCode};
use serde_json::json;

use crate::{
    fixture::{Answer, Fixture, IMAGE, json_request, machine},
    tenancy::{Realm, asking},
};

/// A machine that runs.
async fn running(f: &Fixture, name: &str) -> Machine {
    f.make(CreateMachine {
        name: Some(name.into()),
        start: true,
        ..machine(&["sleep"])
    })
    .await
}

fn wanted(machine: &str, name: Option<&str>) -> CreateSnapshot {
    CreateSnapshot {
        machine: machine.into(),
        name: name.map(Into::into),
        memory: None,
    }
}

async fn snapshot(f: &Fixture, machine: &str, name: &str) -> Snapshot {
    let answer = f.post_json("/v1/snapshots", &wanted(machine, Some(name))).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    // IDs of one millisecond are in no order of time.
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    answer.json()
}

/// A request for a machine from a snapshot.
fn from(snapshot: &str) -> CreateMachine {
    CreateMachine {
        snapshot: Some(snapshot.into()),
        ..CreateMachine::default()
    }
}

async fn machines(f: &Fixture) -> Vec<String> {
    let list: MachineList = f.get("/v1/machines?all=true").await.json();
    list.machines.into_iter().map(|machine| machine.name).collect()
}

async fn keyed(f: &Fixture, path: &str, key: &str, body: serde_json::Value) -> Answer {
    let mut request = json_request(path, body.to_string().into_bytes());
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    f.send(request).await
}

fn code_and_field(problem: &Problem) -> (ProblemCode, Option<&str>) {
    (problem.code, problem.field.as_deref())
}

fn no_room() -> NodeError {
    NodeError::new(ErrorKind::NoCapacity, "there is no room")
}

#[tokio::test]
async fn a_snapshot_is_made_shown_and_removed() {
    let f = Fixture::new().await;
    let web = running(&f, "web").await;
    let answer = f.post_json("/v1/snapshots", &wanted("web", Some("kept"))).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let made: Snapshot = answer.json();
    assert_eq!(answer.headers["location"], format!("/v1/snapshots/{}", made.id));
    assert_eq!(
        (
            made.name.as_deref(),
            made.machine,
            made.machine_name.as_str(),
            made.state
        ),
        (Some("kept"), web.id, "web", SnapshotState::Ready)
    );
    assert_eq!((&made.image_id, made.resources), (&web.image_id, web.resources));
    assert_eq!((made.data_bytes, made.paused_us), (Some(4196), Some(1000)));
    assert_eq!((made.parts.len(), made.parts[0].bytes), (2, 256 << 20));
    assert_eq!(f.node.snapshot_ids(), [made.id]);

    let id = made.id.to_string();
    for path in ["kept", &id, &id[..28]] {
        let found: Snapshot = f.get(&format!("/v1/snapshots/{path}")).await.json();
        assert_eq!(found, made, "{path}");
    }
    let machine: Machine = f.get("/v1/machines/web").await.json();
    assert_eq!(machine.state, MachineState::Running, "it goes on");

    assert_eq!(f.delete("/v1/snapshots/kept").await.status, StatusCode::NO_CONTENT);
    assert!(f.node.snapshot_ids().is_empty());
    for method in [Method::GET, Method::DELETE] {
        let gone = f.call(method, "/v1/snapshots/kept").await.problem();
        assert_eq!(gone.code, ProblemCode::SnapshotNotFound);
    }
}

#[tokio::test]
async fn lists_have_pages_and_choose_by_machine() {
    let f = Fixture::new().await;
    let [a, b] = [running(&f, "a").await, running(&f, "b").await];
    for (machine, name) in [("a", "one"), ("b", "two"), ("a", "three")] {
        snapshot(&f, machine, name).await;
    }
    let list = async |query: &str| f.get(&format!("/v1/snapshots?{query}")).await.json::<SnapshotList>();
    let names = |list: &SnapshotList| -> Vec<String> {
        let names = list.snapshots.iter().map(|snapshot| snapshot.name.clone().unwrap());
        names.collect()
    };
    let all = list("").await;
    assert_eq!(
        (names(&all), all.next_cursor.clone()),
        (vec!["three".into(), "two".into(), "one".into()], None)
    );
    assert!(all.snapshots[0].parts.is_empty(), "parts are not in lists");
    assert_eq!(names(&list("machine=a").await), ["three", "one"]);
    assert_eq!(names(&list(&format!("machine={}", b.id)).await), ["two"]);
    let first = list("limit=2").await;
    let cursor = first.next_cursor.clone().unwrap();
    assert_eq!(names(&first), ["three", "two"]);
    let second = list(&format!("limit=2&cursor={cursor}")).await;
    assert_eq!((names(&second), second.next_cursor), (vec!["one".into()], None));
    for (query, field) in [("cursor=x", "cursor"), ("limit=0", "limit")] {
        let refused = f.get(&format!("/v1/snapshots?{query}")).await.problem();
        assert_eq!(refused.field.as_deref(), Some(field));
    }
    // A machine that is gone leaves its snapshots.
    f.delete(&format!("/v1/machines/{}?force=true", a.id)).await;
    assert_eq!(names(&list("machine=a").await), ["three", "one"]);
}

#[tokio::test]
async fn what_cannot_be_made_is_told_and_leaves_nothing() {
    let f = Fixture::new().await;
    running(&f, "web").await;
    f.make(CreateMachine {
        name: Some("resting".into()),
        ..machine(&["sleep"])
    })
    .await;
    snapshot(&f, "web", "kept").await;
    for (request, code, field) in [
        (wanted("none", None), ProblemCode::MachineNotFound, None),
        (wanted("resting", Some("x")), ProblemCode::StateConflict, None),
        (wanted("web", Some("kept")), ProblemCode::NameTaken, Some("name")),
        (wanted("web", Some("a/b")), ProblemCode::InvalidField, Some("name")),
    ] {
        let problem = f.post_json("/v1/snapshots", &request).await.problem();
        assert_eq!(code_and_field(&problem), (code, field), "{problem:?}");
    }
    let full = NodeError::new(ErrorKind::NoCapacity, "the disk is full");
    *f.node.snapshot_refusal.lock().unwrap() = Some(full);
    let refused = keyed(&f, "/v1/snapshots", "k", json!({ "machine": "web", "name": "x" })).await;
    assert_eq!(refused.problem().code, ProblemCode::NoCapacity);
    let list: SnapshotList = f.get("/v1/snapshots").await.json();
    assert_eq!(list.snapshots.len(), 1);
    let again = keyed(&f, "/v1/snapshots", "k", json!({ "machine": "web", "name": "x" })).await;
    assert_eq!(again.status, StatusCode::CREATED, "name and key are free: {again:?}");
}

#[tokio::test]
async fn what_the_node_does_not_remove_goes_at_the_next_start() {
    let f = Fixture::new().await;
    running(&f, "web").await;
    snapshot(&f, "web", "kept").await;
    *f.node.snapshot_removal_refusal.lock().unwrap() = Some(no_room());
    let refused = f.delete("/v1/snapshots/kept").await.problem();
    assert_eq!(refused.code, ProblemCode::NoCapacity);
    let kept: Snapshot = f.get("/v1/snapshots/kept").await.json();
    assert_eq!(kept.state, SnapshotState::Ready, "it stays");

    // One that could not be made, and of which there may be something.
    *f.node.snapshot_refusal.lock().unwrap() = Some(no_room());
    *f.node.snapshot_removal_refusal.lock().unwrap() = Some(no_room());
    let refused = f.post_json("/v1/snapshots", &wanted("web", Some("half"))).await;
    assert_eq!(refused.problem().code, ProblemCode::NoCapacity);
    let list: SnapshotList = f.get("/v1/snapshots").await.json();
    assert_eq!(list.snapshots[0].state, SnapshotState::Removing);
    assert_eq!(list.snapshots[0].name, None);
    let f = f.reopen().await;
    let list: SnapshotList = f.get("/v1/snapshots").await.json();
    assert_eq!(list.snapshots.len(), 1);
}

#[tokio::test]
async fn a_snapshot_may_be_asked_for_again() {
    let f = Fixture::new().await;
    running(&f, "web").await;
    let body = json!({ "machine": "web" });
    let first = keyed(&f, "/v1/snapshots", "k", body.clone()).await;
    let again = keyed(&f, "/v1/snapshots", "k", body.clone()).await;
    assert_eq!((first.status, again.status), (StatusCode::CREATED, StatusCode::OK));
    let [first, again] = [first, again].map(|answer| answer.json::<Snapshot>());
    assert_eq!(first, again);
    for (path, body) in [
        ("/v1/snapshots", json!({ "machine": "web", "name": "x" })),
        ("/v1/machines/web/fork", body.clone()),
        (
            "/v1/machines",
            json!({ "image": IMAGE, "driver": "fake", "cmd": ["x"] }),
        ),
    ] {
        if path.ends_with("fork") {
            let other = keyed(&f, path, "k", json!({})).await.problem();
            assert_eq!(other.code, ProblemCode::IdempotencyMismatch);
        } else {
            let other = keyed(&f, path, "k", body).await.problem();
            assert_eq!(other.code, ProblemCode::IdempotencyMismatch, "{path}");
        }
    }
    f.delete(&format!("/v1/snapshots/{}", first.id)).await;
    let gone = keyed(&f, "/v1/snapshots", "k", body).await.problem();
    assert_eq!(gone.code, ProblemCode::StateConflict);
}

#[tokio::test]
async fn what_is_still_made_is_in_nobodys_hands() {
    let f = Fixture::new().await;
    running(&f, "web").await;
    let door = f.node.door.lock().await;
    let body = json!({ "machine": "web", "name": "slow" });
    let making = keyed(&f, "/v1/snapshots", "k", body.clone());
    let meanwhile = async {
        let there = f
            .until("/v1/snapshots/slow", |answer| answer.status == StatusCode::OK)
            .await;
        let there: Snapshot = there.json();
        assert_eq!((there.state, there.data_bytes), (SnapshotState::Making, None));
        let again = keyed(&f, "/v1/snapshots", "k", body.clone()).await.problem();
        assert_eq!(again.code, ProblemCode::RequestInProgress);
        let removal = f.delete("/v1/snapshots/slow").await.problem();
        assert_eq!(removal.code, ProblemCode::StateConflict);
        let begun = f.post_json("/v1/machines", &from("slow")).await.problem();
        assert_eq!(begun.code, ProblemCode::StateConflict);
        drop(door);
    };
    let (made, ()) = tokio::join!(making, meanwhile);
    assert_eq!(made.json::<Snapshot>().state, SnapshotState::Ready);
}

#[tokio::test]
async fn a_machine_goes_on_from_a_snapshot() {
    let f = Fixture::new().await;
    let web = f
        .make(CreateMachine {
            name: Some("web".into()),
            cpus: Some(2),
            env: vec!["A=b".into()],
            start: true,
            auto_remove: true,
            ..machine(&["sleep", "9"])
        })
        .await;
    let kept = snapshot(&f, "web", "kept").await;
    f.delete("/v1/machines/web?force=true").await;
    let made = f
        .make(CreateMachine {
            name: Some("copy".into()),
            ports: vec![PortMapping {
                host_ip: None,
                host_port: 8080,
                guest_port: 80,
                protocol: Protocol::Tcp,
            }],
            start: true,
            ..from("kept")
        })
        .await;
    assert_eq!((made.state, made.snapshot), (MachineState::Running, Some(kept.id)));
    assert_eq!(
        (&made.image_id, &made.args, &made.env, made.resources),
        (&web.image_id, &web.args, &web.env, web.resources)
    );
    assert_eq!((made.auto_remove, made.ports.len()), (false, 1));
    let spec = f.node.spec(made.id).unwrap();
    assert_eq!((spec.snapshot, spec.id), (Some(kept.id), made.id));
    // What is the same may be said again.
    f.make(CreateMachine {
        image: IMAGE.into(),
        cpus: Some(2),
        ..from(&kept.id.to_string())
    })
    .await;
    // And the snapshot may go.
    assert_eq!(f.delete("/v1/snapshots/kept").await.status, StatusCode::NO_CONTENT);
    let again: Machine = f.get("/v1/machines/copy").await.json();
    assert_eq!(again.state, MachineState::Running);
}

#[tokio::test]
async fn a_machine_boots_with_the_disk_of_a_snapshot() {
    let f = Fixture::new().await;
    let disk = |name: &str| CreateMachine {
        name: Some(name.into()),
        disk_mib: Some(64),
        ..machine(&["sleep", "9"])
    };
    let without = |machine: &str| CreateSnapshot {
        memory: Some(false),
        ..wanted(machine, None)
    };
    for name in ["resting", "web"] {
        f.make(CreateMachine {
            start: true,
            ..disk(name)
        })
        .await;
    }
    f.call(Method::POST, "/v1/machines/resting/stop").await;
    let resting: Machine = f.get("/v1/machines/resting").await.json();
    assert_eq!(resting.state, MachineState::Stopped);
    for source in ["resting", "web"] {
        let made: Snapshot = f.post_json("/v1/snapshots", &without(source)).await.json();
        assert_eq!((made.memory, made.vmm_version.as_deref()), (Some(false), None));
        let names: Vec<&str> = made.parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["disk"]);
        let copy = CreateMachine {
            memory_mib: Some(512),
            start: true,
            ..from(&made.id.to_string())
        };
        let copy = f.make(copy).await;
        assert_eq!((copy.snapshot, copy.resources.memory_mib), (Some(made.id), 512));
        assert_eq!((copy.resources.disk_mib, &copy.args), (Some(64), &resting.args));
        let back = RollbackMachine {
            snapshot: made.id.to_string(),
        };
        let refused = f
            .post_json(&format!("/v1/machines/{source}/rollback"), &back)
            .await
            .problem();
        assert_eq!(
            code_and_field(&refused),
            (ProblemCode::InvalidField, Some("snapshot")),
            "{refused:?}"
        );
    }
    let stays: Machine = f.get("/v1/machines/resting").await.json();
    assert_eq!(stays.state, MachineState::Stopped, "it was not started");
    running(&f, "none").await;
    let refused = f.post_json("/v1/snapshots", &without("none")).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{refused:?}");
    let whole = snapshot(&f, "web", "whole").await;
    assert_eq!(whole.memory, Some(true));
}

#[tokio::test]
async fn what_is_not_the_snapshots_is_refused() {
    let f = Fixture::new().await;
    running(&f, "web").await;
    snapshot(&f, "web", "kept").await;
    #[rustfmt::skip]
    let requests = [
        (CreateMachine { image: "none".into(), ..from("kept") }, "image"),
        (CreateMachine { kernel: Some("none".into()), ..from("kept") }, "kernel"),
        (CreateMachine { memory_mib: Some(512), ..from("kept") }, "memory_mib"),
        (CreateMachine { network: Some(NetworkMode::None), ..from("kept") }, "network"),
        (CreateMachine { cmd: vec!["x".into()], ..from("kept") }, "cmd"),
    ];
    for (request, field) in requests {
        let refused = f.post_json("/v1/machines", &request).await.problem();
        assert_eq!(code_and_field(&refused), (ProblemCode::InvalidField, Some(field)));
    }
    let unknown = f.post_json("/v1/machines", &from("none")).await.problem();
    assert_eq!(unknown.code, ProblemCode::SnapshotNotFound);
    let neither = f.post_json("/v1/machines", &CreateMachine::default()).await.problem();
    assert_eq!(code_and_field(&neither), (ProblemCode::InvalidField, Some("image")));
    assert_eq!(machines(&f).await, ["web"]);
}

#[tokio::test]
async fn a_machine_is_forked() {
    let f = Fixture::new().await;
    let web = f
        .make(CreateMachine {
            name: Some("web".into()),
            ports: vec![PortMapping {
                host_ip: None,
                host_port: 8080,
                guest_port: 80,
                protocol: Protocol::Tcp,
            }],
            auto_remove: true,
            start: true,
            ..machine(&["sleep"])
        })
        .await;
    let three = ForkMachine {
        count: Some(3),
        ..ForkMachine::default()
    };
    let answer = f.post_json("/v1/machines/web/fork", &three).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let fork: Fork = answer.json();
    assert_eq!((fork.machines.len(), fork.paused_us), (3, 1000));
    for machine in &fork.machines {
        assert_eq!(machine.state, MachineState::Running);
        assert!(machine.name.starts_with("web-fork-"), "{}", machine.name);
        assert_eq!((machine.auto_remove, machine.ports.len()), (false, 0));
        assert_eq!((&machine.image_id, &machine.args), (&web.image_id, &web.args));
    }
    assert!(f.node.snapshot_ids().is_empty(), "the snapshot is gone");
    let list: SnapshotList = f.get("/v1/snapshots").await.json();
    assert!(list.snapshots.is_empty());
    let source: Machine = f.get("/v1/machines/web").await.json();
    assert_eq!(source.state, MachineState::Running);

    let body = json!({ "names": ["b", "a"], "auto_remove": true });
    let named: Fork = f.post_json("/v1/machines/web/fork", &body).await.json();
    let made: Vec<_> = named
        .machines
        .iter()
        .map(|it| (it.name.as_str(), it.auto_remove))
        .collect();
    assert_eq!(made, [("b", true), ("a", true)]);
    assert_eq!(f.node.count(), 6);
}

#[tokio::test]
async fn forks_that_cannot_be_are_told() {
    let f = Fixture::new().await;
    running(&f, "web").await;
    f.make(CreateMachine {
        name: Some("always".into()),
        restart: RestartPolicy {
            policy: RestartWord::Always,
            max: None,
        },
        start: true,
        ..machine(&["sleep"])
    })
    .await;
    f.make(CreateMachine {
        name: Some("resting".into()),
        ..machine(&["sleep"])
    })
    .await;
    let before = machines(&f).await;
    for (machine, body, code, field) in [
        ("none", json!({}), ProblemCode::MachineNotFound, None),
        ("resting", json!({}), ProblemCode::StateConflict, None),
        ("web", json!({ "count": 0 }), ProblemCode::InvalidField, Some("count")),
        ("web", json!({ "count": 101 }), ProblemCode::InvalidField, Some("count")),
        (
            "web",
            json!({ "count": 2, "names": ["a"] }),
            ProblemCode::InvalidField,
            Some("names"),
        ),
        (
            "web",
            json!({ "names": ["a", "/"] }),
            ProblemCode::InvalidField,
            Some("names[1]"),
        ),
        (
            "web",
            json!({ "names": ["a", "resting"] }),
            ProblemCode::NameTaken,
            Some("name"),
        ),
        (
            "always",
            json!({ "auto_remove": true }),
            ProblemCode::InvalidField,
            Some("auto_remove"),
        ),
    ] {
        let refused = f.post_json(&format!("/v1/machines/{machine}/fork"), &body).await;
        assert_eq!(code_and_field(&refused.problem()), (code, field), "{machine} {body}");
    }
    assert_eq!(machines(&f).await, before);
    assert!(f.node.snapshot_ids().is_empty());
}

#[tokio::test]
async fn a_fork_that_fails_half_way_leaves_nothing() {
    let f = Fixture::new().await;
    running(&f, "web").await;
    let body = json!({ "names": ["a", "b", "c", "d"] });
    for passed in [0, 2, 3] {
        *f.node.later_refusal.lock().unwrap() = Some((passed, no_room()));
        let refused = keyed(&f, "/v1/machines/web/fork", "k", body.clone()).await.problem();
        assert_eq!(refused.code, ProblemCode::NoCapacity);
        assert_eq!(machines(&f).await, ["web"], "after {passed}");
        assert_eq!((f.node.count(), f.node.snapshot_ids().len()), (1, 0));
    }
    let source: Machine = f.get("/v1/machines/web").await.json();
    assert_eq!(source.state, MachineState::Running);
    let made = keyed(&f, "/v1/machines/web/fork", "k", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "names and key are free: {made:?}");
}

#[tokio::test]
async fn a_fork_that_cannot_be_undone_is_undone_at_the_next_start() {
    let f = Fixture::new().await;
    running(&f, "web").await;
    *f.node.later_refusal.lock().unwrap() = Some((1, no_room()));
    *f.node.removal_refusal.lock().unwrap() = Some(no_room());
    let body = json!({ "names": ["a", "b"] });
    let refused = f.post_json("/v1/machines/web/fork", &body).await.problem();
    assert_eq!(refused.code, ProblemCode::NoCapacity);
    let f = f.reopen().await;
    assert_eq!(machines(&f).await, ["web"]);
    assert_eq!((f.node.count(), f.node.snapshot_ids().len()), (1, 0));
}

#[tokio::test]
async fn a_fork_may_be_asked_for_again() {
    let f = Fixture::new().await;
    running(&f, "web").await;
    running(&f, "other").await;
    let body = json!({ "count": 2 });
    let first = keyed(&f, "/v1/machines/web/fork", "k", body.clone()).await;
    let again = keyed(&f, "/v1/machines/web/fork", "k", body.clone()).await;
    assert_eq!((first.status, again.status), (StatusCode::CREATED, StatusCode::OK));
    let ids = |answer: &Answer| -> Vec<MachineId> {
        let fork: Fork = answer.json();
        assert_eq!(fork.paused_us, 1000);
        fork.machines.iter().map(|machine| machine.id).collect()
    };
    let made = ids(&first);
    assert_eq!(made, ids(&again));
    for (path, body) in [
        ("/v1/machines/web/fork", json!({ "count": 1 })),
        ("/v1/machines/other/fork", body.clone()),
    ] {
        let other = keyed(&f, path, "k", body).await.problem();
        assert_eq!(other.code, ProblemCode::IdempotencyMismatch, "{path}");
    }
    for id in made {
        f.delete(&format!("/v1/machines/{id}?force=true")).await;
    }
    let gone = keyed(&f, "/v1/machines/web/fork", "k", body).await.problem();
    assert_eq!(gone.code, ProblemCode::StateConflict);
}

#[tokio::test]
async fn machines_are_paused_on_disk_and_in_memory() {
    let f = Fixture::new().await;
    running(&f, "web").await;
    let ask = async |what: &str| -> (MachineState, bool) {
        let machine: Machine = f.post(&format!("/v1/machines/web/{what}")).await.json();
        (machine.state, machine.on_disk)
    };
    assert_eq!(ask("pause?mode=memory").await, (MachineState::Paused, false));
    assert_eq!(ask("pause?mode=disk").await, (MachineState::Paused, true));
    assert_eq!(ask("resume").await, (MachineState::Running, false));
    assert_eq!(ask("pause").await, (MachineState::Paused, true), "its driver can");
    let list: MachineList = f.get("/v1/machines").await.json();
    assert!(list.machines[0].on_disk);
    let unknown = f.post("/v1/machines/web/pause?mode=tape").await.problem();
    assert_eq!(unknown.code, ProblemCode::InvalidRequest);
}

#[tokio::test]
async fn a_machine_is_taken_back() {
    let f = Fixture::new().await;
    let web = running(&f, "web").await;
    let kept = snapshot(&f, "web", "kept").await;
    f.make(CreateMachine {
        name: Some("copy".into()),
        ..from("kept")
    })
    .await;
    running(&f, "other").await;
    let rollback = async |machine: &str, snapshot: &str| {
        let request = RollbackMachine {
            snapshot: snapshot.into(),
        };
        f.post_json(&format!("/v1/machines/{machine}/rollback"), &request).await
    };
    for machine in ["web", "copy"] {
        let back: Machine = rollback(machine, "kept").await.json();
        assert_eq!(back.state, MachineState::Running, "{machine}");
    }
    // One at rest runs again, and is meant to.
    f.post("/v1/machines/web/stop").await;
    let back: Machine = rollback("web", &kept.id.to_string()).await.json();
    assert_eq!((back.id, back.state), (web.id, MachineState::Running));
    for (machine, snapshot, code, field) in [
        ("other", "kept", ProblemCode::InvalidField, Some("snapshot")),
        ("web", "none", ProblemCode::SnapshotNotFound, None),
        ("none", "kept", ProblemCode::MachineNotFound, None),
    ] {
        let refused = rollback(machine, snapshot).await.problem();
        assert_eq!(code_and_field(&refused), (code, field), "{machine} {snapshot}");
    }
    let mut f = f;
    f.stop().await;
    let row = store(&f).await.machine(web.id).await.unwrap().unwrap();
    assert_eq!(row.desired, Desired::Running);
}

#[tokio::test]
async fn snapshots_of_other_projects_are_not_there() {
    let r = Realm::new().await;
    r.project("a", json!({})).await;
    r.project("b", json!({})).await;
    let [mine, foreign] = [
        r.key("a", Role::Admin, None).await.token,
        r.key("b", Role::Admin, None).await.token,
    ];
    let post = async |key: &str, path: &str, body: serde_json::Value| r.ask(key, Method::POST, path, Some(body)).await;
    let new = |name: &str| json!({ "image": IMAGE, "driver": "fake", "cmd": ["sleep"], "name": name, "start": true });
    for (key, name) in [(&mine, "web"), (&foreign, "theirs")] {
        assert_eq!(post(key, "/v1/machines", new(name)).await.status, StatusCode::CREATED);
    }
    let kept = post(&mine, "/v1/snapshots", json!({ "machine": "web", "name": "kept" })).await;
    let id = kept.json::<Snapshot>().id.to_string();
    for wanted in ["kept", &id, &id[..28]] {
        let path = format!("/v1/snapshots/{wanted}");
        let none = |text: &str| format!("there is no snapshot {text:?}");
        for (method, path, body) in [
            (Method::GET, path.as_str(), None),
            (Method::DELETE, &path, None),
            (Method::POST, "/v1/machines", Some(json!({ "snapshot": wanted }))),
            (
                Method::POST,
                "/v1/machines/theirs/rollback",
                Some(json!({ "snapshot": wanted })),
            ),
        ] {
            let refused = r
                .send(Some(&foreign), asking(method.clone(), path, body))
                .await
                .problem();
            assert_eq!(refused.code, ProblemCode::SnapshotNotFound, "{method} {path}");
            assert!(refused.detail.starts_with(&none(wanted)), "{}", refused.detail);
        }
    }
    for (path, body) in [
        ("/v1/snapshots", json!({ "machine": "web" })),
        ("/v1/machines/web/fork", json!({})),
        ("/v1/machines/web/rollback", json!({ "snapshot": "kept" })),
    ] {
        let refused = post(&foreign, path, body).await.problem();
        assert_eq!(refused.code, ProblemCode::MachineNotFound, "{path}");
    }
    let list = r.ask(&foreign, Method::GET, "/v1/snapshots?machine=web", None).await;
    assert!(list.json::<SnapshotList>().snapshots.is_empty());
    // The name is free there, and what is theirs is theirs.
    let theirs = post(
        &foreign,
        "/v1/snapshots",
        json!({ "machine": "theirs", "name": "kept" }),
    )
    .await;
    assert_eq!(theirs.status, StatusCode::CREATED);
    let list = r.ask(&mine, Method::GET, "/v1/snapshots", None).await;
    assert_eq!(list.json::<SnapshotList>().snapshots.len(), 1);
    let copy = post(&mine, "/v1/machines", json!({ "snapshot": "kept", "start": true })).await;
    assert_eq!(copy.status, StatusCode::CREATED, "{copy:?}");
}

#[tokio::test]
async fn projects_have_as_many_snapshots_as_they_may() {
    let r = Realm::new().await;
    let made = r.project("a", json!({ "snapshots": 1, "machines": 3 })).await;
    assert_eq!((made.quotas.snapshots, made.holds.snapshots), (Some(1), 0));
    let key = r.key("a", Role::Admin, None).await.token;
    let post = async |path: &str, body: serde_json::Value| r.ask(&key, Method::POST, path, Some(body)).await;
    let new = json!({ "image": IMAGE, "driver": "fake", "cmd": ["sleep"], "name": "web", "start": true });
    post("/v1/machines", new).await;
    let first = post("/v1/snapshots", json!({ "machine": "web" })).await;
    let refused = post("/v1/snapshots", json!({ "machine": "web" })).await;
    let problem = refused.problem();
    assert_eq!(
        code_and_field(&problem),
        (ProblemCode::QuotaExceeded, Some("snapshots"))
    );
    assert!(refused.headers.contains_key("retry-after"));
    // Forks hold none.
    let two = post("/v1/machines/web/fork", json!({ "count": 2 })).await;
    assert_eq!(two.status, StatusCode::CREATED, "{two:?}");
    let more = post("/v1/machines/web/fork", json!({ "count": 2 })).await.problem();
    assert_eq!(code_and_field(&more), (ProblemCode::QuotaExceeded, Some("machines")));
    let project: Project = r.ask(&key, Method::GET, "/v1/projects/a", None).await.json();
    assert_eq!((project.holds.snapshots, project.holds.machines), (1, 3));
    let body = json!({ "quotas": { "snapshots": 2 } });
    let changed = r.f.send(asking(Method::PATCH, "/v1/projects/a", Some(body))).await;
    assert_eq!(changed.json::<Project>().quotas.snapshots, Some(2));
    let second = post("/v1/snapshots", json!({ "machine": "web" })).await;
    assert_eq!(
        (first.status, second.status),
        (StatusCode::CREATED, StatusCode::CREATED)
    );
    let in_use = r.f.delete("/v1/projects/a").await.problem();
    assert!(in_use.detail.contains("2 snapshots"), "{}", in_use.detail);
}

#[tokio::test]
async fn a_snapshot_that_the_node_loses_is_noticed_when_it_is_wanted() {
    let f = Fixture::new().await;
    running(&f, "web").await;
    let state = async |name: &str| {
        let found: Snapshot = f.get(&format!("/v1/snapshots/{name}")).await.json();
        found.state
    };
    let kept = snapshot(&f, "web", "kept").await;
    f.node.lose_snapshot(kept.id);
    assert_eq!(state("kept").await, SnapshotState::Ready);
    for _ in 0..2 {
        let refused = f.post_json("/v1/machines", &from("kept")).await.problem();
        assert_eq!(refused.code, ProblemCode::StateConflict, "{}", refused.detail);
        assert!(refused.detail.contains("is lost"));
        assert_eq!(state("kept").await, SnapshotState::Lost);
    }
    assert_eq!(machines(&f).await, ["web"]);
    let again = snapshot(&f, "web", "again").await;
    f.node.lose_snapshot(again.id);
    let back = f
        .post_json("/v1/machines/web/rollback", &json!({ "snapshot": "again" }))
        .await;
    assert_eq!(back.problem().code, ProblemCode::StateConflict);
    assert_eq!(state("again").await, SnapshotState::Lost);
    assert_eq!(f.delete("/v1/snapshots/kept").await.status, StatusCode::NO_CONTENT);
}

async fn store(f: &Fixture) -> Store {
    Store::open(&f.folder.path().join("hearth.db")).await.unwrap()
}

/// What a daemon leaves in the store that dies while the node makes a snapshot of a machine.
async fn booked(store: &Store, source: &SnapshotRow, name: Option<&str>) -> NewSnapshot {
    let new = NewSnapshot {
        id: SnapshotId::new(),
        name: name.map(|name| name.parse().unwrap()),
        spec: source.spec.clone(),
        args: source.args.clone(),
        created_unix_ms: 1,
        key: None,
        build: None,
    };
    if name.is_some() {
        store.insert_snapshot(&new).await.unwrap();
    }
    new
}

#[tokio::test]
async fn a_start_settles_what_was_cut_off() {
    let mut f = Fixture::new().await;
    let web = running(&f, "web").await;
    let kept = snapshot(&f, "web", "kept").await;
    let missing = snapshot(&f, "web", "lost").await;
    let removed = snapshot(&f, "web", "removed").await;
    f.stop().await;
    let store = store(&f).await;
    let row = store.snapshot(kept.id).await.unwrap().unwrap();
    let made = booked(&store, &row, Some("made")).await;
    booked(&store, &row, Some("never")).await;
    let request = |id| SnapshotRequest {
        id,
        machine: web.id,
        memory: true,
    };
    f.node.snapshot(request(made.id)).await.unwrap();
    f.node.snapshot(request(SnapshotId::new())).await.unwrap();
    f.node.lose_snapshot(missing.id);
    assert!(store.begin_snapshot_removal(removed.id).await.unwrap());
    store.close().await;

    let f = f.reopen().await;
    let list: SnapshotList = f.get("/v1/snapshots").await.json();
    let states: Vec<_> = list
        .snapshots
        .iter()
        .map(|it| (it.name.as_deref().unwrap(), it.state))
        .collect();
    assert_eq!(
        states,
        [
            ("made", SnapshotState::Ready),
            ("lost", SnapshotState::Lost),
            ("kept", SnapshotState::Ready)
        ]
    );
    let mut there = f.node.snapshot_ids();
    there.sort_unstable();
    assert_eq!(there, [kept.id, made.id], "no row knew the others");
    let made: Snapshot = f.get("/v1/snapshots/made").await.json();
    assert_eq!(made.data_bytes, Some(4196));

    // One that comes back, as from a backup, is found again.
    let mut f = f;
    f.stop().await;
    f.node.snapshot(request(missing.id)).await.unwrap();
    let f = f.reopen().await;
    let found: Snapshot = f.get("/v1/snapshots/lost").await.json();
    assert_eq!(found.state, SnapshotState::Ready);
}

/// A fork of two machines, with all of it in the store.
async fn booked_fork(store: &Store, source: &SnapshotRow) -> NewFork {
    let snapshot = booked(store, source, None).await;
    let machine = |name: &str| NewMachine {
        spec: MachineSpec {
            id: MachineId::new(),
            name: name.parse().unwrap(),
            snapshot: Some(snapshot.id),
            ..source.spec.clone()
        },
        args: source.args.clone(),
        desired: Desired::Running,
        created_unix_ms: 1,
        key: None,
        within_quotas: true,
    };
    let machines = ["a", "b"].map(machine).to_vec();
    let fork = NewFork { snapshot, machines };
    store.insert_fork(&fork).await.unwrap();
    fork
}

#[tokio::test]
async fn a_start_undoes_or_finishes_forks_that_were_cut_off() {
    // How many machines the node made, and whether that all are was noted.
    for (made, noted) in [(0, false), (1, false), (2, false), (2, true)] {
        let mut f = Fixture::new().await;
        let web = running(&f, "web").await;
        let kept = snapshot(&f, "web", "kept").await;
        f.stop().await;
        let store = store(&f).await;
        let row = store.snapshot(kept.id).await.unwrap().unwrap();
        let fork = booked_fork(&store, &row).await;
        let request = SnapshotRequest {
            id: fork.snapshot.id,
            machine: web.id,
            memory: true,
        };
        f.node.snapshot(request).await.unwrap();
        for machine in &fork.machines[..made] {
            f.node.create(machine.spec.clone()).await.unwrap();
        }
        if made == 2 {
            f.node.start(fork.machines[0].spec.id).await.unwrap();
        }
        if noted {
            store.note_fork_made(fork.snapshot.id, 5).await.unwrap();
        }
        store.close().await;

        let f = f.reopen().await;
        assert_eq!(f.node.snapshot_ids(), [kept.id], "{made} {noted}");
        let mut there = machines(&f).await;
        there.sort_unstable();
        if noted {
            assert_eq!(there, ["a", "b", "web"]);
            for machine in &fork.machines {
                let status = f.node.status(machine.spec.id).unwrap();
                assert_eq!(status.state.word(), StateWord::Running);
            }
        } else {
            assert_eq!((there, f.node.count()), (vec!["web".to_owned()], 1), "{made}");
        }
    }
}

#[tokio::test]
async fn the_log_of_changes_tells_of_snapshots() {
    let f = Fixture::new().await;
    running(&f, "web").await;
    let kept = snapshot(&f, "web", "kept").await;
    f.post_json("/v1/machines/web/fork", &json!({})).await;
    f.post_json("/v1/machines/web/rollback", &json!({ "snapshot": "kept" }))
        .await;
    f.delete("/v1/snapshots/kept").await;
    let audit: hearth_api::AuditList = f.get("/v1/audit").await.json();
    let entries: Vec<_> = audit
        .entries
        .iter()
        .map(|entry| (entry.operation.as_str(), entry.target.clone(), entry.status))
        .collect();
    assert_eq!(
        entries[..4],
        [
            ("remove_snapshot", "snapshots/kept".to_owned(), 204),
            ("rollback_machine", "machines/web/rollback".to_owned(), 200),
            ("fork_machine", "machines/web/fork".to_owned(), 201),
            ("create_snapshot", format!("snapshots/{}", kept.id), 201),
        ]
    );
}

#[tokio::test]
async fn the_node_tells_which_drivers_make_snapshots() {
    let f = Fixture::new().await;
    let node = Arc::clone(&f.node).info().await.unwrap();
    assert_eq!(
        (node.drivers[0].kind, node.drivers[0].snapshot),
        (DriverKind::Fake, true)
    );
    let shown: hearth_api::NodeInfo = f.get("/v1/node").await.json();
    assert!(shown.drivers[0].snapshot);
}
