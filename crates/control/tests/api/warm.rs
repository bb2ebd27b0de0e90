//! Machines of snapshots that wait, and who gets them.

use std::{sync::Arc, time::Duration};

use hearth_api::{
    CreateMachine, CreateSnapshot, Machine, MachineList, MachineState, PortMapping, ProblemCode, Protocol,
    RestartPolicy, RestartWord, Snapshot,
};
use hearth_domain::{Allocation, MachineOwner, MachineSpec, StateWord};
use hearth_ids::MachineId;
use hearth_node_api::{ErrorKind, NodeError, NodeService as _, PauseMode, SnapshotRequest};
use http::{Method, StatusCode};

use crate::fixture::{Fixture, json_request, machine};

/// A host with a snapshot, of which somebody wanted a machine, so that another one waits.
async fn one_waits() -> (Fixture, Snapshot, MachineId) {
    let f = Fixture::warm().await;
    let source = CreateMachine {
        name: Some("source".into()),
        start: true,
        ..machine(&["sleep"])
    };
    f.make(source).await;
    let wanted = CreateSnapshot {
        machine: "source".into(),
        name: Some("then".into()),
        memory: None,
    };
    let snapshot: Snapshot = f.post_json("/v1/snapshots", &wanted).await.json();
    assert!(waiting(&f).is_empty(), "nobody wanted one yet");
    make(&f, from("first")).await;
    let id = until_one_waits(&f).await;
    (f, snapshot, id)
}

fn from(name: &str) -> CreateMachine {
    CreateMachine {
        snapshot: Some("then".into()),
        name: Some(name.into()),
        start: true,
        ..CreateMachine::default()
    }
}

async fn make(f: &Fixture, request: CreateMachine) -> Machine {
    let answer = f.post_json("/v1/machines", &request).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json()
}

/// Those that wait, paused.
fn waiting(f: &Fixture) -> Vec<MachineId> {
    let paused = |id| {
        f.node
            .status(id)
            .is_some_and(|status| status.state.word() == StateWord::Paused)
    };
    let machines = f.node.machines().into_iter().filter(MachineSpec::is_warm);
    machines.map(|spec| spec.id).filter(|id| paused(*id)).collect()
}

async fn until_one_waits(f: &Fixture) -> MachineId {
    for _ in 0..1000 {
        if let [id] = waiting(f)[..] {
            // The node tells it before the pool knows.
            tokio::time::sleep(Duration::from_millis(50)).await;
            return id;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("none waits: {:?}", f.node.machines());
}

async fn until_none_is_warm(f: &Fixture) {
    for _ in 0..1000 {
        if !f.node.machines().iter().any(MachineSpec::is_warm) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("some are left: {:?}", f.node.machines());
}

async fn listed(f: &Fixture) -> Vec<MachineId> {
    let list: MachineList = f.get("/v1/machines?all=true").await.json();
    list.machines.into_iter().map(|machine| machine.id).collect()
}

/// Has the node fail to claim the machine when it is claimed next, and to remove the one that it is asked to remove next.
fn refuse_claim_and_removal(f: &Fixture) {
    let refusal = || Some(NodeError::new(ErrorKind::Internal, "not now"));
    *f.node.claim_refusal.lock().unwrap() = refusal();
    *f.node.removal_refusal.lock().unwrap() = refusal();
}

fn no_room() -> NodeError {
    NodeError::new(ErrorKind::NoCapacity, "there is no room")
}

#[tokio::test]
async fn one_that_waits_is_claimed_as_it_is_asked_for() {
    let (f, snapshot, id) = one_waits().await;
    let always = RestartPolicy {
        policy: RestartWord::Always,
        max: None,
    };
    let request = CreateMachine {
        restart: always,
        ..from("second")
    };
    let second = make(&f, request).await;
    assert_eq!((second.id, second.state), (id, MachineState::Running));
    assert_eq!(
        (second.name.as_str(), second.restart, second.snapshot),
        ("second", always, Some(snapshot.id))
    );
    assert!(!f.node.spec(id).is_some_and(|spec| spec.is_warm()));
    let other = until_one_waits(&f).await;
    assert_ne!(other, id);
    assert_eq!(listed(&f).await.len(), 3, "one that waits is nobody's");
}

#[tokio::test]
async fn who_wants_another_one_gets_one_made() {
    let (f, _, id) = one_waits().await;
    let port = PortMapping {
        host_ip: None,
        host_port: 18_080,
        guest_port: 80,
        protocol: Protocol::Tcp,
    };
    for request in [
        CreateMachine {
            ports: vec![port],
            ..from("ports")
        },
        CreateMachine {
            start: false,
            ..from("later")
        },
    ] {
        assert_ne!(make(&f, request).await.id, id);
    }
    // A name that is taken costs nobody the one that waits.
    let taken = f.post_json("/v1/machines", &from("first")).await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    assert_eq!(waiting(&f), [id]);
    assert_eq!(make(&f, from("second")).await.id, id);
}

#[tokio::test]
async fn one_that_cannot_be_claimed_is_made_anew() {
    let (f, _, id) = one_waits().await;
    *f.node.claim_refusal.lock().unwrap() = Some(NodeError::new(ErrorKind::Internal, "it is gone"));
    let made = make(&f, from("second")).await;
    assert_ne!(made.id, id);
    assert!(f.node.spec(id).is_none());
    // Nor does the end of the one that waited come over it.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let found: Machine = f.get("/v1/machines/second").await.json();
    assert_eq!((found.id, found.state), (made.id, MachineState::Running));
    assert_eq!(listed(&f).await.len(), 3);
    let remembered = f.get(&format!("/v1/machines/{id}/wait")).await;
    assert_eq!(remembered.status, StatusCode::NOT_FOUND, "nobody ever had it");
}

#[tokio::test]
async fn one_that_can_be_neither_claimed_nor_removed_goes_at_the_next_start() {
    let (f, _, id) = one_waits().await;
    refuse_claim_and_removal(&f);
    let wanted = CreateMachine {
        name: None,
        ..from("any")
    };
    let ask = async || {
        let mut request = json_request("/v1/machines", serde_json::to_vec(&wanted).unwrap());
        request.headers_mut().insert("idempotency-key", "k".parse().unwrap());
        f.send(request).await
    };
    let (first, again) = (ask().await, ask().await);
    assert_eq!((first.status, again.status), (StatusCode::CREATED, StatusCode::OK));
    let (made, again): (Machine, Machine) = (first.json(), again.json());
    assert_eq!(made.id, again.id);
    assert_ne!(made.id, id);
    assert!(!f.node.spec(id).unwrap().is_warm(), "it says that it is somebody's");
    let f = f.reopen().await;
    assert!(f.node.spec(id).is_none());
    let listed = listed(&f).await;
    assert_eq!((listed.len(), listed.contains(&made.id)), (3, true), "{listed:?}");
}

#[tokio::test]
async fn the_name_of_one_that_cannot_be_removed_is_free_at_the_next_start() {
    let (f, _, id) = one_waits().await;
    refuse_claim_and_removal(&f);
    let refused = f.post_json("/v1/machines", &from("second")).await.problem();
    assert_eq!(refused.code, ProblemCode::NameTaken);
    let f = f.reopen().await;
    assert!(f.node.spec(id).is_none());
    assert_eq!(f.get("/v1/machines/second").await.status, StatusCode::NOT_FOUND);
    assert_ne!(make(&f, from("second")).await.id, id);
    assert_eq!(listed(&f).await.len(), 3);
}

#[tokio::test]
async fn those_that_wait_make_room() {
    let (f, _, id) = one_waits().await;
    *f.node.refusal.lock().unwrap() = Some(no_room());
    make(
        &f,
        CreateMachine {
            name: Some("other".into()),
            ..machine(&["sleep"])
        },
    )
    .await;
    assert!(f.node.spec(id).is_none());
    // And none waits for a while.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(waiting(&f).is_empty());
    *f.node.refusal.lock().unwrap() = Some(no_room());
    let refused = f.post_json("/v1/machines", &machine(&["sleep"])).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
}

#[tokio::test]
async fn those_that_wait_make_room_for_one_that_starts_again_by_itself() {
    let (f, _, id) = one_waits().await;
    let vcpus = 1;
    // Nothing that waits would be enough for that.
    let memory_mib = 65_536;
    f.node.turn_away(Allocation { vcpus, memory_mib });
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(waiting(&f), [id]);
    let memory_mib = 128;
    f.node.turn_away(Allocation { vcpus, memory_mib });
    until_none_is_warm(&f).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(waiting(&f).is_empty());
}

#[tokio::test]
async fn those_that_wait_go_with_their_snapshot_and_with_the_server() {
    let (f, snapshot, _) = one_waits().await;
    let path = format!("/v1/snapshots/{}", snapshot.id);
    f.call(Method::DELETE, &path).await;
    until_none_is_warm(&f).await;

    let (f, _, _) = one_waits().await;
    let (node, f) = (Arc::clone(&f.node), f.reopen().await);
    assert!(!node.machines().iter().any(MachineSpec::is_warm));
    assert_eq!(f.node.machines().len(), 2);
}

#[tokio::test]
async fn one_that_a_server_left_goes_with_the_row_that_was_to_be_its() {
    let (mut f, snapshot, _) = one_waits().await;
    f.stop().await;
    // As one that was killed leaves it, with the row of a request that nobody was answered.
    let source = f.node.machines().remove(0);
    let request = SnapshotRequest {
        id: snapshot.id,
        machine: source.id,
        memory: true,
    };
    f.node.snapshot(request).await.unwrap();
    let id = MachineId::new();
    let left = MachineSpec {
        id,
        owner: Some(MachineOwner::Warm { snapshot: snapshot.id }),
        ..source
    };
    f.node.create(left).await.unwrap();
    f.node.start(id).await.unwrap();
    f.node.pause(id, PauseMode::Memory).await.unwrap();
    let f = f.reopen().await;
    assert!(f.node.spec(id).is_none());
    assert_eq!(f.get(&format!("/v1/machines/{id}")).await.status, StatusCode::NOT_FOUND);
}
