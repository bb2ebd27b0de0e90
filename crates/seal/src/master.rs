//! Where the master key comes from.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rand::TryRngCore as _;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{KEY_LEN, Key, Seal};

/// Variable that holds the master key, in hexadecimal, instead of the file.
pub const MASTER_KEY_VARIABLE: &str = "HEARTH_MASTER_KEY";

/// Why there is no master key.
#[derive(Debug, Error)]
pub enum MasterKeyError {
    /// The file cannot be made or read.
    #[error("cannot {action} the master key {path}")]
    File {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Others may read the file.
    #[error("the master key {path} has mode {mode:04o}, so that others may read it; set it with: chmod 600 {path}")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Another user owns the file.
    #[error("the master key {path} belongs to user {owner}, and this daemon runs as {own}; give it to that user")]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        own: u32,
    },
    /// It is no key.
    #[error("{place} is no master key: it has to be {} hexadecimal digits", KEY_LEN * 2)]
    Malformed {
        /// The file or the variable.
        place: String,
    },
    /// The host has no randomness.
    #[error("cannot take random bytes from the host")]
    Random(#[from] rand::rand_core::OsError),
}

impl Seal {
    /// Of the master key in a variable's text, or else in a file, which is made if it is not there.
    pub fn load(variable: Option<String>, path: &Path) -> Result<Self, MasterKeyError> {
        if let Some(text) = variable.map(Zeroizing::new) {
            return parse(text.trim(), MASTER_KEY_VARIABLE).map(|key| Self::new(*key));
        }
        match read(path) {
            Err(MasterKeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                make(path)?;
                read(path)
            }
            read => read,
        }
        .map(|key| Self::new(*key))
    }
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> MasterKeyError + 'a {
    move |source| MasterKeyError::File {
        action,
        path: path.to_owned(),
        source,
    }
}

fn read(path: &Path) -> Result<Key, MasterKeyError> {
    let failed = failed("read", path);
    let file = File::open(path).map_err(&failed)?;
    // Of the file that is open, which no other can be put in place of.
    let about = file.metadata().map_err(&failed)?;
    let mode = about.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(MasterKeyError::Mode {
            path: path.to_owned(),
            mode,
        });
    }
    let (owner, own) = (about.uid(), rustix::process::geteuid().as_raw());
    if owner != own {
        return Err(MasterKeyError::Owner {
            path: path.to_owned(),
            owner,
            own,
        });
    }
    let mut text = Zeroizing::new(String::with_capacity(256));
    (&file).take(256).read_to_string(&mut text).map_err(&failed)?;
    parse(text.trim(), &path.display().to_string())
}

fn parse(text: &str, place: &str) -> Result<Key, MasterKeyError> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    hex::decode_to_slice(text, key.as_mut_slice()).map_err(|_| MasterKeyError::Malformed {
        place: place.to_owned(),
    })?;
    Ok(key)
}

/// Made aside and linked into place, so that it is never half there, and never put over another.
fn make(path: &Path) -> Result<(), MasterKeyError> {
    let failed = failed("make", path);
    let mut key = Zeroizing::new([0; KEY_LEN]);
    rand::rngs::OsRng.try_fill_bytes(key.as_mut_slice())?;
    let aside = path.with_extension(format!("new{}", std::process::id()));
    let _ = fs::remove_file(&aside);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside)
        .map_err(&failed)?;
    let text = Zeroizing::new(format!("{}\n", hex::encode(key.as_slice())));
    let made = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&aside, path));
    let _ = fs::remove_file(&aside);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(&failed),
    }?;
    // The name has to survive the host's end as well: what is closed with a key that is gone is gone.
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder).and_then(|folder| folder.sync_all()))
        .map_err(&failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use hearth_ids::KeyId;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let key = KeyId::new();
        let first = Seal::load(None, &path).unwrap().sigv4_secret(key);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(Seal::load(None, &path).unwrap().sigv4_secret(key), first);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left aside");

        let text = fs::read_to_string(&path).unwrap();
        let elsewhere = folder.path().join("none");
        assert_eq!(Seal::load(Some(text), &elsewhere).unwrap().sigv4_secret(key), first);
        assert!(!elsewhere.exists());
    }

    #[test]
    fn what_others_may_read_or_is_no_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        Seal::load(None, &path).unwrap();
        for mode in [0o640, 0o604, 0o660, 0o622] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(
                matches!(Seal::load(None, &path), Err(MasterKeyError::Mode { mode: found, .. }) if found == mode),
                "{mode:o}"
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for text in ["", "00", "zz", &"0".repeat(63), &"0".repeat(300)] {
            fs::write(&path, text).unwrap();
            assert!(
                matches!(Seal::load(None, &path), Err(MasterKeyError::Malformed { .. })),
                "{text}"
            );
        }
        assert!(Seal::load(Some("x".into()), &path).is_err());
        assert!(Seal::load(None, &folder.path().join("no/such")).is_err());
    }
}
