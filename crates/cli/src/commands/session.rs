//! A program in a machine, joined to this terminal: its output here, our input and signals there, its exit code ours.

use std::{io::Write, time::Duration};

use bytes::Bytes;
use hearth_api::{
    KillQuery, MachineState,
    frame::{ClientFrame, Control, ServerFrame, SessionEnd},
};
use hearth_client::{Client, ClientError, Session, SessionReceiver, SessionSender};
use http::Method;
use tokio::{
    io::AsyncReadExt,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use super::{machine_path, run::is_coming_up};
use crate::{
    failure::{self, EXIT_FAILED, EXIT_NOT_RUN},
    terminal,
};

/// Bytes of standard input sent at once.
const INPUT_BYTES: usize = 64 << 10;
/// Frames that may wait to be sent.
const INPUT_FRAMES: usize = 8;
const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGTERM: i32 = 15;
const SIGHUP: i32 = 1;
/// Exit code of a program ended by Ctrl-C.
const EXIT_INTERRUPTED: u8 = 130;

/// What is joined.
pub(crate) struct Program<'a> {
    pub(crate) client: &'a Client,
    /// The machine, where it is its main program.
    pub(crate) machine: Option<String>,
    pub(crate) stdin: bool,
    pub(crate) tty: bool,
    /// Whether failures are told as JSON.
    pub(crate) json: bool,
}

/// Joins a program until it ends, and gives its exit code.
pub(crate) async fn drive(session: Session, program: &Program<'_>) -> anyhow::Result<u8> {
    let raw = if program.tty && program.stdin {
        terminal::RawTerminal::enter()?
    } else {
        None
    };
    let (frames, outgoing) = mpsc::channel(INPUT_FRAMES);
    let sending = tokio::spawn(send_all(session.sender, outgoing));
    if program.tty
        && let Some(size) = terminal::size()
    {
        let _ = frames.send(ClientFrame::Control(Control::Resize(size))).await;
    }
    if program.stdin {
        tokio::spawn(forward_stdin(frames.clone()));
    }
    let mut signals = Signals::listen(program.tty)?;
    let mut receiver = session.receiver;
    let mut interrupts = 0_u32;
    let outcome = loop {
        tokio::select! {
            frame = receiver.next() => {
                if let Some(end) = take(frame)? {
                    break Ok(end);
                }
            }
            number = signals.next() => match number {
                None => resize(&frames).await,
                Some(number) => {
                    interrupts += u32::from(number == SIGINT);
                    if let Some(code) = on_signal(program, &frames, number, interrupts).await {
                        break Err(code);
                    }
                }
            },
        }
    };
    sending.abort();
    drop(raw);
    match outcome {
        Ok(end) => Ok(exit_code(end, program.json)),
        Err(code) => {
            drain(receiver).await;
            Ok(code)
        }
    }
}

/// Writes what came; gives the end when it is that.
fn take(frame: Option<Result<ServerFrame, ClientError>>) -> anyhow::Result<Option<SessionEnd>> {
    match frame.transpose()? {
        Some(ServerFrame::Stdout(bytes)) => write_out(&mut std::io::stdout().lock(), &bytes),
        Some(ServerFrame::Stderr(bytes)) => write_out(&mut std::io::stderr().lock(), &bytes),
        Some(ServerFrame::Status(end)) => return Ok(Some(end)),
        None => anyhow::bail!("the daemon closed the session; the machine goes on without it (see: hearth ps)"),
    }
    Ok(None)
}

/// A reader that is gone does not end the program.
fn write_out(out: &mut impl Write, bytes: &[u8]) {
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

fn exit_code(end: SessionEnd, json: bool) -> u8 {
    if let Some(problem) = end.problem {
        failure::report(&ClientError::Problem(Box::new(problem)).into(), json);
        return EXIT_NOT_RUN;
    }
    if let Some(exit) = end.exit {
        if let Some(message) = exit.message.filter(|_| exit.code != 0) {
            failure::tell("program_failed", "The program failed", &message, json);
        }
        return u8::try_from(exit.code & 0xff).unwrap_or(EXIT_FAILED);
    }
    let reason = end
        .reason
        .unwrap_or_else(|| "it ended, and nothing tells how".to_owned());
    let state = end
        .state
        .map_or_else(String::new, |state: MachineState| format!("the machine {state}: "));
    failure::tell(
        "machine_failed",
        "The machine failed",
        &format!("{state}{reason}"),
        json,
    );
    EXIT_NOT_RUN
}

async fn send_all(mut sender: SessionSender, mut frames: mpsc::Receiver<ClientFrame>) {
    while let Some(frame) = frames.recv().await {
        if sender.send(&frame).await.is_err() {
            // The receiving side sees why.
            return;
        }
    }
}

async fn forward_stdin(frames: mpsc::Sender<ClientFrame>) {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; INPUT_BYTES];
    loop {
        let frame = match stdin.read(&mut buffer).await {
            Ok(length) if length > 0 => ClientFrame::Stdin(Bytes::copy_from_slice(&buffer[..length])),
            _ => ClientFrame::Control(Control::CloseStdin(true)),
        };
        let ended = matches!(frame, ClientFrame::Control(_));
        if frames.send(frame).await.is_err() || ended {
            return;
        }
    }
}

async fn resize(frames: &mpsc::Sender<ClientFrame>) {
    if let Some(size) = terminal::size() {
        let _ = frames.send(ClientFrame::Control(Control::Resize(size))).await;
    }
}

/// Passes a signal on. One that comes before the program runs, and a third Ctrl-C, end the machine instead; then the
/// exit code is given.
async fn on_signal(
    program: &Program<'_>,
    frames: &mpsc::Sender<ClientFrame>,
    number: i32,
    interrupts: u32,
) -> Option<u8> {
    let impatient = interrupts >= 3;
    if let Some(machine) = &program.machine
        && (impatient || is_coming_up(program.client, machine).await)
    {
        let query = KillQuery {
            signal: Some("KILL".to_owned()),
        };
        let killed = program
            .client
            .act(Method::POST, &machine_path(machine, &["kill"]).query(&query))
            .await;
        if let Err(error) = killed {
            let error = anyhow::Error::from(error).context("cannot end the machine");
            failure::report(&error, program.json);
        }
        return Some(EXIT_INTERRUPTED);
    }
    if impatient {
        return Some(EXIT_INTERRUPTED);
    }
    let _ = frames.try_send(ClientFrame::Control(Control::Signal(number)));
    None
}

/// What was on its way when the user had enough.
async fn drain(mut receiver: SessionReceiver) {
    let rest = async {
        while let Some(Ok(frame)) = receiver.next().await {
            if take(Some(Ok(frame))).ok().flatten().is_some() {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(500), rest).await;
}

/// Signals to this program that concern the other.
struct Signals {
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    hang_up: Signal,
    window: Option<Signal>,
}

impl Signals {
    fn listen(tty: bool) -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            window: if tty {
                Some(signal(SignalKind::window_change())?)
            } else {
                None
            },
        })
    }

    /// The next signal; `None` is a change of the window's size.
    async fn next(&mut self) -> Option<i32> {
        let window = async {
            match &mut self.window {
                Some(window) => window.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Some(SIGINT),
            _ = self.quit.recv() => Some(SIGQUIT),
            _ = self.terminate.recv() => Some(SIGTERM),
            _ = self.hang_up.recv() => Some(SIGHUP),
            _ = window => None,
        }
    }
}
