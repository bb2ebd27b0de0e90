//! Whether the server says truly that it can do its work.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use hearth_api::{Readiness, ReadyPart};
use http::StatusCode;

use crate::fixture::Fixture;

/// Another process that writes the store, and keeps everybody else from it.
struct Writer(Child);

impl Writer {
    fn start(f: &Fixture) -> Self {
        let script = "import sqlite3, sys\n\
            db = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
            db.execute('BEGIN IMMEDIATE')\n\
            print('locked', flush=True)\n\
            sys.stdin.read()\n";
        let mut child = Command::new("python3")
            .args(["-c", script])
            .arg(f.folder.path().join("hearth.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line.trim(), "locked");
        Self(child)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn it_is_ready_once_it_answers() {
    let f = Fixture::new().await;
    let answer = f.get("/readyz").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let found: Readiness = answer.json();
    assert!(found.ready && found.not_ready.is_empty());
}

#[tokio::test]
async fn it_is_not_ready_while_the_store_cannot_be_written_and_is_again_after() {
    let f = Fixture::new().await;
    let writer = Writer::start(&f);
    let answer = f
        .until("/readyz", |answer| answer.status == StatusCode::SERVICE_UNAVAILABLE)
        .await;
    let found: Readiness = answer.json();
    assert_eq!((found.ready, found.not_ready), (false, vec![ReadyPart::Store]));
    drop(writer);
    f.until("/readyz", |answer| answer.status == StatusCode::OK).await;
}
