//! Where clients put what COPY copies: an address that opens one place, for one project, for a time.

use hearth_api::Role;
use hearth_ids::TemplateId;
use hearth_seal::Seal;
use http::{Method, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::e2b::code;
use crate::{
    fixture::{Answer, request},
    tenancy::Realm,
};

const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER_HASH: &str = "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

struct Rig {
    r: Realm,
    key: String,
    foreign: String,
    template: String,
}

/// A template of a project, as it is told to whoever is to build it.
async fn template(r: &Realm, key: &str, name: &str) -> String {
    let body = json!({ "name": name });
    let asked = r.ask(key, Method::POST, "/v3/templates", Some(body)).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{asked:?}");
    asked.json::<Value>()["templateID"].as_str().unwrap().to_owned()
}

impl Rig {
    async fn new() -> Self {
        let r = Realm::new().await;
        let mut keys = Vec::new();
        for project in ["a", "b"] {
            r.project(project, json!({})).await;
            keys.push(r.key(project, Role::Developer, None).await.token);
        }
        let [key, foreign] = keys.try_into().unwrap();
        let template = template(&r, &key, "web").await;
        Self {
            r,
            key,
            foreign,
            template,
        }
    }

    async fn ask(&self, key: &str, template: &str, hash: &str) -> Answer {
        let path = format!("/templates/{template}/files/{hash}");
        self.r.ask(key, Method::GET, &path, None).await
    }

    /// Where a hash's files are put, without scheme and host.
    async fn place(&self, template: &str, hash: &str) -> String {
        let answer = self.ask(&self.key, template, hash).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        let url = answer.json::<Value>()["url"].as_str().unwrap().to_owned();
        url.strip_prefix("http://localhost").unwrap().to_owned()
    }

    async fn has(&self, hash: &str) -> bool {
        let answer = self.ask(&self.key, "web", hash).await;
        answer.json::<Value>()["present"].as_bool().unwrap()
    }

    /// Puts files somewhere, as clients do: without a key.
    async fn put(&self, place: &str) -> Answer {
        let request = request(Method::PUT, place).body(Full::from("files")).unwrap();
        self.r.send(None, request).await
    }
}

/// The parts of an address: its path, when it expires, its token.
fn parts(place: &str) -> (&str, u64, &str) {
    let (path, query) = place.split_once("?expires=").unwrap();
    let (expires, token) = query.split_once("&token=").unwrap();
    (path, expires.parse().unwrap(), token)
}

#[tokio::test]
async fn an_address_takes_files_for_its_project() {
    let rig = Rig::new().await;
    assert!(!rig.has(HASH).await);
    let place = rig.place("web", HASH).await;
    let put = rig.put(&place).await;
    assert_eq!(put.status, StatusCode::OK, "{put:?}");
    assert!(rig.has(HASH).await);
    assert!(!rig.has(OTHER_HASH).await);
    // By the name or by the ID, and for every template of the project.
    template(&rig.r, &rig.key, "second").await;
    for name in ["second", &rig.template] {
        let answer = rig.ask(&rig.key, name, HASH).await;
        assert_eq!(answer.json::<Value>()["present"], true, "{name}");
    }
    // What others have is not told, and their templates are not there.
    template(&rig.r, &rig.foreign, "web").await;
    let theirs = rig.ask(&rig.foreign, "web", HASH).await;
    assert_eq!(theirs.json::<Value>()["present"], false);
    assert_eq!(code(&rig.ask(&rig.foreign, &rig.template, HASH).await), 404);
    // An address may be used again, while it lasts.
    assert_eq!(rig.put(&place).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_address_that_was_altered_takes_nothing() {
    let rig = Rig::new().await;
    let second = template(&rig.r, &rig.key, "second").await;
    let theirs = template(&rig.r, &rig.foreign, "web").await;
    let place = rig.place("web", HASH).await;
    let (path, expires, token) = parts(&place);
    let last = if token.ends_with('0') { '1' } else { '0' };
    let altered = format!("{}{last}", &token[..token.len() - 1]);
    let of = |template: &str, hash: &str| format!("/templates/{template}/files/{hash}?expires={expires}&token={token}");
    for wrong in [
        format!("{path}?expires={expires}&token={altered}"),
        format!("{path}?expires={expires}&token="),
        format!("{path}?expires={expires}&token={}", &token[..token.len() - 1]),
        format!("{path}?expires={}&token={token}", expires + 1),
        of(&rig.template, OTHER_HASH),
        of(&second, HASH),
        of(&theirs, HASH),
        of("web", HASH),
        of(&TemplateId::new().to_string(), HASH),
    ] {
        assert_eq!(code(&rig.put(&wrong).await), 403, "{wrong}");
    }
    for wrong in [
        path.to_owned(),
        format!("{path}?expires={expires}"),
        format!("{path}?expires=x&token={token}"),
    ] {
        assert_eq!(code(&rig.put(&wrong).await), 400, "{wrong}");
    }
    for hash in [HASH, OTHER_HASH] {
        assert!(!rig.has(hash).await, "{hash}");
        let theirs = rig.ask(&rig.foreign, "web", hash).await;
        assert_eq!(theirs.json::<Value>()["present"], false, "{hash}");
    }
    // It opens that place alone, and nothing is read by it.
    let read = rig
        .r
        .send(None, request(Method::GET, &place).body(Full::default()).unwrap());
    assert_eq!(code(&read.await), 401);
    assert_eq!(rig.put(&place).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_address_lasts_an_hour() {
    let rig = Rig::new().await;
    let now = jiff::Timestamp::now().as_second().unsigned_abs();
    let place = rig.place("web", HASH).await;
    let (_, expires, _) = parts(&place);
    assert!((now + 3590..now + 3700).contains(&expires), "{expires} from {now}");
    // Made as the server makes them, of the key that the fixture has.
    let address = |purpose: &str, expires: u64| {
        let what = format!("{}/{HASH}/{expires}", rig.template);
        let token = Seal::new([7; 32]).token(purpose, &what).to_string();
        format!(
            "/templates/{}/files/{HASH}?expires={expires}&token={token}",
            rig.template
        )
    };
    let late = rig.put(&address("template-files", now - 1)).await;
    assert_eq!(code(&late), 403);
    assert!(late.json::<Value>()["message"].as_str().unwrap().contains("expired"));
    assert_eq!(code(&rig.put(&address("traffic", now + 60)).await), 403);
    assert!(!rig.has(HASH).await);
    assert_eq!(
        rig.put(&address("template-files", now + 60)).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn an_address_goes_with_its_template() {
    let rig = Rig::new().await;
    let second = template(&rig.r, &rig.key, "second").await;
    let place = rig.place(&second, HASH).await;
    let path = format!("/templates/{second}");
    let removed = rig.r.ask(&rig.key, Method::DELETE, &path, None).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT, "{removed:?}");
    assert_eq!(code(&rig.put(&place).await), 403);
    assert!(!rig.has(HASH).await);
}

#[tokio::test]
async fn a_hash_is_a_number_and_no_path() {
    let rig = Rig::new().await;
    for hash in ["x", "..%2F..%2Fetc%2Fpasswd", &"g".repeat(64), &"0".repeat(129)] {
        assert_eq!(code(&rig.ask(&rig.key, "web", hash).await), 400, "{hash}");
    }
}
