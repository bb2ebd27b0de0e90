//! Web sockets: attaching to a machine's program, and running one more command in it.
//!
//! A session is two pumps, of output and of input, that run side by side in one task: a program that does not read
//! must not keep its output from the client. Whichever ends first ends the session, with a last message that says how.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{
        State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, close_code, rejection::WebSocketUpgradeRejection},
    },
    response::Response,
};
use bytes::Bytes;
use futures::{
    SinkExt as _, Stream, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use hearth_api::{
    AttachQuery, Problem, ProblemCode,
    frame::{ClientFrame, Control, Numbered, PAYLOAD_MAX, ServerFrame, SessionEnd},
};
use hearth_domain::{Action, SIGNAL_MAX};
use hearth_ids::MachineId;
use hearth_node_api::{ExecEvent, Input, LogChunk, LogStream, MachineStatus, NodeError, TerminalSize};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, interval_at, timeout},
};
use tracing::debug;

use super::{input, log, view::Seen};
use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiPath, ApiQuery, from_json},
};

/// How long a client may take to say what to run.
const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long after the end of its output a machine may take to come to rest.
const REST_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a client is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(5);
/// How long a client may take to read the last message.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

type Socket = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// Joins a machine's program over a web socket: all that it wrote so far, then what it writes; and its input. A machine
/// that is not started yet can be attached to, so that nothing is missed. Who was cut off attaches again `after` the last
/// number that it saw.
#[utoipa::path(get, path = "/v1/machines/{machine}/attach", tag = "machines", operation_id = "attach_machine",
    params(("machine" = String, Path, description = "Name or ID"), AttachQuery),
    responses((status = 101, description = "A web socket; its last message is a SessionEnd on channel 3"), Problems))]
pub(crate) async fn attach(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    ApiQuery(query): ApiQuery<AttachQuery>,
    socket: Socket,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::MachineExec).await?;
    let socket = upgrade(socket)?;
    let id = app.find(&tenant, &wanted).await?.spec.id;
    let status = app.node.watch(id).ok_or_else(|| NodeError::no_machine(id))?;
    let attachment = app.node.attach(id).await?;
    let output = log::after(attachment.output, query.after)
        .map(move |chunk| chunk.map(|chunk| if query.numbered { numbered(chunk) } else { plain(chunk) }));
    Ok(start(app, socket, move |app, socket| async move {
        let (mut sender, receiver) = socket.split();
        let end = tokio::select! {
            end = pump_output(output, &mut sender) => match end {
                End::Output => attached_end(&app, id, status).await,
                other => other.into_session_end(),
            },
            end = pump_input(receiver, attachment.input) => end.into_session_end(),
            () = app.shutdown.cancelled() => End::Shutdown.into_session_end(),
        };
        close(sender, end).await;
    }))
}

/// Runs a command in a machine over a web socket. The first message is the text of an `ExecRequest`.
#[utoipa::path(get, path = "/v1/machines/{machine}/exec", tag = "machines", operation_id = "exec_machine",
    params(("machine" = String, Path, description = "Name or ID")),
    responses((status = 101, description = "A web socket; its last message is a SessionEnd on channel 3"), Problems))]
pub(crate) async fn exec(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    socket: Socket,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::MachineExec).await?;
    let socket = upgrade(socket)?;
    let id = app.find(&tenant, &wanted).await?.spec.id;
    Ok(start(app, socket, move |app, mut socket| async move {
        let begun = tokio::select! {
            begun = begin(&app, id, &mut socket) => begun,
            () = app.shutdown.cancelled() => Err(End::Shutdown),
        };
        let (mut sender, receiver) = socket.split();
        let end = match begun {
            Ok(session) => {
                let output = session.output.map(|event| {
                    event.map(|event| match event {
                        ExecEvent::Stdout(bytes) => Piece::Output(ServerFrame::Stdout(bytes)),
                        ExecEvent::Stderr(bytes) => Piece::Output(ServerFrame::Stderr(bytes)),
                        ExecEvent::Exited(exit) => Piece::Exited(exit.into()),
                    })
                });
                tokio::select! {
                    end = pump_output(output, &mut sender) => end,
                    end = pump_input(receiver, session.input) => end,
                    () = app.shutdown.cancelled() => End::Shutdown,
                }
            }
            Err(end) => end,
        };
        close(sender, end.into_session_end()).await;
    }))
}

/// Why a session ends.
#[derive(Debug)]
enum End {
    /// The output is at its end.
    Output,
    /// The command has ended.
    Exited(hearth_api::ExitStatus),
    /// The client went away.
    Client,
    /// The client broke the rules, or the node failed.
    Problem(Box<Problem>),
    /// The server shuts down.
    Shutdown,
}

impl End {
    fn into_session_end(self) -> Option<SessionEnd> {
        let problem = match self {
            Self::Client => return None,
            Self::Exited(exit) => {
                return Some(SessionEnd {
                    exit: Some(exit),
                    ..SessionEnd::default()
                });
            }
            Self::Output => Problem::new(
                ProblemCode::Unavailable,
                "the output broke off before the command ended",
            ),
            Self::Problem(problem) => *problem,
            Self::Shutdown => Problem::new(
                ProblemCode::Unavailable,
                "the daemon shuts down; the machine goes on, so attach again when the daemon is back",
            ),
        };
        Some(SessionEnd {
            problem: Some(problem),
            ..SessionEnd::default()
        })
    }

    fn of(error: impl Into<ApiError>) -> Self {
        Self::Problem(error.into().problem)
    }
}

enum Piece {
    Output(ServerFrame),
    Exited(hearth_api::ExitStatus),
}

fn plain(chunk: LogChunk) -> Piece {
    Piece::Output(match chunk.stream {
        LogStream::Stdout => ServerFrame::Stdout(chunk.bytes),
        LogStream::Stderr => ServerFrame::Stderr(chunk.bytes),
    })
}

fn numbered(chunk: LogChunk) -> Piece {
    Piece::Output(ServerFrame::Numbered(Numbered {
        sequence: chunk.sequence,
        stream: log::wire_stream(chunk.stream),
        bytes: chunk.bytes,
    }))
}

fn upgrade(socket: Socket) -> ApiResult<WebSocketUpgrade> {
    let socket = socket.map_err(|rejection| {
        ApiError::new(
            ProblemCode::UpgradeRequired,
            format!("this is a web socket: {}", rejection.body_text()),
        )
    })?;
    // A payload and its channel byte.
    Ok(socket.max_message_size(PAYLOAD_MAX + 1).max_frame_size(PAYLOAD_MAX + 1))
}

fn start<F>(
    app: Arc<App>,
    socket: WebSocketUpgrade,
    session: impl FnOnce(Arc<App>, WebSocket) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    socket
        .on_failed_upgrade(|error| debug!(%error, "a web socket did not come about"))
        .on_upgrade(move |socket| {
            let sessions = app.sessions.clone();
            sessions.track_future(session(app, socket))
        })
}

/// Reads what to run, and runs it.
async fn begin(app: &App, id: MachineId, socket: &mut WebSocket) -> Result<hearth_node_api::ExecSession, End> {
    let first = timeout(FIRST_MESSAGE_TIMEOUT, first_message(socket))
        .await
        .map_err(|_| {
            End::of(ApiError::new(
                ProblemCode::InvalidRequest,
                "no message came that says what to run",
            ))
        })??;
    let request: hearth_api::ExecRequest = from_json(first.as_bytes()).map_err(End::of)?;
    let request = exec_request(request).map_err(End::of)?;
    app.node.exec(id, request).await.map_err(End::of)
}

async fn first_message(socket: &mut WebSocket) -> Result<String, End> {
    loop {
        match socket.recv().await {
            Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_))) => {
                let detail = "the first message must be the text of an ExecRequest, not binary";
                return Err(End::of(ApiError::new(ProblemCode::InvalidRequest, detail)));
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Client),
        }
    }
}

fn exec_request(request: hearth_api::ExecRequest) -> ApiResult<hearth_node_api::ExecRequest> {
    input::arguments("cmd", &request.cmd)?;
    if request.cmd.first().is_none_or(String::is_empty) {
        return Err(ApiError::field("cmd", "cmd is missing: say what to run"));
    }
    if let Some(path) = &request.working_dir {
        input::guest_path("working_dir", path)?;
    }
    if let Some(user) = &request.user {
        input::user(user)?;
    }
    Ok(hearth_node_api::ExecRequest {
        cmd: request.cmd,
        env: input::environment(request.env)?,
        working_dir: request.working_dir,
        user: request.user,
        tty: request.tty.map(terminal_size),
        stdin: request.stdin,
        keep: false,
    })
}

fn terminal_size(size: hearth_api::TerminalSize) -> TerminalSize {
    TerminalSize {
        cols: size.cols,
        rows: size.rows,
    }
}

async fn pump_output(
    mut output: impl Stream<Item = Result<Piece, NodeError>> + Unpin,
    sender: &mut SplitSink<WebSocket, Message>,
) -> End {
    // Only by writing is it seen that a client has gone whose input nobody takes, and which is not read from therefore.
    let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    loop {
        let piece = tokio::select! {
            piece = output.next() => match piece {
                Some(piece) => piece,
                None => return End::Output,
            },
            _ = pings.tick() => {
                if sender.send(Message::Ping(Bytes::new())).await.is_err() {
                    return End::Client;
                }
                continue;
            }
        };
        let frame = match piece {
            Ok(Piece::Output(frame)) => frame,
            Ok(Piece::Exited(exit)) => return End::Exited(exit),
            Err(error) => return End::of(error),
        };
        if sender.send(Message::Binary(frame.encode())).await.is_err() {
            return End::Client;
        }
    }
}

/// Ends only with the client; a program that takes no input any more is no reason to stop.
async fn pump_input(mut receiver: SplitStream<WebSocket>, program: mpsc::Sender<Input>) -> End {
    while let Some(message) = receiver.next().await {
        let message = match message {
            Ok(Message::Binary(message)) => message,
            Ok(Message::Ping(_) | Message::Pong(_)) => continue,
            Ok(Message::Close(_)) | Err(_) => return End::Client,
            Ok(Message::Text(_)) => {
                let detail = "text messages are not read here; send binary ones whose first byte names a channel";
                return End::of(ApiError::new(ProblemCode::InvalidRequest, detail));
            }
        };
        match client_input(&message) {
            // A program that has ended takes no input: its output tells so.
            Ok(Some(input)) => drop(program.send(input).await),
            Ok(None) => {}
            Err(error) => return End::of(error),
        }
    }
    End::Client
}

fn client_input(message: &Bytes) -> ApiResult<Option<Input>> {
    let frame =
        ClientFrame::decode(message).map_err(|error| ApiError::new(ProblemCode::InvalidRequest, error.to_string()))?;
    Ok(match frame {
        ClientFrame::Stdin(bytes) if bytes.is_empty() => None,
        ClientFrame::Stdin(bytes) => Some(Input::Stdin(bytes)),
        ClientFrame::Control(Control::CloseStdin(close)) => close.then_some(Input::CloseStdin),
        ClientFrame::Control(Control::Resize(size)) => Some(Input::Resize(terminal_size(size))),
        ClientFrame::Control(Control::Signal(number)) if (1..=SIGNAL_MAX).contains(&number) => {
            Some(Input::Signal(number))
        }
        ClientFrame::Control(Control::Signal(number)) => {
            return Err(ApiError::field(
                "signal",
                format!("signal {number} is not valid: it goes from 1 to {SIGNAL_MAX}"),
            ));
        }
    })
}

/// How the machine ended, once its output did. It may be gone by now; the watch keeps its last states.
async fn attached_end(app: &App, id: MachineId, mut status: watch::Receiver<MachineStatus>) -> Option<SessionEnd> {
    // It fails when the machine is destroyed: then it is remembered by the store.
    let _ = timeout(REST_TIMEOUT, status.wait_for(|status| status.state.is_at_rest())).await;
    let last = status.borrow().clone();
    let seen = match last.state {
        hearth_domain::MachineState::Destroyed => remembered(app, id).await,
        _ => Some(Seen::of_status(&last)),
    };
    let end = seen.map(|seen| SessionEnd {
        exit: seen.exit,
        state: Some(seen.state.into()),
        reason: seen.reason,
        problem: None,
    });
    end.or_else(|| End::of(NodeError::no_machine(id)).into_session_end())
}

async fn remembered(app: &App, id: MachineId) -> Option<Seen> {
    app.flush().await;
    if let Ok(Some(row)) = app.store.machine(id).await {
        return Some(Seen::of_row(&row));
    }
    let last = app.store.tombstone_of(id).await.ok().flatten()?;
    Some(Seen {
        state: last.state,
        exit: last.exit.map(Into::into),
        reason: last.reason,
    })
}

/// Says how it ended, if anyone is there to hear it.
async fn close(mut sender: SplitSink<WebSocket, Message>, end: Option<SessionEnd>) {
    let farewell = async {
        if let Some(end) = end {
            let refused = end.problem.as_ref().is_some_and(|problem| problem.status < 500);
            let code = if refused {
                close_code::POLICY
            } else {
                close_code::NORMAL
            };
            sender.send(Message::Binary(ServerFrame::Status(end).encode())).await?;
            sender
                .send(Message::Close(Some(CloseFrame {
                    code,
                    reason: "".into(),
                })))
                .await?;
        }
        sender.close().await
    };
    if let Ok(Err(error)) = timeout(CLOSE_TIMEOUT, farewell).await {
        debug!(%error, "a client left before the end");
    }
}
