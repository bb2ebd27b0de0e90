//! The node's own key, by which it knows what it has written itself.

use std::{fs, io, path::Path};

use rand::RngCore as _;
use zeroize::Zeroizing;

use crate::files::{sync_folder, write_private};

const KEY_BYTES: usize = 32;

/// 256 bits that no other node has.
#[derive(Clone)]
pub(crate) struct NodeKey(Zeroizing<[u8; KEY_BYTES]>);

impl NodeKey {
    /// Reads the key from the state folder, or makes it at the first time.
    pub(crate) fn open(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join("node-key");
        match fs::read(&path) {
            Ok(bytes) => {
                let bytes: [u8; KEY_BYTES] = Zeroizing::new(bytes).as_slice().try_into().map_err(|_| {
                    let message = format!("{} is not a key of {KEY_BYTES} bytes", path.display());
                    io::Error::new(io::ErrorKind::InvalidData, message)
                })?;
                Ok(Self(Zeroizing::new(bytes)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(state_dir, &path),
            Err(error) => Err(error),
        }
    }

    fn make(state_dir: &Path, path: &Path) -> io::Result<Self> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        rand::rng().fill_bytes(&mut *key);
        let draft = state_dir.join("node-key.next");
        write_private(&draft, &*key, true)?;
        fs::rename(draft, path)?;
        sync_folder(state_dir)?;
        Ok(Self(key))
    }

    /// The key's mark of some bytes. Comparing two takes the same time wherever they differ.
    pub(crate) fn mark(&self, bytes: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.0, bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_nobody_elses() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mark = |folder: &Path| NodeKey::open(folder).unwrap().mark(b"x");
        assert_eq!(mark(one.path()), mark(one.path()));
        assert_ne!(mark(one.path()), mark(other.path()));
        let path = one.path().join("node-key");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, b"short").unwrap();
        assert!(NodeKey::open(one.path()).is_err());
    }
}
