//! AWS's own runtime client, and ours.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hearth_guest_api::guest::Workload;
use hearth_guest_api::runtime::{
    INVOKE_PATH, MAX_PAYLOAD_BYTES, READY_PATH, WAITS_FOR_CALLS, WAITS_FOR_HEADER, WAITS_FOR_SNAPSHOT,
};
use hearth_testkit::lambda::PythonRuntime;
use tempfile::TempDir;

use crate::assert_failed;
use crate::rig::{Connection, LIMIT, Reply, Rig};
use crate::snapshots::restore;

/// Says when its hooks run.
const SNAPSHOT_HANDLER: &str = r#"
from snapshot_restore_py import register_after_restore, register_before_snapshot
state = []
register_before_snapshot(lambda: state.append("before"))
def after():
    state.append("after")
    if open("fails").read() == "yes":
        raise ValueError("no lease")
register_after_restore(after)
def handler(event, context):
    return state
"#;

const HANDLER: &str = r#"
import json, os, sys
print("loaded")
def handler(event, context):
    if event.get("fail"):
        raise ValueError(event["fail"])
    if event.get("exit"):
        sys.stdout.flush()
        os._exit(event["exit"])
    if event.get("large"):
        return "x" * event["large"]
    print("handling", event["n"])
    return {"n": event["n"] + 1, "id": context.aws_request_id, "left": context.get_remaining_time_in_millis() > 0}
"#;

/// A folder with a module `app`, and a runtime to run it.
struct App {
    python: PythonRuntime,
    folder: TempDir,
}

impl App {
    /// `None`, and says so, where the runtime is not to be had.
    fn new(source: &str) -> Option<Self> {
        let python = hearth_testkit::lambda::python_runtime()
            .inspect_err(|reason| eprintln!("SKIPPED: AWS's runtime client for Python is not to be had: {reason}"))
            .ok()?;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("app.py"), source).unwrap();
        Some(Self { python, folder })
    }

    /// Runs AWS's.
    async fn start(&self, handler: &str, initialization: &str) -> Rig {
        self.start_by(&["-m", "awslambdaric", handler], handler, initialization)
            .await
    }

    /// Runs ours.
    async fn start_ours(&self, handler: &str, initialization: &str) -> Rig {
        let bootstrap = concat!(env!("CARGO_MANIFEST_DIR"), "/../../runtimes/python3/bootstrap.py");
        self.start_by(&["-s", bootstrap], handler, initialization).await
    }

    async fn start_by(&self, program: &[&str], handler: &str, initialization: &str) -> Rig {
        let python = self.python.python.to_string_lossy();
        let args = [&[&*python], program].concat();
        let folder = self.folder.path().to_string_lossy().into_owned();
        let env = [
            ("PYTHONPATH", self.python.packages.to_string_lossy().into_owned()),
            ("LAMBDA_TASK_ROOT", folder.clone()),
            ("PYTHONUNBUFFERED", "1".to_owned()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", initialization.to_owned()),
            ("_HANDLER", handler.to_owned()),
        ];
        let workload = Workload {
            args: args.into_iter().map(str::to_owned).collect(),
            cwd: folder,
            env: env.map(|(name, value)| (name.to_owned(), value)).into(),
            ..Workload::default()
        };
        Rig::start(workload).await
    }
}

async fn ready(rig: &Rig) -> Reply {
    tokio::time::timeout(LIMIT, rig.caller().await.get(READY_PATH))
        .await
        .unwrap()
}

#[tokio::test]
async fn python_runtimes_are_part_of_a_snapshot() {
    let Some(app) = App::new(SNAPSHOT_HANDLER) else { return };
    for (ours, fails) in [(false, "no"), (false, "yes"), (true, "no"), (true, "yes")] {
        std::fs::write(app.folder.path().join("fails"), fails).unwrap();
        let rig = if ours {
            app.start_ours("app.handler", "snap-start").await
        } else {
            app.start("app.handler", "snap-start").await
        };
        let waits = ready(&rig).await;
        let what = (waits.status, waits.header(WAITS_FOR_HEADER));
        assert_eq!(what, (200, WAITS_FOR_SNAPSHOT), "{}", waits.text());
        restore(&rig, true).await;
        let after = ready(&rig).await;
        if fails == "yes" {
            assert_eq!((after.status, &after.json()["errorMessage"]), (500, &"no lease".into()));
            assert_eq!(rig.exited().await.code, 65);
            continue;
        }
        let what = (after.status, after.header(WAITS_FOR_HEADER));
        assert_eq!(what, (200, WAITS_FOR_CALLS), "{}", after.text());
        let answer = rig.caller().await.send("POST", INVOKE_PATH, &[], "{}").await;
        assert_eq!(answer.json(), serde_json::json!(["before", "after"]));
    }
}

#[tokio::test]
async fn the_unmodified_python_runtime() {
    let Some(app) = App::new(HANDLER) else { return };
    let rig = app.start("app.handler", "on-demand").await;
    let mut caller: Connection = rig.caller().await;
    let first = ready(&rig).await;
    assert_eq!(first.status, 200, "{}", first.text());
    for n in 0..3 {
        let headers = [("x-hearth-request-id", "py"), ("x-amz-log-type", "Tail")];
        let answer = caller
            .send("POST", INVOKE_PATH, &headers, &format!("{{\"n\":{n}}}"))
            .await;
        assert_eq!(
            answer.json(),
            serde_json::json!({ "n": n + 1, "id": "py", "left": true })
        );
        let tail = String::from_utf8(STANDARD.decode(answer.header("x-amz-log-result")).unwrap()).unwrap();
        assert!(tail.contains(&format!("\nhandling {n}\nEND RequestId: py\n")), "{tail}");
    }
    let failed = caller.send("POST", INVOKE_PATH, &[], r#"{"fail":"by order"}"#).await;
    assert_failed(&failed, "ValueError", "by order");
    assert!(failed.json()["stackTrace"].is_array());
    let large = format!("{{\"large\":{}}}", MAX_PAYLOAD_BYTES + 1);
    assert_failed(
        &caller.send("POST", INVOKE_PATH, &[], &large).await,
        "Function.ResponseSizeTooLarge",
        "exceeded",
    );
    // Refused, the runtime ends itself; else it is ended by the next event. Either is told.
    let ended = caller.send("POST", INVOKE_PATH, &[], r#"{"exit":5}"#).await;
    assert_failed(&ended, "Runtime.ExitError", "Runtime exited with error: exit status");
    rig.exited().await;

    let rig = app.start("missing.handler", "on-demand").await;
    let not_ready = ready(&rig).await;
    assert_eq!(not_ready.status, 500);
    assert_eq!(not_ready.json()["errorType"], "Runtime.ImportModuleError");
    rig.exited().await;
}
