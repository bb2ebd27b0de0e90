//! Files as callers see them. Everything here blocks and runs on helper threads; the agent acts as root, and gives what it
//! makes to the named user.

pub(crate) mod entry;
pub(crate) mod multipart;
pub(crate) mod tree;

use std::path::{Path, PathBuf};

use hearth_guest_api::connect::{Code, ConnectError};

use crate::process::users::Identity;

/// The user a call acts for.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl From<&Identity> for Owner {
    fn from(identity: &Identity) -> Self {
        Self {
            uid: identity.uid,
            gid: identity.gid,
        }
    }
}

impl Owner {
    /// Takes an open file, if it is an ordinary one.
    pub(crate) fn take_open(&self, file: &std::fs::File) -> std::io::Result<()> {
        if !file.metadata()?.is_file() {
            return Ok(());
        }
        let (uid, gid) = (rustix::fs::Uid::from_raw(self.uid), rustix::fs::Gid::from_raw(self.gid));
        Ok(rustix::fs::fchown(file, Some(uid), Some(gid))?)
    }

    pub(crate) fn take(&self, path: &Path) -> std::io::Result<()> {
        let (uid, gid) = (rustix::fs::Uid::from_raw(self.uid), rustix::fs::Gid::from_raw(self.gid));
        Ok(rustix::fs::chownat(
            rustix::fs::CWD,
            path,
            Some(uid),
            Some(gid),
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }
}

/// Makes a folder and its parents; those that were missing get the owner.
pub(crate) fn make_folders(path: &Path, owner: &Owner) -> std::io::Result<()> {
    let missing: Vec<PathBuf> = path
        .ancestors()
        .take_while(|folder| !folder.exists())
        .map(Path::to_owned)
        .collect();
    for folder in missing.into_iter().rev() {
        match std::fs::create_dir(&folder) {
            // Made by somebody else in the meantime, who then owns it.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(error) => return Err(error),
            Ok(()) => owner.take(&folder)?,
        }
    }
    Ok(())
}

/// An I/O error in the words and codes of the wire contract.
pub(crate) fn rpc_error(what: &str, path: &Path, error: &std::io::Error) -> ConnectError {
    use std::io::ErrorKind as Kind;
    let code = match error.kind() {
        Kind::NotFound => return not_found(path),
        Kind::AlreadyExists => Code::AlreadyExists,
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => Code::PermissionDenied,
        Kind::NotADirectory | Kind::IsADirectory | Kind::InvalidInput | Kind::InvalidFilename => Code::InvalidArgument,
        _ if is_loop(error) => Code::InvalidArgument,
        Kind::StorageFull | Kind::QuotaExceeded => Code::ResourceExhausted,
        Kind::DirectoryNotEmpty => Code::FailedPrecondition,
        _ => Code::Internal,
    };
    ConnectError::new(code, format!("cannot {what} '{}': {error}", path.display()))
}

/// Links that lead to each other.
pub(crate) fn is_loop(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

pub(crate) fn not_found(path: &Path) -> ConnectError {
    ConnectError::new(Code::NotFound, format!("path '{}' does not exist", path.display()))
}

pub(crate) fn invalid(path: &Path, why: &str) -> ConnectError {
    ConnectError::new(Code::InvalidArgument, format!("path '{}' {why}", path.display()))
}
