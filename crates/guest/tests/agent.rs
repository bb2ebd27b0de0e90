//! The real agent, run as an ordinary process with `--test`, driven by the host's client.

mod common;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Child;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hearth_guest_api::client::{ExecEvent, ExecRequest, ExecSession, GuestError};
use hearth_guest_api::connect::Code;
use hearth_guest_api::filesystem::FileType;
use hearth_guest_api::guest::record::{Body, Exited};
use hearth_guest_api::guest::{ExitKind, InitRequest, SecretFile, ShutdownRequest, TerminalSize, Workload};
use hearth_guest_api::{GuestClient, GuestTokens};

const LIMIT: Duration = Duration::from_secs(20);

/// A running agent; killed when dropped.
struct Agent {
    process: Child,
    client: GuestClient,
    /// Where the secret files of `/run/secrets` lie.
    secrets: tempfile::TempDir,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn tokens() -> GuestTokens {
    GuestTokens {
        host: "host-token".into(),
        access: "access-token".into(),
    }
}

#[expect(clippy::unwrap_used, reason = "a test's helper")]
async fn agent() -> Agent {
    let secrets = tempfile::tempdir().unwrap();
    let (process, address, _) = common::spawn(secrets.path(), &[]);
    let client = GuestClient::new(address, tokens());
    client.wait_ready(Instant::now() + LIMIT).await.unwrap();
    Agent {
        process,
        client,
        secrets,
    }
}

#[expect(clippy::unwrap_used, reason = "a test's helper")]
async fn initialised() -> Agent {
    let agent = agent().await;
    agent
        .client
        .init(InitRequest {
            env: BTreeMap::from([("MACHINE".into(), "1".into())]),
            ..Default::default()
        })
        .await
        .unwrap();
    agent
}

fn workload(args: &[&str]) -> Workload {
    Workload {
        args: args.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

/// Starts the workload and collects its output until its end.
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test's helper")]
async fn run(client: &GuestClient, workload: Workload) -> (String, Exited) {
    client
        .init(InitRequest {
            workload: Some(workload),
            ..Default::default()
        })
        .await
        .unwrap();
    let mut records = client.follow(0).await.unwrap();
    let mut output = Vec::new();
    loop {
        let record = tokio::time::timeout(LIMIT, records.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        match record.body.unwrap() {
            Body::Chunk(chunk) => output.extend_from_slice(&chunk.data),
            Body::Exited(exited) => return (String::from_utf8(output).unwrap(), exited),
            Body::Started(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[expect(clippy::unwrap_used, reason = "a test's helper")]
async fn finish(session: &mut ExecSession) -> (String, ExecEvent) {
    let mut output = Vec::new();
    loop {
        match tokio::time::timeout(LIMIT, session.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
        {
            ExecEvent::Stdout(data) | ExecEvent::Stderr(data) | ExecEvent::Pty(data) => output.extend_from_slice(&data),
            exited @ ExecEvent::Exited { .. } => return (String::from_utf8_lossy(&output).into_owned(), exited),
        }
    }
}

fn shell(script: &str) -> ExecRequest {
    ExecRequest {
        cmd: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        ..Default::default()
    }
}

#[tokio::test]
async fn a_workload_with_its_output_and_end() {
    let agent = agent().await;
    let script = "echo out; echo err >&2; echo $GREETING; pwd; exit 7";
    let mut request = workload(&["sh", "-c", script]);
    request.env.insert("GREETING".into(), "hello".into());
    request.cwd = "/tmp".into();
    let (output, exited) = run(&agent.client, request).await;
    for expected in ["out\n", "err\n", "hello\n", "/tmp\n"] {
        assert!(output.contains(expected), "{output}");
    }
    assert_eq!(
        (exited.kind(), exited.code, exited.message.as_str()),
        (ExitKind::Exited, 7, "exit status 7")
    );
    // A second Init with the same workload starts nothing.
    let again = agent
        .client
        .init(InitRequest {
            workload: Some(workload(&["false"])),
            ..Default::default()
        })
        .await
        .unwrap();
    assert!(!again.started);
}

#[tokio::test]
async fn workloads_that_cannot_start() {
    let cases = [
        (workload(&["hearth-no-such-command"]), ExitKind::NotFound, 127),
        (workload(&["/no/such/file"]), ExitKind::NotFound, 127),
        (workload(&["/etc/passwd"]), ExitKind::NotExecutable, 126),
        (workload(&["/etc"]), ExitKind::NotExecutable, 126),
        (
            Workload {
                user: "hearth-nobody".into(),
                ..workload(&["true"])
            },
            ExitKind::BadUser,
            126,
        ),
        (
            Workload {
                cwd: "/etc/passwd/x".into(),
                ..workload(&["true"])
            },
            ExitKind::BadCwd,
            126,
        ),
        (workload(&[]), ExitKind::NotFound, 127),
    ];
    for (request, kind, code) in cases {
        let agent = agent().await;
        let (_, exited) = run(&agent.client, request).await;
        assert_eq!((exited.kind(), exited.code), (kind, code), "{}", exited.message);
        assert!(!exited.message.is_empty());
    }
}

#[tokio::test]
async fn workload_input_signal_and_user() {
    let agent = agent().await;
    let request = Workload {
        stdin: true,
        user: "12345:54321".into(),
        ..workload(&["sh", "-c", "id -u; id -g; cat; kill -TERM $$"])
    };
    agent
        .client
        .init(InitRequest {
            workload: Some(request),
            ..Default::default()
        })
        .await
        .unwrap();
    agent.client.workload_stdin("typed\n").await.unwrap();
    agent.client.close_stdin().await.unwrap();
    let mut records = agent.client.follow(0).await.unwrap();
    let mut output = String::new();
    let exited = loop {
        match tokio::time::timeout(LIMIT, records.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .body
            .unwrap()
        {
            Body::Chunk(chunk) => output.push_str(std::str::from_utf8(&chunk.data).unwrap()),
            Body::Exited(exited) => break exited,
            _ => {}
        }
    };
    assert_eq!(output, "12345\n54321\ntyped\n");
    assert_eq!(
        (exited.kind(), exited.code, exited.signal, exited.message.as_str()),
        (ExitKind::Signaled, 143, 15, "signal: terminated")
    );
    assert_eq!(
        agent.client.workload_signal(9).await.unwrap_err().code(),
        Some(Code::FailedPrecondition)
    );
}

#[tokio::test]
async fn a_follower_holds_a_flood_back_and_loses_nothing() {
    let agent = agent().await;
    let lines = 300_000;
    let (output, exited) = run(&agent.client, workload(&["sh", "-c", &format!("seq 1 {lines}")])).await;
    assert_eq!(exited.code, 0);
    assert!(
        output
            .lines()
            .zip(1..)
            .all(|(line, number): (&str, u32)| line.parse() == Ok(number))
    );
    assert_eq!(output.lines().count(), lines);
}

#[tokio::test]
async fn records_without_waiting() {
    let agent = agent().await;
    run(&agent.client, workload(&["echo", "once"])).await;
    let mut records = agent.client.records(0).await.unwrap();
    let mut count = 0;
    while let Some(record) = records.next().await {
        record.unwrap();
        count += 1;
    }
    assert_eq!(count, 3);
}

#[tokio::test]
async fn exec_ends_as_processes_do() {
    let agent = initialised().await;
    let mut session = agent
        .client
        .exec(shell("echo $MACHINE; echo e >&2; exit 3"))
        .await
        .unwrap();
    let (output, exited) = finish(&mut session).await;
    assert!(output.contains("1\n") && output.contains("e\n"), "{output}");
    assert_eq!(exited, ExecEvent::Exited { code: 3, signal: None });

    // The stream itself ends, too.
    assert!(tokio::time::timeout(LIMIT, session.next()).await.unwrap().is_none());

    let mut session = agent.client.exec(shell("sleep 60")).await.unwrap();
    session.input().signal(9).await.unwrap();
    assert_eq!(
        finish(&mut session).await.1,
        ExecEvent::Exited {
            code: 137,
            signal: Some(9)
        }
    );
    assert_eq!(
        session.input().signal(9).await.unwrap_err().code(),
        Some(Code::NotFound)
    );
}

#[tokio::test]
async fn exec_errors_have_their_codes() {
    let agent = initialised().await;
    let code = async |request| agent.client.exec(request).await.unwrap_err().code();
    let command = |cmd: &str| ExecRequest {
        cmd: cmd.into(),
        ..Default::default()
    };
    assert_eq!(code(command("hearth-no-such-command")).await, Some(Code::NotFound));
    assert_eq!(code(command("/etc/passwd")).await, Some(Code::PermissionDenied));
    assert_eq!(
        code(ExecRequest {
            user: Some("hearth-nobody".into()),
            ..command("true")
        })
        .await,
        Some(Code::Unauthenticated)
    );
    assert_eq!(
        code(ExecRequest {
            cwd: Some("/no/such".into()),
            ..command("true")
        })
        .await,
        Some(Code::InvalidArgument)
    );
}

#[tokio::test]
async fn exec_input_through_a_pipe_and_a_terminal() {
    let agent = initialised().await;
    let mut session = agent
        .client
        .exec(ExecRequest {
            stdin: true,
            ..shell("cat; echo done")
        })
        .await
        .unwrap();
    // More than a pipe holds, so that writing has to wait for reading.
    let line = "0123456789abcdef".repeat(4096) + "\n";
    let input = session.input();
    let expected = line.repeat(4) + "done\n";
    let writing = tokio::spawn(async move {
        for _ in 0..4 {
            input.send(line.clone()).await.unwrap();
        }
        input.close().await.unwrap();
    });
    let (output, _) = finish(&mut session).await;
    writing.await.unwrap();
    assert_eq!(output, expected);

    let pty = Some(TerminalSize { cols: 91, rows: 17 });
    let mut session = agent
        .client
        .exec(ExecRequest {
            pty,
            ..shell("stty size; read line; echo got $line; stty size")
        })
        .await
        .unwrap();
    session.input().resize(100, 30).await.unwrap();
    session.input().send("typed\n").await.unwrap();
    let (output, exited) = finish(&mut session).await;
    assert!(output.contains("got typed") && output.contains("30 100"), "{output}");
    assert_eq!(exited, ExecEvent::Exited { code: 0, signal: None });
}

#[tokio::test]
async fn what_a_process_leaves_running_does_not_hold_its_end_up() {
    let agent = initialised().await;
    let started = Instant::now();
    let mut session = agent.client.exec(shell("sleep 30 & echo started")).await.unwrap();
    let (output, exited) = finish(&mut session).await;
    assert_eq!(
        (output.as_str(), exited),
        ("started\n", ExecEvent::Exited { code: 0, signal: None })
    );
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn tokens_are_wanted() {
    let agent = agent().await;
    let stranger = GuestClient::new(
        agent.client.addr(),
        GuestTokens {
            host: "wrong".into(),
            access: "wrong".into(),
        },
    );
    // Before the first Init nothing but health and Init.
    assert_eq!(
        agent.client.metrics().await.unwrap_err().code(),
        Some(Code::Unauthenticated)
    );
    assert_eq!(
        agent.client.stat("/").await.unwrap_err().code(),
        Some(Code::Unauthenticated)
    );
    agent.client.init(InitRequest::default()).await.unwrap();
    for error in [
        stranger.metrics().await.unwrap_err(),
        stranger.stat("/").await.unwrap_err(),
        stranger.init(InitRequest::default()).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), Some(Code::Unauthenticated), "{error}");
    }
    stranger.health().await.unwrap();
    assert!(agent.client.metrics().await.unwrap().memory_total_bytes > 0);
    assert!(matches!(
        stranger.read_file("/etc/passwd", None).await,
        Err(GuestError::Rpc { .. })
    ));
}

#[tokio::test]
async fn files_of_any_size_and_folders() {
    let agent = initialised().await;
    let client = &agent.client;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let piece = Bytes::from(vec![7; 1 << 20]);
    let content = futures::stream::iter((0..20).map(move |_| Ok(piece.clone())));
    client
        .write_file(&at("deep/er/big bin"), Some("12345:54321"), content)
        .await
        .unwrap();
    let entry = client.stat(&at("deep/er/big bin")).await.unwrap();
    assert_eq!(
        (
            entry.size,
            entry.r#type(),
            entry.owner.as_str(),
            entry.permissions.as_str()
        ),
        (20 << 20, FileType::File, "12345", "-rw-r--r--")
    );
    assert_eq!(client.stat(&at("deep/er")).await.unwrap().owner, "12345");
    let read = client
        .read_file(&at("deep/er/big bin"), None)
        .await
        .unwrap()
        .collect(64 << 20)
        .await
        .unwrap();
    assert!(read.len() == 20 << 20 && read.iter().all(|byte| *byte == 7));

    assert_eq!(
        client.make_dir(&at("deep")).await.unwrap_err().code(),
        Some(Code::AlreadyExists)
    );
    client.make_dir(&at("made/here")).await.unwrap();
    client.rename(&at("deep/er"), &at("moved/er")).await.unwrap();
    let names: Vec<String> = client
        .list_dir(&at(""), 9)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| entry.path)
        .collect();
    let expected = ["deep", "made", "made/here", "moved", "moved/er", "moved/er/big bin"].map(at);
    assert_eq!(names, expected);
    client.remove(&at("moved")).await.unwrap();
    client.remove(&at("moved")).await.unwrap();
    for error in [
        client.stat(&at("moved")).await.unwrap_err(),
        client.list_dir(&at("moved"), 1).await.unwrap_err(),
        client.rename(&at("moved"), &at("x")).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), Some(Code::NotFound), "{error}");
    }
    assert!(client.read_file(&at("made"), None).await.is_err());
    // The kernel says 0 for the length of this one.
    assert!(
        !client
            .read_file("/proc/self/status", None)
            .await
            .unwrap()
            .collect(1 << 20)
            .await
            .unwrap()
            .is_empty()
    );
}

/// One request as a client that is not ours makes it; the status and the whole answer.
#[expect(clippy::unwrap_used, reason = "a test's helper")]
async fn post(agent: &Agent, path: &str, headers: &str, body: String) -> (u16, String) {
    let address = agent.client.addr();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = answer.await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

#[tokio::test]
async fn files_are_composed_of_others() {
    let agent = initialised().await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    for (name, content) in [("a", "one "), ("b", "two "), ("c", "three")] {
        std::fs::write(at(name), content).unwrap();
    }
    let access = "X-Access-Token: access-token\r\nContent-Type: application/json\r\n";
    let compose = async |headers: &str, sources: &[String], destination: &str| {
        let body = serde_json::json!({"source_paths": sources, "destination": destination, "username": "12345"});
        post(&agent, "/files/compose", headers, body.to_string()).await
    };
    assert_eq!(compose("", &[at("a")], &at("x")).await.0, 401);
    assert_eq!(compose(access, &[], &at("x")).await.0, 400);
    assert_eq!(compose(access, &[at("a"), at("none")], &at("x")).await.0, 404);
    let names = || {
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["a", "b", "c"], "what failed changed nothing");
    let (status, answer) = compose(access, &[at("a"), at("b"), at("c")], &at("b")).await;
    assert!(status == 200 && answer.contains(r#""name":"b""#), "{answer}");
    assert_eq!(std::fs::read_to_string(at("b")).unwrap(), "one two three");
    assert_eq!(agent.client.stat(&at("b")).await.unwrap().owner, "12345");
    assert_eq!(names(), ["b"]);
}

#[tokio::test]
async fn a_broken_upload_is_an_error() {
    let agent = initialised().await;
    let folder = tempfile::tempdir().unwrap();
    let content = futures::stream::iter([
        Ok(Bytes::from_static(b"half")),
        Err(std::io::Error::other("source failed")),
    ]);
    assert!(
        agent
            .client
            .write_file(&folder.path().join("x").to_string_lossy(), None, content)
            .await
            .is_err()
    );
    agent.client.metrics().await.unwrap();
}

#[tokio::test]
async fn archives_keep_owners_modes_and_links() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let agent = initialised().await;
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tree = source.path().join("tree");
    std::fs::create_dir_all(tree.join("sub")).unwrap();
    std::fs::write(tree.join("sub/file"), vec![1; 700_000]).unwrap();
    // In this order: a change of owner takes the set-user-ID bit away.
    std::os::unix::fs::chown(tree.join("sub/file"), Some(123), Some(456)).unwrap();
    std::fs::set_permissions(tree.join("sub/file"), std::fs::Permissions::from_mode(0o4750)).unwrap();
    std::os::unix::fs::symlink("sub/file", tree.join("link")).unwrap();
    let tar = agent
        .client
        .get_archive(&tree.to_string_lossy())
        .await
        .unwrap()
        .collect(8 << 20)
        .await
        .unwrap();
    let pieces: Vec<_> = tar
        .chunks(100_000)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    agent
        .client
        .put_archive(&target.path().to_string_lossy(), futures::stream::iter(pieces))
        .await
        .unwrap();
    let metadata = std::fs::metadata(target.path().join("tree/sub/file")).unwrap();
    assert_eq!(
        (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777, metadata.len()),
        (123, 456, 0o4750, 700_000)
    );
    assert_eq!(
        std::fs::read_link(target.path().join("tree/link")).unwrap().to_str(),
        Some("sub/file")
    );

    let garbage = futures::stream::iter([Ok(Bytes::from(vec![9; 5000]))]);
    assert!(
        agent
            .client
            .put_archive(&target.path().to_string_lossy(), garbage)
            .await
            .is_err()
    );
    assert!(agent.client.get_archive("/no/such").await.is_err());
}

#[tokio::test]
async fn shutdown_stops_the_workload_and_then_the_agent() {
    let mut agent = agent().await;
    let stubborn = workload(&["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"]);
    agent
        .client
        .init(InitRequest {
            workload: Some(stubborn),
            ..Default::default()
        })
        .await
        .unwrap();
    let mut records = agent.client.follow(0).await.unwrap();
    while !matches!(records.next().await.unwrap().unwrap().body, Some(Body::Chunk(_))) {}
    let answer = agent
        .client
        .shutdown(ShutdownRequest {
            signal: 0,
            timeout_ms: 200,
        })
        .await
        .unwrap();
    assert!(answer.killed);
    let deadline = Instant::now() + LIMIT;
    while agent.process.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the agent did not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn secret_files_are_the_workloads_and_replaced_by_each_init() {
    let agent = agent().await;
    let secret = |path: &str, data: &'static str| SecretFile {
        path: path.into(),
        data: Bytes::from_static(data.as_bytes()),
    };
    let init = async |files: Vec<SecretFile>, workload: Option<Workload>| {
        let request = InitRequest {
            secret_files: files,
            workload,
            ..Default::default()
        };
        agent.client.init(request).await
    };
    let at = |name: &str| agent.secrets.path().join(name);

    for path in ["/etc/secret", "/run/secrets/../x", "relative"] {
        let error = init(vec![secret(path, "hidden")], Some(workload(&["true"])))
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(Code::InvalidArgument), "{error}");
        assert!(error.to_string().contains("/run/secrets"), "{error}");
        assert!(!error.to_string().contains("hidden"), "{error}");
    }

    // They are there before the workload is.
    let script = format!("cat {0}; stat -c '%a %u %g' {0}", at("db/password").display());
    let user = Workload {
        user: "12345:54321".into(),
        ..workload(&["sh", "-c", &script])
    };
    let opened = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(agent.secrets.path(), opened).unwrap();
    init(vec![secret("/run/secrets/db/password", "hunter2\n")], Some(user))
        .await
        .unwrap();
    let mut records = agent.client.follow(0).await.unwrap();
    let mut output = String::new();
    loop {
        let record = tokio::time::timeout(LIMIT, records.next()).await.unwrap().unwrap();
        match record.unwrap().body.unwrap() {
            Body::Chunk(chunk) => output.push_str(std::str::from_utf8(&chunk.data).unwrap()),
            Body::Exited(_) => break,
            _ => {}
        }
    }
    assert_eq!(output, "hunter2\n400 12345 54321\n");

    init(vec![secret("/run/secrets/key", "new")], None).await.unwrap();
    assert!(!at("db/password").exists());
    assert_eq!(std::fs::read_to_string(at("key")).unwrap(), "new");
    init(Vec::new(), None).await.unwrap();
    assert!(!at("key").exists());
}
