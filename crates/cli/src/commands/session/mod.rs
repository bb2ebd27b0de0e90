//! A program in a machine, joined to this terminal: its output here, our input and signals there, its exit code ours.
//!
//! A machine's main program outlives the daemon. When the daemon goes away we wait for the next one and join again:
//! output has numbers, so that nothing of it is lost or comes twice. A command of `exec` ends with its session.

mod input;
mod signals;

use std::{io::Write, time::Duration};

use anyhow::{Context, anyhow};
use hearth_api::{
    AttachQuery, KillQuery, LogStream, MachineState, ProblemCode, WaitResult,
    frame::{ServerFrame, SessionEnd},
};
use hearth_client::{Client, ClientError, Session, SessionReceiver};
use http::Method;
use input::Input;
use signals::{SIGINT, Signals};

use super::{comeback::Comeback, machine_path, run::is_coming_up};
use crate::{
    failure::{self, EXIT_FAILED, EXIT_NOT_RUN},
    output::note,
    terminal,
};

/// Exit code of a program ended by Ctrl-C.
const EXIT_INTERRUPTED: u8 = 130;

/// What is joined.
pub(crate) struct Program<'a> {
    pub(crate) client: &'a Client,
    /// The machine, where it is its main program.
    pub(crate) main: Option<Main>,
    pub(crate) stdin: bool,
    pub(crate) tty: bool,
    /// Whether failures are told as JSON.
    pub(crate) json: bool,
}

/// A machine whose main program is joined.
pub(crate) struct Main {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Number of the last output that is not wanted any more.
    pub(crate) after: Option<u64>,
}

/// How one came away from a program.
pub(crate) struct Parting {
    /// Our exit code.
    pub(crate) code: u8,
    /// The program has ended, rather than that it was left alone.
    pub(crate) over: bool,
    /// The daemon is another one than at the beginning.
    pub(crate) rejoined: bool,
}

/// Opens a session with a machine's main program.
pub(crate) async fn open(client: &Client, main: &Main) -> Result<Session, ClientError> {
    let query = AttachQuery {
        numbered: true,
        after: main.after,
    };
    client.session(&machine_path(&main.id, &["attach"]).query(&query)).await
}

/// Joins a program until it ends.
pub(crate) async fn drive(session: Session, mut program: Program<'_>) -> anyhow::Result<Parting> {
    let raw = if program.tty && program.stdin {
        terminal::RawTerminal::enter()?
    } else {
        None
    };
    let mut signals = Signals::listen(program.tty)?;
    let keys = program.main.is_some() && raw.is_some();
    let mut input = Input::start(session.sender, program.stdin, keys);
    if program.tty {
        input.resize();
    }
    let mut receiver = session.receiver;
    let mut comeback = Comeback::new(program.json);
    let (mut interrupts, mut rejoined) = (0_u32, false);
    let (code, over) = loop {
        tokio::select! {
            frame = receiver.next() => match take(frame, program.main.as_mut())? {
                Taken::Output => comeback.answered(),
                Taken::End(end) => {
                    // Before anything else is written, for people at a raw terminal.
                    drop(raw);
                    break (exit_code(end, program.json), true);
                }
                Taken::Broken(error) => {
                    let main = program.main.as_ref().ok_or(error)?;
                    rejoined = true;
                    let joined = tokio::select! {
                        joined = rejoin(program.client, main, &mut comeback) => joined?,
                        number = signals.next_to_end() => Rejoined::Interrupted(number),
                    };
                    match joined {
                        Rejoined::Session(session) => {
                            receiver = session.receiver;
                            input.renew(session.sender).await;
                            if program.tty {
                                input.resize();
                            }
                        }
                        Rejoined::End(end) => {
                            drop(raw);
                            break (exit_code(end, program.json), true);
                        }
                        Rejoined::Interrupted(number) => {
                            note(format_args!("machine {} goes on; see later: {}", main.name, main.next()), program.json);
                            break (u8::try_from(128 + number).unwrap_or(EXIT_INTERRUPTED), false);
                        }
                    }
                }
            },
            number = signals.next() => match number {
                None => input.resize(),
                Some(number) => {
                    interrupts += u32::from(number == SIGINT);
                    if let Some(code) = on_signal(&program, &input, number, interrupts).await {
                        drain(receiver, program.main.as_mut()).await;
                        break (code, true);
                    }
                }
            },
            () = input.left() => break (0, false),
        }
    };
    Ok(Parting { code, over, rejoined })
}

enum Taken {
    Output,
    End(SessionEnd),
    /// The session broke, and not by the program's end.
    Broken(anyhow::Error),
}

/// Writes what came, or sees what else it is.
fn take(frame: Option<Result<ServerFrame, ClientError>>, main: Option<&mut Main>) -> anyhow::Result<Taken> {
    match frame.transpose() {
        Ok(Some(ServerFrame::Stdout(bytes))) => write_out(LogStream::Stdout, &bytes),
        Ok(Some(ServerFrame::Stderr(bytes))) => write_out(LogStream::Stderr, &bytes),
        Ok(Some(ServerFrame::Numbered(output))) => {
            write_out(output.stream, &output.bytes);
            if let Some(main) = main {
                main.after = Some(output.sequence);
            }
        }
        Ok(Some(ServerFrame::Status(end))) => {
            return Ok(match why_broken(&end) {
                Some(error) if main.is_some() => Taken::Broken(error),
                _ => Taken::End(end),
            });
        }
        Ok(None) => return Ok(Taken::Broken(anyhow!("the daemon closed the session{GOES_ON}"))),
        Err(error) if error.is_outage() => {
            let error = anyhow::Error::from(error).context(format!("the session broke off{GOES_ON}"));
            return Ok(Taken::Broken(error));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Taken::Output)
}

const GOES_ON: &str = "; the machine goes on without it (see: hearth ps)";

/// An end that is none: of the daemon, or of output that begins again.
fn why_broken(end: &SessionEnd) -> Option<anyhow::Error> {
    match (&end.problem, &end.exit, end.state) {
        (Some(problem), ..) if problem.code == ProblemCode::Unavailable => Some(anyhow!("{problem}")),
        (None, None, Some(state)) if !state.is_at_rest() => Some(anyhow!("the output broke off")),
        _ => None,
    }
}

/// A reader that is gone does not end the program.
fn write_out(stream: LogStream, bytes: &[u8]) {
    fn write(out: &mut impl Write, bytes: &[u8]) {
        let _ = out.write_all(bytes).and_then(|()| out.flush());
    }
    match stream {
        LogStream::Stdout => write(&mut std::io::stdout().lock(), bytes),
        LogStream::Stderr => write(&mut std::io::stderr().lock(), bytes),
    }
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

enum Rejoined {
    Session(Session),
    /// The machine is gone meanwhile.
    End(SessionEnd),
    Interrupted(i32),
}

/// Joins again once the daemon is back.
async fn rejoin(client: &Client, main: &Main, comeback: &mut Comeback) -> anyhow::Result<Rejoined> {
    loop {
        comeback.wait(|| main.next()).await?;
        match open(client, main).await {
            Ok(session) => return Ok(Rejoined::Session(session)),
            Err(error) if error.is_outage() => {}
            Err(ClientError::Problem(problem)) if problem.code == ProblemCode::MachineNotFound => {
                return remembered(client, main).await.map(Rejoined::End);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// How a machine ended that is gone.
async fn remembered(client: &Client, main: &Main) -> anyhow::Result<SessionEnd> {
    let result: WaitResult = client
        .get(&machine_path(&main.id, &["wait"]))
        .await
        .with_context(|| format!("machine {} is gone, and nothing tells how it ended", main.name))?;
    Ok(SessionEnd {
        exit: result.exit,
        state: Some(result.state),
        reason: result.reason,
        problem: None,
    })
}

impl Main {
    /// How to go on later.
    fn next(&self) -> String {
        format!("hearth attach {name} (or: hearth logs -f {name})", name = self.name)
    }
}

/// Passes a signal on. One that comes before the program runs, and a third Ctrl-C, end the machine instead; then the
/// exit code is given. Where the session is full of input that nobody takes, a main program gets the signal by another
/// way, and any other is left, which ends it.
async fn on_signal(program: &Program<'_>, input: &Input, number: i32, interrupts: u32) -> Option<u8> {
    let impatient = interrupts >= 3;
    let code = u8::try_from(128 + number).unwrap_or(EXIT_INTERRUPTED);
    let Some(main) = &program.main else {
        return (impatient || !input.signal(number)).then_some(code);
    };
    if impatient || is_coming_up(program.client, &main.id).await {
        kill(program, main, "KILL").await;
        return Some(EXIT_INTERRUPTED);
    }
    if !input.signal(number) {
        kill(program, main, &number.to_string()).await;
    }
    None
}

async fn kill(program: &Program<'_>, main: &Main, signal: &str) {
    let query = KillQuery {
        signal: Some(signal.to_owned()),
    };
    let path = machine_path(&main.id, &["kill"]).query(&query);
    if let Err(error) = program.client.act(Method::POST, &path).await {
        let error = anyhow::Error::from(error).context(format!("cannot send {signal} to the machine"));
        failure::report(&error, program.json);
    }
}

/// What was on its way when the user had enough.
async fn drain(mut receiver: SessionReceiver, mut main: Option<&mut Main>) {
    let rest = async {
        while let Some(Ok(frame)) = receiver.next().await {
            if !matches!(take(Some(Ok(frame)), main.as_deref_mut()), Ok(Taken::Output)) {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(500), rest).await;
}
