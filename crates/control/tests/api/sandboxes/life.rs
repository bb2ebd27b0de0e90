//! Making sandboxes, pausing, resuming and killing them.

use hearth_api::{OnTimeout, ProblemCode, Sandbox, SandboxFork, SandboxList, SandboxState, Template};
use hearth_domain::{MachineOwner, StateWord};
use hearth_node_api::{ErrorKind, NodeError, NodeService as _};
use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::{fixture, made, path, seen, until_gone};
use crate::{
    fixture::{Fixture, json_request},
    tenancy::asking,
};

#[tokio::test]
async fn one_is_a_machine_of_its_templates_snapshot() {
    let f = fixture().await;
    let fields = json!({
        "env": ["A=1"], "metadata": { "user": "ada" }, "timeout_s": 60, "on_timeout": "pause", "auto_resume": true,
        "recover": { "policy": "snapshot", "interval_s": 60 },
    });
    let sandbox = made(&f, fields).await;
    assert_eq!((sandbox.state, sandbox.timeout_s), (SandboxState::Running, 60));
    assert_eq!((sandbox.on_timeout, sandbox.auto_resume), (OnTimeout::Pause, true));
    assert_eq!(sandbox.template_name.as_deref(), Some("web"));
    assert_eq!(sandbox.metadata["user"], "ada");
    assert!(sandbox.access_token.is_some() && sandbox.traffic_token.is_none());
    let lasts = sandbox.ends_at.duration_since(sandbox.started_at).as_secs();
    assert!((59..=62).contains(&lasts), "{lasts}");
    let spec = f.node.spec(sandbox.machine).unwrap();
    assert_eq!(spec.owner, Some(MachineOwner::Sandbox { sandbox: sandbox.id }));
    assert_eq!(spec.name.to_string(), sandbox.id.to_string());
    assert_eq!(spec.workload.env["A"], "1");
    assert_eq!(spec.recover.interval_s(), Some(60));
    assert!(spec.workload.idle && spec.snapshot.is_some());
    assert_eq!(
        f.get(&format!("/v1/machines/{}", sandbox.id)).await.status,
        StatusCode::OK
    );

    assert_eq!(f.delete(&path(&sandbox, "")).await.status, StatusCode::NO_CONTENT);
    until_gone(&f, &sandbox).await;
    let again = f.delete(&path(&sandbox, "")).await;
    assert_eq!(again.problem().code, ProblemCode::SandboxNotFound);
}

#[tokio::test]
async fn what_cannot_be_is_told_with_its_field() {
    let f = fixture().await;
    for (fields, field) in [
        (json!({ "timeout_s": 0 }), "timeout_s"),
        (json!({ "timeout_s": 2_678_401 }), "timeout_s"),
        (json!({ "memory_mib": 1 }), "memory_mib"),
        (json!({ "cpus": 0 }), "cpus"),
        (json!({ "disk_mib": 16 }), "disk_mib"),
        (json!({ "env": ["x"] }), "env[0]"),
        (
            json!({ "on_timeout": "pause_disk", "auto_resume": true }),
            "auto_resume",
        ),
        (json!({ "on_timeout": "sleep" }), "on_timeout"),
        (json!({ "metadata": { "a": "x".repeat(4097) } }), "metadata"),
        (
            json!({ "recover": { "policy": "no", "interval_s": 5 } }),
            "recover.interval_s",
        ),
    ] {
        let mut body = fields.clone();
        body["template"] = "web".into();
        let refused = f.post_json("/v1/sandboxes", &body).await;
        assert_eq!(refused.problem().field.as_deref(), Some(field), "{fields}");
    }
    let absent = f.post_json("/v1/sandboxes", &json!({ "template": "none" })).await;
    assert_eq!(absent.problem().code, ProblemCode::TemplateNotFound);
    let same_size = json!({ "memory_mib": 256, "cpus": 2 });
    made(&f, same_size).await;
    let list: SandboxList = f.get("/v1/sandboxes").await.json();
    assert_eq!(list.total, 1, "nothing is left of those that were refused");
}

#[tokio::test]
async fn one_of_another_size_boots_with_the_templates_disk() {
    let f = fixture().await;
    let spec = |sandbox: &Sandbox| f.node.spec(sandbox.machine).unwrap();
    let same = spec(&made(&f, json!({ "cpus": 2 })).await);
    assert!(!same.boots && same.snapshot.is_some());
    let larger = spec(&made(&f, json!({ "cpus": 4, "memory_mib": 512, "disk_mib": 8192 })).await);
    assert!(larger.boots);
    assert_eq!(larger.snapshot, same.snapshot);
    let size = larger.resources;
    let disk = size.disk_mib.map(u64::from);
    assert_eq!(
        (u64::from(size.vcpus), u64::from(size.memory_mib), disk),
        (4, 512, Some(8192))
    );
}

#[tokio::test]
async fn copies_of_one_are_sandboxes_and_templates() {
    let f = fixture().await;
    let sandbox = made(
        &f,
        json!({ "metadata": { "user": "ada" }, "network": { "internet": false } }),
    )
    .await;
    assert!(!sandbox.network.internet);
    let forked = f.post_json(&path(&sandbox, "/fork"), &json!({ "count": 2 })).await;
    assert_eq!(forked.status, StatusCode::CREATED, "{forked:?}");
    let forked: SandboxFork = forked.json();
    assert!(forked.failures.is_empty());
    for copy in &forked.sandboxes {
        assert_eq!((&copy.metadata, &copy.network), (&sandbox.metadata, &sandbox.network));
        assert!(f.node.spec(copy.machine).unwrap().egress.denies_all());
    }
    assert_eq!(forked.sandboxes.len(), 2);
    let many = f.post_json(&path(&sandbox, "/fork"), &json!({ "count": 101 })).await;
    assert_eq!(many.problem().field.as_deref(), Some("count"));

    let wrong = json!({ "name": "kept:no tag" });
    let refused = f.post_json(&path(&sandbox, "/snapshot"), &wrong).await;
    assert_eq!(refused.problem().field.as_deref(), Some("tags"));
    let body = json!({ "name": "kept:v1" });
    let kept: Template = f.post_json(&path(&sandbox, "/snapshot"), &body).await.json();
    assert_eq!(kept.names, ["kept"]);
    let of_it = f.post_json("/v1/sandboxes", &json!({ "template": "kept:v1" })).await;
    assert_eq!(of_it.status, StatusCode::CREATED, "{of_it:?}");
    // What it holds in memory is not on its disk.
    let sized = json!({ "template": "kept:v1", "cpus": 4 });
    let refused = f.post_json("/v1/sandboxes", &sized).await;
    assert_eq!(refused.problem().field.as_deref(), Some("template"));
}

#[tokio::test]
async fn what_one_may_reach_is_changed_as_a_whole() {
    let f = fixture().await;
    let sandbox = made(&f, json!({})).await;
    let put = async |network: serde_json::Value| {
        let request = asking(http::Method::PUT, &path(&sandbox, "/network"), Some(network));
        f.send(request).await
    };
    let egress = || f.node.spec(sandbox.machine).unwrap().egress;
    let closed: Sandbox = put(json!({ "internet": false, "allow_out": ["192.0.2.7"] }))
        .await
        .json();
    assert_eq!(closed.network.allow_out, ["192.0.2.7"]);
    assert!(!egress().is_open());
    for (wrong, field) in [
        (json!({ "allow_out": ["example.com"] }), "network.allow_out"),
        (json!({ "deny_out": ["example.com"] }), "network.deny_out"),
    ] {
        let refused = put(wrong.clone()).await;
        assert_eq!(refused.problem().field.as_deref(), Some(field), "{wrong}");
    }
    assert!(!egress().is_open(), "what is refused changes nothing");
    put(json!({})).await;
    assert!(egress().is_open());
}

#[tokio::test]
async fn a_request_with_a_key_may_be_sent_again() {
    let f = fixture().await;
    let send = async |key: &'static str, body: serde_json::Value| {
        let mut request = json_request("/v1/sandboxes", body.to_string().into_bytes());
        request
            .headers_mut()
            .insert("idempotency-key", HeaderValue::from_static(key));
        f.send(request).await
    };
    let first = send("k", json!({ "template": "web" })).await;
    assert_eq!(first.status, StatusCode::CREATED);
    let second = send("k", json!({ "template": "web" })).await;
    assert_eq!(second.status, StatusCode::OK);
    let (first, second): (Sandbox, Sandbox) = (first.json(), second.json());
    assert_eq!(first.id, second.id);
    let other = send("k", json!({ "template": "web", "timeout_s": 9 })).await;
    assert_eq!(other.problem().code, ProblemCode::IdempotencyMismatch);
    assert_eq!(f.delete(&path(&first, "")).await.status, StatusCode::NO_CONTENT);
    let gone = send("k", json!({ "template": "web" })).await;
    assert_eq!(gone.problem().code, ProblemCode::StateConflict);
}

async fn paused(f: &Fixture, sandbox: &Sandbox, memory: bool) -> Sandbox {
    let answer = f
        .post_json(&path(sandbox, "/pause"), &json!({ "memory": memory }))
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn one_stands_still_and_goes_on() {
    let f = fixture().await;
    let sandbox = made(&f, json!({ "timeout_s": 60 })).await;
    let token = sandbox.access_token.clone();
    for (memory, state) in [(true, SandboxState::Paused), (false, SandboxState::Stopped)] {
        assert_eq!(paused(&f, &sandbox, memory).await.state, state);
        let again = f.post(&path(&sandbox, "/pause")).await;
        assert_eq!(again.problem().code, ProblemCode::StateConflict);
        assert_eq!(seen(&f, &sandbox).await.state, state);
        let resumed = f
            .post_json(&path(&sandbox, "/resume"), &json!({ "timeout_s": 600 }))
            .await;
        assert_eq!(resumed.status, StatusCode::OK, "{resumed:?}");
        let now = seen(&f, &sandbox).await;
        assert_eq!((now.state, &now.access_token), (SandboxState::Running, &token));
        assert!(now.ends_at > sandbox.ends_at && now.started_at >= sandbox.started_at);
    }
    // One that runs lasts no shorter than it would have.
    let before = seen(&f, &sandbox).await.ends_at;
    assert_eq!(f.post(&path(&sandbox, "/resume")).await.status, StatusCode::OK);
    assert_eq!(seen(&f, &sandbox).await.ends_at, before);
}

#[tokio::test]
async fn what_one_had_in_memory_is_given_up_where_that_is_wished() {
    let f = fixture().await;
    let sandbox = made(&f, json!({ "timeout_s": 60 })).await;
    let mut news = f.node.events();
    // Who boots has been at rest before.
    let mut rested = || {
        let events = std::iter::from_fn(|| news.try_recv().ok());
        let of_it = events.filter(|event| event.machine == sandbox.machine);
        of_it.filter(|event| event.state.is_at_rest()).count()
    };
    for (body, boot) in [
        (json!({}), 0),
        (json!({ "memory": true }), 0),
        (json!({ "memory": false }), 1),
    ] {
        paused(&f, &sandbox, true).await;
        let resumed = f.post_json(&path(&sandbox, "/resume"), &body).await;
        assert_eq!(resumed.json::<Sandbox>().state, SandboxState::Running, "{body}");
        assert_eq!(rested(), boot, "{body}");
    }
    // One that runs keeps what it has.
    let resumed = f
        .post_json(&path(&sandbox, "/resume"), &json!({ "memory": false }))
        .await;
    assert_eq!(resumed.status, StatusCode::OK, "{resumed:?}");
    assert_eq!(rested(), 0);
}

#[tokio::test]
async fn one_that_is_paused_outlasts_a_restart() {
    let f = fixture().await;
    let (kept, lost) = (made(&f, json!({})).await, made(&f, json!({})).await);
    let running = made(&f, json!({})).await;
    paused(&f, &kept, true).await;
    // A node that lost a machine while nobody looked.
    f.node.lose(lost.machine);
    let f = f.reopen().await;
    assert_eq!(seen(&f, &kept).await.state, SandboxState::Paused);
    assert_eq!(seen(&f, &running).await.state, SandboxState::Running);
    let absent = f.get(&path(&lost, "")).await;
    assert_eq!(absent.problem().code, ProblemCode::SandboxNotFound);
    let listed: SandboxList = f.get("/v1/sandboxes").await.json();
    assert_eq!(listed.total, 2);
    let resumed = f.post(&path(&kept, "/resume")).await;
    assert_eq!(resumed.json::<Sandbox>().state, SandboxState::Running);
}

#[tokio::test]
async fn one_that_cannot_be_made_leaves_nothing() {
    let f = fixture().await;
    let refusal = NodeError::new(ErrorKind::NoCapacity, "there is no room");
    *f.node.refusal.lock().unwrap() = Some(refusal);
    let refused = f.post_json("/v1/sandboxes", &json!({ "template": "web" })).await;
    assert_eq!(refused.problem().code, ProblemCode::NoCapacity);
    let list: SandboxList = f.get("/v1/sandboxes").await.json();
    assert_eq!(list.total, 0);
    assert_eq!(f.node.count(), 0);
}

#[tokio::test]
async fn a_pause_that_fails_leaves_it_running() {
    let f = fixture().await;
    let sandbox = made(&f, json!({})).await;
    let status = f.node.status(sandbox.machine).unwrap();
    assert_eq!(status.state.word(), StateWord::Running);
    // A conflict would say that it is paused.
    *f.node.pause_refusal.lock().unwrap() = Some(NodeError::new(ErrorKind::Conflict, "the machine is still starting"));
    let refused = f.post(&path(&sandbox, "/pause")).await;
    assert_eq!(refused.problem().code, ProblemCode::Unavailable, "{refused:?}");
    assert_eq!(seen(&f, &sandbox).await.state, SandboxState::Running);
    // As if it crashed: the reaper ends it.
    f.node.lose(sandbox.machine);
    let refused = f.post(&path(&sandbox, "/pause")).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND, "{refused:?}");
}
