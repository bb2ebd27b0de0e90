//! Machines from their making to their end.

use futures::future::join_all;
use hearth_api::{
    CreateMachine, Driver, Event, EventKind, EventLine, LogLine, Machine, MachineList, MachineState, ProblemCode,
    RestartPolicy, RestartWord, Stats, WaitResult,
};
use hearth_node_api::{ErrorKind, LogStream, NodeError};
use http::{Method, StatusCode};
use http_body_util::Full;

use crate::fixture::{Fixture, IMAGE, json_request, machine, request};

fn named(name: &str) -> CreateMachine {
    CreateMachine {
        name: Some(name.into()),
        ..machine(&["sleep"])
    }
}

async fn events(f: &Fixture, query: &str) -> Vec<Event> {
    let answer = f.get(&format!("/v1/events?{query}")).await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let events = answer.lines().into_iter().map(|line| match line {
        EventLine::Event(event) => event,
        EventLine::Problem(problem) => panic!("{problem:?}"),
    });
    events.collect()
}

#[tokio::test]
async fn a_machine_lives_and_ends() {
    let f = Fixture::new().await;
    let made = f.make(named("web")).await;
    assert_eq!(
        (made.state, made.args.as_slice()),
        (MachineState::Pending, ["sleep".to_owned()].as_slice())
    );
    assert!(made.image_id.starts_with("sha256:"));

    let started: Machine = f.post("/v1/machines/web/start").await.json();
    assert_eq!((started.state, started.pid), (MachineState::Running, Some(4242)));
    assert!(started.started_at.is_some() && started.finished_at.is_none());
    let conflict = f.delete("/v1/machines/web").await.problem();
    assert_eq!(conflict.code, ProblemCode::StateConflict);
    let paused: Machine = f.post("/v1/machines/web/pause").await.json();
    assert_eq!(paused.state, MachineState::Paused);
    let resumed: Machine = f.post("/v1/machines/web/resume").await.json();
    assert_eq!(resumed.state, MachineState::Running);
    let killed: Machine = f.post("/v1/machines/web/kill?signal=HUP").await.json();
    assert_eq!(killed.state, MachineState::Running);
    let stats: Stats = f.get("/v1/machines/web/stats").await.json();
    assert_eq!(stats.cpu_usec, 5);
    let stopped: Machine = f.post("/v1/machines/web/stop?timeout_ms=1000").await.json();
    assert_eq!(
        (stopped.state, stopped.exit.map(|exit| exit.code)),
        (MachineState::Stopped, Some(143))
    );
    assert!(stopped.history.len() >= 6);
    for signal in ["KILL", "TERM"] {
        let refused = f
            .post(&format!("/v1/machines/web/kill?signal={signal}"))
            .await
            .problem();
        assert_eq!(refused.code, ProblemCode::StateConflict);
        assert!(refused.detail.contains("web is stopped"), "{refused}");
    }
    let again: Machine = f.post("/v1/machines/web/restart").await.json();
    assert_eq!(again.state, MachineState::Running);
    let killed: Machine = f.post("/v1/machines/web/kill").await.json();
    assert_eq!(killed.exit.map(|exit| exit.code), Some(137));
    assert_eq!(f.delete("/v1/machines/web").await.status, StatusCode::NO_CONTENT);
    assert_eq!(
        f.get("/v1/machines/web").await.problem().code,
        ProblemCode::MachineNotFound
    );
    assert_eq!(f.node.count(), 0);

    let all = events(&f, "").await;
    assert_eq!(all.first().map(|event| event.kind), Some(EventKind::Created));
    assert_eq!(all.last().map(|event| event.kind), Some(EventKind::Removed));
    assert!(
        all.iter()
            .any(|event| event.state == MachineState::Stopped && event.exit_code == Some(143))
    );
    let of_web = events(&f, &format!("machine=web&after={}", all[0].sequence)).await;
    assert_eq!(of_web.as_slice(), &all[1..]);
    assert!(events(&f, "since=2100-01-01T00:00:00Z").await.is_empty());
}

#[tokio::test]
async fn machines_are_found_and_listed() {
    let f = Fixture::new().await;
    let mut ids = Vec::new();
    for name in ["a1", "a2", "b1"] {
        ids.push(
            f.make(CreateMachine {
                start: name != "a1",
                ..named(name)
            })
            .await
            .id,
        );
    }
    f.post("/v1/machines/b1/stop").await;
    let list = async |query: &str| {
        let list: MachineList = f.get(&format!("/v1/machines?{query}")).await.json();
        let names = list
            .machines
            .into_iter()
            .map(|machine| machine.name)
            .collect::<Vec<_>>();
        (names.join(" "), list.next_cursor)
    };
    assert_eq!(list("").await.0, "a2 a1");
    assert_eq!(list("all=true").await.0, "b1 a2 a1");
    assert_eq!(list("state=stopped").await.0, "b1");
    assert_eq!(list("name=a").await.0, "a2 a1");
    let (first, cursor) = list("all=true&limit=2").await;
    assert_eq!(first, "b1 a2");
    assert_eq!(
        list(&format!("all=true&limit=2&cursor={}", cursor.unwrap())).await,
        ("a1".into(), None)
    );
    let by_id: Machine = f.get(&format!("/v1/machines/{}", ids[0])).await.json();
    assert_eq!(by_id.name, "a1");
    assert_eq!(f.get("/v1/machines/mch").await.problem().code, ProblemCode::Ambiguous);
    for (query, field) in [("limit=0", "limit"), ("limit=9999", "limit"), ("cursor=x", "cursor")] {
        assert_eq!(
            f.get(&format!("/v1/machines?{query}")).await.problem().field.as_deref(),
            Some(field)
        );
    }
}

#[tokio::test]
async fn a_machine_that_cannot_be_made_leaves_nothing() {
    let f = Fixture::new().await;
    for (create, code) in [
        (
            CreateMachine {
                image: "no/such".into(),
                ..named("x")
            },
            ProblemCode::ImageNotFound,
        ),
        (
            CreateMachine {
                driver: Some(Driver::Qemu),
                ..named("x")
            },
            ProblemCode::KernelNotFound,
        ),
        (
            CreateMachine {
                kernel: Some("none".into()),
                ..named("x")
            },
            ProblemCode::KernelNotFound,
        ),
        (
            CreateMachine {
                cpus: Some(99),
                ..named("x")
            },
            ProblemCode::InvalidField,
        ),
        (
            CreateMachine {
                cmd: Vec::new(),
                ..named("x")
            },
            ProblemCode::InvalidField,
        ),
    ] {
        assert_eq!(f.post_json("/v1/machines", &create).await.problem().code, code);
    }
    for (kind, code) in [
        (ErrorKind::NoCapacity, ProblemCode::NoCapacity),
        (ErrorKind::Timeout, ProblemCode::Timeout),
        (ErrorKind::Unavailable, ProblemCode::Unavailable),
        (ErrorKind::Internal, ProblemCode::Internal),
        (ErrorKind::InvalidInput, ProblemCode::InvalidRequest),
    ] {
        *f.node.refusal.lock().unwrap() = Some(NodeError::new(kind, "no room"));
        let problem = f.post_json("/v1/machines", &named("x")).await.problem();
        assert_eq!((problem.code, problem.detail.as_str()), (code, "no room"));
    }
    assert_eq!(f.get("/v1/machines/x").await.status, StatusCode::NOT_FOUND);
    f.make(named("x")).await;
    let taken = f.post_json("/v1/machines", &named("x")).await.problem();
    assert_eq!(
        (taken.code, taken.field.as_deref()),
        (ProblemCode::NameTaken, Some("name"))
    );
}

#[tokio::test]
async fn a_create_with_a_key_can_be_sent_again() {
    let f = Fixture::new().await;
    let send = async |key: &str, create: &CreateMachine| {
        let mut request = json_request("/v1/machines", serde_json::to_vec(create).unwrap());
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        f.send(request).await
    };
    let create = machine(&["sleep"]);
    let answers = join_all((0..8).map(|_| send("k1", &create))).await;
    let ids: Vec<_> = answers.iter().map(|answer| answer.json::<Machine>().id).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
    assert_eq!(
        answers
            .iter()
            .filter(|answer| answer.status == StatusCode::CREATED)
            .count(),
        1
    );
    assert_eq!(f.node.count(), 1);
    let other = machine(&["other"]);
    assert_eq!(
        send("k1", &other).await.problem().code,
        ProblemCode::IdempotencyMismatch
    );
    assert_eq!(
        send(&"k".repeat(256), &other).await.problem().code,
        ProblemCode::InvalidField
    );
    assert_eq!(send("k2", &other).await.status, StatusCode::CREATED);
    f.delete(&format!("/v1/machines/{}", ids[0])).await;
    assert_eq!(send("k1", &create).await.problem().code, ProblemCode::StateConflict);
}

#[tokio::test]
async fn two_hundred_at_once() {
    let f = Fixture::new().await;
    let create = CreateMachine {
        start: true,
        ..machine(&["sleep"])
    };
    let all = join_all((0..200).map(|_| f.make(create.clone()))).await;
    assert!(all.iter().all(|machine| machine.state == MachineState::Running));
    let list: MachineList = f.get("/v1/machines?limit=1000").await.json();
    assert_eq!(list.machines.len(), 200);
    let gone = join_all(all.iter().map(|machine| async {
        let path = format!("/v1/machines/{}?force=true", machine.id);
        f.delete(&path).await.status
    }));
    assert!(gone.await.iter().all(|status| *status == StatusCode::NO_CONTENT));
    assert_eq!(f.node.count(), 0);
}

#[tokio::test]
async fn waiting_ends_with_what_is_waited_for() {
    let f = Fixture::new().await;
    f.make(CreateMachine {
        start: true,
        ..named("web")
    })
    .await;
    let running: WaitResult = f.get("/v1/machines/web/wait?condition=running").await.json();
    assert!(running.reached && running.state == MachineState::Running);
    let over: WaitResult = f.get("/v1/machines/web/wait?timeout_ms=10").await.json();
    assert!(!over.reached);
    let (waited, _) = tokio::join!(f.get("/v1/machines/web/wait"), f.post("/v1/machines/web/stop"));
    let waited: WaitResult = waited.json();
    assert_eq!((waited.reached, waited.exit.map(|exit| exit.code)), (true, Some(143)));
    let (waited, _) = tokio::join!(
        f.get("/v1/machines/web/wait?condition=removed"),
        f.delete("/v1/machines/web")
    );
    let waited: WaitResult = waited.json();
    assert!(waited.reached && waited.removed);
    assert_eq!(
        f.get("/v1/machines/web/wait?timeout_ms=300001").await.problem().code,
        ProblemCode::InvalidField
    );
    assert_eq!(
        f.get("/v1/machines/never/wait").await.problem().code,
        ProblemCode::MachineNotFound
    );
}

#[tokio::test]
async fn a_machine_that_removes_itself_is_remembered() {
    let f = Fixture::new().await;
    let create = CreateMachine {
        auto_remove: true,
        ..machine(&["exit", "7"])
    };
    let made = f.make(create.clone()).await;
    let path = format!("/v1/machines/{}", made.id);
    let started: Machine = f.post(&format!("{path}/start")).await.json();
    assert_eq!(
        (started.state, started.exit.map(|exit| exit.code)),
        (MachineState::Stopped, Some(7))
    );
    f.until(&path, |answer| answer.status == StatusCode::NOT_FOUND).await;
    for text in [made.id.to_string(), made.name] {
        let waited: WaitResult = f.get(&format!("/v1/machines/{text}/wait")).await.json();
        assert!(waited.reached && waited.removed);
        assert_eq!(waited.exit.map(|exit| exit.code), Some(7));
    }
    let always = RestartPolicy {
        policy: RestartWord::Always,
        max: None,
    };
    let refused = f
        .post_json(
            "/v1/machines",
            &CreateMachine {
                restart: always,
                ..create
            },
        )
        .await;
    assert_eq!(refused.problem().field.as_deref(), Some("auto_remove"));
}

#[tokio::test]
async fn output_is_read_as_bytes_and_as_lines() {
    let f = Fixture::new().await;
    let made = f
        .make(CreateMachine {
            start: true,
            ..named("web")
        })
        .await;
    f.node.write(made.id, LogStream::Stderr, "oh\n");
    let raw = f.get("/v1/machines/web/logs").await;
    assert_eq!(raw.body.as_ref(), b"started\noh\n");
    let lines: Vec<LogLine> = f.get("/v1/machines/web/logs?format=ndjson&tail=1").await.lines();
    match lines.as_slice() {
        [LogLine::Output(record)] => assert_eq!(record.data.as_ref(), b"oh\n"),
        other => panic!("{other:?}"),
    }
    let (followed, ()) = tokio::join!(f.get("/v1/machines/web/logs?follow=true"), async {
        f.node.write(made.id, LogStream::Stdout, "late\n");
        f.post("/v1/machines/web/stop").await;
    });
    assert!(followed.body.starts_with(b"started\noh\n"));
    for bad in [
        "tail=-1",
        "tail=9999999999",
        "since=yesterday",
        "format=xml",
        "unknown=1",
    ] {
        let problem = f.get(&format!("/v1/machines/web/logs?{bad}")).await.problem();
        assert_eq!(problem.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn files_go_in_and_out() {
    let f = Fixture::new().await;
    f.make(CreateMachine {
        start: true,
        ..named("web")
    })
    .await;
    let put = request(Method::PUT, "/v1/machines/web/archive?path=/tmp")
        .body(Full::from("tar bytes"))
        .unwrap();
    assert_eq!(f.send(put).await.status, StatusCode::NO_CONTENT);
    let got = f.get("/v1/machines/web/archive?path=/tmp").await;
    assert_eq!(
        (got.body.as_ref(), &got.headers["content-type"]),
        (b"tar bytes".as_slice(), &"application/x-tar".parse().unwrap())
    );
    assert!(got.headers.contains_key("x-hearth-path-stat"));
    assert_eq!(
        f.get("/v1/machines/web/archive?path=/no").await.problem().code,
        ProblemCode::PathNotFound
    );
    for bad in ["", "?path=", "?path=relative", "?path=%2Fa%00"] {
        assert_eq!(
            f.get(&format!("/v1/machines/web/archive{bad}")).await.problem().status,
            400,
            "{bad}"
        );
    }
    f.post("/v1/machines/web/stop").await;
    assert_eq!(
        f.get("/v1/machines/web/stats").await.problem().code,
        ProblemCode::StateConflict
    );
}

#[tokio::test]
async fn the_image_is_named_by_reference_or_id() {
    let f = Fixture::new().await;
    let first = f.make(machine(&["sleep"])).await;
    assert_eq!(first.image, IMAGE);
    let second = f
        .make(CreateMachine {
            image: first.image_id.clone(),
            ..machine(&["sleep"])
        })
        .await;
    assert_eq!(second.image_id, first.image_id);
}
