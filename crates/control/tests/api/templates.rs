//! Templates of functions, and instances that wait, on a node in memory.

use hearth_domain::{MachineSpec, StateWord};
use hearth_ids::MachineId;
use hearth_node_api::{ErrorKind, NodeError, NodeService as _};
use http::{Method, StatusCode};
use serde_json::json;

use crate::{
    fixture::Fixture,
    program::{Program, deploy, invoke, until},
    tenancy::asking,
};

async fn set_secret(f: &Fixture, value: &str) {
    let body = json!({ "value": value });
    let set = f.send(asking(Method::PUT, "/v1/secrets/db", Some(body))).await;
    assert_eq!(set.status, StatusCode::OK, "{set:?}");
}

/// A function `web` that is given the secret, was called, and has a template.
async fn called(f: &Fixture) -> Program {
    let program = Program::serve().await;
    set_secret(f, "b25l").await;
    let secrets = json!([{ "name": "db", "env": "DB" }]);
    deploy(f, "web", json!({ "port": program.port, "secrets": secrets })).await;
    call(f).await;
    assert_eq!(f.node.snapshot_ids().len(), 1);
    program
}

async fn call(f: &Fixture) {
    let answer = invoke(f, "web", "/", "").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
}

/// The machines in a state.
fn all(f: &Fixture, state: StateWord) -> Vec<MachineSpec> {
    let machines = f.node.machines().into_iter();
    let in_state = |id: MachineId| f.node.status(id).is_some_and(|status| status.state.word() == state);
    machines.filter(|spec| in_state(spec.id)).collect()
}

/// The one machine in a state, once there is one.
async fn one(f: &Fixture, state: StateWord) -> MachineSpec {
    until(async || all(f, state).pop()).await
}

async fn remove(f: &Fixture, machine: MachineId) {
    let removed = f.delete(&format!("/v1/machines/{machine}?force=true")).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT, "{removed:?}");
}

#[tokio::test]
async fn one_that_waits_is_given_out_while_it_is_as_one_made_now() {
    let f = Fixture::warm().await;
    let _program = called(&f).await;
    let waits = one(&f, StateWord::Paused).await;
    assert_eq!(waits.snapshot, Some(f.node.snapshot_ids()[0]));
    remove(&f, one(&f, StateWord::Running).await.id).await;
    call(&f).await;
    assert_eq!(one(&f, StateWord::Running).await.id, waits.id);

    let waits = one(&f, StateWord::Paused).await;
    set_secret(&f, "dHdv").await;
    remove(&f, one(&f, StateWord::Running).await.id).await;
    call(&f).await;
    let serves = one(&f, StateWord::Running).await;
    assert_ne!(serves.id, waits.id);
    assert_ne!(serves.workload.secrets, waits.workload.secrets);
    until(async || f.node.spec(waits.id).is_none().then_some(())).await;
}

#[tokio::test]
async fn those_that_wait_for_nobody_see_the_change_too() {
    let f = Fixture::warm().await;
    let _program = called(&f).await;
    let waits = one(&f, StateWord::Paused).await;
    assert_eq!(
        f.delete("/v1/secrets/db").await.status,
        StatusCode::NO_CONTENT,
        "instances that serve keep theirs"
    );
    until(async || f.node.spec(waits.id).is_none().then_some(())).await;
    assert_eq!(all(&f, StateWord::Running).len(), 1);
}

#[tokio::test]
async fn what_nothing_goes_on_from_any_more_goes_at_the_next_start() {
    let mut f = Fixture::new().await;
    let _program = called(&f).await;
    let template = f.node.snapshot_ids();
    f = f.reopen().await;
    assert_eq!(f.node.snapshot_ids(), template, "it is as good as it was");
    set_secret(&f, "dHdv").await;
    f = f.reopen().await;
    assert!(f.node.snapshot_ids().is_empty());
    call(&f).await;
    assert_eq!(f.node.snapshot_ids().len(), 0, "an instance serves since before");
}

/// Has the node refuse the next removal of a snapshot, and tells after another start whether it was asked for one.
async fn asked_for_a_removal(f: Fixture) -> (Fixture, bool) {
    let refusal = NodeError::new(ErrorKind::Internal, "not now");
    *f.node.snapshot_removal_refusal.lock().unwrap() = Some(refusal);
    let f = f.reopen().await;
    let asked = f.node.snapshot_removal_refusal.lock().unwrap().take().is_none();
    (f, asked)
}

#[tokio::test]
async fn a_template_that_the_node_does_not_tell_of_is_removed() {
    let f = Fixture::new().await;
    let _program = called(&f).await;
    let (f, asked) = asked_for_a_removal(f).await;
    assert!(!asked);
    // It is damaged, perhaps.
    f.node.lose_snapshot(f.node.snapshot_ids()[0]);
    let (f, asked) = asked_for_a_removal(f).await;
    assert!(asked);
    let (f, asked) = asked_for_a_removal(f).await;
    assert!(asked, "until it is gone");
    let f = f.reopen().await;
    let (_f, asked) = asked_for_a_removal(f).await;
    assert!(!asked);
}
