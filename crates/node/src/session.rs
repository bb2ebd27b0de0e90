//! Streams between a client and a machine: logs, attachments, execs, files.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future::BoxFuture, stream, stream::BoxStream};
use hearth_domain::{ExitStatus, StateWord};
use hearth_guest_api::{
    GuestClient, GuestError, client as guest_client, connect::Code, filesystem::FileType, guest::TerminalSize,
};
use hearth_node_api::{
    Attachment, EntryKind, ErrorKind, ExecEvent, ExecRequest, ExecSession, FileStat, GuestUse, Input, LogChunk,
    LogQuery, MachineStats, NodeError,
};
use tokio::sync::mpsc;

use crate::{
    guest_link::{message, no_guest, node_error},
    log::LogReader,
    owner::OwnerHandle,
    services::{Services, now_ms},
};

/// Pieces of input that may wait for a guest.
const INPUT_MAX: usize = 16;
/// What a command that is cut off by its machine's end has for its last words.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Signals that a program's end by signal adds to its code.
const SIGNAL_CODE: i32 = 128;
const EXIT_NOT_EXECUTABLE: i32 = 126;
const EXIT_NOT_FOUND: i32 = 127;

/// What a machine wrote.
pub(crate) async fn logs(
    owner: OwnerHandle,
    query: LogQuery,
) -> Result<BoxStream<'static, Result<LogChunk, NodeError>>, NodeError> {
    let source = owner.log;
    let since_ns = query.since_unix_ms.map_or(0, |ms| ms.saturating_mul(1_000_000));
    let (head, reader) = match query.tail {
        None => (VecDeque::default(), source.read(query.follow)),
        Some(lines) => {
            let lines = usize::try_from(lines).unwrap_or(usize::MAX);
            source
                .tail(lines, query.follow)
                .await
                .map_err(|error| log_error(&error))?
        }
    };
    let chunks = stream::iter(head.into_iter().map(Ok)).chain(read_on(reader));
    Ok(chunks
        .try_filter(move |chunk| std::future::ready(chunk.unix_ns >= since_ns))
        .boxed())
}

fn read_on(reader: LogReader) -> impl futures::Stream<Item = Result<LogChunk, NodeError>> {
    stream::unfold(Some(reader), |reader| async {
        let mut reader = reader?;
        match reader.next().await {
            Ok(Some(chunk)) => Some((Ok(chunk), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(log_error(&error)), None)),
        }
    })
}

fn log_error(error: &std::io::Error) -> NodeError {
    NodeError::new(ErrorKind::Internal, format!("cannot read the machine's log: {error}"))
}

/// Joins a machine's program. A machine that is yet to start is waited for.
pub(crate) fn attach(owner: OwnerHandle) -> Attachment {
    let (input, inbox) = mpsc::channel(INPUT_MAX);
    let output = attached_output(owner.clone()).boxed();
    tokio::spawn(feed(owner, inbox));
    Attachment { output, input }
}

/// The log from its start; while the machine is still pending, the log is not open yet.
fn attached_output(owner: OwnerHandle) -> impl futures::Stream<Item = Result<LogChunk, NodeError>> {
    let mut status = owner.status.clone();
    let begun = async move {
        // Its log opens when the VMM is launched; before that a follower would end at once.
        let launched = |word| !matches!(word, StateWord::Pending | StateWord::Preparing);
        let _ = status.wait_for(|status| launched(status.state.word())).await;
        read_on(owner.log.read(true))
    };
    stream::once(begun).flatten()
}

/// Passes a client's input on, once the program runs, until either ends.
async fn feed(mut owner: OwnerHandle, inbox: mpsc::Receiver<Input>) {
    let guest = tokio::select! {
        found = owner.guest.wait_for(Option::is_some) => found.ok().and_then(|guest| guest.clone()),
        // A client that goes before the program runs must not be waited for.
        () = closed(&inbox) => None,
    };
    let Some(guest) = guest else { return };
    let over = machine_over(&owner);
    let send = move |input| {
        let guest = guest.clone();
        async move {
            match input {
                Input::Stdin(bytes) => guest.workload_stdin(bytes).await,
                Input::CloseStdin => guest.close_stdin().await,
                Input::Resize(size) => guest.workload_resize(size.cols.into(), size.rows.into()).await,
                Input::Signal(signal) => guest.workload_signal(signal).await,
            }
        }
    };
    pass_on(inbox, over, send).await;
}

/// Passes input on until the client or the machine is gone. A program that does not read may keep its input waiting
/// for as long as it runs, so no other deadline fits.
async fn pass_on<F>(mut inbox: mpsc::Receiver<Input>, mut over: BoxFuture<'static, ()>, send: impl Fn(Input) -> F)
where
    F: Future<Output = Result<(), GuestError>>,
{
    let passing = async {
        while let Some(input) = inbox.recv().await {
            if let Err(error) = send(input).await {
                tracing::debug!(%error, "a client's input did not reach its program");
                if error.is_unreachable() {
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = passing => {}
        () = &mut over => {}
    }
}

/// Resolves when the sender is gone and nothing is left.
async fn closed(inbox: &mpsc::Receiver<Input>) {
    while !(inbox.is_closed() && inbox.is_empty()) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn running_guest(owner: &OwnerHandle) -> Result<GuestClient, NodeError> {
    let word = owner.status.borrow().state.word();
    match owner.guest.borrow().clone() {
        Some(guest) if word == StateWord::Running => Ok(guest),
        None if word == StateWord::Running && !owner.has_guest => Err(no_guest(owner.spec.driver)),
        None if word == StateWord::Running => {
            // As its VMM has just ended, and that is not all dealt with.
            let message = format!(
                "the guest of machine {} cannot be spoken to now; ask again",
                owner.spec.name
            );
            Err(NodeError::new(ErrorKind::Unavailable, message))
        }
        _ => {
            let message = format!("machine {} is {word}, not running", owner.spec.name);
            Err(NodeError::new(ErrorKind::Conflict, message))
        }
    }
}

/// Runs one more command.
pub(crate) async fn exec(owner: &OwnerHandle, request: ExecRequest) -> Result<ExecSession, NodeError> {
    let guest = running_guest(owner)?;
    let Some((cmd, args)) = request.cmd.split_first() else {
        return Err(NodeError::new(
            ErrorKind::InvalidInput,
            "cmd is empty; name a command to run",
        ));
    };
    let mut env = request.env;
    if request.tty.is_some() {
        env.entry("TERM".to_owned()).or_insert_with(|| "xterm".to_owned());
    }
    let asked = guest_client::ExecRequest {
        cmd: cmd.clone(),
        args: args.to_vec(),
        env,
        cwd: request.working_dir,
        user: request.user,
        pty: request.tty.map(|size| TerminalSize {
            cols: size.cols.into(),
            rows: size.rows.into(),
        }),
        stdin: request.stdin,
    };
    let mut over = machine_over(owner);
    let started = tokio::select! {
        started = guest.exec(asked) => started,
        () = &mut over => return Err(machine_ended()),
    };
    let session = match started {
        Ok(session) => session,
        Err(error) => {
            let exit = not_run(&error).ok_or_else(|| node_error(&format!("run {cmd:?}"), &error))?;
            return Ok(ended(exit));
        }
    };
    let (input, inbox) = mpsc::channel(INPUT_MAX);
    let exec = session.input();
    let send = move |input| {
        let exec = exec.clone();
        async move {
            match input {
                Input::Stdin(bytes) => exec.send(bytes).await,
                Input::CloseStdin => exec.close().await,
                Input::Resize(size) => exec.resize(size.cols.into(), size.rows.into()).await,
                Input::Signal(signal) => exec.signal(signal).await,
            }
        }
    };
    tokio::spawn(pass_on(inbox, machine_over(owner), send));
    Ok(ExecSession {
        output: exec_output(Running {
            session,
            over,
            ended: request.keep,
        })
        .boxed(),
        input,
    })
}

/// The exit of a command that could not be run, by docker's codes; `None` if something else went wrong.
fn not_run(error: &GuestError) -> Option<ExitStatus> {
    let GuestError::Rpc { answer, .. } = error else {
        return None;
    };
    let code = match answer.code {
        Code::NotFound => EXIT_NOT_FOUND,
        Code::PermissionDenied | Code::InvalidArgument | Code::Unauthenticated => EXIT_NOT_EXECUTABLE,
        _ => return None,
    };
    Some(ExitStatus {
        code,
        message: Some(message(&answer.message)),
        ..ExitStatus::default()
    })
}

/// A session that is over already.
fn ended(exit: ExitStatus) -> ExecSession {
    let (input, _) = mpsc::channel(INPUT_MAX);
    ExecSession {
        output: stream::iter([Ok(ExecEvent::Exited(exit))]).boxed(),
        input,
    }
}

/// A command that is killed when nobody wants it any more.
struct Running {
    session: guest_client::ExecSession,
    over: BoxFuture<'static, ()>,
    /// Nobody has to kill it: it has ended, or is to be kept.
    ended: bool,
}

/// Resolves soon after a machine has ended. Its guest says no farewell, and its silence would be waited on for long.
fn machine_over(owner: &OwnerHandle) -> BoxFuture<'static, ()> {
    let mut guest = owner.guest.clone();
    Box::pin(async move {
        // An error is an owner that is gone, with its machine or with the node.
        let _ = guest.wait_for(Option::is_none).await.map(drop);
        tokio::time::sleep(LAST_WORDS).await;
    })
}

fn machine_ended() -> NodeError {
    NodeError::new(ErrorKind::Unavailable, "the machine ended before the command did")
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let input = self.session.input();
            // Ends with the call's own deadline.
            runtime.spawn(async move { input.signal(9).await });
        }
    }
}

fn exec_output(running: Running) -> impl futures::Stream<Item = Result<ExecEvent, NodeError>> {
    stream::unfold(Some(running), |running| async {
        let mut running = running?;
        let event = tokio::select! {
            event = running.session.next() => event?,
            () = &mut running.over => return Some((Err(machine_ended()), None)),
        };
        let event = match event {
            Ok(event) => event,
            Err(error) => return Some((Err(node_error("follow the command", &error)), None)),
        };
        let event = match event {
            guest_client::ExecEvent::Stdout(bytes) | guest_client::ExecEvent::Pty(bytes) => ExecEvent::Stdout(bytes),
            guest_client::ExecEvent::Stderr(bytes) => ExecEvent::Stderr(bytes),
            guest_client::ExecEvent::Exited { code, signal } => {
                running.ended = true;
                let code = signal.map_or(code & 0xff, |signal| (SIGNAL_CODE + signal) & 0xff);
                ExecEvent::Exited(ExitStatus {
                    code,
                    signal,
                    ..ExitStatus::default()
                })
            }
        };
        Some((Ok(event), Some(running)))
    })
}

/// What a machine uses: what the host sees, and what the guest claims where only it can know.
pub(crate) async fn stats(services: &Services, owner: &OwnerHandle) -> Result<MachineStats, NodeError> {
    let used = services.cgroups.usage(owner.spec.id);
    let guest = owner.guest.borrow().clone();
    let claimed = match guest {
        Some(guest) => guest.metrics().await.ok(),
        None => None,
    };
    let mut stats = MachineStats {
        at_unix_ms: now_ms(),
        cpu_usec: used.cpu_ns / 1000,
        memory_bytes: used.memory_bytes,
        memory_limit_bytes: u64::from(owner.spec.resources.memory_mib.get()) << 20,
        ..MachineStats::default()
    };
    if let Some(claimed) = claimed {
        stats.guest_memory_used_bytes = Some(claimed.memory_used_bytes);
        stats.net_rx_bytes = claimed.network_rx_bytes;
        stats.net_tx_bytes = claimed.network_tx_bytes;
        stats.processes = Some(claimed.processes.into());
        stats.guest = Some(GuestUse {
            cpus: claimed.cpus,
            cpu_usage_ns: claimed.cpu_usage_ns,
            uptime_ns: claimed.uptime_ns,
            memory_total_bytes: claimed.memory_total_bytes,
            memory_used_bytes: claimed.memory_used_bytes,
            memory_cache_bytes: claimed.memory_cache_bytes,
            disk_total_bytes: claimed.disk_total_bytes,
            disk_used_bytes: claimed.disk_used_bytes,
        });
    }
    Ok(stats)
}

/// A path of the guest as a tar.
pub(crate) async fn archive_get(
    owner: &OwnerHandle,
    path: &str,
) -> Result<(FileStat, BoxStream<'static, Result<Bytes, NodeError>>), NodeError> {
    let guest = running_guest(owner)?;
    let action = format!("read {path:?} in the machine");
    let entry = guest.stat(path).await.map_err(|error| node_error(&action, &error))?;
    let stat = FileStat {
        name: message(&entry.name),
        kind: match entry.r#type {
            kind if kind == FileType::File as i32 => EntryKind::File,
            kind if kind == FileType::Directory as i32 => EntryKind::Directory,
            _ if entry.symlink_target.is_some() => EntryKind::Symlink,
            _ => EntryKind::Other,
        },
        size_bytes: u64::try_from(entry.size).unwrap_or(0),
        mode: entry.mode,
        modified_unix_ms: 0,
        // Whole or not at all: who follows it would come to another place.
        link_target: entry.symlink_target.filter(|target| message(target) == *target),
    };
    let bytes = guest
        .get_archive(path)
        .await
        .map_err(|error| node_error(&action, &error))?;
    Ok((stat, bytes.map_err(move |error| node_error(&action, &error)).boxed()))
}

/// A tar into a folder of the guest.
pub(crate) async fn archive_put(
    owner: &OwnerHandle,
    path: &str,
    archive: BoxStream<'static, Result<Bytes, NodeError>>,
) -> Result<(), NodeError> {
    let guest = running_guest(owner)?;
    let bytes = archive.map_err(std::io::Error::other);
    guest
        .put_archive(path, bytes)
        .await
        .map_err(|error| node_error(&format!("write to {path:?} in the machine"), &error))
}
