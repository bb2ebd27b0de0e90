//! `/files` as SDKs use it.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::rig::{Agent, wait_until};

const OCTETS: &str = "Content-Type: application/octet-stream\r\n";

fn write(agent: &Agent, path: &Path, headers: &str, body: &[u8]) -> (u16, Value) {
    let line = format!("POST /files?path={}", path.display());
    let answer = agent.request(&line, &format!("{OCTETS}{headers}"), body);
    (answer.status, answer.json())
}

#[expect(clippy::unwrap_used, reason = "a test's helper")]
fn packed(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn packed_content_is_unpacked() {
    let (agent, folder) = (Agent::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("file");
    let gzip = "Content-Encoding: gzip\r\n";
    // A thousand times its size, and more than the agent may take of memory for it.
    let zeroes = vec![0; 64 << 20];
    assert_eq!(write(&agent, &path, gzip, &packed(&zeroes)).0, 200);
    assert!(std::fs::read(&path).unwrap() == zeroes);
    assert!(agent.peak_memory_bytes() < 32 << 20, "{}", agent.peak_memory_bytes());

    let whole = packed(b"some text");
    assert_eq!(write(&agent, &path, gzip, &whole[..whole.len() - 3]).0, 400);
    assert_eq!(write(&agent, &path, gzip, b"not packed").0, 400);
    assert_eq!(write(&agent, &path, "Content-Encoding: br\r\n", b"x").0, 415);
}

#[test]
fn metadata_is_answered_and_goes_with_the_content() {
    // Some temporary folders' file systems keep no attributes.
    let (agent, folder) = (
        Agent::start(),
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
    );
    let path = folder.path().join("file");
    let stat = || agent.rpc("filesystem.Filesystem/Stat", &json!({"path": path})).json()["entry"]["metadata"].clone();
    let (_, answer) = write(&agent, &path, "X-Metadata-Old: 1\r\n", b"x");
    assert_eq!(
        (&answer[0]["metadata"], stat()),
        (&json!({"old": "1"}), json!({"old": "1"}))
    );
    let (_, answer) = write(&agent, &path, "X-Metadata-New: 2\r\n", b"x");
    assert_eq!(
        (&answer[0]["metadata"], stat()),
        (&json!({"new": "2"}), json!({"new": "2"}))
    );
    let (_, answer) = write(&agent, &path, "", b"x");
    assert_eq!((answer[0].get("metadata"), stat()), (None, Value::Null));
    let (_, answer) = write(&agent, &path, "X-Metadata-A: first\r\nX-Metadata-A: second\r\n", b"x");
    assert_eq!(answer[0]["metadata"], json!({"a": "first"}));
    // What cannot be kept is refused before anything is written.
    let large = format!("X-Metadata-A: {}\r\n", "x".repeat(4096));
    for refused in ["X-Metadata-A: caf\u{e9}\r\n", "X-Metadata-A: a\tb\r\n", &large] {
        assert_eq!(write(&agent, &path, refused, b"other").0, 400, "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
    }
}

#[test]
fn a_file_belongs_to_who_wrote_it_last() {
    let (agent, folder) = (Agent::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("file");
    let owner = || std::fs::metadata(&path).map(|metadata| (metadata.uid(), metadata.gid()));
    for user in ["12345:54321", "0:0"] {
        let line = format!("POST /files?path={}&username={user}", path.display());
        assert_eq!(agent.request(&line, OCTETS, b"x").status, 200);
        let (uid, gid) = user.split_once(':').unwrap();
        assert_eq!(owner().unwrap(), (uid.parse().unwrap(), gid.parse().unwrap()));
    }
    assert_eq!(write(&agent, Path::new("/dev/null"), "", b"x").0, 200);
    assert_eq!(std::fs::metadata("/dev/null").unwrap().uid(), 0);
}

#[test]
fn an_unknown_user_is_not_let_in() {
    let agent = Agent::start();
    let line = "GET /files?path=/etc/hostname&username=hearth-nobody";
    assert_eq!(agent.request(line, "", b"").status, 401);
    // `hearth-nobody:`
    let nobody = "Authorization: Basic aGVhcnRoLW5vYm9keTo=\r\nContent-Type: application/json\r\n";
    let answer = agent.request("POST /filesystem.Filesystem/ListDir", nobody, br#"{"path":"/"}"#);
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (401, &json!("unauthenticated"))
    );
}

#[test]
fn a_thousand_files_in_one_form() {
    let (agent, folder) = (Agent::start(), tempfile::tempdir().unwrap());
    let mut body = Vec::new();
    for number in 0..1000 {
        let name = folder.path().join(format!("{}/{number}", number % 10));
        let head = "Content-Disposition: form-data; name=\"file\"; filename=";
        body.extend(format!("--edge\r\n{head}\"{}\"\r\n\r\ncontent {number}\r\n", name.display()).bytes());
    }
    body.extend(b"--edge--\r\n");
    let answer = agent.request(
        "POST /files",
        "Content-Type: multipart/form-data; boundary=edge\r\n",
        &body,
    );
    assert_eq!(
        (answer.status, answer.json().as_array().map(Vec::len)),
        (200, Some(1000))
    );
    assert_eq!(std::fs::read(folder.path().join("9/999")).unwrap(), b"content 999");
}

#[test]
fn paths_that_play_tricks() {
    let (agent, folder) = (Agent::start(), tempfile::tempdir().unwrap());
    let at = |name: &str| folder.path().join(name);
    std::os::unix::fs::symlink("loop", at("loop")).unwrap();
    let bad = [
        "nul%00byte".into(),
        "n".repeat(300),
        "d/".repeat(3000),
        "loop".into(),
        "loop/x".into(),
    ];
    for name in bad {
        let path = at(&name);
        assert_eq!(write(&agent, &path, "", b"x").0, 400, "{name}");
        let read = agent.request(&format!("GET /files?path={}", path.display()), "", b"");
        assert_eq!(read.status, 400, "{name}");
        let decoded = path.to_str().unwrap().replace("%00", "\0");
        for method in ["ListDir", "MakeDir", "Stat", "CreateWatcher"] {
            let answer = agent.rpc(&format!("filesystem.Filesystem/{method}"), &json!({"path": decoded}));
            let is_link_itself = name == "loop" && method == "Stat";
            assert_eq!(
                answer.status == 400,
                !is_link_itself,
                "{method} {name}: {}",
                answer.json()
            );
        }
    }
}

/// A helper thread that waits for the other end of a pipe would wait for ever, and there are few of them.
#[test]
fn pipes_keep_nobody_waiting() {
    let (agent, folder) = (Agent::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    for _ in 0..20 {
        assert_eq!(write(&agent, &path, "", b"x").0, 400);
        let read = agent.request(&format!("GET /files?path={}", path.display()), "", b"");
        assert_eq!(read.status, 400);
    }
}

#[test]
fn metrics_and_environment() {
    let agent = Agent::start();
    let metrics = || agent.request("GET /metrics", "", b"").json();
    let fields = [
        "ts",
        "cpu_count",
        "mem_total",
        "mem_used",
        "mem_cache",
        "disk_used",
        "disk_total",
    ];
    let first = metrics();
    assert!(
        fields
            .iter()
            .all(|field| first[field].as_u64().is_some_and(|value| value > 0)),
        "{first}"
    );
    wait_until("a share of the CPUs", || {
        metrics()["cpu_used_pct"].as_f64().is_some_and(|used| used > 0.0)
    });
    assert_eq!(agent.request("GET /envs", "", b"").json(), json!({"MACHINE": "1"}));
}
