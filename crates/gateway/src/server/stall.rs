//! A client that does not read holds an instance's place: its connection ends when too little could be written for too long.
//!
//! Each connection may keep us waiting for a time. Waiting to write uses that up, and what is written gives it back, at
//! [`BYTES_PER_SECOND`]. So who reads nothing has that time, who reads one byte now and then has hardly more, and who has
//! nothing to read loses none.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// What a client must read, on average, while there is something to read.
const BYTES_PER_SECOND: u32 = 1024;

/// A stream whose writes may stand still only for a time.
pub(super) struct Stalling<S> {
    stream: S,
    max: Duration,
    /// What is left of the time.
    left: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    stalled: Option<Instant>,
}

impl<S> Stalling<S> {
    pub(super) fn new(stream: S, max: Duration) -> Self {
        Self {
            stream,
            max,
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
        if self.stalled.is_none() {
            let now = Instant::now();
            self.stalled = Some(now);
            timer.as_mut().reset(now + left);
        }
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
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

    use super::*;

    /// Reads `bytes` each second. Whether the writer goes on after an hour.
    async fn goes_on(bytes: usize) -> bool {
        let (ours, mut theirs) = duplex(1024);
        let mut stream = Stalling::new(ours, Duration::from_mins(1));
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
        assert!(!goes_on(1).await);
        assert!(!goes_on(500).await);
        assert!(goes_on(1100).await);
    }
}
