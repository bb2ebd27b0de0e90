//! What sandboxes use: the last of many, and of one over time.

use hearth_api::Role;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    e2b::{code, made, path},
    fixture, template_and_sandbox,
};
use crate::tenancy::Realm;

fn id(sandbox: &Value) -> String {
    sandbox["sandboxID"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_last_of_each_that_is_named_and_ones_own_is_told() {
    let r = Realm::new().await;
    let mut keys = Vec::new();
    for project in ["a", "b"] {
        r.project(project, json!({})).await;
        template_and_sandbox(&r, project).await;
        keys.push(r.key(project, Role::Developer, None).await.token);
    }
    let body = || Some(json!({ "templateID": "web" }));
    let mut ids = Vec::new();
    for key in [&keys[0], &keys[0], &keys[1]] {
        let made = r.ask(key, Method::POST, "/v2/sandboxes", body()).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        ids.push(id(&made.json()));
    }
    let [one, two, foreign] = &ids[..] else {
        unreachable!("three were made")
    };
    let ask = async |query: &str| {
        r.ask(&keys[0], Method::GET, &format!("/sandboxes/metrics?{query}"), None)
            .await
    };
    let absent = "sbx00000000000000000000000000";
    // Together, by commas, or one by one.
    for query in [
        format!("sandbox_ids={one},{two},{foreign},{absent},none"),
        format!("sandbox_ids={one}%2C{two}%2C{foreign}"),
        format!("sandbox_ids={one}&sandbox_ids={two}&sandbox_ids={absent}"),
    ] {
        let answer: Value = ask(&query).await.json();
        let mut named: Vec<_> = answer["sandboxes"].as_object().unwrap().keys().cloned().collect();
        named.sort();
        let mut wanted = [one.clone(), two.clone()];
        wanted.sort();
        assert_eq!(named, wanted, "{query}");
        let of_one = &answer["sandboxes"][one];
        assert_eq!(
            (&of_one["cpuCount"], &of_one["memTotal"]),
            (&json!(1), &json!(256 << 20))
        );
        assert_eq!(
            (&of_one["memUsed"], &of_one["diskUsed"]),
            (&json!(32 << 20), &json!(1 << 20))
        );
        let time: jiff::Timestamp = of_one["timestamp"].as_str().unwrap().parse().unwrap();
        assert_eq!(of_one["timestampUnix"], time.as_second());
    }
    for query in ["", "sandbox_ids=", &format!("sandbox_ids={foreign}")] {
        assert_eq!(ask(query).await.json::<Value>(), json!({ "sandboxes": {} }), "{query}");
    }
    let many = |count: usize| format!("sandbox_ids={}", vec![one.as_str(); count].join(","));
    assert_eq!(ask(&many(100)).await.status, StatusCode::OK);
    assert_eq!(code(&ask(&many(101)).await), 400);
}

#[tokio::test]
async fn one_whose_agent_does_not_answer_is_left_out() {
    let f = fixture().await;
    *f.node.guest.lock().unwrap() = None;
    let sandbox = made(&f, json!({})).await;
    let of_many: Value = f
        .get(&format!("/sandboxes/metrics?sandbox_ids={}", id(&sandbox)))
        .await
        .json();
    assert_eq!(of_many, json!({ "sandboxes": {} }));
    assert_eq!(f.get(&path(&sandbox, "/metrics")).await.json::<Value>(), json!([]));
}

#[tokio::test]
async fn what_one_used_is_asked_for_between_two_times() {
    let f = fixture().await;
    let sandbox = made(&f, json!({})).await;
    let metrics = path(&sandbox, "/metrics");
    let second = |one: &Value| one["timestampUnix"].as_u64().unwrap();
    let all: Vec<Value> = f
        .until(&metrics, |answer| answer.json::<Vec<Value>>().len() > 1)
        .await
        .json();
    let (first, last) = (second(&all[0]), second(&all[1]));
    assert!(first < last, "{all:?}");
    let ask = async |query: &str| -> Vec<u64> {
        let seen: Vec<Value> = f.get(&format!("{metrics}?{query}")).await.json();
        seen.iter().map(second).collect()
    };
    // There may be more by now, and they are the last.
    assert_eq!(ask(&format!("start={first}")).await[..2], [first, last]);
    assert_eq!(ask(&format!("start={last}")).await[0], last);
    assert_eq!(ask(&format!("start={}", first + 1)).await[0], last);
    assert_eq!(ask(&format!("end={first}")).await, [first]);
    assert_eq!(ask(&format!("end={last}")).await, [first, last]);
    assert_eq!(ask(&format!("start={first}&end={first}")).await, [first]);
    assert_eq!(ask(&format!("end={}", first - 1)).await, [0; 0]);
    assert_eq!(ask(&format!("start={}", last + 3600)).await, [0; 0]);
    for query in [format!("start={last}&end={first}"), "start=x".into(), "end=-1".into()] {
        assert_eq!(code(&f.get(&format!("{metrics}?{query}")).await), 400, "{query}");
    }
}
