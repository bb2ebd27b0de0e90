//! Calls that are kept, and what calls by the clock.

use hearth_api::{Invocation, InvocationAccepted, InvocationList, InvocationState, ProblemCode, Trigger, TriggerList};
use hearth_ids::{InvocationId, TriggerId};
use hearth_store::{Store, TriggerRow};
use http::{Method, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::{
    fixture::{Answer, Fixture, request},
    program::{Program, deploy, until},
    tenancy::asking,
};

async fn send(f: &Fixture, path: &str, key: Option<&str>, body: &'static str) -> Answer {
    let path = format!("/v1/functions/web/invoke?async=true&path={path}");
    let mut request = request(Method::POST, &path);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    f.send(request.body(Full::from(body)).unwrap()).await
}

async fn accepted(f: &Fixture, path: &str, key: Option<&str>, body: &'static str) -> InvocationId {
    let answer = send(f, path, key, body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    answer.json::<InvocationAccepted>().invocation_id
}

async fn ended(f: &Fixture, id: InvocationId) -> Invocation {
    until(async || {
        let call: Invocation = f.get(&format!("/v1/invocations/{id}")).await.json();
        matches!(call.state, InvocationState::Succeeded | InvocationState::Dead).then_some(call)
    })
    .await
}

async fn list(f: &Fixture, query: &str) -> InvocationList {
    f.get(&format!("/v1/invocations?{query}")).await.json()
}

#[tokio::test]
async fn a_kept_call_runs_once_and_its_answer_is_kept() {
    let f = Fixture::new().await;
    let program = Program::serve().await;
    deploy(&f, "web", json!({"port": program.port})).await;
    let id = accepted(&f, "/a", Some("k"), "one").await;
    let call = ended(&f, id).await;
    assert_eq!(
        (call.state, call.attempts, call.status),
        (InvocationState::Succeeded, 1, Some(200))
    );
    assert_eq!((call.function.as_str(), call.version), ("web", Some(1)), "{call:?}");
    let result = f.get(&format!("/v1/invocations/{id}/result")).await;
    assert_eq!(result.body, "POST /a one");
    assert_eq!(result.headers["x-hearth-function-status"], "200");

    assert_eq!(accepted(&f, "/a", Some("k"), "one").await, id);
    let mismatch = send(&f, "/a", Some("k"), "two").await.problem();
    assert_eq!(mismatch.code, ProblemCode::IdempotencyMismatch);
    for key in [&*"k".repeat(256), ""] {
        let odd = send(&f, "/a", Some(key), "").await.problem();
        assert_eq!(odd.field.as_deref(), Some("idempotency-key"));
    }
    assert_eq!(program.requests(), 1);

    // The next process has it, too.
    let f = f.reopen().await;
    assert_eq!(f.get(&format!("/v1/invocations/{id}/result")).await.body, "POST /a one");
    assert_eq!(accepted(&f, "/a", Some("k"), "one").await, id);
    assert_eq!(program.requests(), 1);
}

#[tokio::test]
async fn what_fails_is_tried_again_what_is_refused_is_not() {
    let f = Fixture::new().await;
    let program = Program::serve().await;
    deploy(&f, "web", json!({"port": program.port})).await;
    let once = ended(&f, accepted(&f, "/once", None, "").await).await;
    assert_eq!((once.state, once.attempts), (InvocationState::Succeeded, 2));
    assert_eq!(program.requests(), 2);

    let refused = accepted(&f, "/status/404", None, "").await;
    let call = ended(&f, refused).await;
    assert_eq!(
        (call.state, call.attempts, call.status),
        (InvocationState::Dead, 1, Some(404))
    );
    assert!(call.error.unwrap().contains("404"));
    assert_eq!(program.requests(), 3);
    let replayed = f.post(&format!("/v1/invocations/{refused}/replay")).await;
    assert_eq!(replayed.status, StatusCode::ACCEPTED);
    until(async || (program.requests() == 4).then_some(())).await;
    assert_eq!(ended(&f, refused).await.attempts, 1, "from its first attempt");

    let failing = ended(&f, accepted(&f, "/status/500", None, "").await).await;
    assert_eq!((failing.state, failing.attempts), (InvocationState::Dead, 3));
    assert_eq!(program.requests(), 7);
}

#[tokio::test]
async fn a_try_that_an_orderly_end_broke_off_does_not_count() {
    let f = Fixture::new().await;
    let program = Program::serve().await;
    deploy(&f, "web", json!({"port": program.port})).await;
    let id = accepted(&f, "/hang", None, "").await;
    until(async || (program.requests() == 1).then_some(())).await;
    let f = f.reopen().await;
    let call = ended(&f, id).await;
    assert_eq!((call.state, call.attempts), (InvocationState::Succeeded, 1));
    assert_eq!(program.requests(), 2);
}

#[tokio::test]
async fn kept_calls_are_listed_by_page_function_and_state() {
    let f = Fixture::new().await;
    let program = Program::serve().await;
    deploy(&f, "web", json!({"port": program.port})).await;
    deploy(&f, "other", json!({"port": program.port})).await;
    let mut ids = Vec::new();
    for path in ["/1", "/2", "/status/400"] {
        ids.push(accepted(&f, path, None, "").await);
    }
    for id in &ids {
        ended(&f, *id).await;
    }
    let newest_first: Vec<_> = ids.iter().rev().copied().collect();
    let all = list(&f, "").await;
    assert_eq!(
        all.invocations.iter().map(|call| call.id).collect::<Vec<_>>(),
        newest_first
    );
    let first = list(&f, "limit=2").await;
    assert_eq!(first.invocations.len(), 2);
    let second = list(&f, &format!("limit=2&cursor={}", first.next_cursor.unwrap())).await;
    assert_eq!((second.invocations[0].id, second.next_cursor), (ids[0], None));
    assert_eq!(list(&f, "state=dead").await.invocations[0].id, ids[2]);
    assert_eq!(list(&f, "function=web&state=succeeded").await.invocations.len(), 2);
    assert!(list(&f, "function=other").await.invocations.is_empty());
    for (query, field) in [("limit=0", "limit"), ("cursor=x", "cursor")] {
        let refused = f.get(&format!("/v1/invocations?{query}")).await.problem();
        assert_eq!(refused.field.as_deref(), Some(field));
    }
    let missing = InvocationId::new();
    for path in [format!("{missing}"), "x".into(), format!("{missing}/result")] {
        let refused = f.get(&format!("/v1/invocations/{path}")).await.problem();
        assert_eq!(refused.code, ProblemCode::InvocationNotFound);
    }
    // They go with their function.
    f.delete("/v1/functions/web").await;
    assert!(list(&f, "").await.invocations.is_empty());
}

#[tokio::test]
async fn triggers_are_made_shown_and_removed() {
    let f = Fixture::new().await;
    deploy(&f, "web", json!({})).await;
    let put = async |name: &str, body: Value| {
        let path = format!("/v1/functions/web/triggers/{name}");
        f.send(asking(Method::PUT, &path, Some(body))).await
    };
    let made: Trigger = put(
        "night",
        json!({"cron": "30 2 * * *", "time_zone": "Europe/Berlin", "payload": "{}"}),
    )
    .await
    .json();
    let next = made.next_at.unwrap();
    assert!(made.last_at.is_none());
    let off: Trigger = put("night", json!({"cron": "30 2 * * *", "disabled": true}))
        .await
        .json();
    assert_eq!(
        (off.id, off.next_at),
        (made.id, None),
        "the same trigger, and not due: {next}"
    );
    for (name, body, field) in [
        ("x", json!({"cron": "61 * * * *"}), "cron"),
        ("x", json!({"cron": "* * * *"}), "cron"),
        (
            "x",
            json!({"cron": "* * * * *", "time_zone": "Mars/Olympus"}),
            "time_zone",
        ),
        ("a%20b", json!({"cron": "* * * * *"}), "trigger"),
        (
            "x",
            json!({"cron": "* * * * *", "payload": "x".repeat(262_145)}),
            "payload",
        ),
    ] {
        let refused = put(name, body).await.problem();
        assert_eq!(refused.field.as_deref(), Some(field), "{refused:?}");
    }
    let list: TriggerList = f.get("/v1/functions/web/triggers").await.json();
    assert_eq!(list.triggers.len(), 1);
    assert_eq!(
        f.delete("/v1/functions/web/triggers/night").await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        f.delete("/v1/functions/web/triggers/night").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn many_triggers_that_are_due_at_once_run_once_each() {
    const COUNT: usize = 300;
    let mut f = Fixture::new().await;
    let program = Program::serve().await;
    deploy(&f, "web", json!({"port": program.port})).await;
    f.stop().await;
    let store = Store::open(&f.folder.path().join("hearth.db")).await.unwrap();
    let function = store.all_functions().await.unwrap().remove(0).spec;
    let year_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(366 * 24);
    let handled_unix_ms = u64::try_from(year_ago.as_millisecond()).unwrap();
    for number in 0..COUNT {
        let row = TriggerRow {
            id: TriggerId::new(),
            project: function.project,
            function: function.id,
            name: format!("t{number}"),
            spec: json!({"cron": "0 0 1 1 *", "missed": "run_once"}).to_string(),
            enabled: true,
            handled_unix_ms,
            last_unix_ms: None,
            created_unix_ms: handled_unix_ms,
        };
        store.put_trigger(&row).await.unwrap();
    }
    // Twice: what was handled is not run again.
    for _ in 0..2 {
        f = f.reopen().await;
        until(async || {
            let rows = store.triggers(None).await.unwrap();
            rows.iter().all(|row| row.last_unix_ms.is_some()).then_some(())
        })
        .await;
        let pages = [list(&f, "limit=200").await, list(&f, "limit=500").await];
        assert_eq!(pages.map(|page| page.invocations.len()), [200, COUNT]);
    }
}
