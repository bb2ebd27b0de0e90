//! Processes that run beside the workload, and what both have in common.
//!
//! A [`Process`] is started, its output goes to whoever listens (nobody: it is read and dropped), and it ends with exactly one
//! [`ProcessEvent::End`]. A listener that is slow holds the process back; one that is gone is forgotten.

pub(crate) mod cgroup;
pub(crate) mod hold;
pub(crate) mod pipe;
pub(crate) mod reaper;
pub(crate) mod spawn;
pub(crate) mod table;
pub(crate) mod users;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use cgroup::Cgroup;
use hearth_guest_api::connect::{Code, ConnectError};
use hearth_guest_api::guest::TerminalSize;
use hearth_guest_api::process::ProcessConfig;
use pipe::Pipe;
use reaper::Exit;
use rustix::process::{Pid, Signal};
use spawn::Ends;
use tokio::sync::{mpsc, watch};

/// As much as a pipe holds by default.
pub(crate) const CHUNK_BYTES: usize = 32 * 1024;
/// How long after a process's exit its output may stay silent before it counts as complete: what it left running in the
/// background may hold its pipes open for ever.
const DRAIN_SILENCE: Duration = Duration::from_millis(250);
const LISTENER_EVENTS: usize = 4;

/// Which of its outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout,
    Stderr,
    Pty,
}

/// What a listener gets.
#[derive(Debug, Clone)]
pub(crate) enum ProcessEvent {
    Data(Output, Bytes),
    End(Exit),
}

/// One running process.
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) tag: Option<String>,
    pub(crate) config: ProcessConfig,
    input: RefCell<Input>,
    exit: watch::Receiver<Option<Exit>>,
    /// `None` once the end was delivered.
    listeners: RefCell<Option<Vec<mpsc::Sender<ProcessEvent>>>>,
    /// Held for as long as the process is known, so that an empty group goes with it.
    _cgroup: Option<Cgroup>,
}

/// Where its input goes.
pub(crate) enum Input {
    None,
    Closed,
    Stdin(Rc<Pipe>),
    Pty(Rc<Pipe>),
}

impl Input {
    /// Writes; ends early, with an error, when the process ends.
    pub(crate) async fn write(
        pipe: Rc<Pipe>,
        exit: watch::Receiver<Option<Exit>>,
        data: Bytes,
    ) -> Result<(), ConnectError> {
        let gone = |_| ConnectError::new(Code::FailedPrecondition, "the process no longer reads its input");
        tokio::select! {
            written = pipe.write_all(&data) => written.map_err(gone),
            _ = reaper::exited(exit) => Err(gone(std::io::ErrorKind::BrokenPipe.into())),
        }
    }

    pub(crate) fn pipe(&self, wants_pty: bool) -> Result<Rc<Pipe>, ConnectError> {
        let refused = |message: &str| Err(ConnectError::new(Code::FailedPrecondition, message));
        match (self, wants_pty) {
            (Self::Stdin(pipe), false) | (Self::Pty(pipe), true) => Ok(Rc::clone(pipe)),
            (Self::Closed, _) => refused("standard input is closed"),
            (Self::None, _) => refused("the process was started without standard input"),
            (Self::Stdin(_), true) => refused("the process has no terminal; send `stdin`"),
            (Self::Pty(_), false) => refused("the process has a terminal; send `pty`"),
        }
    }

    /// Ends standard input once what is being written is written.
    pub(crate) fn close(&mut self) -> Result<(), ConnectError> {
        match self {
            Self::Stdin(_) | Self::Closed => *self = Self::Closed,
            Self::None => {}
            Self::Pty(_) => {
                return Err(ConnectError::new(
                    Code::FailedPrecondition,
                    "a terminal has no end of input; send 0x04 instead",
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn resize(&self, size: TerminalSize) -> Result<(), ConnectError> {
        let Self::Pty(pipe) = self else {
            return Err(ConnectError::new(
                Code::FailedPrecondition,
                "the process has no terminal",
            ));
        };
        spawn::set_window_size(pipe.fd(), size)
            .map_err(|errno| ConnectError::new(Code::Internal, format!("cannot resize the terminal: {errno}")))
    }
}

/// Our ends of a process's descriptors, ready to be awaited.
pub(crate) struct Attached {
    pub(crate) input: Input,
    pub(crate) outputs: Vec<(Output, Rc<Pipe>)>,
}

impl Attached {
    pub(crate) fn new(ends: Ends) -> std::io::Result<Self> {
        match ends {
            Ends::Pipes { stdin, stdout, stderr } => {
                let input = stdin
                    .map(Pipe::new)
                    .transpose()?
                    .map_or(Input::None, |pipe| Input::Stdin(Rc::new(pipe)));
                let outputs = [(Output::Stdout, stdout), (Output::Stderr, stderr)];
                let outputs = outputs
                    .into_iter()
                    .map(|(output, fd)| Ok((output, Rc::new(Pipe::new(fd)?))));
                Ok(Self {
                    input,
                    outputs: outputs.collect::<std::io::Result<_>>()?,
                })
            }
            Ends::Pty(master) => {
                let master = Rc::new(Pipe::new(master)?);
                Ok(Self {
                    input: Input::Pty(Rc::clone(&master)),
                    outputs: vec![(Output::Pty, master)],
                })
            }
        }
    }
}

/// Reads outputs to their end, or until they stay silent after the process's exit, giving each piece to `deliver`.
pub(crate) async fn pump<D>(
    outputs: Vec<(Output, Rc<Pipe>)>,
    exit: watch::Receiver<Option<Exit>>,
    deliver: impl Fn(Output, Bytes) -> D,
) where
    D: Future<Output = ()>,
{
    let deliver = &deliver;
    let readers = outputs.into_iter().map(|(output, pipe)| {
        let exit = exit.clone();
        async move {
            let mut buffer = vec![0; CHUNK_BYTES];
            while let Some(count) = read_or_drained(&pipe, &exit, &mut buffer).await {
                deliver(output, Bytes::copy_from_slice(&buffer[..count])).await;
            }
        }
    });
    let mut readers: Vec<_> = readers.map(Box::pin).collect();
    // Two at most, so polling both each time is as good as a set.
    std::future::poll_fn(|context| {
        readers.retain_mut(|reader| reader.as_mut().poll(context).is_pending());
        if readers.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

/// The next piece; `None` at the end, on an error, or once the exited process's output stays silent.
async fn read_or_drained(pipe: &Pipe, exit: &watch::Receiver<Option<Exit>>, buffer: &mut [u8]) -> Option<usize> {
    let silence = async {
        reaper::exited(exit.clone()).await;
        tokio::time::sleep(DRAIN_SILENCE).await;
    };
    let count = tokio::select! {
        biased;
        read = pipe.read(buffer) => read.unwrap_or(0),
        () = silence => 0,
    };
    (count > 0).then_some(count)
}

/// Sends a signal to a process or, with `group`, to the session that it leads.
pub(crate) fn send_signal(pid: i32, number: i32, group: bool) -> Result<(), ConnectError> {
    let invalid = || ConnectError::new(Code::InvalidArgument, format!("`{number}` is no signal; use 1 to 64"));
    let signal = if (1..=31).contains(&number) {
        Signal::from_named_raw(number)
    } else {
        None
    };
    let pid = Pid::from_raw(pid).ok_or_else(invalid)?;
    let sent = match signal {
        Some(signal) if group => rustix::process::kill_process_group(pid, signal),
        Some(signal) => rustix::process::kill_process(pid, signal),
        None => return Err(invalid()),
    };
    sent.map_err(|errno| match errno {
        rustix::io::Errno::SRCH => ConnectError::new(
            Code::NotFound,
            format!("no process has the number {}", pid.as_raw_pid()),
        ),
        _ => ConnectError::new(
            Code::Internal,
            format!("cannot signal process {}: {errno}", pid.as_raw_pid()),
        ),
    })
}

impl Process {
    pub(crate) fn input(&self) -> std::cell::Ref<'_, Input> {
        self.input.borrow()
    }

    /// Returns when it has ended.
    pub(crate) async fn exited(&self) {
        reaper::exited(self.exit.clone()).await;
    }

    /// Sends a signal to it, or to the group that it leads. Never to a number that may be another's by now.
    pub(crate) fn signal(&self, number: i32, group: bool) -> Result<(), ConnectError> {
        if self.exit.borrow().is_some() {
            return Err(ConnectError::new(
                Code::NotFound,
                format!("process {} has ended", self.pid),
            ));
        }
        send_signal(self.pid, number, group)
    }

    pub(crate) async fn write(&self, data: Bytes, wants_pty: bool) -> Result<(), ConnectError> {
        let pipe = self.input.borrow().pipe(wants_pty)?;
        Input::write(pipe, self.exit.clone(), data).await
    }

    pub(crate) fn close_stdin(&self) -> Result<(), ConnectError> {
        self.input.borrow_mut().close()
    }

    /// Output from now on, and the end.
    pub(crate) fn listen(&self) -> mpsc::Receiver<ProcessEvent> {
        let (sender, receiver) = mpsc::channel(LISTENER_EVENTS);
        if let Some(listeners) = self.listeners.borrow_mut().as_mut() {
            listeners.push(sender);
        }
        receiver
    }

    async fn deliver(&self, event: ProcessEvent) {
        let listeners = self.listeners.borrow().clone();
        for listener in listeners.into_iter().flatten() {
            // Waits for a slow one; one that is gone is forgotten below.
            let _ = listener.send(event.clone()).await;
        }
        if let Some(listeners) = self.listeners.borrow_mut().as_mut() {
            listeners.retain(|listener| !listener.is_closed());
        }
    }

    /// Moves its output to its listeners until it has ended.
    async fn run(&self, outputs: Vec<(Output, Rc<Pipe>)>) {
        pump(outputs, self.exit.clone(), |output, data| {
            self.deliver(ProcessEvent::Data(output, data))
        })
        .await;
        let exit = reaper::exited(self.exit.clone()).await;
        self.deliver(ProcessEvent::End(exit)).await;
        // The senders go, so that the listeners' streams end.
        *self.listeners.borrow_mut() = None;
    }
}
