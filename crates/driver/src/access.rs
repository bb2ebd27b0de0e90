//! Can a VMM's user read a file? Asked beforehand, since a VMM's own answer ("could not open") does not say which
//! folder on the way is shut.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use crate::{DriverError, VmmUser};

/// Checks that `user` may read `path` and pass through each folder on the way to it.
pub fn check_readable(what: &str, path: &Path, user: VmmUser) -> Result<(), DriverError> {
    let failed = |source| DriverError::Io {
        action: format!("read the {what} {}", path.display()),
        source,
    };
    let real = fs::canonicalize(path).map_err(failed)?;
    for folder in real.ancestors().skip(1) {
        let meta = fs::metadata(folder).map_err(failed)?;
        if !allows(&meta, user, 0o1) {
            return Err(failed(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "user {} may not pass through the folder {folder}; allow it with `chmod o+x {folder}`",
                    user.uid,
                    folder = folder.display()
                ),
            )));
        }
    }
    let meta = fs::metadata(&real).map_err(failed)?;
    if meta.is_dir() {
        return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    if allows(&meta, user, 0o4) {
        return Ok(());
    }
    let message = format!(
        "user {} may not read it; allow it with `chmod o+r {}`",
        user.uid,
        real.display()
    );
    Err(failed(io::Error::new(io::ErrorKind::PermissionDenied, message)))
}

/// Classic permission bits: the first class that fits decides. Access lists are left to the kernel.
fn allows(meta: &fs::Metadata, user: VmmUser, bit: u32) -> bool {
    let shift = match () {
        () if user.uid == 0 => return true,
        () if meta.uid() == user.uid => 6,
        () if meta.gid() == user.gid => 3,
        () => 0,
    };
    meta.mode() >> shift & bit != 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn with_causes(error: &DriverError) -> String {
        let cause = std::error::Error::source(error)
            .map(ToString::to_string)
            .unwrap_or_default();
        format!("{error}: {cause}")
    }

    #[test]
    fn names_the_folder_that_is_shut() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let file = inner.join("kernel");
        fs::write(&file, "").unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let nobody = VmmUser {
            uid: 65_534,
            gid: 65_534,
        };

        mode(folder.path(), 0o755);
        mode(&inner, 0o700);
        mode(&file, 0o644);
        let message = with_causes(&check_readable("kernel", &file, nobody).unwrap_err());
        assert!(
            message.contains(&format!("through the folder {}", inner.display())),
            "{message}"
        );
        mode(&inner, 0o711);
        check_readable("kernel", &file, nobody).unwrap();
        mode(&file, 0o600);
        let message = with_causes(&check_readable("kernel", &file, nobody).unwrap_err());
        assert!(message.contains("chmod o+r"), "{message}");
        let message = with_causes(&check_readable("root", &inner.join("none"), nobody).unwrap_err());
        assert!(
            message.contains("cannot read the root") && message.contains("No such file"),
            "{message}"
        );
    }
}
