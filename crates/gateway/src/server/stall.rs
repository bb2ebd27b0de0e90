//! A client that does not read holds an instance's place: its connection ends when too little could be written for too long.
//!
//! Each connection may keep us waiting for a time. Waiting to write uses that up, and what is written gives it back, at
//! [`BYTES_PER_SECOND`]. So who reads nothing has that time, who reads one byte now and then has hardly more, and who has
//! nothing to read loses none.
//!
//! Streams of sandboxes are their callers' own and hold nobody else's place. A client that has one may keep us waiting for
//! longer: its reader may be a person at a breakpoint.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use crate::client::Client;

/// What a client must read, on average, while there is something to read.
const BYTES_PER_SECOND: u32 = 1024;

/// A stream whose writes may stand still only for a time.
pub(super) struct Stalling<S> {
    stream: S,
    max: Duration,
    client: Arc<Client>,
    /// How long one wait may be if the client has a stream of a sandbox.
    patience: Duration,
    /// What is left of the time.
    left: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    stalled: Option<Instant>,
}

impl<S> Stalling<S> {
    pub(super) fn new(stream: S, max: Duration, client: Arc<Client>, patience: Duration) -> Self {
        Self {
            stream,
            max,
            client,
            patience,
            left: max,
            timer: None,
            stalled: None,
        }
    }

    /// Watches how a write went, of which `bytes` says how much was written.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(outcome) = &written {
            if let Some(since) = self.stalled.take() {
                self.left = self.left.saturating_sub(since.elapsed());
            }
            if let Ok(outcome) = outcome
                && self.left < self.max
            {
                let bytes = u32::try_from(bytes(outcome)).unwrap_or(u32::MAX);
                self.left = self
                    .max
                    .min(self.left + Duration::from_secs(1) * bytes / BYTES_PER_SECOND);
            }
            return written;
        }
        let left = self.left;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(left)));
        let since = *self.stalled.get_or_insert_with(|| {
            let now = Instant::now();
            timer.as_mut().reset(now + left);
            now
        });
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let later = since + self.patience;
        if self.client.may_wait() && later > Instant::now() {
            timer.as_mut().reset(later);
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, written, |bytes| *bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, written, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, flushed, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, shut, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use tokio_util::sync::CancellationToken;

    use super::*;

    fn client() -> Arc<Client> {
        Arc::new(Client::new([127, 0, 0, 1].into(), false, CancellationToken::new()))
    }

    /// Reads `bytes` each second. Whether the writer goes on after an hour.
    async fn goes_on(bytes: usize, client: Arc<Client>) -> bool {
        let (ours, mut theirs) = duplex(1024);
        let mut stream = Stalling::new(ours, Duration::from_mins(1), client, Duration::from_hours(2));
        let reading = async {
            let mut buffer = vec![0; bytes];
            loop {
                sleep(Duration::from_secs(1)).await;
                theirs.read_exact(&mut buffer).await.unwrap();
            }
        };
        let writing = async { while stream.write_all(&[7; 4096]).await.is_ok() {} };
        tokio::select! {
            () = reading => false,
            () = writing => false,
            () = sleep(Duration::from_hours(1)) => true,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_too_slowly_is_let_go() {
        assert!(!goes_on(1, client()).await);
        assert!(!goes_on(500, client()).await);
        assert!(goes_on(1100, client()).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_a_stream_of_its_own_may_take_longer() {
        let client = client();
        client.be_patient();
        assert!(goes_on(1, Arc::clone(&client)).await);
        client.hurry();
        assert!(!goes_on(1, client).await);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_may_take_for_ever() {
        let client = client();
        client.be_patient();
        let (ours, _theirs) = duplex(1024);
        let mut stream = Stalling::new(ours, Duration::from_mins(1), client, Duration::from_hours(2));
        let began = Instant::now();
        assert!(stream.write_all(&[7; 4096]).await.is_err());
        assert_eq!(began.elapsed().as_secs() / 60, 120);
    }
}
