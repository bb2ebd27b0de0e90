//! A connection that is read to its end also where nothing can be written any more.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Transport;

/// What is written once the other side has closed is dropped. It may have said all that it had to say before: a web socket answers
/// what it reads, such as a ping, and would end with that answer instead of with what comes after. Who reads sees the end.
pub(crate) struct Listening(pub(crate) Box<dyn Transport>);

/// As if it were written, where nobody is there to read it.
fn unheard<T>(written: Poll<io::Result<T>>, as_if: T) -> Poll<io::Result<T>> {
    match written {
        Poll::Ready(Err(error)) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
            Poll::Ready(Ok(as_if))
        }
        written => written,
    }
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Listening {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        unheard(Pin::new(&mut self.0).poll_write(context, bytes), bytes.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        unheard(Pin::new(&mut self.0).poll_flush(context), ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        unheard(Pin::new(&mut self.0).poll_shutdown(context), ())
    }
}
