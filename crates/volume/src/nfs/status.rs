//! Why a call of NFS failed (`nfsstat3`).

use std::io;

use super::xdr::Garbage;

/// A failure, of the call or of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The arguments cannot be read.
    Garbage,
    /// `nfsstat3`.
    Status(u32),
}

pub(super) const OK: u32 = 0;
pub(super) const NOENT: Failure = Failure::Status(2);
pub(super) const IO: u32 = 5;
pub(super) const ACCES: Failure = Failure::Status(13);
pub(super) const EXIST: Failure = Failure::Status(17);
pub(super) const XDEV: Failure = Failure::Status(18);
pub(super) const ISDIR: Failure = Failure::Status(21);
pub(super) const INVAL: Failure = Failure::Status(22);
pub(super) const NAMETOOLONG: Failure = Failure::Status(63);
pub(super) const BADHANDLE: Failure = Failure::Status(10_001);
pub(super) const NOT_SYNC: Failure = Failure::Status(10_002);
pub(super) const NOTSUPP: Failure = Failure::Status(10_004);
pub(super) const TOOSMALL: Failure = Failure::Status(10_005);

impl From<Garbage> for Failure {
    fn from(_: Garbage) -> Self {
        Self::Garbage
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Self {
        io::Error::from(error).into()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Status(match error.raw_os_error() {
            Some(libc::EPERM) => 1,
            Some(libc::ENOENT) => 2,
            Some(libc::EACCES) => 13,
            Some(libc::EEXIST) => 17,
            Some(libc::EXDEV) => 18,
            Some(libc::ENOTDIR) => 20,
            Some(libc::EISDIR) => 21,
            Some(libc::EINVAL | libc::ELOOP) => 22,
            Some(libc::EFBIG) => 27,
            Some(libc::ENOSPC) => 28,
            Some(libc::EROFS) => 30,
            Some(libc::EMLINK) => 31,
            Some(libc::ENAMETOOLONG) => 63,
            Some(libc::ENOTEMPTY) => 66,
            Some(libc::EDQUOT) => 69,
            Some(libc::ESTALE) => 70,
            _ => {
                tracing::debug!(%error, "a guest's call to its volume failed");
                IO
            }
        })
    }
}
