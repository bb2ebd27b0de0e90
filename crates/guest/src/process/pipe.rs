//! Our end of a pipe or terminal, awaited rather than blocked on.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::OFlags;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

/// A non-blocking descriptor. Writers order themselves: one at a time.
pub(crate) struct Pipe {
    fd: AsyncFd<OwnedFd>,
    writing: tokio::sync::Mutex<()>,
}

impl Pipe {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        Ok(Self {
            fd: register(fd)?,
            writing: tokio::sync::Mutex::new(()),
        })
    }

    /// Reads what is there; 0 at the end. A terminal whose last user is gone gives `EIO`, which is its end.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.fd.readable().await?;
            match ready.try_io(|fd| Ok(rustix::io::read(fd, &mut *buffer)?)) {
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => return Ok(0),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    /// Returns when everything is in the pipe.
    pub(crate) async fn write_all(&self, mut data: &[u8]) -> io::Result<()> {
        let _turn = self.writing.lock().await;
        while !data.is_empty() {
            let mut ready = self.fd.writable().await?;
            match ready.try_io(|fd| Ok(rustix::io::write(fd, data)?)) {
                Ok(Ok(written)) => data = &data[written..],
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
        Ok(())
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        self.fd.get_ref()
    }
}

#[expect(
    unsafe_code,
    reason = "the reactor trusts the descriptor to stay open while it is registered"
)]
fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open, and the same, until it is dropped, which `AsyncFd` does after deregistering it;
    // `Pipe` only ever lends it out by reference.
    unsafe { AsyncFd::register(fd) }.map_err(Into::into)
}
