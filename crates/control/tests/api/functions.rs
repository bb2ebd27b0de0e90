//! Functions: versions, where calls go, sources, instances and what they wrote.

use hearth_api::{
    Alias, AliasList, Deployment, Function, FunctionList, FunctionLogLine, FunctionSource, InstanceList, LogStream,
    ProblemCode, Role, TrafficShare, VersionList,
};
use hearth_domain::MachineSpec;
use hearth_node_api::NodeService as _;
use http::{Method, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::{
    fixture::{Answer, Fixture, IMAGE, request},
    program::{Program, deploy, deploy_to, invoke},
    tenancy::{Realm, asking},
};

async fn traffic(f: &Fixture) -> Vec<(u32, u32)> {
    let function: Function = f.get("/v1/functions/web").await.json();
    let shares = function.traffic.into_iter();
    shares.map(|share| (share.version, share.percent)).collect()
}

async fn put(f: &Fixture, path: &str, body: Value) -> Answer {
    f.send(asking(Method::PUT, path, Some(body))).await
}

#[tokio::test]
async fn a_deployment_makes_a_version_and_the_same_again_makes_none() {
    let f = Fixture::new().await;
    let first = deploy(&f, "web", json!({})).await;
    assert!(first.new);
    assert_eq!((first.version.version, first.version.port), (1, 8080));
    assert_eq!(first.function.name, "web");
    let same = deploy(&f, "web", json!({})).await;
    assert!(!same.new);
    assert_eq!((same.version.version, same.function.id), (1, first.function.id));
    let changed = deploy(&f, "web", json!({"env": ["A=1"]})).await;
    assert!(changed.new && changed.version.version == 2);
    assert_eq!(traffic(&f).await, [(2, 100)]);
    let held_back = deploy(&f, "web", json!({"env": ["A=2"], "no_traffic": true})).await;
    assert_eq!(held_back.version.version, 3);
    assert_eq!(traffic(&f).await, [(2, 100)]);
    // What is not the program makes no version.
    let settings = deploy(
        &f,
        "web",
        json!({"env": ["A=2"], "no_traffic": true, "settings": {"max": 3}}),
    )
    .await;
    assert!(!settings.new);
    assert_eq!(settings.function.scale.max, 3);
    let versions: VersionList = f.get("/v1/functions/web/versions").await.json();
    let numbers: Vec<_> = versions.versions.iter().map(|version| version.version).collect();
    assert_eq!(numbers, [3, 2, 1]);
}

#[tokio::test]
async fn calls_are_led_back_shared_out_and_named() {
    let f = Fixture::new().await;
    for value in 1..=3 {
        deploy(&f, "web", json!({"env": [format!("A={value}")]})).await;
    }
    let back = async |body: Value| f.post_json("/v1/functions/web/rollback", &body).await;
    let alias: Alias = back(json!({})).await.json();
    assert_eq!((alias.name.as_str(), alias.traffic[0].version), ("live", 2));
    back(json!({"version": 1})).await;
    assert_eq!(traffic(&f).await, [(1, 100)]);
    assert_eq!(back(json!({"version": 9})).await.status, StatusCode::NOT_FOUND);

    let shares = json!({"traffic": [{"version": 1, "percent": 90}, {"version": 3, "percent": 10}]});
    let canary: Alias = put(&f, "/v1/functions/web/aliases/live", shares).await.json();
    let canary: Vec<TrafficShare> = canary.traffic;
    assert_eq!(canary.iter().map(|share| share.percent).sum::<u32>(), 100);
    let all_to_three = json!({"traffic": [{"version": 3, "percent": 100}], "description": "to be tried"});
    assert_eq!(
        put(&f, "/v1/functions/web/aliases/next", all_to_three).await.status,
        StatusCode::OK
    );
    for (alias, traffic, field) in [
        ("Next", json!([{"version": 3, "percent": 100}]), "alias"),
        ("7", json!([{"version": 3, "percent": 100}]), "alias"),
        ("next", json!([{"version": 3, "percent": 99}]), "traffic"),
        ("next", json!([]), "traffic"),
    ] {
        let path = format!("/v1/functions/web/aliases/{alias}");
        let refused = put(&f, &path, json!({ "traffic": traffic })).await.problem();
        assert_eq!(refused.field.as_deref(), Some(field), "{refused:?}");
    }
    let unknown = put(
        &f,
        "/v1/functions/web/aliases/next",
        json!({"traffic": [{"version": 9, "percent": 100}]}),
    )
    .await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND, "{unknown:?}");
    let aliases: AliasList = f.get("/v1/functions/web/aliases").await.json();
    let names: Vec<_> = aliases.aliases.iter().map(|alias| alias.name.as_str()).collect();
    assert_eq!(names, ["live", "next"]);

    // What an alias leads to stays, and so does the one that is called when nobody says which.
    for (kept, code) in [
        ("/versions/1", ProblemCode::InUse),
        ("/versions/3", ProblemCode::InUse),
        ("/aliases/live", ProblemCode::StateConflict),
    ] {
        let refused = f.delete(&format!("/v1/functions/web{kept}")).await.problem();
        assert_eq!(refused.code, code, "{kept}: {refused}");
    }
    for gone in ["/versions/2", "/aliases/next"] {
        let path = format!("/v1/functions/web{gone}");
        assert_eq!(f.delete(&path).await.status, StatusCode::NO_CONTENT);
        assert_eq!(f.delete(&path).await.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(
        f.get("/v1/functions/web/versions/2").await.status,
        StatusCode::NOT_FOUND
    );
    // A number is never given twice.
    assert_eq!(deploy(&f, "web", json!({"env": ["A=4"]})).await.version.version, 4);
}

#[tokio::test]
async fn a_list_shows_each_function_as_it_is_shown_alone() {
    let f = Fixture::new().await;
    for name in ["a", "b", "c"] {
        deploy(&f, name, json!({})).await;
    }
    // Another latest than live; one whose latest is gone.
    for name in ["b", "c"] {
        deploy(&f, name, json!({"env": ["A=1"], "no_traffic": true})).await;
    }
    let removed = f.delete("/v1/functions/c/versions/2").await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT, "{removed:?}");
    let list: FunctionList = f.get("/v1/functions").await.json();
    let latest = list.functions.iter().map(|function| function.latest.as_ref());
    let latest: Vec<_> = latest.map(|version| version.map(|version| version.version)).collect();
    assert_eq!(latest, [Some(1), Some(2), None]);
    for listed in &list.functions {
        let alone: Function = f.get(&format!("/v1/functions/{}", listed.name)).await.json();
        assert_eq!(*listed, alone);
        assert_eq!(listed.traffic.len(), 1);
    }

    let lambda: Value = f.get("/2015-03-31/functions/").await.json();
    let listed = lambda["Functions"].as_array().unwrap();
    assert_eq!(listed.len(), 3);
    for shown in listed {
        let name = shown["FunctionName"].as_str().unwrap();
        let alone: Value = f
            .get(&format!("/2015-03-31/functions/{name}/configuration"))
            .await
            .json();
        assert_eq!(*shown, alone);
    }
    let account: Value = f.get("/2016-08-19/account-settings/").await.json();
    assert_eq!(account["AccountUsage"]["FunctionCount"], 3);
}

#[tokio::test]
async fn settings_change_without_a_version() {
    let f = Fixture::new().await;
    deploy(&f, "web", json!({})).await;
    let patch = async |body: Value| f.send(asking(Method::PATCH, "/v1/functions/web", Some(body))).await;
    let changed: Function = patch(json!({"public": true, "max": 4, "idle_ms": 1500})).await.json();
    assert!(changed.public);
    assert_eq!(
        (changed.scale.max, changed.scale.idle_ms, changed.scale.min),
        (4, 1500, 0)
    );
    assert_eq!(changed.latest.unwrap().version, 1);
    for (body, field) in [
        (json!({"min": 5, "max": 4}), "settings.min"),
        (json!({"max": 0}), "settings.max"),
        (json!({"concurrency": 0}), "settings.concurrency"),
        (json!({"max": 1001}), "settings.max"),
        (json!({"idle_ms": 90_000_000}), "settings.idle_ms"),
    ] {
        let refused = patch(body.clone()).await.problem();
        assert_eq!(refused.field.as_deref(), Some(field), "{body}: {refused:?}");
    }
    assert_eq!(
        patch(json!({"size": 1})).await.problem().code,
        ProblemCode::InvalidField
    );
}

#[tokio::test]
async fn what_is_wrong_is_named_and_makes_nothing() {
    let f = Fixture::new().await;
    let refused = async |name: &str, body: Value| deploy_to(&f, name, body).await.problem();
    for name in ["-x", "a.b", "%20", &"x".repeat(65), "x%2Fy"] {
        assert_eq!(
            refused(name, json!({"image": IMAGE, "cmd": ["x"]}))
                .await
                .field
                .as_deref(),
            Some("name"),
            "{name}"
        );
    }
    let with = |field: &str, value: Value| {
        let mut body = json!({"image": IMAGE, "cmd": ["x"]});
        body[field] = value;
        body
    };
    for (body, field) in [
        (json!({}), "image"),
        (json!({"image": IMAGE}), "cmd"),
        (with("runtime", json!("python3")), "image"),
        (json!({"runtime": "python3", "source": "sha256:1"}), "handler"),
        (
            json!({"runtime": "python3", "source": "sha256:1", "handler": "main"}),
            "handler",
        ),
        (json!({"runtime": "node", "handler": "main.handler"}), "source"),
        (with("source", json!("sha256:1")), "source"),
        (with("port", json!(0)), "port"),
        (with("cpus", json!(0)), "cpus"),
        (with("memory_mib", json!(1)), "memory_mib"),
        (with("timeout_ms", json!(900_001)), "timeout_ms"),
        (with("env", json!(["nothing"])), "env[0]"),
        (with("secrets", json!([{"name": "none"}])), "secrets"),
        (
            with("secrets", json!([{"name": "x", "file": "/etc/passwd"}])),
            "secrets[0].file",
        ),
        (with("description", json!("x".repeat(257))), "description"),
        (with("settings", json!({"max": 0})), "settings.max"),
        (
            json!({"image": IMAGE, "cmd": ["x"], "contract": "lambda", "settings": {"concurrency": 2}}),
            "settings.concurrency",
        ),
    ] {
        let told = refused("web", body.clone()).await;
        assert_eq!(told.field.as_deref(), Some(field), "{body}: {told:?}");
    }
    for (body, code) in [
        (json!({"image": "no/such", "cmd": ["x"]}), ProblemCode::ImageNotFound),
        (with("color", json!("red")), ProblemCode::InvalidField),
        (with("runtime", json!("cobol")), ProblemCode::InvalidField),
        (with("port", json!(65_536)), ProblemCode::InvalidField),
    ] {
        let told = refused("web", body.clone()).await;
        assert_eq!(told.code, code, "{body}: {told:?}");
    }
    let runtime = json!({"runtime": "python3", "source": "sha256:1", "handler": "main.handler"});
    let told = refused("web", runtime).await;
    assert!(told.detail.contains("make runtimes"), "{told}");
    let list: FunctionList = f.get("/v1/functions").await.json();
    assert!(list.functions.is_empty());
    for path in ["", "/versions", "/aliases", "/instances", "/logs", "/triggers"] {
        let told = f.get(&format!("/v1/functions/none{path}")).await.problem();
        assert_eq!(told.code, ProblemCode::FunctionNotFound, "{path}");
    }
}

fn tar_of(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    fill(&mut archive);
    archive.into_inner().unwrap()
}

fn file(archive: &mut tar::Builder<Vec<u8>>, name: &str, text: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, text).unwrap();
}

fn link(archive: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, name: &str, target: &str) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(0o777);
    archive.append_link(&mut header, name, target).unwrap();
}

async fn upload(f: &Fixture, archive: Vec<u8>) -> Answer {
    let request = request(Method::POST, "/v1/functions/web/source").header("content-type", "application/x-tar");
    f.send(request.body(Full::from(archive)).unwrap()).await
}

/// The smallest archive that python3 makes of one file.
fn zip_of(folder: &std::path::Path) -> Vec<u8> {
    let path = folder.join("source.zip");
    let script = "import sys, zipfile; zipfile.ZipFile(sys.argv[1], 'w').writestr('main.py', 'x = 1')";
    let made = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    std::fs::read(path).unwrap()
}

#[tokio::test]
async fn a_source_is_taken_whole_or_not_at_all() {
    let f = Fixture::new().await;
    let source = tar_of(|archive| {
        file(archive, "main.py", b"x = 1");
        link(archive, tar::EntryType::Symlink, "also.py", "main.py");
    });
    let taken: FunctionSource = upload(&f, source.clone()).await.json();
    assert!(taken.source.starts_with("sha256:") && taken.size_bytes > 0);
    let again: FunctionSource = upload(&f, source).await.json();
    assert_eq!(again, taken, "the same files are the same source");
    let zipped = upload(&f, zip_of(f.folder.path())).await;
    assert_eq!(zipped.status, StatusCode::OK, "{zipped:?}");

    let symlink = tar::EntryType::Symlink;
    let too_large = tar_of(|archive| {
        let mut header = tar::Header::new_gnu();
        header.set_size(1 << 40);
        header.set_mode(0o644);
        header.set_path("large").unwrap();
        header.set_cksum();
        archive.append(&header, [0; 1024].as_slice()).unwrap();
    });
    for (archive, word) in [
        (
            tar_of(|archive| link(archive, symlink, "out", "../../etc/passwd")),
            "out",
        ),
        (tar_of(|archive| link(archive, symlink, "out", "/etc/passwd")), "out"),
        (
            tar_of(|archive| link(archive, tar::EntryType::Link, "hard", "../other")),
            "hard",
        ),
        (too_large, "262144000"),
        (b"neither tar nor zip".repeat(100), ""),
    ] {
        let refused = upload(&f, archive).await;
        assert_ne!(refused.status, StatusCode::OK, "{word:?} is taken");
        let problem = refused.problem();
        assert_eq!(problem.code, ProblemCode::SourceInvalid, "{problem:?}");
        assert!(problem.detail.contains(word), "{problem}");
    }
}

#[tokio::test]
async fn a_function_that_is_removed_takes_its_instances_along() {
    let f = Fixture::new().await;
    let program = Program::serve().await;
    deploy(&f, "web", json!({"port": program.port})).await;
    assert_eq!(invoke(&f, "web", "/", "hello").await.body, "POST / hello");
    let instances: InstanceList = f.get("/v1/functions/web/instances").await.json();
    assert!(instances.instances.len() == 1 && instances.instances[0].serving);
    assert_eq!(f.node.count(), 1);
    assert_eq!(f.delete("/v1/functions/web").await.status, StatusCode::NO_CONTENT);
    let gone = invoke(&f, "web", "/", "").await.problem();
    assert_eq!(gone.code, ProblemCode::FunctionNotFound);
    crate::program::until(async || (f.node.count() == 0).then_some(())).await;
    assert_eq!(f.delete("/v1/functions/web").await.status, StatusCode::NOT_FOUND);
    // The next of that name is another one.
    let next = deploy(&f, "web", json!({"port": program.port})).await;
    assert_eq!(next.version.version, 1);
    let lines: Vec<FunctionLogLine> = f.get("/v1/functions/web/logs").await.lines();
    assert!(lines.is_empty(), "{lines:?}");
}

#[tokio::test]
async fn a_log_is_of_instances_that_are_there_and_that_were() {
    let f = Fixture::new().await;
    let program = Program::serve().await;
    deploy(&f, "web", json!({"port": program.port})).await;
    invoke(&f, "web", "/", "").await;
    let first = f.node.machines()[0].id;
    f.node
        .write(first, hearth_node_api::LogStream::Stderr, "from the first\nand a ");
    f.node.write(first, hearth_node_api::LogStream::Stderr, "half\n");
    f.node.kill(first, 9).await.unwrap();
    // Another takes its place meanwhile: the call was not long ago.
    crate::program::until(async || f.node.spec(first).is_none().then_some(())).await;
    deploy(&f, "web", json!({"port": program.port, "env": ["A=2"]})).await;
    invoke(&f, "web", "/", "").await;
    let second = f
        .node
        .machines()
        .into_iter()
        .find(|spec| owner(spec) == Some(2))
        .unwrap()
        .id;
    f.node
        .write(second, hearth_node_api::LogStream::Stdout, "from the second\n");
    let read = async |query: &str| {
        let lines: Vec<FunctionLogLine> = f.get(&format!("/v1/functions/web/logs?{query}")).await.lines();
        let records = lines.into_iter().map(|line| match line {
            FunctionLogLine::Line(record) => record,
            FunctionLogLine::Problem(problem) => panic!("{problem:?}"),
        });
        records.collect::<Vec<_>>()
    };
    let all = read("").await;
    let ours = all.iter().filter(|line| [first, second].contains(&line.machine));
    let told: Vec<_> = ours.map(|line| (line.version, line.line.as_str())).collect();
    let expected = [
        (1, "started"),
        (1, "from the first"),
        (1, "and a half"),
        (2, "started"),
        (2, "from the second"),
    ];
    assert_eq!(told, expected);
    let line = all.iter().find(|line| line.line == "from the first").unwrap();
    assert_eq!((line.machine, line.stream), (first, LogStream::Stderr));
    assert_eq!(read("tail=1").await[0].line, "from the second");
    assert_eq!(read("version=2").await.len(), 2);
    assert!(read("since=2100-01-01T00:00:00Z").await.is_empty());
}

#[tokio::test]
async fn a_calls_lines_are_found_after_a_restart() {
    let f = Fixture::new().await;
    let program = Program::serve().await;
    deploy(&f, "web", json!({"port": program.port})).await;
    let call = async |f: &Fixture, path: &str| {
        let answer = invoke(f, "web", path, "").await;
        answer.headers["x-hearth-request-id"].to_str().unwrap().to_owned()
    };
    let found = async |f: &Fixture, request: &str| {
        let path = format!("/v1/functions/web/logs?invocation={request}");
        let lines: Vec<FunctionLogLine> = f.get(&path).await.lines();
        lines
            .iter()
            .any(|line| matches!(line, FunctionLogLine::Line(record) if record.line == "of the call"))
    };
    // Its line may come late, but not by much.
    let request = crate::program::until(async || {
        let request = call(&f, "/").await;
        let machine = f.node.machines()[0].id;
        f.node
            .write(machine, hearth_node_api::LogStream::Stdout, "of the call\n");
        found(&f, &request).await.then_some(request)
    })
    .await;
    let f = f.reopen().await;
    assert!(found(&f, &request).await);
    let other = call(&f, "/").await;
    assert!(!found(&f, &other).await);
}

/// Which version a machine is an instance of.
fn owner(spec: &MachineSpec) -> Option<u32> {
    Some(spec.owner.as_ref()?.function()?.1)
}

#[tokio::test]
async fn deployments_of_one_name_at_once_leave_one_function() {
    let f = Fixture::new().await;
    let one = async |n: u32| {
        deploy_to(
            &f,
            "web",
            json!({"image": IMAGE, "cmd": ["x"], "env": [format!("A={n}")]}),
        )
        .await
    };
    let answers = futures::future::join_all((0..8).map(one)).await;
    let mut numbers = Vec::new();
    for answer in answers {
        if answer.status == StatusCode::OK {
            numbers.push(answer.json::<Deployment>().version.version);
        } else {
            // Whoever comes second by a hair is told, and tries again.
            assert_eq!(answer.status, StatusCode::CONFLICT, "{answer:?}");
        }
    }
    assert!(!numbers.is_empty());
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), count, "one number, two programs");
    let list: FunctionList = f.get("/v1/functions").await.json();
    assert_eq!(list.functions.len(), 1);
    let latest = list.functions[0].latest.as_ref().unwrap().version;
    assert_eq!(Some(&latest), numbers.last());
    assert!(numbers.contains(&traffic(&f).await[0].0));
}

#[tokio::test]
async fn projects_do_not_see_each_others_functions() {
    let r = Realm::new().await;
    r.project("ours", json!({})).await;
    r.project("theirs", json!({})).await;
    let (ours, theirs) = (
        r.key("ours", Role::Developer, None).await,
        r.key("theirs", Role::Developer, None).await,
    );
    let wanted = |value: &str| Some(json!({"image": IMAGE, "cmd": ["x"], "env": [value]}));
    let mine: Deployment = r
        .ask(&ours.token, Method::PUT, "/v1/functions/web", wanted("A=1"))
        .await
        .json();
    for path in [
        "",
        "/versions",
        "/versions/1",
        "/aliases",
        "/instances",
        "/logs",
        "/triggers",
    ] {
        let answer = r
            .ask(&theirs.token, Method::GET, &format!("/v1/functions/web{path}"), None)
            .await;
        assert_eq!(answer.problem().code, ProblemCode::FunctionNotFound, "{path}");
    }
    let called = r
        .ask(&theirs.token, Method::POST, "/v1/functions/web/invoke", None)
        .await;
    assert_eq!(called.problem().code, ProblemCode::FunctionNotFound);
    let list: FunctionList = r.ask(&theirs.token, Method::GET, "/v1/functions", None).await.json();
    assert!(list.functions.is_empty());
    // The same name is another function.
    let other: Deployment = r
        .ask(&theirs.token, Method::PUT, "/v1/functions/web", wanted("A=2"))
        .await
        .json();
    assert_ne!(other.function.id, mine.function.id);
    let gone = r.ask(&theirs.token, Method::DELETE, "/v1/functions/web", None).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(
        r.ask(&ours.token, Method::GET, "/v1/functions/web", None).await.status,
        StatusCode::OK
    );
}
