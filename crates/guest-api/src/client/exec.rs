//! Processes beside the workload: start, talk to, signal.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::error::GuestError;
use super::stream::MessageStream;
use super::{CALL_TIMEOUT, GuestClient, Result};
use crate::guest::TerminalSize;
use crate::process::process_event::data_event::Output;
use crate::process::process_event::{EndEvent, Event};
use crate::process::process_input::Input;
use crate::process::process_selector::Selector;
use crate::process::{
    CloseStdinRequest, CloseStdinResponse, ProcessConfig, ProcessInput, ProcessSelector, Pty, SendInputRequest,
    SendInputResponse, SendSignalRequest, SendSignalResponse, StartRequest, StartResponse, UpdateRequest,
    UpdateResponse, pty,
};
use crate::signals;

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// Looked up on PATH when it has no slash.
    pub cmd: String,
    /// Without the command itself.
    pub args: Vec<String>,
    /// On top of the machine's environment.
    pub env: BTreeMap<String, String>,
    /// The machine's default when absent.
    pub cwd: Option<String>,
    /// `name|uid[:group|gid]`; the machine's default when absent.
    pub user: Option<String>,
    /// With a terminal of this size.
    pub pty: Option<TerminalSize>,
    /// Whether standard input is a pipe to be filled (else it is empty). A terminal always takes input.
    pub stdin: bool,
}

/// What a process did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecEvent {
    /// Wrote to its standard output.
    Stdout(Bytes),
    /// Wrote to its standard error.
    Stderr(Bytes),
    /// Wrote to its terminal.
    Pty(Bytes),
    /// Ended. Nothing follows.
    Exited {
        /// What a shell would report: the code, or 128 + signal.
        code: i32,
        /// Present when a signal ended it.
        signal: Option<i32>,
    },
}

/// A running process: its events here, its input by [`input`](Self::input). Dropping it leaves the process running.
#[derive(Debug)]
pub struct ExecSession {
    input: ExecInput,
    events: MessageStream<StartResponse>,
}

/// The way into a running process. Cheap to clone; callers that write from several tasks order their writes themselves.
#[derive(Debug, Clone)]
pub struct ExecInput {
    client: GuestClient,
    pid: u32,
    has_pty: bool,
}

impl GuestClient {
    /// Starts a process. Error codes of the guest: `not_found` (no such command: 127), `permission_denied` (not executable: 126),
    /// `invalid_argument` (no such folder), `unauthenticated` (no such user).
    pub async fn exec(&self, request: ExecRequest) -> Result<ExecSession> {
        let mut headers = self.access_headers();
        add_user(&mut headers, request.user.as_deref())?;
        let has_pty = request.pty.is_some();
        let start = StartRequest {
            process: Some(ProcessConfig {
                cmd: request.cmd,
                args: request.args,
                envs: request.env,
                cwd: request.cwd,
            }),
            pty: request.pty.map(pty_size),
            tag: None,
            stdin: Some(request.stdin),
        };
        let exchange = self.stream_call("/process.Process/Start", &headers, &start).await?;
        let mut events = MessageStream::new("Start", exchange, is_keepalive);
        let first = events
            .next()
            .await
            .transpose()?
            .and_then(|response| response.event)
            .and_then(|event| event.event);
        let Some(Event::Start(started)) = first else {
            return Err(GuestError::protocol("Start", "its first event is not the start"));
        };
        Ok(ExecSession {
            input: ExecInput {
                client: self.clone(),
                pid: started.pid,
                has_pty,
            },
            events,
        })
    }
}

fn is_keepalive(response: &StartResponse) -> bool {
    matches!(
        response.event.as_ref().and_then(|event| event.event.as_ref()),
        Some(Event::Keepalive(_))
    )
}

fn pty_size(size: TerminalSize) -> Pty {
    Pty {
        size: Some(pty::Size {
            cols: size.cols,
            rows: size.rows,
        }),
    }
}

/// Names the user as the wire contract does: Basic authorization without a password.
pub(super) fn add_user(headers: &mut HeaderMap, user: Option<&str>) -> Result<()> {
    let Some(user) = user else { return Ok(()) };
    let value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(format!("{user}:"))))
        .map_err(|error| GuestError::protocol("Start", format!("the user cannot be sent: {error}")))?;
    headers.insert(AUTHORIZATION, value);
    Ok(())
}

impl ExecSession {
    /// The process's number inside the guest.
    pub fn pid(&self) -> u32 {
        self.input.pid
    }

    /// The way in.
    pub fn input(&self) -> ExecInput {
        self.input.clone()
    }

    /// The next event; `None` after [`ExecEvent::Exited`].
    pub async fn next(&mut self) -> Option<Result<ExecEvent>> {
        loop {
            let response = match self.events.next().await? {
                Ok(response) => response,
                Err(error) => return Some(Err(error)),
            };
            match response.event.and_then(|event| event.event) {
                Some(Event::Data(data)) => match data.output {
                    Some(Output::Stdout(bytes)) => return Some(Ok(ExecEvent::Stdout(bytes))),
                    Some(Output::Stderr(bytes)) => return Some(Ok(ExecEvent::Stderr(bytes))),
                    Some(Output::Pty(bytes)) => return Some(Ok(ExecEvent::Pty(bytes))),
                    None => {}
                },
                Some(Event::End(end)) => return Some(Ok(exited(&end))),
                // A second start or a late keepalive says nothing new.
                Some(Event::Start(_) | Event::Keepalive(_)) | None => {}
            }
        }
    }
}

fn exited(end: &EndEvent) -> ExecEvent {
    let signal = signals::from_status(&end.status);
    ExecEvent::Exited {
        code: signal.map_or(end.exit_code, |signal| 128 + signal),
        signal,
    }
}

impl ExecInput {
    fn selector(&self) -> ProcessSelector {
        ProcessSelector {
            selector: Some(Selector::Pid(self.pid)),
        }
    }

    /// Writes to standard input or the terminal; returns when the guest has taken the bytes. No deadline of its own:
    /// it lasts while the process does not read, and ends with the process.
    pub async fn send(&self, data: impl Into<Bytes>) -> Result<()> {
        let data = data.into();
        let input = if self.has_pty {
            Input::Pty(data)
        } else {
            Input::Stdin(data)
        };
        let request = SendInputRequest {
            process: Some(self.selector()),
            input: Some(ProcessInput { input: Some(input) }),
        };
        let headers = self.client.access_headers();
        self.client
            .unary("SendInput", "/process.Process/SendInput", &headers, &request)
            .await
            .map(|_: SendInputResponse| ())
    }

    /// Ends standard input. For a terminal send 0x04 instead.
    pub async fn close(&self) -> Result<()> {
        let request = CloseStdinRequest {
            process: Some(self.selector()),
        };
        let headers = self.client.access_headers();
        self.client
            .unary("CloseStdin", "/process.Process/CloseStdin", &headers, &request)
            .await
            .map(|_: CloseStdinResponse| ())
    }

    /// Sets the terminal's size.
    pub async fn resize(&self, cols: u32, rows: u32) -> Result<()> {
        let request = UpdateRequest {
            process: Some(self.selector()),
            pty: Some(pty_size(TerminalSize { cols, rows })),
        };
        let headers = self.client.access_headers();
        let call = self
            .client
            .unary("Update", "/process.Process/Update", &headers, &request);
        super::rpc::within("Update", CALL_TIMEOUT, call)
            .await
            .map(|_: UpdateResponse| ())
    }

    /// Sends a signal, by number.
    pub async fn signal(&self, signal: i32) -> Result<()> {
        let request = SendSignalRequest {
            process: Some(self.selector()),
            signal,
        };
        let headers = self.client.access_headers();
        let call = self
            .client
            .unary("SendSignal", "/process.Process/SendSignal", &headers, &request);
        super::rpc::within("SendSignal", CALL_TIMEOUT, call)
            .await
            .map(|_: SendSignalResponse| ())
    }
}
