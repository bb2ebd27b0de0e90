//! What builds say, with their state and alone.

use hearth_store::BuildLogLine;
use http::StatusCode;
use serde_json::{Value, json};

use super::{e2b::code, store};
use crate::fixture::Fixture;

/// When the first line was written, in milliseconds since the Unix epoch.
const FROM: u64 = 4_000_000_000_000;

/// A build that waits, and the path of what is told of it.
async fn build(f: &Fixture, lines: &[(&str, &str)]) -> String {
    let asked: Value = f.post_json("/v3/templates", &json!({ "name": "web" })).await.json();
    let of = |field: &str| asked[field].as_str().unwrap().to_owned();
    let uuid: uuid::Uuid = of("buildID").parse().unwrap();
    let lines: Vec<_> = (0..)
        .zip(lines)
        .map(|(at, (level, message))| BuildLogLine {
            at_unix_ms: FROM + at * 1000,
            level: (*level).to_owned(),
            step: Some("1".to_owned()),
            message: (*message).to_owned(),
        })
        .collect();
    let store = store(f).await;
    store
        .log_build(hearth_ids::BuildId::from_u128(uuid.as_u128()), &lines)
        .await
        .unwrap();
    store.close().await;
    format!("/templates/{}/builds/{uuid}", of("templateID"))
}

const LINES: [(&str, &str); 5] = [
    ("info", "a"),
    ("debug", "b"),
    ("warn", "c"),
    ("error", "d"),
    ("info", "e"),
];

fn messages(list: &Value) -> String {
    let rows = list.as_array().unwrap().iter();
    rows.map(|row| row["message"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_state_comes_with_lines_from_a_number_on() {
    let f = Fixture::new().await;
    let path = build(&f, &LINES).await;
    for (query, wanted) in [
        ("", "abcde"),
        ("logsOffset=2", "cde"),
        ("limit=2", "ab"),
        ("logsOffset=1&limit=1", "b"),
        ("logsOffset=5", ""),
        ("logsOffset=99", ""),
        ("level=debug&logsOffset=1", "bcde"),
        ("level=info", "acde"),
        // Those that are left out are not counted, since the client has not seen them.
        ("level=info&logsOffset=1", "cde"),
        ("level=warn", "cd"),
        ("level=warn&logsOffset=1", "d"),
        ("level=warn&limit=1", "c"),
        ("level=error&logsOffset=1", ""),
    ] {
        let seen: Value = f.get(&format!("{path}/status?{query}")).await.json();
        assert_eq!(messages(&seen["logEntries"]), wanted, "{query}");
        let plain: Vec<String> = serde_json::from_value(seen["logs"].clone()).unwrap();
        assert_eq!(plain.concat(), wanted, "{query}");
        assert_eq!(seen["status"], "waiting");
    }
    for query in ["level=loud", "logsOffset=-1", "limit=x"] {
        assert_eq!(code(&f.get(&format!("{path}/status?{query}")).await), 400, "{query}");
    }
}

#[tokio::test]
async fn a_client_that_counts_what_it_was_given_sees_each_line_once() {
    let f = Fixture::new().await;
    let names: Vec<String> = (0..250).map(|number| format!("{number} ")).collect();
    let lines = (0..).zip(&names).map(|(at, name)| {
        let level = if at % 5 == 0 { "debug" } else { "info" };
        (level, name.as_str())
    });
    let lines: Vec<_> = lines.collect();
    let path = build(&f, &lines).await;
    for (level, wanted) in [("debug", &lines[..]), ("info", &lines[..])] {
        let (mut seen, mut offset, mut pages) = (String::new(), 0, Vec::new());
        loop {
            let query = format!("{path}/status?level={level}&logsOffset={offset}");
            let page: Value = f.get(&query).await.json();
            let length = page["logEntries"].as_array().unwrap().len();
            if length == 0 {
                break;
            }
            seen += &messages(&page["logEntries"]);
            offset += length;
            pages.push(length);
            assert!(offset <= lines.len(), "{pages:?}");
        }
        let of_level = wanted.iter().filter(|(of, _)| level == "debug" || *of != "debug");
        let all: String = of_level.map(|(_, name)| *name).collect();
        assert_eq!(seen, all);
        assert!(pages.iter().all(|length| *length <= 100), "{pages:?}");
    }
}

#[tokio::test]
async fn lines_are_asked_for_by_time_direction_and_level() {
    let f = Fixture::new().await;
    let path = build(&f, &LINES).await;
    let third = FROM + 2000;
    for (query, wanted) in [
        (String::new(), "abcde"),
        ("direction=forward&limit=2".into(), "ab"),
        ("direction=backward".into(), "edcba"),
        ("direction=backward&limit=2".into(), "ed"),
        (format!("cursor={third}"), "cde"),
        (format!("cursor={}", third + 1), "de"),
        (format!("cursor={third}&direction=backward"), "cba"),
        (format!("cursor={third}&direction=backward&level=info"), "ca"),
        ("level=warn".into(), "cd"),
        ("level=warn&limit=1&direction=backward".into(), "d"),
        ("source=temporary".into(), "abcde"),
        ("source=persistent&limit=1".into(), "a"),
    ] {
        let answer = f.get(&format!("{path}/logs?{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(messages(&answer.json::<Value>()["logs"]), wanted, "{query}");
    }
    let whole: Value = f.get(&format!("{path}/logs?limit=1")).await.json();
    let line = json!({ "timestamp": "2096-10-02T07:06:40Z", "level": "info", "message": "a", "step": "1" });
    assert_eq!(whole, json!({ "logs": [line] }));
    for query in ["level=loud", "direction=up", "source=memory", "cursor=x", "limit=-1"] {
        assert_eq!(code(&f.get(&format!("{path}/logs?{query}")).await), 400, "{query}");
    }
    for absent in ["00000000-0000-0000-0000-000000000000", "none"] {
        assert_eq!(code(&f.get(&format!("/templates/web/builds/{absent}/logs")).await), 404);
    }
}

#[tokio::test]
async fn an_answer_has_a_hundred_lines_at_most() {
    let f = Fixture::new().await;
    let path = build(&f, &[("info", "x"); 150]).await;
    for (query, wanted) in [("", 100), ("limit=500", 100), ("limit=7", 7)] {
        for (what, list) in [("logs", "logs"), ("status", "logEntries")] {
            let seen: Value = f.get(&format!("{path}/{what}?{query}")).await.json();
            assert_eq!(seen[list].as_array().unwrap().len(), wanted, "{what} {query}");
        }
    }
}
