//! What is brought together after a start, and what streams do at an end.

use std::sync::Arc;

use hearth_api::{CreateMachine, Event, EventKind, EventLine, Machine, MachineState, ProblemCode};
use hearth_domain::{ExitStatus, MachineEvent};
use http::StatusCode;

use crate::fixture::{Fixture, machine};

async fn kinds(f: &Fixture, machine: &str) -> Vec<EventKind> {
    let lines: Vec<EventLine> = f.get(&format!("/v1/events?machine={machine}")).await.lines();
    let event = |line| match line {
        EventLine::Event(Event { kind, .. }) => kind,
        EventLine::Problem(problem) => panic!("{problem:?}"),
    };
    lines.into_iter().map(event).collect()
}

#[tokio::test]
async fn store_and_node_are_brought_together() {
    let mut f = Fixture::new().await;
    let create = |name: &str| CreateMachine {
        name: Some(name.into()),
        start: true,
        ..machine(&["sleep"])
    };
    let kept = f.make(create("kept")).await;
    let lost = f.make(create("lost")).await;
    let ended = f.make(create("ended")).await;
    f.stop().await;
    f.node.lose(lost.id);
    f.node
        .happen(
            ended.id,
            MachineEvent::Exit(ExitStatus {
                code: 4,
                ..ExitStatus::default()
            }),
        )
        .unwrap();

    let f = f.reopen().await;
    let now = async |name: &str| f.get(&format!("/v1/machines/{name}")).await.json::<Machine>();
    assert_eq!(now("kept").await.state, MachineState::Running);
    let lost_now = now("lost").await;
    assert_eq!(lost_now.state, MachineState::Failed);
    assert!(lost_now.reason.unwrap().starts_with("lost"));
    assert_eq!(now("ended").await.exit.map(|exit| exit.code), Some(4));
    assert_eq!(kinds(&f, "lost").await.last(), Some(&EventKind::Lost));
    assert_eq!(
        f.post("/v1/machines/lost/start").await.problem().code,
        ProblemCode::MachineNotFound
    );
    assert_eq!(f.delete("/v1/machines/lost").await.status, StatusCode::NO_CONTENT);
    assert_eq!(
        f.delete(&format!("/v1/machines/{}?force=true", kept.id)).await.status,
        StatusCode::NO_CONTENT
    );
}

#[tokio::test]
async fn machines_that_the_store_lost_are_found_again() {
    let mut f = Fixture::new().await;
    let stray = f.make(machine(&["sleep"])).await;
    f.post(&format!("/v1/machines/{}/start", stray.id)).await;
    f.stop().await;
    for name in ["hearth.db", "hearth.db-wal", "hearth.db-shm"] {
        let _ = std::fs::remove_file(f.folder.path().join(name));
    }
    let f = Fixture::with(Arc::clone(&f.node), Arc::clone(&f.folder)).await;
    let again: Machine = f.get(&format!("/v1/machines/{}", stray.name)).await.json();
    assert_eq!((again.id, again.state), (stray.id, MachineState::Running));
    assert_eq!(kinds(&f, &stray.name).await, [EventKind::Created, EventKind::Adopted]);
    let stopped: Machine = f.post(&format!("/v1/machines/{}/stop", stray.name)).await.json();
    assert_eq!(stopped.state, MachineState::Stopped);
}

#[tokio::test]
async fn a_followed_stream_brings_news_and_ends_with_the_server() {
    let mut f = Fixture::new().await;
    f.make(CreateMachine {
        name: Some("before".into()),
        ..machine(&["sleep"])
    })
    .await;
    let socket = f.socket.clone();
    let follow = crate::fixture::request(http::Method::GET, "/v1/events?follow=true");
    let follow = follow.body(http_body_util::Full::default()).unwrap();
    let followed = tokio::spawn(async move { crate::fixture::send(&socket, follow).await });
    // Machines are made until the stream must have begun: what came before it is not in it.
    for n in 0..20 {
        f.make(CreateMachine {
            name: Some(format!("m{n}")),
            ..machine(&["sleep"])
        })
        .await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    f.stop().await;
    let lines: Vec<EventLine> = followed.await.unwrap().lines();
    let names: Vec<_> = lines
        .iter()
        .map(|line| match line {
            EventLine::Event(event) => event.machine_name.as_str(),
            EventLine::Problem(problem) => panic!("{problem:?}"),
        })
        .collect();
    assert_eq!(names.last(), Some(&"m19"));
    assert!(!names.contains(&"before"));
}

#[tokio::test]
async fn news_that_was_missed_is_read_anew() {
    let f = Fixture::new().await;
    let made = f
        .make(CreateMachine {
            name: Some("busy".into()),
            start: true,
            ..machine(&["sleep"])
        })
        .await;
    let gone = f
        .make(CreateMachine {
            name: Some("gone".into()),
            start: true,
            ..machine(&["sleep"])
        })
        .await;
    f.until("/v1/events?machine=gone", |answer| {
        answer.body.split(|byte| *byte == b'\n').count() > 4
    })
    .await;
    // More than the channel holds, and without a pause in which the observer could read: with one thread it cannot run.
    f.node.lose(gone.id);
    for _ in 0..3000 {
        f.node.happen(made.id, MachineEvent::Pause).unwrap();
        f.node.happen(made.id, MachineEvent::Resume).unwrap();
    }
    f.until("/v1/machines/gone", |answer| answer.status == StatusCode::NOT_FOUND)
        .await;
    let mut f = f;
    f.stop().await;
    let store = hearth_store::Store::open(&f.folder.path().join("hearth.db"))
        .await
        .unwrap();
    let row = store.machine(made.id).await.unwrap().unwrap();
    assert_eq!(row.sequence, 6003);
}
