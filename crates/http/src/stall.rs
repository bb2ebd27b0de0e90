//! A client that does not read holds what it is answered from, such as an instance's place, or the answer itself: its connection ends
//! when too little could be written for too long.
//!
//! Each connection may keep us waiting for a time. Waiting to write uses that up, and what is written gives it back, at
//! [`BYTES_PER_SECOND`]. So who reads nothing has that time, who reads one byte now and then has hardly more, and who has
//! nothing to read loses none.
//!
//! Some streams are their callers' own and hold little that others want. A client that has one may keep us waiting for longer: its
//! reader may be a person at a breakpoint, or at a pager. Which those are is each server's own to say.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// What a client must read, on average, while there is something to read.
const BYTES_PER_SECOND: u32 = 1024;

/// A stream whose writes may stand still only for a time.
#[derive(Debug)]
pub struct Stalling<S, P> {
    stream: S,
    max: Duration,
    patience: P,
    /// What is left of the time.
    left: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    stalled: Option<Instant>,
    /// Whether there is patience with this write; none if there never was.
    is_patient: Option<bool>,
}

impl<S, P: Fn() -> Option<Duration>> Stalling<S, P> {
    /// Waits for `max` at most, or as long for one write as `patience` says at that moment.
    pub fn new(stream: S, max: Duration, patience: P) -> Self {
        Self {
            stream,
            max,
            patience,
            left: max,
            timer: None,
            stalled: None,
            is_patient: None,
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
            self.is_patient = None;
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
        // Asked each time: what the client may be waited for changes by what it is sent.
        let patience = (self.patience)();
        match (self.is_patient, patience) {
            (None, Some(_)) => self.is_patient = Some(true),
            // Who was waited for has its time for the rest of it, once.
            (Some(true), None) => {
                self.is_patient = Some(false);
                self.stalled = Some(Instant::now());
            }
            _ => {}
        }
        let max = self.left.max(patience.unwrap_or_default());
        let until = *self.stalled.get_or_insert_with(Instant::now) + max;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin, P: Unpin> AsyncRead for Stalling<S, P> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin, P: Fn() -> Option<Duration> + Unpin> AsyncWrite for Stalling<S, P> {
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
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::{sleep, timeout},
    };

    use super::*;

    const LONG: Duration = Duration::from_hours(2);

    /// Reads `bytes` each second. Whether the writer goes on after an hour.
    async fn goes_on(bytes: usize, patience: Option<Duration>) -> bool {
        let (ours, mut theirs) = duplex(1024);
        let mut stream = Stalling::new(ours, Duration::from_mins(1), move || patience);
        let reading = async {
            let mut buffer = vec![0; bytes];
            loop {
                sleep(Duration::from_secs(1)).await;
                theirs.read_exact(&mut buffer).await.expect("bytes");
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
        assert!(!goes_on(1, None).await);
        assert!(!goes_on(500, None).await);
        assert!(goes_on(1100, None).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_a_stream_of_its_own_may_take_longer() {
        assert!(goes_on(1, Some(LONG)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_may_take_for_ever() {
        let (ours, _theirs) = duplex(1024);
        let mut stream = Stalling::new(ours, Duration::from_mins(1), || Some(LONG));
        let began = Instant::now();
        assert!(stream.write_all(&[7; 4096]).await.is_err());
        assert_eq!(began.elapsed().as_secs() / 60, 120);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_with_what_it_was_for() {
        let (ours, _theirs) = duplex(1024);
        let patient = AtomicBool::new(true);
        let patience = || patient.load(Ordering::Relaxed).then_some(LONG);
        let mut stream = Stalling::new(ours, Duration::from_mins(1), patience);
        let waited = timeout(Duration::from_mins(10), stream.write_all(&[7; 4096])).await;
        assert!(waited.is_err(), "it is waited for");
        patient.store(false, Ordering::Relaxed);
        let began = Instant::now();
        assert!(stream.write_all(&[7; 4096]).await.is_err());
        let waited = began.elapsed();
        assert!((59..120).contains(&waited.as_secs()), "{waited:?}");
    }
}
