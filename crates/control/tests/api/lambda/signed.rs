//! Signed requests. The signer here is one more reading of the rule, beside botocore's of the unit tests.

use bytes::Bytes;
use hearth_api::{AuditList, NewKey, Role};
use hmac::{Hmac, Mac as _};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{ROOT, ask, creation, import_runtime, kind};
use crate::{
    fixture::Answer,
    tenancy::{Realm, asking},
};

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// How a request is signed.
struct Signer<'a> {
    id: &'a str,
    secret: &'a str,
    at: Timestamp,
    /// What is signed for the body's hash, in place of it.
    payload: Option<&'a str>,
}

impl<'a> Signer<'a> {
    fn of(key: &'a NewKey) -> Self {
        Self {
            id: &key.access_key_id,
            secret: &key.secret_access_key,
            at: Timestamp::now(),
            payload: None,
        }
    }

    fn sign(&self, method: &Method, path: &str, body: &str) -> Request<Full<Bytes>> {
        let time = self.at.strftime("%Y%m%dT%H%M%SZ").to_string();
        let (date, region) = (&time[..8], "eu-central-1");
        let own = hex::encode(Sha256::digest(body));
        let hash = self.payload.unwrap_or(&own);
        let (path_only, query) = path.split_once('?').unwrap_or((path, ""));
        let names = "host;x-amz-content-sha256;x-amz-date";
        let canonical = format!(
            "{method}\n{}\n{query}\nhost:localhost\nx-amz-content-sha256:{hash}\nx-amz-date:{time}\n\n{names}\n{hash}",
            path_only.replace('%', "%25")
        );
        let scope = format!("{date}/{region}/lambda/aws4_request");
        let text = format!(
            "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
            hex::encode(Sha256::digest(canonical))
        );
        let key = ["lambda", "aws4_request"].iter().fold(
            hmac(&hmac(format!("AWS4{}", self.secret).as_bytes(), date), region),
            |key, part| hmac(&key, part),
        );
        let signature = hex::encode(hmac(&key, &text));
        let mut request = asking(method.clone(), path, None).map(|_: Full<Bytes>| Full::from(body.to_owned()));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.id
        );
        for (name, value) in [
            ("authorization", authorization.as_str()),
            ("x-amz-date", &time),
            ("x-amz-content-sha256", hash),
        ] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        request
    }
}

async fn send(r: &Realm, signer: &Signer<'_>, method: Method, path: &str, body: &str) -> Answer {
    r.send(None, signer.sign(&method, path, body)).await
}

#[tokio::test]
async fn a_signature_stands_for_its_key() {
    let r = Realm::new().await;
    import_runtime(&r.f).await;
    r.project("a", json!({})).await;
    let key = r.key("a", Role::Developer, None).await;
    let body = creation("f").to_string();
    let made = send(&r, &Signer::of(&key), Method::POST, ROOT, &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let path = format!("{ROOT}/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af");
    let found = send(&r, &Signer::of(&key), Method::GET, &path, "").await;
    assert_eq!(found.json::<Value>()["Configuration"]["FunctionName"], "f");
    // It is in the project of the key, and nowhere else.
    let elsewhere = ask(&r.f, Method::GET, &format!("{ROOT}/f"), None).await;
    assert_eq!(kind(&elsewhere), "ResourceNotFoundException");
    let admin = r.key("a", Role::Admin, None).await.token;
    let log: AuditList = r.ask(&admin, Method::GET, "/v1/audit", None).await.json();
    let noted = &log.entries[1];
    assert_eq!(
        (noted.operation.as_str(), noted.status),
        ("lambda_create_function", 201)
    );
    assert_eq!(noted.actor, key.key.id.to_string());
}

#[tokio::test]
async fn a_signature_that_is_wrong_in_anything_is_refused() {
    let r = Realm::new().await;
    r.project("a", json!({})).await;
    r.project("b", json!({})).await;
    let (key, other) = (
        r.key("a", Role::Developer, None).await,
        r.key("b", Role::Developer, None).await,
    );
    let get = async |signer: &Signer<'_>| send(&r, signer, Method::GET, ROOT, "").await;
    assert_eq!(get(&Signer::of(&key)).await.status, StatusCode::OK);
    let bad_secret = Signer {
        secret: &other.secret_access_key,
        ..Signer::of(&key)
    };
    assert_eq!(kind(&get(&bad_secret).await), "InvalidSignatureException");
    for minutes in [-6, 6, -60 * 24 * 365] {
        let late = Signer {
            at: Timestamp::now() + SignedDuration::from_mins(minutes),
            ..Signer::of(&key)
        };
        assert_eq!(kind(&get(&late).await), "InvalidSignatureException", "{minutes}");
    }
    for id in ["AKIAIOSFODNN7EXAMPLE", "key00000000000000000000000000"] {
        let unknown = Signer { id, ..Signer::of(&key) };
        assert_eq!(kind(&get(&unknown).await), "UnrecognizedClientException", "{id}");
    }
    let path = format!("/v1/keys/{}", key.key.id);
    let mut revocation = asking(Method::DELETE, &path, None);
    revocation
        .headers_mut()
        .insert("x-hearth-project", "a".parse().unwrap());
    assert_eq!(r.f.send(revocation).await.status, StatusCode::NO_CONTENT);
    assert_eq!(
        kind(&get(&Signer::of(&key)).await),
        "UnrecognizedClientException",
        "revoked"
    );
}

#[tokio::test]
async fn what_was_signed_cannot_be_changed() {
    let r = Realm::new().await;
    let key = r.key("default", Role::Developer, None).await;
    let signed = |body: &str| Signer::of(&key).sign(&Method::POST, ROOT, body);
    let changed = |change: fn(&mut Request<Full<Bytes>>)| {
        let mut request = signed("{}");
        change(&mut request);
        request
    };
    let other_body = signed("{}").map(|_| Full::from("{ }"));
    for request in [
        other_body,
        changed(|request| *request.uri_mut() = format!("{ROOT}?a=b").parse().unwrap()),
        changed(|request| *request.uri_mut() = format!("{ROOT}/").parse().unwrap()),
        changed(|request| *request.method_mut() = Method::GET),
    ] {
        assert_eq!(kind(&r.send(None, request).await), "InvalidSignatureException");
    }
    // A header that would change the meaning, and was not signed.
    for (name, value) in [("x-amz-invocation-type", "Event"), ("x-hearth-project", "other")] {
        let mut request = signed("{}");
        request.headers_mut().insert(name, value.parse().unwrap());
        assert_eq!(
            kind(&r.send(None, request).await),
            "IncompleteSignatureException",
            "{name}"
        );
    }
    // On loopback nobody carries it who could change it.
    let unsigned = Signer {
        payload: Some("UNSIGNED-PAYLOAD"),
        ..Signer::of(&key)
    };
    let taken = send(&r, &unsigned, Method::POST, ROOT, "{}").await;
    assert_eq!(kind(&taken), "InvalidParameterValueException");
    // The signature counts for this API alone.
    let elsewhere = send(&r, &Signer::of(&key), Method::GET, "/v1/functions", "").await;
    assert_eq!(elsewhere.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_is_too_long_is_not_read() {
    let r = Realm::new().await;
    let key = r.key("default", Role::Developer, None).await;
    let body = "x".repeat(6 * 1024 * 1024 + 1);
    let path = format!("{ROOT}/f/invocations");
    // There is no such function, and a body that is signed is read before anybody looks for it.
    let long = send(&r, &Signer::of(&key), Method::POST, &path, &body).await;
    assert_eq!(
        (kind(&long).as_str(), long.status),
        ("RequestTooLargeException", StatusCode::PAYLOAD_TOO_LARGE)
    );
}
