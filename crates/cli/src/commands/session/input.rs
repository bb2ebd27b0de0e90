//! What goes to the program: standard input, signals, sizes; over one session after the other, should the daemon be
//! replaced meanwhile. What was under way in a session that broke is lost.

use bytes::Bytes;
use hearth_api::frame::{ClientFrame, Control};
use hearth_client::SessionSender;
use tokio::{
    io::AsyncReadExt,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::terminal;

/// Bytes of standard input sent at once.
const INPUT_BYTES: usize = 64 << 10;
/// Frames that may wait to be sent.
const FRAMES_MAX: usize = 8;
/// Ctrl-P, then Ctrl-Q: leaves a terminal's program alone, as with docker.
const LEAVE: [u8; 2] = [0x10, 0x11];

/// The way to the program. What it does ends when it is dropped.
pub(super) struct Input {
    frames: mpsc::Sender<ClientFrame>,
    sessions: mpsc::Sender<SessionSender>,
    sending: JoinHandle<()>,
    /// Until it is known that nobody leaves so any more.
    leaving: Option<oneshot::Receiver<()>>,
}

impl Input {
    /// Begins to send; `keys` are looked for only at a terminal.
    pub(super) fn start(session: SessionSender, stdin: bool, keys: bool) -> Self {
        let (frames, outgoing) = mpsc::channel(FRAMES_MAX);
        let (sessions, renewed) = mpsc::channel(1);
        let (leave, leaving) = oneshot::channel();
        if stdin {
            tokio::spawn(forward_stdin(frames.clone(), keys.then_some(leave)));
        }
        Self {
            frames,
            sessions,
            sending: tokio::spawn(send_all(session, renewed, outgoing)),
            leaving: Some(leaving),
        }
    }

    /// Goes on over another session.
    pub(super) async fn renew(&self, session: SessionSender) {
        // It fails only when nothing is sent any more.
        let _ = self.sessions.send(session).await;
    }

    /// Resolves when the user wants to leave the program alone.
    pub(super) async fn left(&mut self) {
        if let Some(leaving) = &mut self.leaving {
            let left = leaving.await.is_ok();
            self.leaving = None;
            if left {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// Sends a signal, unless there is no room for it: a program that does not read its input must not keep us.
    #[must_use]
    pub(super) fn signal(&self, number: i32) -> bool {
        let frame = ClientFrame::Control(Control::Signal(number));
        self.frames.try_send(frame).is_ok()
    }

    /// Tells the size of our terminal, if there is one.
    pub(super) fn resize(&self) {
        if let Some(size) = terminal::size() {
            let _ = self.frames.try_send(ClientFrame::Control(Control::Resize(size)));
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.sending.abort();
    }
}

/// Sends frames; after a failure, over the next session. The end of the input is told to each.
async fn send_all(
    mut session: SessionSender,
    mut renewed: mpsc::Receiver<SessionSender>,
    mut frames: mpsc::Receiver<ClientFrame>,
) {
    let mut closed = false;
    loop {
        let mut frame = tokio::select! {
            biased;
            next = renewed.recv() => match next {
                Some(next) => {
                    session = next;
                    if !closed {
                        continue;
                    }
                    ClientFrame::Control(Control::CloseStdin(true))
                }
                None => return,
            },
            Some(frame) = frames.recv() => frame,
        };
        closed |= frame == ClientFrame::Control(Control::CloseStdin(true));
        while session.send(&frame).await.is_err() {
            // The receiving side sees why, and brings another session.
            let Some(next) = renewed.recv().await else { return };
            session = next;
            if closed {
                frame = ClientFrame::Control(Control::CloseStdin(true));
            }
        }
    }
}

async fn forward_stdin(frames: mpsc::Sender<ClientFrame>, mut leave: Option<oneshot::Sender<()>>) {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; INPUT_BYTES];
    let mut keys = Keys::default();
    loop {
        let frame = match stdin.read(&mut buffer).await {
            Ok(length) if length > 0 => {
                let typed = &buffer[..length];
                let (typed, left) = if leave.is_some() {
                    keys.read(typed)
                } else {
                    (Bytes::copy_from_slice(typed), false)
                };
                if left {
                    let _ = leave.take().map(|leave| leave.send(()));
                    return;
                }
                ClientFrame::Stdin(typed)
            }
            _ => ClientFrame::Control(Control::CloseStdin(true)),
        };
        let ended = matches!(frame, ClientFrame::Control(_));
        if frames.send(frame).await.is_err() || ended {
            return;
        }
    }
}

/// Looks for the keys that leave.
#[derive(Debug, Default)]
struct Keys {
    /// The first of them was typed, and is held back.
    begun: bool,
}

impl Keys {
    /// What of the typed bytes is the program's, and whether the keys were among them.
    fn read(&mut self, typed: &[u8]) -> (Bytes, bool) {
        let mut own = Vec::with_capacity(typed.len() + 1);
        for &byte in typed {
            if std::mem::take(&mut self.begun) {
                if byte == LEAVE[1] {
                    return (own.into(), true);
                }
                own.push(LEAVE[0]);
            }
            if byte == LEAVE[0] {
                self.begun = true;
            } else {
                own.push(byte);
            }
        }
        (own.into(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_both_keys_in_a_row_leave() {
        let mut keys = Keys::default();
        assert_eq!(keys.read(b"ab\x10c\x11"), (Bytes::from_static(b"ab\x10c\x11"), false));
        assert_eq!(keys.read(b"x\x10"), (Bytes::from_static(b"x"), false));
        assert_eq!(keys.read(b"\x10"), (Bytes::from_static(b"\x10"), false));
        assert_eq!(keys.read(b"\x11y"), (Bytes::new(), true));
    }
}
