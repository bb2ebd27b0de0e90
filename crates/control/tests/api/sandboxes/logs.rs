//! What sandboxes say, and what of it is asked for.

use hearth_node_api::LogStream;
use serde_json::{Value, json};

use super::{e2b::code, fixture, made};
use crate::fixture::Fixture;

/// When the first line was written, in milliseconds since the Unix epoch: long after what the node itself wrote.
const FROM: u64 = 4_000_000_000_000;
const OBJECT: &str = r#"{"message":"process started","tag":"needle"}"#;

/// A sandbox that has said something, a line a second.
async fn speaking() -> (Fixture, String) {
    let f = fixture().await;
    let sandbox = made(&f, json!({})).await;
    let lines = [
        (LogStream::Stdout, "one"),
        (LogStream::Stderr, "two"),
        (LogStream::Stdout, OBJECT),
        (LogStream::Stdout, "a needle"),
    ];
    for (at, (stream, line)) in (0..).zip(lines) {
        f.node
            .write_at(sandbox.machine, FROM + at * 1000, stream, &format!("{line}\n"));
    }
    (f, sandbox.id.to_string())
}

fn texts(list: &Value, field: &str) -> Vec<String> {
    let rows = list.as_array().unwrap().iter();
    rows.map(|row| row[field].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn lines_are_asked_for_by_time_direction_level_and_words() {
    let (f, id) = speaking().await;
    let lines = async |query: &str| {
        let answer: Value = f.get(&format!("/v2/sandboxes/{id}/logs?{query}")).await.json();
        texts(&answer["logs"], "message")
    };
    let all = ["started", "one", "two", "process started", "a needle"];
    assert_eq!(lines("").await, all);
    assert_eq!(lines("direction=forward&limit=2").await, all[..2]);
    assert_eq!(lines("limit=0").await, [""; 0]);
    let back: Vec<_> = all.iter().rev().copied().collect();
    assert_eq!(lines("direction=backward").await, back);
    assert_eq!(lines("direction=backward&limit=2").await, back[..2]);
    // A cursor is of the line at that time, and of what lies beyond it in the direction.
    let second = FROM + 1000;
    assert_eq!(lines(&format!("cursor={second}")).await, all[2..]);
    assert_eq!(lines(&format!("cursor={}", second + 1)).await, all[3..]);
    assert_eq!(lines(&format!("cursor={second}&direction=backward")).await, back[2..]);
    let before = format!("cursor={}&direction=backward&limit=1", second - 1);
    assert_eq!(lines(&before).await, ["one"]);
    assert_eq!(lines("level=debug").await, all);
    assert_eq!(lines("level=info").await, all);
    assert_eq!(lines("level=warn").await, ["two"]);
    assert_eq!(lines("level=error").await, [""; 0]);
    // Words of the message alone, as they are written.
    assert_eq!(lines("search=needle").await, ["a needle"]);
    assert_eq!(lines("search=Needle").await, [""; 0]);
    assert_eq!(lines("search=process%20started").await, ["process started"]);
    assert_eq!(
        lines("search=t&level=info&direction=backward&limit=1").await,
        ["process started"]
    );
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused() {
    let (f, id) = speaking().await;
    for query in [
        "direction=up",
        "level=loud",
        "limit=x",
        "limit=-1",
        "cursor=now",
        "start=-1",
    ] {
        for path in ["/sandboxes", "/v2/sandboxes"] {
            let refused = f.get(&format!("{path}/{id}/logs?{query}")).await;
            assert_eq!(code(&refused), 400, "{path} {query}");
        }
    }
}

#[tokio::test]
async fn the_older_call_gives_lines_as_objects() {
    let (f, id) = speaking().await;
    let ask = async |query: &str| -> Value { f.get(&format!("/sandboxes/{id}/logs?{query}")).await.json() };
    let since = ask(&format!("start={}", FROM + 2000)).await;
    let objects = [
        json!({ "level": "info", "logger": "", "message": "process started", "tag": "needle" }),
        json!({ "level": "info", "logger": "", "message": "a needle" }),
    ];
    assert_eq!(texts(&since["logs"], "line"), objects.map(|object| object.to_string()));
    assert_eq!(since["logs"][0]["timestamp"], "2096-10-02T07:06:42Z");
    let object = json!({
        "timestamp": "2096-10-02T07:06:42Z", "level": "info", "message": "process started", "fields": { "tag": "needle" },
    });
    assert_eq!(since["logEntries"][0], object);
    let first = ask(&format!("start={FROM}&limit=1")).await;
    assert_eq!(texts(&first["logs"], "line").len(), 1);
    assert_eq!(texts(&first["logEntries"], "message"), ["one"]);
    assert_eq!(texts(&ask("").await["logs"], "line").len(), 5);
}

#[tokio::test]
async fn an_answer_has_a_thousand_lines_at_most() {
    let f = fixture().await;
    let sandbox = made(&f, json!({})).await;
    let many: Vec<_> = (0..1500).map(|number| number.to_string()).collect();
    f.node
        .write_at(sandbox.machine, FROM, LogStream::Stdout, &many.join("\n"));
    for query in [format!("cursor={FROM}"), format!("cursor={FROM}&limit=5000")] {
        let answer: Value = f
            .get(&format!("/v2/sandboxes/{}/logs?{query}", sandbox.id))
            .await
            .json();
        let lines = texts(&answer["logs"], "message");
        assert_eq!((lines.len(), lines[999].as_str()), (1000, "999"), "{query}");
    }
}
