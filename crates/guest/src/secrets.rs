//! Files with secrets, in memory and for the workload's user alone.
//!
//! They lie in a tmpfs of their own at `/run/secrets`, so that they reach no disk, and nowhere else: that keeps a careless path from
//! covering a file of the image. Each Init replaces all of them. Errors name paths, never contents.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use hearth_guest_api::guest::SecretFile;
use rustix::fs::{Gid, Uid};
use rustix::mount::{MountFlags, mount};

/// The only folder under which secrets are taken.
pub(crate) const FOLDER: &str = "/run/secrets";
/// Where a new file is written before it gets its name.
const DRAFT: &str = ".hearth-new";

/// Why secrets were not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretsError {
    #[error("the secret file `{0}` does not lie below {FOLDER}; secrets are given there only")]
    Elsewhere(String),
    #[error("the secret file `{0}` is given twice")]
    Twice(String),
    #[error("cannot {step} {}: {source}", path.display())]
    Io {
        step: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

fn at<'a>(step: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> SecretsError + 'a {
    move |source| SecretsError::Io {
        step,
        path: path.to_owned(),
        source,
    }
}

/// Mounts the folder's tmpfs, once.
pub(crate) fn mount_folder() -> Result<(), SecretsError> {
    let folder = Path::new(FOLDER);
    fs::create_dir_all(folder).map_err(at("make the folder", folder))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", folder, "tmpfs", flags, c"mode=755").map_err(|errno| at("mount a tmpfs at", folder)(errno.into()))
}

/// Makes `folder` hold these files, owned by the user, and no others. Nothing is touched when one is refused.
pub(crate) fn replace(folder: &Path, files: &[SecretFile], uid: u32, gid: u32) -> Result<(), SecretsError> {
    let mut wanted = BTreeSet::new();
    for file in files {
        if !wanted.insert(folder.join(inside(&file.path)?)) {
            return Err(SecretsError::Twice(file.path.clone()));
        }
    }
    // First what goes, so that a file may become a folder.
    remove_others(folder, &wanted)?;
    for file in files {
        let path = folder.join(inside(&file.path)?);
        make_parents(folder, &path)?;
        write(folder, &path, &file.data, uid, gid)?;
    }
    Ok(())
}

/// The path below the folder; the words between its slashes are plain names.
fn inside(path: &str) -> Result<&Path, SecretsError> {
    let elsewhere = || SecretsError::Elsewhere(path.to_owned());
    let rest = path
        .strip_prefix(FOLDER)
        .and_then(|rest| rest.strip_prefix('/'))
        .ok_or_else(elsewhere)?;
    let plain = |name: &str| !matches!(name, "" | "." | ".." | DRAFT) && !name.contains('\0');
    let rest = Path::new(rest);
    let is_plain = rest.to_str().is_some_and(|rest| rest.split('/').all(plain));
    let is_inside = rest.components().all(|part| matches!(part, Component::Normal(_)));
    (is_plain && is_inside).then_some(rest).ok_or_else(elsewhere)
}

fn make_parents(folder: &Path, path: &Path) -> Result<(), SecretsError> {
    let Some(parent) = path.parent().filter(|parent| *parent != folder) else {
        return Ok(());
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(parent)
        .map_err(at("make the folder", parent))
}

/// Written aside and renamed, so that a reader sees the old secret or the new one.
fn write(folder: &Path, path: &Path, data: &[u8], uid: u32, gid: u32) -> Result<(), SecretsError> {
    let draft = folder.join(DRAFT);
    let written = || -> io::Result<()> {
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(&draft)?;
        file.write_all(data)?;
        rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        fs::rename(&draft, path)
    };
    written().map_err(at("write the secret file", path))
}

/// Removes what is not wanted, and folders that are empty then.
fn remove_others(folder: &Path, wanted: &BTreeSet<PathBuf>) -> Result<(), SecretsError> {
    let entries = fs::read_dir(folder).map_err(at("read", folder))?;
    for entry in entries {
        let entry = entry.map_err(at("read", folder))?;
        let path = entry.path();
        let is_dir = entry.file_type().map_err(at("read", &path))?.is_dir();
        if is_dir {
            remove_others(&path, wanted)?;
            // Not empty while something in it is wanted.
            let _ = fs::remove_dir(&path);
        } else if !wanted.contains(&path) {
            fs::remove_file(&path).map_err(at("remove", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn file(path: &str, data: &str) -> SecretFile {
        SecretFile {
            path: path.to_owned(),
            data: data.to_owned().into(),
        }
    }

    fn own() -> (u32, u32) {
        (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw())
    }

    #[test]
    fn written_for_one_user_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (uid, gid) = own();
        let replace = |files: &[SecretFile]| replace(folder.path(), files, uid, gid);
        replace(&[file("/run/secrets/a", "one"), file("/run/secrets/b/c/d", "two")]).unwrap();
        let a = folder.path().join("a");
        let metadata = fs::metadata(&a).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o400, uid));
        assert_eq!(fs::read_to_string(folder.path().join("b/c/d")).unwrap(), "two");

        replace(&[file("/run/secrets/a", "three"), file("/run/secrets/b", "four")]).unwrap();
        assert_eq!(fs::read_to_string(&a).unwrap(), "three");
        assert_eq!(fs::read_to_string(folder.path().join("b")).unwrap(), "four");
        replace(&[]).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_below_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (uid, gid) = own();
        for path in [
            "",
            "a",
            "/etc/passwd",
            "/run/secrets",
            "/run/secrets/",
            "/run/secretsx/a",
            "/run/secrets/../a",
            "/run/secrets/a/../../../b",
            "/run/secrets//a",
            "/run/secrets/./a",
            "/run/secrets/a/",
            "/run/secrets/a\0b",
            "/run/secrets/.hearth-new",
        ] {
            let files = [file("/run/secrets/fine", "x"), file(path, "hidden")];
            let error = replace(folder.path(), &files, uid, gid).unwrap_err().to_string();
            assert!(error.contains("/run/secrets") && !error.contains("hidden"), "{error}");
        }
        let twice = [file("/run/secrets/a", "x"), file("/run/secrets/a", "y")];
        assert!(matches!(
            replace(folder.path(), &twice, uid, gid),
            Err(SecretsError::Twice(_))
        ));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
