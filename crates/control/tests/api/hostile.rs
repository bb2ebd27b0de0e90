//! Clients that err, and clients that mean harm.

use std::{os::unix::fs::PermissionsExt as _, process::Stdio, sync::Arc};

use hearth_api::{CreateMachine, Machine, MachineState, ProblemCode};
use hearth_control::Listener;
use hearth_node_api::fake::FakeNode;
use http::{Method, StatusCode};
use http_body_util::Full;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::fixture::{Answer, DEADLINE, Fixture, json_request, machine, request, send_on};

#[tokio::test]
async fn every_mistake_is_a_problem() {
    let f = Fixture::new().await;
    assert_eq!(f.get("/nothing").await.problem().code, ProblemCode::NotFound);
    assert_eq!(f.get("/v1/machines/a/b/c").await.problem().code, ProblemCode::NotFound);
    let wrong_method = f.call(Method::PATCH, "/v1/machines").await;
    assert_eq!(wrong_method.problem().code, ProblemCode::MethodNotAllowed);
    assert!(wrong_method.headers["allow"].to_str().unwrap().contains("POST"));
    assert_eq!(
        f.post("/v1/machines").await.problem().code,
        ProblemCode::UnsupportedMediaType
    );
    for (body, code) in [
        ("", ProblemCode::InvalidRequest),
        ("[", ProblemCode::InvalidRequest),
        ("null", ProblemCode::InvalidField),
        ("{}", ProblemCode::InvalidField),
        (r#"{"image":1}"#, ProblemCode::InvalidField),
        (r#"{"image":"a","wat":1}"#, ProblemCode::InvalidField),
        (r#"{"image":"a"}{}"#, ProblemCode::InvalidRequest),
        ("\u{0}", ProblemCode::InvalidRequest),
    ] {
        let problem = f.send(json_request("/v1/machines", body.into())).await.problem();
        assert_eq!(problem.code, code, "{body}");
    }
    for path in ["", "/start", "/stop", "/restart", "/kill", "/pause", "/resume"] {
        let method = if path.is_empty() { Method::DELETE } else { Method::POST };
        let problem = f.call(method, &format!("/v1/machines/nobody{path}")).await.problem();
        assert_eq!(problem.code, ProblemCode::MachineNotFound, "{path}");
    }
    for path in ["", "/logs", "/stats", "/archive?path=/a", "/wait"] {
        let problem = f.get(&format!("/v1/machines/nobody{path}")).await.problem();
        assert_eq!(problem.code, ProblemCode::MachineNotFound, "{path}");
    }
    for path in ["/v1/machines/%FF", "/v1/machines/%00", "/v1/machines/%27%20OR%201"] {
        assert!((400..405).contains(&f.get(path).await.problem().status), "{path}");
    }
    assert_eq!(
        f.post("/v1/machines/nobody/kill?signal=WAT")
            .await
            .problem()
            .field
            .as_deref(),
        Some("signal")
    );
    assert_eq!(
        f.get("/v1/events?machine=nobody").await.problem().code,
        ProblemCode::MachineNotFound
    );
    assert_eq!(f.get("/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_was_begun_is_finished_though_its_client_has_gone() {
    let f = Fixture::new().await;
    let door = f.node.door.lock().await;
    let body = serde_json::to_string(&CreateMachine {
        name: Some("web".into()),
        start: true,
        ..machine(&["sleep"])
    });
    let body = body.unwrap();
    let head = format!(
        "POST /v1/machines HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = UnixStream::connect(&f.socket).await.unwrap();
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    let noted = |answer: &Answer| answer.status == StatusCode::OK;
    f.until("/v1/machines/web", noted).await;
    drop(stream);
    // Time enough for the server to see that.
    for _ in 0..20 {
        f.get("/healthz").await;
    }
    drop(door);
    let running = |answer: &Answer| answer.json::<Machine>().state == MachineState::Running;
    f.until("/v1/machines/web", running).await;
}

#[tokio::test]
async fn bodies_and_heads_are_bounded() {
    let f = Fixture::new().await;
    let long = json_request("/v1/machines", vec![b' '; 2 << 20]);
    let mut stream = UnixStream::connect(&f.socket).await.unwrap();
    // The answer may come before all is sent, so the sending may fail.
    let head = format!(
        "POST /v1/machines HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        2 << 20
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    drop(long);
    let (mut reader, mut writer) = stream.into_split();
    let sending = tokio::spawn(async move {
        let _ = writer.write_all(&vec![b' '; 2 << 20]).await;
        writer
    });
    let answer = read_head(&mut reader).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    drop(sending.await);

    let mut stream = UnixStream::connect(&f.socket).await.unwrap();
    let huge = format!("GET /healthz HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "a".repeat(200_000));
    let _ = stream.write_all(huge.as_bytes()).await;
    let answer = read_head(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(f.get("/healthz").await.status, StatusCode::OK);
}

async fn read_head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut answer = vec![0; 4096];
    let read = timeout(DEADLINE, stream.read(&mut answer)).await.unwrap().unwrap_or(0);
    answer.truncate(read);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn garbage_and_half_requests_do_not_hurt() {
    let f = Fixture::new().await;
    let mut half_open = Vec::new();
    for n in 0..100 {
        let mut stream = UnixStream::connect(&f.socket).await.unwrap();
        let bytes: &[u8] = match n % 4 {
            0 => b"\x16\x03\x01\x02\x00garbage\r\n\r\n",
            1 => b"GET /v1/machines HTTP/1.1\r\nhost:",
            2 => b"POST /v1/machines HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
            _ => b"",
        };
        stream.write_all(bytes).await.unwrap();
        half_open.push(stream);
    }
    assert_eq!(f.get("/healthz").await.status, StatusCode::OK);
    drop(half_open);
    assert_eq!(f.get("/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn pages_of_the_web_are_refused_on_tcp() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let socket = folder.path().join("s");
    let tcp = Listener::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = tcp.tcp_address().unwrap();
    let listeners = vec![Listener::unix(&socket).unwrap(), tcp];
    let f = Fixture::listening(FakeNode::new(), folder, socket, listeners).await;
    let ask = async |host: &str, origin: Option<&str>| {
        let mut request = http::Request::builder().uri("/v1/version").header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        send_on(
            TcpStream::connect(address).await.unwrap(),
            request.body(Full::default()).unwrap(),
        )
        .await
    };
    assert_eq!(ask(&address.to_string(), None).await.status, StatusCode::OK);
    assert_eq!(
        ask("rebound.example", None).await.problem().code,
        ProblemCode::Forbidden
    );
    assert_eq!(
        ask("localhost", Some("https://evil.example")).await.problem().code,
        ProblemCode::Forbidden
    );
    let local = r#"{"kind":"deb","path":"/etc/passwd"}"#;
    let mut import = json_request("/v1/kernels/import", local.into());
    import.headers_mut().insert("host", "localhost".parse().unwrap());
    let key = format!("Bearer {}", f.first_key.as_deref().unwrap());
    import.headers_mut().insert("authorization", key.parse().unwrap());
    let answer = send_on(TcpStream::connect(address).await.unwrap(), import).await;
    assert_eq!(answer.problem().code, ProblemCode::Forbidden);
    let on_socket = f
        .send(request(Method::GET, "/v1/version").body(Full::default()).unwrap())
        .await;
    assert_eq!(on_socket.status, StatusCode::OK);
}

#[tokio::test]
async fn strangers_are_refused_on_the_socket() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("SKIPPED: root, to become somebody else");
        return;
    }
    if tokio::process::Command::new("socat")
        .arg("-V")
        .stdout(Stdio::null())
        .status()
        .await
        .is_err()
    {
        eprintln!("SKIPPED: socat");
        return;
    }
    let f = Fixture::new().await;
    // Past the modes of folder and socket there is still the kernel's word on who it is.
    for path in [f.folder.path(), &f.socket] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mut stranger = tokio::process::Command::new("socat")
        .args(["-t0.1", "-", &format!("UNIX-CONNECT:{}", f.socket.display())])
        .uid(65534)
        .gid(65534)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = stranger.stdin.take().unwrap();
    stdin
        .write_all(b"GET /v1/version HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let answer = timeout(DEADLINE, stranger.wait_with_output()).await.unwrap().unwrap();
    // Only now: a client that closes its side is taken to have gone.
    drop(stdin);
    let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.contains("user 65534 may not use Hearth"), "{answer}");
}
