//! Requests that botocore signed (`sign.py` makes them), and what becomes of them when they are changed on their way.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, Request, request::Parts};
use serde::Deserialize;

use super::*;

/// When they were signed: 2026-11-21 18:00:00 UTC.
const THEN_MS: u64 = 1_795_284_000_000;

#[derive(Deserialize)]
struct File {
    key: KeyId,
    secret: String,
    requests: Vec<Kept>,
}

#[derive(Clone, Deserialize)]
struct Kept {
    method: String,
    path: String,
    body: String,
    headers: BTreeMap<String, String>,
}

impl Kept {
    fn parts(&self) -> Parts {
        let mut request = Request::builder().method(self.method.as_str()).uri(&self.path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(()).unwrap().into_parts().0
    }

    /// Whether it is taken for one of whoever knows the secret.
    fn proves(&self, secret: &str) -> bool {
        proves(&self.parts(), self.body.as_bytes(), secret)
    }

    fn but(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut other = self.clone();
        change(&mut other);
        other
    }
}

fn proves(parts: &Parts, body: &[u8], secret: &str) -> bool {
    let Ok(signed) = Signed::of(parts, THEN_MS) else {
        return false;
    };
    // Other keys have other secrets.
    if signed.key != file().key {
        return false;
    }
    match &signed.payload {
        Payload::Untold => signed.is_of(secret, parts, &hash(body)),
        Payload::Hash(told) => *told == hash(body) && signed.is_of(secret, parts, told),
        Payload::Unsigned => signed.is_of(secret, parts, UNSIGNED),
    }
}

fn file() -> File {
    serde_json::from_str(include_str!("signed.json")).unwrap()
}

#[test]
fn what_botocore_signs_is_known_as_such() {
    let file = file();
    assert!(file.requests.len() > 20);
    for kept in &file.requests {
        assert!(kept.proves(&file.secret), "{} {}", kept.method, kept.path);
        assert!(!kept.proves("other"), "{} {}", kept.method, kept.path);
        assert_eq!(Signed::of(&kept.parts(), THEN_MS).unwrap().key, file.key);
    }
}

#[test]
fn what_was_changed_on_its_way_is_not() {
    let file = file();
    for kept in &file.requests {
        let set = |name: &'static str, value: &'static str| {
            kept.but(|kept| {
                kept.headers.insert(name.into(), value.into());
            })
        };
        let mut changed = vec![
            kept.but(|kept| kept.method = "DELETE".into()),
            kept.but(|kept| kept.path.insert_str(21, "/x")),
            kept.but(|kept| kept.path += if kept.path.contains('?') { "&z=1" } else { "?z=1" }),
            set("host", "127.0.0.1:8081"),
            set("x-amz-date", "20261121T180001Z"),
            set("x-amz-log-type", "Tail"),
            set("x-hearth-project", "other"),
            set("x-amz-security-token", "token"),
        ];
        if kept
            .headers
            .get("x-amz-content-sha256")
            .is_none_or(|told| told != UNSIGNED)
        {
            changed.push(kept.but(|kept| kept.body.push(' ')));
        }
        for name in ["x-amz-date", "host", "authorization"] {
            changed.push(kept.but(|kept| drop(kept.headers.remove(name))));
        }
        for (place, changed) in changed.iter().enumerate() {
            assert!(!changed.proves(&file.secret), "{place}: {} {}", kept.method, kept.path);
        }
    }
}

#[test]
fn each_character_of_the_authorization_counts() {
    let file = file();
    let kept = &file.requests[0];
    let authorization = &kept.headers["authorization"];
    for place in 0..authorization.len() {
        for other in ["x", "0", ",", ""] {
            let mut changed = authorization.clone();
            changed.replace_range(place..=place, other);
            let spaced = changed.replace(", ", ",");
            if &changed == authorization || spaced == authorization.replace(", ", ",") {
                continue;
            }
            let kept = kept.but(|kept| drop(kept.headers.insert("authorization".into(), changed.clone())));
            assert!(!kept.proves(&file.secret), "{changed}");
        }
    }
}

#[test]
fn a_signature_has_its_time() {
    let file = file();
    let parts = file.requests[0].parts();
    let at = |now: u64| Signed::of(&parts, now).map(|_| ());
    assert_eq!(at(THEN_MS - SKEW_MAX_MS), Ok(()));
    assert_eq!(at(THEN_MS + SKEW_MAX_MS), Ok(()));
    for now in [THEN_MS - SKEW_MAX_MS - 1, THEN_MS + SKEW_MAX_MS + 1, 0, u64::MAX] {
        assert!(matches!(at(now), Err(SignatureError::Expired { .. })), "{now}");
    }
}

#[test]
fn what_is_there_twice_is_refused() {
    let file = file();
    for name in ["authorization", "x-amz-date", "host"] {
        let mut parts = file.requests[0].parts();
        let value = parts.headers[name].clone();
        parts.headers.append(HeaderName::from_static(name), value);
        assert!(!proves(&parts, b"", &file.secret), "{name}");
    }
}

#[test]
fn nothing_makes_the_reader_fail() {
    use proptest::prelude::*;
    let text = "(AWS4-HMAC-SHA256 ?)?((Credential|SignedHeaders|Signature|[a-z]{0,3})?=?[ -~]{0,40},? ?){0,4}";
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let read = |(authorization, date): (String, String)| {
        let mut parts = Request::new(()).into_parts().0;
        let Ok(value) = HeaderValue::from_str(&authorization) else {
            return Ok(());
        };
        parts.headers.insert("authorization", value);
        parts.headers.extend(
            HeaderValue::from_str(&date)
                .ok()
                .map(|date| (HeaderName::from_static("x-amz-date"), date)),
        );
        prop_assert!(Signed::of(&parts, THEN_MS).is_err());
        Ok(())
    };
    runner.run(&(text, "[0-9TZ]{0,17}"), read).unwrap();
}

/// The rule once more, as its text has it: sorted by encoded name and then by encoded value.
#[test]
fn queries_are_the_same_in_any_order_and_spelling() {
    use proptest::prelude::*;
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let pairs = proptest::collection::vec(("[a-zA-Z$:é /~.-]{1,4}", "[a-zA-Z$:é /~.-]{0,4}"), 0..6);
    runner
        .run(&pairs.prop_shuffle(), |pairs| {
            let encode = |text: &str| {
                let bytes = text.bytes().map(|byte| match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
                    byte => format!("%{byte:02X}"),
                });
                bytes.collect::<String>()
            };
            let written = |upper: bool| {
                let pairs = pairs.iter().map(|(name, value)| {
                    let pair = format!("{}={}", encode(name), encode(value));
                    if upper {
                        pair
                    } else {
                        pair.replace("%3A", "%3a").replace("%24", "$")
                    }
                });
                pairs.collect::<Vec<_>>().join("&")
            };
            let mut sorted: Vec<_> = pairs
                .iter()
                .map(|(name, value)| (encode(name), encode(value)))
                .collect();
            sorted.sort();
            let wanted: Vec<_> = sorted.iter().map(|(name, value)| format!("{name}={value}")).collect();
            prop_assert_eq!(canonical::query(&written(true)), wanted.join("&"));
            prop_assert_eq!(canonical::query(&written(false)), wanted.join("&"));
            Ok(())
        })
        .unwrap();
}

#[test]
fn paths_are_encoded_once_more() {
    for (path, wanted) in [
        ("", "/"),
        ("/", "/"),
        ("/a/", "/a/"),
        ("/a%3Ab", "/a%253Ab"),
        ("/a:b", "/a%3Ab"),
        ("//a/./b/../c", "/a/c"),
        ("/../..", "/"),
        ("/a+b ~", "/a%2Bb%20~"),
    ] {
        assert_eq!(canonical::path(path), wanted, "{path}");
    }
}
