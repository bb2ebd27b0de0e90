//! AWS's own runtime client.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hearth_guest_api::guest::Workload;
use hearth_guest_api::runtime::{INVOKE_PATH, MAX_PAYLOAD_BYTES, READY_PATH};

use crate::assert_failed;
use crate::rig::{Connection, LIMIT, Rig};

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

#[tokio::test]
async fn the_unmodified_python_runtime() {
    let python = match hearth_testkit::lambda::python_runtime() {
        Ok(python) => python,
        Err(reason) => {
            eprintln!("SKIPPED: AWS's runtime client for Python is not to be had: {reason}");
            return;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("app.py"), HANDLER).unwrap();
    let start = async |handler: &str| {
        let mut workload = Workload {
            args: vec![
                python.python.to_string_lossy().into(),
                "-m".into(),
                "awslambdaric".into(),
                handler.into(),
            ],
            cwd: folder.path().to_string_lossy().into(),
            ..Workload::default()
        };
        for (name, value) in [
            ("PYTHONPATH", python.packages.to_string_lossy().into_owned()),
            ("LAMBDA_TASK_ROOT", folder.path().to_string_lossy().into_owned()),
            ("PYTHONUNBUFFERED", "1".to_owned()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ] {
            workload.env.insert(name.into(), value);
        }
        Rig::start(workload).await
    };
    let rig = start("app.handler").await;
    let mut caller: Connection = rig.caller().await;
    let ready = tokio::time::timeout(LIMIT, caller.get(READY_PATH)).await.unwrap();
    assert_eq!(ready.status, 200, "{}", ready.text());
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

    let rig = start("missing.handler").await;
    let not_ready = tokio::time::timeout(LIMIT, rig.caller().await.get(READY_PATH))
        .await
        .unwrap();
    assert_eq!(not_ready.status, 500);
    assert_eq!(not_ready.json()["errorType"], "Runtime.ImportModuleError");
    rig.exited().await;
}
