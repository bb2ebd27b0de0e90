//! A program in a sandbox: its input given, its output kept within bounds, its time limited.

use std::time::Duration;

use bytes::Bytes;
use hearth_api::{
    ExecRequest, ExitStatus,
    frame::{ClientFrame, Control, PAYLOAD_MAX, ServerFrame, SessionEnd},
};
use hearth_client::{ApiPath, Client, ClientError, SessionReceiver, SessionSender};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{failure::Failure, output::Kept};

/// From asking for a program until it is asked for in the guest.
const OPEN_WITHIN: Duration = Duration::from_secs(30);

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) request: ExecRequest,
    /// Its standard input; without one it has none.
    pub(crate) input: Option<Bytes>,
    /// It is killed then.
    pub(crate) within: Duration,
    /// What is kept of its output.
    pub(crate) stdout: Kept,
    /// What is kept of its errors.
    pub(crate) stderr: Kept,
}

impl Program {
    /// A script for bash with arguments, whose output is ours to read.
    pub(crate) fn script(script: &str, arguments: &[&str], stdout: Kept) -> Self {
        let words = ["/bin/bash", "-c", script, "hearth"]
            .into_iter()
            .chain(arguments.iter().copied());
        Self {
            request: ExecRequest {
                cmd: words.map(ToOwned::to_owned).collect(),
                ..ExecRequest::default()
            },
            input: None,
            within: Duration::from_mins(1),
            stdout,
            stderr: Kept::both_ends(2048),
        }
    }

    /// As whom it runs; the template's user if nobody is named.
    pub(crate) fn by(mut self, user: Option<String>) -> Self {
        self.request.user = user;
        self
    }
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Absent where its time was over.
    pub(crate) exit: Option<ExitStatus>,
    pub(crate) stdout: Kept,
    pub(crate) stderr: Kept,
}

impl Ended {
    /// The exit code, of a program that is not supposed to take long.
    pub(crate) fn code(&self) -> Result<i32, Failure> {
        match &self.exit {
            Some(exit) => Ok(exit.code),
            None => Err(Failure::new(
                "the sandbox did not do this in time; try again, or look at its load",
            )),
        }
    }
}

/// Runs a program to its end or to that of its time. It dies with the session, so nothing of it stays but what it started
/// on its own.
pub(crate) async fn run(client: &Client, sandbox: &str, mut program: Program) -> Result<Ended, Failure> {
    program.request.stdin = program.input.is_some();
    let opening = async {
        let path = ApiPath::v1(&["machines", sandbox, "exec"]);
        let mut session = client.session(&path).await?;
        session.sender.begin(&program.request).await?;
        Ok::<_, ClientError>(session)
    };
    let session = timeout(OPEN_WITHIN, opening)
        .await
        .map_err(|_| Failure::late("the start of the program", OPEN_WITHIN))??;
    let deadline = Instant::now() + program.within;
    let (mut stdout, mut stderr) = (program.stdout, program.stderr);
    let input = program.input.unwrap_or_default();
    let reading = read(session.receiver, &mut stdout, &mut stderr);
    let ended = timeout_at(deadline, async {
        let mut sender = session.sender;
        tokio::pin!(reading);
        tokio::select! {
            end = &mut reading => return end,
            () = feed(&mut sender, input) => {}
        }
        // The way to the program stays open: it dies with it.
        let end = reading.await;
        drop(sender);
        end
    });
    let exit = match ended.await {
        Ok(end) => Some(exit_of(end?)?),
        Err(_) => None,
    };
    Ok(Ended { exit, stdout, stderr })
}

/// Gives a program its input. One that does not want it ends, which the other side sees.
async fn feed(sender: &mut SessionSender, mut input: Bytes) {
    while !input.is_empty() {
        let piece = input.split_to(input.len().min(PAYLOAD_MAX));
        if sender.send(&ClientFrame::Stdin(piece)).await.is_err() {
            return;
        }
    }
    // Fails only where the session is over.
    let _ = sender.send(&ClientFrame::Control(Control::CloseStdin(true))).await;
}

async fn read(mut receiver: SessionReceiver, stdout: &mut Kept, stderr: &mut Kept) -> Result<SessionEnd, Failure> {
    while let Some(frame) = receiver.next().await {
        match frame? {
            ServerFrame::Stdout(bytes) => stdout.push(&bytes),
            ServerFrame::Stderr(bytes) => stderr.push(&bytes),
            ServerFrame::Numbered(_) => {}
            ServerFrame::Status(end) => return Ok(end),
        }
    }
    Err(gone())
}

fn exit_of(end: SessionEnd) -> Result<ExitStatus, Failure> {
    if let Some(problem) = end.problem {
        return Err(ClientError::Problem(Box::new(problem)).into());
    }
    end.exit.ok_or_else(gone)
}

fn gone() -> Failure {
    Failure::new(
        "the sandbox went away while the program ran: it was killed, paused, or its time was over; look with sandbox_list",
    )
}
