//! `process.Process`: processes beside the workload.

use std::rc::Rc;

use hearth_guest_api::connect::{Code, ConnectError};
use hearth_guest_api::guest::TerminalSize;
use hearth_guest_api::process::process_event::data_event::Output as WireOutput;
use hearth_guest_api::process::process_event::{DataEvent, EndEvent, Event, KeepAlive, StartEvent};
use hearth_guest_api::process::process_input::Input as WireInput;
use hearth_guest_api::process::stream_input_request::Event as InputEvent;
use hearth_guest_api::process::{
    CloseStdinRequest, CloseStdinResponse, ConnectRequest, ConnectResponse, ListRequest, ListResponse, ProcessConfig,
    ProcessEvent as WireEvent, ProcessInfo, ProcessInput, Pty, SendInputRequest, SendInputResponse, SendSignalRequest,
    SendSignalResponse, StartRequest, StartResponse, StreamInputRequest, StreamInputResponse, UpdateRequest,
    UpdateResponse,
};
use hearth_guest_api::signals;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::body::Response;
use super::rpc::{self, Call, Messages, Sink};
use crate::agent::Agent;
use crate::process::reaper::Exit;
use crate::process::spawn::{Io, SpawnError, SpawnPlan};
use crate::process::table::StartError;
use crate::process::{Output, Process, ProcessEvent};

pub(super) async fn serve(agent: Rc<Agent>, method: &str, call: Call) -> Response {
    match method {
        "List" => rpc::unary(call, async |_: ListRequest| Ok(list(&agent))).await,
        "Start" => start(agent, call).await,
        "Connect" => connect(agent, call).await,
        "Update" => rpc::unary(call, async |request: UpdateRequest| update(&agent, request)).await,
        "SendInput" => {
            rpc::unary(call, async |request: SendInputRequest| {
                send_input(&agent, request).await
            })
            .await
        }
        "StreamInput" => rpc::client_stream(call, async |messages| stream_input(&agent, messages).await).await,
        "SendSignal" => rpc::unary(call, async |request: SendSignalRequest| send_signal(&agent, request)).await,
        "CloseStdin" => rpc::unary(call, async |request: CloseStdinRequest| close_stdin(&agent, request)).await,
        _ => rpc::unknown_method(method),
    }
}

fn pid_on_wire(process: &Process) -> u32 {
    u32::try_from(process.pid).unwrap_or_default()
}

fn list(agent: &Agent) -> ListResponse {
    let info = |process: Rc<Process>| ProcessInfo {
        config: Some(process.config.clone()),
        pid: pid_on_wire(&process),
        tag: process.tag.clone(),
    };
    ListResponse {
        processes: agent.processes.list().into_iter().map(info).collect(),
    }
}

fn start_response(event: WireEvent) -> StartResponse {
    StartResponse { event: Some(event) }
}

fn connect_response(event: WireEvent) -> ConnectResponse {
    ConnectResponse { event: Some(event) }
}

/// Starts a process and streams its events. The caller's time-out kills it; the caller's leaving does not.
async fn start(agent: Rc<Agent>, call: Call) -> Response {
    let (user, keepalive, timeout) = (call.user.clone(), call.keepalive, call.timeout);
    rpc::server_stream(call, async move |request: StartRequest, sink: &Sink<StartResponse>| {
        tokio::select! {
            may_run = rpc::within(timeout, async {
                agent.processes.hold.released().await;
                Ok(())
            }) => may_run?,
            () = sink.gone() => return Ok(()),
        }
        // In the same step, so that they are not held again before it runs.
        let process = start_process(&agent, user.as_deref(), request)?;
        let events = process.listen();
        let deadline = rpc::deadline(timeout);
        if let Some(deadline) = deadline {
            tokio::task::spawn_local(kill_at(Rc::clone(&process), deadline));
        }
        forward_events(&process, events, sink, keepalive, deadline, start_response).await
    })
    .await
}

/// Ends with the process at the latest.
async fn kill_at(process: Rc<Process>, deadline: Instant) {
    tokio::select! {
        () = process.exited() => {}
        () = tokio::time::sleep_until(deadline) => {
            // Its whole session's first group, as it may be a shell with children. Gone already is fine.
            let _ = process.signal(9, true);
        }
    }
}

async fn connect(agent: Rc<Agent>, call: Call) -> Response {
    let (keepalive, timeout) = (call.keepalive, call.timeout);
    rpc::server_stream(
        call,
        async move |request: ConnectRequest, sink: &Sink<ConnectResponse>| {
            let process = agent.processes.find(request.process)?;
            let events = process.listen();
            let deadline = rpc::deadline(timeout);
            forward_events(&process, events, sink, keepalive, deadline, connect_response).await
        },
    )
    .await
}

async fn forward_events<A: hearth_guest_api::connect::Message>(
    process: &Process,
    mut events: mpsc::Receiver<ProcessEvent>,
    sink: &Sink<A>,
    keepalive: std::time::Duration,
    deadline: Option<Instant>,
    wrap: fn(WireEvent) -> A,
) -> Result<(), ConnectError> {
    let wire = |event| wrap(WireEvent { event: Some(event) });
    if sink
        .send(&wire(Event::Start(StartEvent {
            pid: pid_on_wire(process),
        })))
        .await
        .is_err()
    {
        return Ok(());
    }
    let ping = wire(Event::Keepalive(KeepAlive {}));
    rpc::forward(sink, (keepalive, ping), deadline, async || {
        events.recv().await.map(|event| wire(on_wire(event)))
    })
    .await
}

fn on_wire(event: ProcessEvent) -> Event {
    match event {
        ProcessEvent::Data(output, data) => {
            let output = match output {
                Output::Stdout => WireOutput::Stdout(data),
                Output::Stderr => WireOutput::Stderr(data),
                Output::Pty => WireOutput::Pty(data),
            };
            Event::Data(DataEvent { output: Some(output) })
        }
        ProcessEvent::End(exit) => Event::End(end_event(exit)),
    }
}

/// In the words that SDKs match on: `exit status N` and `signal: killed` with code -1.
fn end_event(exit: Exit) -> EndEvent {
    match exit {
        Exit::Code(code) => {
            let status = format!("exit status {code}");
            EndEvent {
                exit_code: code,
                exited: true,
                error: (code != 0).then(|| status.clone()),
                status,
            }
        }
        Exit::Signal { number, core_dumped } => {
            let core = if core_dumped { " (core dumped)" } else { "" };
            let status = format!("signal: {}{core}", signals::description(number));
            EndEvent {
                exit_code: -1,
                exited: false,
                error: Some(status.clone()),
                status,
            }
        }
    }
}

fn start_process(agent: &Rc<Agent>, user: Option<&str>, request: StartRequest) -> Result<Rc<Process>, ConnectError> {
    if agent.stopping.get() {
        return Err(ConnectError::new(Code::Unavailable, "the machine is shutting down"));
    }
    let config = request
        .process
        .ok_or_else(|| ConnectError::new(Code::InvalidArgument, "`process` is missing"))?;
    let identity = agent.identity(user)?;
    let cwd = agent.working_folder(config.cwd.as_deref(), &identity.home)?;
    let pty = request.pty.map(|pty| {
        pty.size
            .map_or(TerminalSize { cols: 80, rows: 24 }, |size| TerminalSize {
                cols: size.cols,
                rows: size.rows,
            })
    });
    let mut env = agent.environment(&identity, config.envs.clone(), pty.is_some());
    for name in ["USER", "LOGNAME"] {
        env.entry(name.to_owned()).or_insert_with(|| identity.name.clone());
    }
    let plan = SpawnPlan {
        args: std::iter::once(&config.cmd).chain(&config.args).cloned().collect(),
        env,
        cwd,
        identity,
        // Absent means a pipe: clients from before the field rely on it.
        io: pty.map_or(
            Io::Pipes {
                stdin: request.stdin.unwrap_or(true),
            },
            Io::Pty,
        ),
        cgroup: None,
    };
    let shown = ProcessConfig {
        cwd: Some(plan.cwd.clone()),
        ..config
    };
    agent
        .processes
        .start(plan, shown, request.tag.filter(|tag| !tag.is_empty()))
        .map_err(|error| start_error(&error))
}

fn start_error(error: &StartError) -> ConnectError {
    let code = match error {
        StartError::TooMany => Code::ResourceExhausted,
        StartError::Spawn(SpawnError::NotOnPath(_) | SpawnError::NotFound(_)) => Code::NotFound,
        StartError::Spawn(SpawnError::NotExecutable { .. }) => Code::PermissionDenied,
        StartError::Spawn(SpawnError::BadCwd { .. }) => Code::InvalidArgument,
        StartError::Spawn(SpawnError::Internal { .. }) | StartError::Attach(_) => Code::Internal,
    };
    ConnectError::new(code, error.to_string())
}

fn update(agent: &Agent, request: UpdateRequest) -> Result<UpdateResponse, ConnectError> {
    let process = agent.processes.find(request.process)?;
    if let Some(Pty { size: Some(size) }) = request.pty {
        process.input().resize(TerminalSize {
            cols: size.cols,
            rows: size.rows,
        })?;
    }
    Ok(UpdateResponse {})
}

async fn write_input(process: &Process, input: Option<ProcessInput>) -> Result<(), ConnectError> {
    match input.and_then(|input| input.input) {
        Some(WireInput::Stdin(data)) => process.write(data, false).await,
        Some(WireInput::Pty(data)) => process.write(data, true).await,
        None => Err(ConnectError::new(
            Code::InvalidArgument,
            "`input` is missing: give `stdin` or `pty`",
        )),
    }
}

async fn send_input(agent: &Agent, request: SendInputRequest) -> Result<SendInputResponse, ConnectError> {
    let process = agent.processes.find(request.process)?;
    write_input(&process, request.input)
        .await
        .map(|()| SendInputResponse {})
}

async fn stream_input(
    agent: &Agent,
    mut messages: Messages<'_, StreamInputRequest>,
) -> Result<StreamInputResponse, ConnectError> {
    let mut target = None;
    while let Some(message) = messages.next().await? {
        match (message.event, &target) {
            (Some(InputEvent::Start(start)), _) => target = Some(agent.processes.find(start.process)?),
            (Some(InputEvent::Data(data)), Some(process)) => write_input(process, data.input).await?,
            (Some(InputEvent::Data(_)), None) => {
                return Err(ConnectError::new(
                    Code::InvalidArgument,
                    "the first event must be `start`",
                ));
            }
            (Some(InputEvent::Keepalive(_)) | None, _) => {}
        }
    }
    Ok(StreamInputResponse {})
}

fn send_signal(agent: &Agent, request: SendSignalRequest) -> Result<SendSignalResponse, ConnectError> {
    let process = agent.processes.find(request.process)?;
    process.signal(request.signal, false).map(|()| SendSignalResponse {})
}

fn close_stdin(agent: &Agent, request: CloseStdinRequest) -> Result<CloseStdinResponse, ConnectError> {
    agent
        .processes
        .find(request.process)?
        .close_stdin()
        .map(|()| CloseStdinResponse {})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_in_the_words_that_sdks_expect() {
        let killed = end_event(Exit::Signal {
            number: 9,
            core_dumped: false,
        });
        assert_eq!(
            (killed.exit_code, killed.exited, killed.error.as_deref()),
            (-1, false, Some("signal: killed"))
        );
        let failed = end_event(Exit::Code(3));
        assert_eq!(
            (
                failed.exit_code,
                failed.exited,
                failed.status.as_str(),
                failed.error.as_deref()
            ),
            (3, true, "exit status 3", Some("exit status 3"))
        );
        assert_eq!(end_event(Exit::Code(0)).error, None);
    }
}
