//! Where the API is, and how to get there without being led astray.
//!
//! The socket lies in a folder that the VMM's user may write, so a VMM that was taken over can put a link to another
//! socket of this host in its place, and whoever connects does so as root. So the socket is first pinned by `O_PATH`,
//! without following a link, looked at, and then reached by its descriptor. This also frees it of the 108 bytes that
//! a socket's path may have.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{FileType, Mode, OFlags};
use tokio::net::UnixStream;

use super::ApiError;

/// The API socket of one VMM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiSocket {
    path: PathBuf,
    owner_uid: u32,
}

impl ApiSocket {
    /// The socket at `path`, which only `owner_uid` can have made.
    pub fn new(path: PathBuf, owner_uid: u32) -> Self {
        Self { path, owner_uid }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn connect(&self) -> Result<UnixStream, ApiError> {
        let pinned = self.pin()?;
        UnixStream::connect(format!("/proc/self/fd/{}", pinned.as_raw_fd()))
            .await
            .map_err(ApiError::Connect)
    }

    fn pin(&self) -> Result<OwnedFd, ApiError> {
        let connect = |error: rustix::io::Errno| ApiError::Connect(io::Error::from(error));
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let pinned = rustix::fs::open(&self.path, flags, Mode::empty()).map_err(connect)?;
        let stat = rustix::fs::fstat(&pinned).map_err(connect)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
            return Err(ApiError::Foreign("it is no socket"));
        }
        if stat.st_uid != self.owner_uid {
            return Err(ApiError::Foreign("another user owns it"));
        }
        Ok(pinned)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use super::*;

    #[tokio::test]
    async fn links_and_strangers_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real.sock");
        let _listener = UnixListener::bind(&real).unwrap();
        let link = folder.path().join("link.sock");
        symlink(&real, &link).unwrap();
        let uid = rustix::process::getuid().as_raw();

        assert!(ApiSocket::new(real.clone(), uid).connect().await.is_ok());
        assert!(matches!(
            ApiSocket::new(link, uid).connect().await,
            Err(ApiError::Foreign(_))
        ));
        assert!(matches!(
            ApiSocket::new(real, uid + 1).connect().await,
            Err(ApiError::Foreign(_))
        ));
        let absent = ApiSocket::new(folder.path().join("absent"), uid);
        assert!(matches!(absent.connect().await, Err(ApiError::Connect(_))));
    }
}
