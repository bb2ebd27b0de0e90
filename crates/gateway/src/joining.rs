//! Streams on which a small answer leaves in one piece.
//!
//! Head and body come as two buffers. To have the kernel gather them costs more than to copy them into one, as long as they
//! are small.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is copied, at most, in bytes.
const SMALL: usize = 8 * 1024;

thread_local! {
    /// Lives in the processor's cache, as a buffer for each connection would not.
    static JOINED: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(SMALL));
}

/// A stream that joins small buffers before it writes them.
pub(crate) struct Joining<S>(pub(crate) S);

impl<S: AsyncRead + Unpin> AsyncRead for Joining<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Joining<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.0);
        if let [only] = bufs {
            return stream.poll_write(cx, only);
        }
        if bufs.iter().map(|buf| buf.len()).sum::<usize>() > SMALL {
            return stream.poll_write_vectored(cx, bufs);
        }
        JOINED.with_borrow_mut(|joined| {
            joined.clear();
            for buf in bufs {
                joined.extend_from_slice(buf);
            }
            stream.poll_write(cx, joined)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Writes the buffers, and reads what comes of them.
    async fn pass(bufs: &[&[u8]]) -> Vec<u8> {
        let (ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
        let mut stream = Joining(ours);
        let mut left: Vec<IoSlice<'_>> = bufs.iter().map(|buf| IoSlice::new(buf)).collect();
        let all: usize = bufs.iter().map(|buf| buf.len()).sum();
        let writing = async {
            let mut left = &mut left[..];
            while !left.is_empty() {
                let written = stream.write_vectored(left).await.unwrap();
                IoSlice::advance_slices(&mut left, written);
            }
        };
        let mut read = vec![0; all];
        let ((), outcome) = tokio::join!(writing, theirs.read_exact(&mut read));
        outcome.unwrap();
        read
    }

    #[tokio::test]
    async fn nothing_is_lost_or_mixed_up() {
        let large = [7; SMALL];
        for bufs in [
            &[b"head".as_slice(), b"body"][..],
            &[b"only"],
            &[b"head", b"", &large],
            &[&large, b"tail"],
        ] {
            assert_eq!(pass(bufs).await, bufs.concat());
        }
    }
}
