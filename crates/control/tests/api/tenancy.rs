//! Projects, keys, roles, quotas, and the log of changes.

use std::sync::Arc;

use bytes::Bytes;
use hearth_api::{
    AuditList, CreateKey, CreateMachine, Key, KeyList, Machine, MachineList, NewKey, ProblemCode, Project, ProjectList,
    Role, Secret, SecretList,
};
use hearth_client::{ApiPath, Client, ClientError};
use hearth_control::{Identity, Listener};
use hearth_node_api::fake::FakeNode;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tokio::net::TcpStream;

use crate::fixture::{Answer, Fixture, machine, request, send_on};

/// A server on loopback, and callers with keys.
pub(crate) struct Realm {
    pub(crate) f: Fixture,
    address: std::net::SocketAddr,
}

impl Realm {
    pub(crate) async fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let socket = folder.path().join("s");
        let tcp = Listener::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = tcp.tcp_address().unwrap();
        let listeners = vec![Listener::unix(&socket).unwrap(), tcp];
        let f = Fixture::listening(FakeNode::new(), folder, socket, listeners).await;
        Self { f, address }
    }

    /// Asks over TCP.
    pub(crate) async fn send(&self, key: Option<&str>, mut request: Request<Full<Bytes>>) -> Answer {
        let headers = request.headers_mut();
        headers.insert("host", "localhost".parse().unwrap());
        if let Some(key) = key {
            headers.insert("authorization", format!("Bearer {key}").parse().unwrap());
        }
        send_on(TcpStream::connect(self.address).await.unwrap(), request).await
    }

    pub(crate) async fn ask(&self, key: &str, method: Method, path: &str, body: Option<serde_json::Value>) -> Answer {
        self.send(Some(key), asking(method, path, body)).await
    }

    pub(crate) async fn project(&self, name: &str, quotas: serde_json::Value) -> Project {
        let body = json!({ "name": name, "quotas": quotas });
        let made = self.f.post_json("/v1/projects", &body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        made.json()
    }

    /// A key, made on the socket.
    pub(crate) async fn key(&self, project: &str, role: Role, expires_in_s: Option<u64>) -> NewKey {
        let body = CreateKey {
            role,
            name: None,
            expires_in_s,
        };
        let mut request = asking(Method::POST, "/v1/keys", Some(serde_json::to_value(body).unwrap()));
        let headers = request.headers_mut();
        headers.insert("x-hearth-project", project.parse().unwrap());
        let made = self.f.send(request).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        made.json()
    }
}

pub(crate) fn asking(method: Method, path: &str, body: Option<serde_json::Value>) -> Request<Full<Bytes>> {
    let request = request(method, path);
    match body {
        None => request.body(Full::default()),
        Some(body) => request
            .header("content-type", "application/json")
            .body(Full::from(body.to_string())),
    }
    .unwrap()
}

fn named(name: &str) -> CreateMachine {
    CreateMachine {
        name: Some(name.into()),
        ..machine(&["sleep"])
    }
}

#[tokio::test]
async fn the_first_key_is_told_once_and_administers_the_host() {
    let mut r = Realm::new().await;
    let first = r.f.first_key.take().unwrap();
    for path in ["/v1/projects", "/v1/keys", "/v1/machines", "/v1/doctor", "/v1/audit"] {
        assert_eq!(
            r.ask(&first, Method::GET, path, None).await.status,
            StatusCode::OK,
            "{path}"
        );
    }
    let keys: KeyList = r.f.get("/v1/keys").await.json();
    assert_eq!((keys.keys.len(), keys.keys[0].role), (1, Role::Admin));
    let again = r.f.reopen().await;
    assert_eq!(again.first_key, None);
    let id = &keys.keys[0].id;
    assert_eq!(
        again.delete(&format!("/v1/keys/{id}")).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(again.reopen().await.first_key, None, "even if it is revoked");
}

#[tokio::test]
async fn without_a_key_there_is_nothing_on_tcp_but_what_all_may_know() {
    let r = Realm::new().await;
    for (path, status) in [
        ("/healthz", StatusCode::OK),
        ("/v1/version", StatusCode::OK),
        ("/openapi.json", StatusCode::OK),
        ("/v1/machines", StatusCode::UNAUTHORIZED),
        ("/nowhere", StatusCode::UNAUTHORIZED),
    ] {
        let answer = r.send(None, asking(Method::GET, path, None)).await;
        assert_eq!(answer.status, status, "{path}");
        if status == StatusCode::UNAUTHORIZED {
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            assert_eq!(answer.problem().code, ProblemCode::Unauthorized);
        }
    }
    let zeros = format!("hth_{}{}", "0".repeat(26), "0".repeat(64));
    for key in ["", "x", "hth_", zeros.as_str()] {
        let answer = r.ask(key, Method::GET, "/v1/machines", None).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{key}");
    }
}

#[tokio::test]
async fn names_belong_to_projects_and_others_do_not_see_them() {
    let r = Realm::new().await;
    r.project("a", json!({})).await;
    r.project("b", json!({})).await;
    let (a, b) = (
        r.key("a", Role::Developer, None).await.token,
        r.key("b", Role::Developer, None).await.token,
    );
    let body = serde_json::to_value(named("web")).unwrap();
    let mut ids = Vec::new();
    for key in [&a, &b] {
        let made = r.ask(key, Method::POST, "/v1/machines", Some(body.clone())).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        ids.push(made.json::<Machine>().id);
    }
    let again = r.ask(&a, Method::POST, "/v1/machines", Some(body)).await;
    assert_eq!(again.problem().code, ProblemCode::NameTaken);
    for (key, own, others) in [(&a, ids[0], ids[1]), (&b, ids[1], ids[0])] {
        let seen: Machine = r.ask(key, Method::GET, "/v1/machines/web", None).await.json();
        assert_eq!(seen.id, own);
        let list: MachineList = r.ask(key, Method::GET, "/v1/machines?all=true", None).await.json();
        assert_eq!(list.machines.iter().map(|m| m.id).collect::<Vec<_>>(), [own]);
        let foreign = r.ask(key, Method::GET, &format!("/v1/machines/{others}"), None).await;
        assert_eq!(foreign.problem().code, ProblemCode::MachineNotFound);
        let events = r.ask(key, Method::GET, "/v1/events", None).await;
        let text = String::from_utf8(events.body.to_vec()).unwrap();
        assert!(
            text.contains(&own.to_string()) && !text.contains(&others.to_string()),
            "{text}"
        );
    }
    let list: MachineList = r.f.get("/v1/machines?all=true").await.json();
    assert!(list.machines.is_empty(), "the default project has none");
    // A removed one is remembered by its project only.
    let path = format!("/v1/machines/{}", ids[0]);
    assert_eq!(
        r.ask(&a, Method::DELETE, &path, None).await.status,
        StatusCode::NO_CONTENT
    );
    let wait = format!("{path}/wait");
    assert_eq!(r.ask(&a, Method::GET, &wait, None).await.status, StatusCode::OK);
    assert_eq!(r.ask(&b, Method::GET, &wait, None).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_key_ends_when_it_is_revoked() {
    let r = Realm::new().await;
    let made = r.key("default", Role::Viewer, None).await;
    assert!(!format!("{made:?}").contains(&made.token));
    assert_eq!(made.access_key_id, made.key.id.to_string());
    assert_eq!(made.secret_access_key.len(), 64);
    assert_eq!(
        r.ask(&made.token, Method::GET, "/v1/machines", None).await.status,
        StatusCode::OK
    );
    let path = format!("/v1/keys/{}", made.key.id);
    let shown = r.f.get(&path).await;
    assert_eq!(shown.json::<Key>().name, made.key.name);
    for secret in [&made.token[30..], &made.secret_access_key] {
        assert!(!String::from_utf8_lossy(&shown.body).contains(secret));
    }
    assert_eq!(r.f.delete(&path).await.status, StatusCode::NO_CONTENT);
    let refused = r.ask(&made.token, Method::GET, "/v1/machines", None).await;
    assert_eq!(refused.problem().code, ProblemCode::Unauthorized);
    assert_eq!(r.f.delete(&path).await.problem().code, ProblemCode::KeyNotFound);
}

#[tokio::test]
async fn a_key_ends_when_its_time_is_over() {
    let r = Realm::new().await;
    let made = r.key("default", Role::Viewer, Some(1)).await;
    let ended = async {
        while r.ask(&made.token, Method::GET, "/v1/node", None).await.status == StatusCode::OK {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::fixture::DEADLINE, ended).await.unwrap();
    let refused = r.ask(&made.token, Method::GET, "/v1/node", None).await;
    assert_eq!(refused.problem().code, ProblemCode::Unauthorized);
    for wrong in [0, u64::MAX] {
        let body = json!({ "role": "viewer", "expires_in_s": wrong });
        let refused = r.f.post_json("/v1/keys", &body).await.problem();
        assert_eq!(refused.field.as_deref(), Some("expires_in_s"));
    }
}

#[tokio::test]
async fn a_project_goes_when_it_owns_nothing() {
    let r = Realm::new().await;
    let project = r.project("team-a", json!({ "cpus": 3 })).await;
    let twice = r.f.post_json("/v1/projects", &json!({ "name": "team-a" })).await;
    assert_eq!(twice.problem().code, ProblemCode::NameTaken);
    let wrong = r.f.post_json("/v1/projects", &json!({ "name": "Team_A" })).await;
    assert_eq!(wrong.problem().field.as_deref(), Some("name"));
    let key = r.key("team-a", Role::Admin, None).await.token;
    let body = serde_json::to_value(named("web")).unwrap();
    r.ask(&key, Method::POST, "/v1/machines", Some(body)).await;
    let seen: Project = r.ask(&key, Method::GET, "/v1/projects/team-a", None).await.json();
    assert_eq!(
        (seen.id, seen.quotas.cpus, seen.holds.machines),
        (project.id, Some(3), 1)
    );
    let list: ProjectList = r.ask(&key, Method::GET, "/v1/projects", None).await.json();
    assert_eq!(list.projects.len(), 1, "its own");
    let other = r.ask(&key, Method::GET, "/v1/projects/default", None).await;
    assert_eq!(other.problem().code, ProblemCode::ProjectNotFound);

    let refused = r.f.delete("/v1/projects/team-a").await.problem();
    assert_eq!(refused.code, ProblemCode::InUse);
    assert!(refused.detail.contains("1 machines"), "{refused}");
    r.ask(&key, Method::DELETE, "/v1/machines/web", None).await;
    assert_eq!(r.f.delete("/v1/projects/team-a").await.status, StatusCode::NO_CONTENT);
    let gone = r.ask(&key, Method::GET, "/v1/machines", None).await;
    assert_eq!(gone.problem().code, ProblemCode::Unauthorized, "its keys went with it");
    assert_eq!(
        r.f.delete("/v1/projects/default").await.problem().code,
        ProblemCode::InUse
    );
}

#[tokio::test]
async fn quotas_are_told_with_field_and_numbers() {
    let r = Realm::new().await;
    r.project("small", json!({ "machines": 3, "cpus": 2, "memory_mib": 400 }))
        .await;
    let key = r.key("small", Role::Developer, None).await.token;
    let make = async |name: &str, cpus: u64, memory_mib: u64| {
        let wanted = CreateMachine {
            cpus: Some(cpus),
            memory_mib: Some(memory_mib),
            ..named(name)
        };
        let body = serde_json::to_value(wanted).unwrap();
        r.ask(&key, Method::POST, "/v1/machines", Some(body)).await
    };
    assert_eq!(make("a", 1, 100).await.status, StatusCode::CREATED);
    for (cpus, memory_mib, field, limit) in [(2, 100, "cpus", "2"), (1, 301, "memory_mib", "400")] {
        let refused = make("b", cpus, memory_mib).await;
        assert!(refused.headers.contains_key("retry-after"));
        let problem = refused.problem();
        assert_eq!((problem.code, problem.status), (ProblemCode::QuotaExceeded, 429));
        assert_eq!(problem.field.as_deref(), Some(field));
        assert!(problem.detail.contains(limit), "{problem}");
    }
    assert_eq!(make("b", 1, 300).await.status, StatusCode::CREATED);
    // What is gone is held no more.
    r.ask(&key, Method::DELETE, "/v1/machines/a", None).await;
    assert_eq!(make("c", 1, 100).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn requests_are_counted_by_project() {
    let r = Realm::new().await;
    r.project("slow", json!({ "requests_per_second": 1 })).await;
    let (slow, free) = (
        r.key("slow", Role::Viewer, None).await.token,
        r.key("default", Role::Viewer, None).await.token,
    );
    let mut refused = None;
    for _ in 0..5 {
        assert_eq!(
            r.ask(&free, Method::GET, "/v1/machines", None).await.status,
            StatusCode::OK
        );
        let answer = r.ask(&slow, Method::GET, "/v1/machines", None).await;
        refused = refused.or((answer.status == StatusCode::TOO_MANY_REQUESTS).then_some(answer));
    }
    let refused = refused.unwrap();
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.problem().code, ProblemCode::TooManyRequests);
}

#[tokio::test]
async fn secrets_go_in_and_do_not_come_out() {
    let r = Realm::new().await;
    r.project("a", json!({})).await;
    let key = r.key("a", Role::Developer, None).await.token;
    let set = async |value: &str| {
        let body = json!({ "value": value });
        r.ask(&key, Method::PUT, "/v1/secrets/db.password", Some(body)).await
    };
    // hunter2
    assert_eq!(set("aHVudGVyMg==").await.json::<Secret>().version, 1);
    assert_eq!(set("aHVudGVyMg==").await.json::<Secret>().version, 2);
    let refused = set("aHVudGVyMg!!").await;
    assert_eq!(refused.problem().field.as_deref(), Some("value"));
    assert!(!String::from_utf8_lossy(&refused.body).contains("aHVud"));
    let list = r.ask(&key, Method::GET, "/v1/secrets", None).await;
    assert_eq!(list.json::<SecretList>().secrets[0].name, "db.password");
    for file in ["hearth.db", "hearth.db-wal"] {
        let bytes = std::fs::read(r.f.folder.path().join(file)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMg"), "{file}");
    }
    let others: SecretList = r.f.get("/v1/secrets").await.json();
    assert!(others.secrets.is_empty());
    assert_eq!(
        r.f.delete("/v1/secrets/db.password").await.problem().code,
        ProblemCode::SecretNotFound
    );
    let gone = r.ask(&key, Method::DELETE, "/v1/secrets/db.password", None).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn changes_are_noted_with_who_and_what_came_of_it() {
    let r = Realm::new().await;
    r.project("a", json!({})).await;
    let (dev, viewer) = (
        r.key("a", Role::Developer, None).await,
        r.key("a", Role::Viewer, None).await,
    );
    let body = serde_json::to_value(named("web")).unwrap();
    let made = r
        .ask(&dev.token, Method::POST, "/v1/machines", Some(body.clone()))
        .await;
    r.ask(&viewer.token, Method::POST, "/v1/machines", Some(body)).await;
    r.ask(&dev.token, Method::GET, "/v1/machines", None).await;
    r.ask(&dev.token, Method::DELETE, "/v1/machines/nobody", None).await;
    let admin = r.key("a", Role::Admin, None).await.token;
    let log: AuditList = r.ask(&admin, Method::GET, "/v1/audit", None).await.json();
    let noted: Vec<_> = log
        .entries
        .iter()
        .map(|entry| (entry.operation.as_str(), entry.actor.as_str(), entry.status))
        .collect();
    let (dev_id, viewer_id) = (dev.key.id.to_string(), viewer.key.id.to_string());
    assert_eq!(
        noted,
        [
            ("create_key", "unix:0", 201),
            ("remove_machine", dev_id.as_str(), 404),
            ("create_machine", viewer_id.as_str(), 403),
            ("create_machine", dev_id.as_str(), 201),
            ("create_key", "unix:0", 201),
            ("create_key", "unix:0", 201),
        ]
    );
    let made_entry = &log.entries[3];
    assert_eq!(made_entry.target, format!("machines/{}", made.json::<Machine>().id));
    assert_eq!(made_entry.request_id, made.headers["x-request-id"].to_str().unwrap());
    assert_eq!(made_entry.origin, "127.0.0.1");
    assert_eq!(log.entries[1].target, "machines/nobody");

    let page: AuditList = r
        .ask(&admin, Method::GET, "/v1/audit?limit=4&operation=create_key", None)
        .await
        .json();
    assert_eq!((page.entries.len(), page.next_cursor), (3, None));
    let page: AuditList = r.ask(&admin, Method::GET, "/v1/audit?limit=2", None).await.json();
    let path = format!("/v1/audit?limit=2&cursor={}", page.next_cursor.unwrap());
    let next: AuditList = r.ask(&admin, Method::GET, &path, None).await.json();
    assert_eq!(next.entries[..], log.entries[2..4]);
    let refused = r.ask(&admin, Method::GET, "/v1/audit?all=true", None).await;
    assert_eq!(refused.problem().code, ProblemCode::Forbidden);
    let all: AuditList = r.f.get("/v1/audit?all=true&operation=create_project").await.json();
    assert_eq!(all.entries.len(), 1);
}

#[tokio::test]
async fn files_that_are_taken_out_of_machines_are_noted() {
    let r = Realm::new().await;
    r.f.make(named("web")).await;
    r.f.get("/v1/machines/web/archive?path=/etc").await;
    let log: AuditList = r.f.get("/v1/audit?operation=get_archive").await.json();
    assert_eq!(log.entries.len(), 1);
    assert_eq!(log.entries[0].target, "machines/web/archive");
}

#[tokio::test]
async fn from_afar_there_is_tls_and_a_key() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let socket = folder.path().join("s");
    let identity = Identity::own(folder.path(), &[]).unwrap();
    let tls = Listener::tls("127.0.0.1:0".parse().unwrap(), &identity).await.unwrap();
    let port = tls.tcp_address().unwrap().port();
    let listeners = vec![Listener::unix(&socket).unwrap(), tls];
    let f = Fixture::listening(FakeNode::new(), folder, socket, listeners).await;
    let client = |host: &str| Client::new(format!("https://{host}:{port}").parse().unwrap());
    let path = ApiPath::v1(&["projects"]);
    let trusting = client("localhost").trusting(Some(&identity.certificate)).unwrap();

    let list: ProjectList = trusting.clone().with_key(f.first_key.clone()).get(&path).await.unwrap();
    assert_eq!(list.projects[0].name, "default");
    let by_address = client("127.0.0.1").trusting(Some(&identity.certificate)).unwrap();
    by_address
        .get::<hearth_api::Version>(&ApiPath::v1(&["version"]))
        .await
        .unwrap();
    match trusting.get::<ProjectList>(&path).await {
        Err(ClientError::Problem(problem)) => assert_eq!(problem.code, ProblemCode::Unauthorized),
        other => panic!("{other:?}"),
    }
    // Whoever does not have the certificate does not talk to us, and is told the way out.
    let stranger = client("localhost")
        .trusting(None)
        .unwrap()
        .get::<ProjectList>(&path)
        .await;
    assert!(stranger.unwrap_err().hint().unwrap().contains("HEARTH_CA_FILE"));
    // A connection that never begins TLS keeps nobody waiting.
    let _silent = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    trusting
        .get::<hearth_api::Version>(&ApiPath::v1(&["version"]))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_machine_is_given_secrets_that_nobody_is_shown() {
    let r = Realm::new().await;
    let set = asking(Method::PUT, "/v1/secrets/db", Some(json!({ "value": "aHVudGVyMg==" })));
    assert_eq!(r.f.send(set).await.status, StatusCode::OK);
    let body = |name: &str, file: &str| {
        let mut body = serde_json::to_value(named("web")).unwrap();
        body["secrets"] = json!([{ "name": name }, { "name": name, "file": file }]);
        body
    };
    for (name, file, code) in [
        ("none", "/run/secrets/x", ProblemCode::SecretNotFound),
        ("db", "/etc/passwd", ProblemCode::InvalidField),
        ("db", "/run/secrets/../x", ProblemCode::InvalidField),
        ("a/b", "/run/secrets/x", ProblemCode::InvalidField),
    ] {
        let refused = r.f.post_json("/v1/machines", &body(name, file)).await.problem();
        assert_eq!(refused.code, code, "{refused}");
    }
    let made = r.f.post_json("/v1/machines", &body("db", "/run/secrets/x")).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let shown = r.f.get("/v1/machines/web").await;
    let text = String::from_utf8_lossy(&shown.body);
    assert!(!text.contains("hunter2") && !text.contains("hs1:"), "{text}");
    let spec = hearth_node_api::NodeService::machines(&*r.f.node).pop().unwrap();
    let opened = spec.workload.secrets.iter().map(|secret| {
        hearth_seal::Seal::new([7; 32])
            .open(spec.project, &secret.sealed)
            .unwrap()
    });
    assert!(
        opened
            .map(|value| value.to_vec())
            .eq([b"hunter2".to_vec(), b"hunter2".to_vec()])
    );
}
