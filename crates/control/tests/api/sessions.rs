//! Web sockets.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use hearth_api::{
    CreateMachine, ExecRequest, MachineState, ProblemCode, TerminalSize,
    frame::{ClientFrame, Control, ServerFrame, SessionEnd},
};
use tokio::{net::UnixStream, time::timeout};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::fixture::{DEADLINE, Fixture, machine};

struct Session(WebSocketStream<UnixStream>);

impl Session {
    async fn open(f: &Fixture, path: &str) -> Self {
        let stream = UnixStream::connect(&f.socket).await.unwrap();
        let (socket, _) = client_async(format!("ws://hearth{path}"), stream).await.unwrap();
        Self(socket)
    }

    async fn send(&mut self, frame: ClientFrame) {
        self.0.send(Message::Binary(frame.encode())).await.unwrap();
    }

    async fn text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    async fn next(&mut self) -> ServerFrame {
        loop {
            match timeout(DEADLINE, self.0.next()).await.unwrap().unwrap().unwrap() {
                Message::Binary(bytes) => return ServerFrame::decode(&bytes).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// All that was written, and the end.
    async fn rest(mut self) -> (String, SessionEnd) {
        let mut written = Vec::new();
        loop {
            match self.next().await {
                ServerFrame::Stdout(bytes) | ServerFrame::Stderr(bytes) => written.extend(bytes),
                ServerFrame::Numbered(output) => written.extend(output.bytes),
                ServerFrame::Status(end) => {
                    let closed = timeout(DEADLINE, self.0.next()).await.unwrap();
                    assert!(matches!(closed, Some(Ok(Message::Close(_)))), "{closed:?}");
                    return (String::from_utf8(written).unwrap(), end);
                }
            }
        }
    }
}

async fn running(f: &Fixture) {
    f.make(CreateMachine {
        name: Some("web".into()),
        start: true,
        ..machine(&["cat"])
    })
    .await;
}

fn stdin(text: &'static str) -> ClientFrame {
    ClientFrame::Stdin(Bytes::from_static(text.as_bytes()))
}

#[tokio::test]
async fn attach_brings_all_output_and_the_end() {
    let f = Fixture::new().await;
    f.make(CreateMachine {
        name: Some("web".into()),
        ..machine(&["cat"])
    })
    .await;
    let mut session = Session::open(&f, "/v1/machines/web/attach").await;
    f.post("/v1/machines/web/start").await;
    assert_eq!(
        session.next().await,
        ServerFrame::Stdout(Bytes::from_static(b"started\n"))
    );
    session.send(stdin("hello")).await;
    assert_eq!(session.next().await, ServerFrame::Stdout(Bytes::from_static(b"hello")));
    session
        .send(ClientFrame::Control(Control::Resize(TerminalSize {
            cols: 80,
            rows: 24,
        })))
        .await;
    session.send(ClientFrame::Control(Control::Signal(2))).await;
    session.send(ClientFrame::Control(Control::CloseStdin(true))).await;
    for word in ["Resize", "Signal(2)", "CloseStdin"] {
        match session.next().await {
            ServerFrame::Stdout(bytes) => assert!(String::from_utf8_lossy(&bytes).contains(word), "{bytes:?}"),
            other => panic!("{other:?}"),
        }
    }
    f.post("/v1/machines/web/stop").await;
    let (_, end) = session.rest().await;
    assert_eq!(
        (end.state, end.exit.map(|exit| exit.code)),
        (Some(MachineState::Stopped), Some(143))
    );
}

#[tokio::test]
async fn attach_to_a_machine_that_removes_itself_tells_its_exit() {
    let f = Fixture::new().await;
    let create = CreateMachine {
        name: Some("web".into()),
        auto_remove: true,
        ..machine(&["exit", "5"])
    };
    f.make(create).await;
    let session = Session::open(&f, "/v1/machines/web/attach").await;
    f.post("/v1/machines/web/start").await;
    let (_, end) = session.rest().await;
    assert_eq!((end.problem, end.exit.map(|exit| exit.code)), (None, Some(5)));
}

#[tokio::test]
async fn who_was_cut_off_goes_on_after_what_it_saw() {
    let f = Fixture::new().await;
    running(&f).await;
    let mut session = Session::open(&f, "/v1/machines/web/attach?numbered=true").await;
    let mut seen = Vec::new();
    for text in ["started\n", "one", "two"] {
        if text != "started\n" {
            session.send(ClientFrame::Stdin(Bytes::from(text))).await;
        }
        match session.next().await {
            ServerFrame::Numbered(output) => {
                assert_eq!(output.bytes, text);
                seen.push(output.sequence);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(seen.is_sorted(), "{seen:?}");
    drop(session);
    let mut session = Session::open(&f, &format!("/v1/machines/web/attach?numbered=true&after={}", seen[0])).await;
    match session.next().await {
        ServerFrame::Numbered(output) => assert_eq!((output.sequence, &*output.bytes), (seen[1], &b"one"[..])),
        other => panic!("{other:?}"),
    }
    let rest = f.get(&format!("/v1/machines/web/logs?after={}", seen[1])).await;
    assert_eq!(rest.body, "two");
}

#[tokio::test]
async fn exec_carries_output_input_and_exit() {
    let f = Fixture::new().await;
    running(&f).await;
    let mut session = Session::open(&f, "/v1/machines/web/exec").await;
    let request = ExecRequest {
        cmd: vec!["echo".into(), "hi".into()],
        env: vec!["A=1".into()],
        stdin: true,
        ..ExecRequest::default()
    };
    session.text(&serde_json::to_string(&request).unwrap()).await;
    assert_eq!(
        session.next().await,
        ServerFrame::Stdout(Bytes::from_static(b"echo hi"))
    );
    assert_eq!(
        session.next().await,
        ServerFrame::Stderr(Bytes::from_static(b"{\"A\": \"1\"}"))
    );
    session.send(stdin("more")).await;
    assert_eq!(session.next().await, ServerFrame::Stdout(Bytes::from_static(b"more")));
    session.send(ClientFrame::Control(Control::CloseStdin(true))).await;
    let (_, end) = session.rest().await;
    assert_eq!(end.exit.map(|exit| exit.code), Some(3));
}

#[tokio::test]
async fn exec_says_what_is_wrong() {
    let f = Fixture::new().await;
    running(&f).await;
    for (first, code) in [
        ("", ProblemCode::InvalidRequest),
        ("{", ProblemCode::InvalidRequest),
        ("{}", ProblemCode::InvalidField),
        (r#"{"cmd":[]}"#, ProblemCode::InvalidField),
        (r#"{"cmd":["a"],"env":["x"]}"#, ProblemCode::InvalidField),
        (r#"{"cmd":["a"],"shell":true}"#, ProblemCode::InvalidField),
        (r#"{"cmd":["a"],"working_dir":"b"}"#, ProblemCode::InvalidField),
    ] {
        let mut session = Session::open(&f, "/v1/machines/web/exec").await;
        session.text(first).await;
        let (_, end) = session.rest().await;
        assert_eq!(end.problem.map(|problem| problem.code), Some(code), "{first}");
    }
    f.post("/v1/machines/web/stop").await;
    let mut session = Session::open(&f, "/v1/machines/web/exec").await;
    session.text(r#"{"cmd":["a"]}"#).await;
    assert_eq!(
        session.rest().await.1.problem.map(|problem| problem.code),
        Some(ProblemCode::StateConflict)
    );
}

#[tokio::test]
async fn garbage_ends_a_session_and_nothing_else() {
    let f = Fixture::new().await;
    running(&f).await;
    let bad = [
        Message::text("hello"),
        Message::binary(Vec::new()),
        Message::binary(vec![1, 2, 3]),
        Message::binary(vec![9]),
        Message::binary([[4].as_slice(), b"{nonsense"].concat()),
        Message::binary([[4].as_slice(), br#"{"signal":99}"#].concat()),
        Message::binary([[4].as_slice(), &[b' '; 5000]].concat()),
    ];
    for message in bad {
        let mut session = Session::open(&f, "/v1/machines/web/attach").await;
        session.0.send(message.clone()).await.unwrap();
        let (_, end) = session.rest().await;
        assert_eq!(end.problem.map(|problem| problem.status), Some(400), "{message:?}");
    }
    // Too long to be read at all: the connection goes.
    let mut session = Session::open(&f, "/v1/machines/web/attach").await;
    let _ = session.0.send(Message::binary(vec![0; 3 << 20])).await;
    let over = async { while let Some(Ok(_)) = session.0.next().await {} };
    timeout(DEADLINE, over).await.unwrap();
    let again: hearth_api::Machine = f.get("/v1/machines/web").await.json();
    assert_eq!(again.state, MachineState::Running, "the machine does not mind");
}

#[tokio::test]
async fn a_plain_request_is_told_to_upgrade() {
    let f = Fixture::new().await;
    running(&f).await;
    for path in ["attach", "exec"] {
        let answer = f.get(&format!("/v1/machines/web/{path}")).await;
        assert_eq!(answer.problem().code, ProblemCode::UpgradeRequired);
        assert_eq!(answer.headers["upgrade"], "websocket");
    }
}

#[tokio::test]
async fn sessions_end_with_the_server_and_say_so() {
    let mut f = Fixture::new().await;
    running(&f).await;
    let mut session = Session::open(&f, "/v1/machines/web/attach").await;
    session.next().await;
    let (stopped, (_, end)) = tokio::join!(f.stop(), session.rest());
    let () = stopped;
    assert_eq!(end.problem.map(|problem| problem.code), Some(ProblemCode::Unavailable));
}
