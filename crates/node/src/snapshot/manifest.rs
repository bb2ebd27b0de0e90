//! What a snapshot says of itself, and how it is known to be this node's own.
//!
//! `manifest.json` holds the manifest, `manifest.mac` its mark by the node's key. Nothing of a snapshot is believed before
//! the two agree: least of all its files' names and lengths.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use hearth_node_api::{SnapshotInfo, SnapshotPart};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::key::NodeKey;
use crate::files::write_private;

pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const MARK: &str = "manifest.mac";
/// No manifest is longer, in bytes.
const MANIFEST_MAX: u64 = 16 << 20;

/// All of it. What only the node needs is here and in no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) info: SnapshotInfo,
    /// Opens the guest's host-only calls, until it is told another.
    pub(crate) host_token: String,
    /// The guest's number of the first record that is not in its machine's log.
    pub(crate) guest_next: u64,
}

/// Why nothing can go on from a snapshot.
#[derive(Debug, Error)]
pub(crate) enum SnapshotError {
    #[error("cannot read {what}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error("{what} was not written by this node, or has been changed since")]
    Forged { what: String },
    #[error("its {part} {trouble}")]
    Part { part: String, trouble: String },
    #[error("{0}")]
    Stranger(String),
    #[error("looking at it was cut off")]
    CutOff(#[from] tokio::task::JoinError),
}

impl SnapshotError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }
}

impl Manifest {
    /// Writes the manifest and its mark.
    pub(super) fn write(&self, folder: &Path, key: &NodeKey) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        if text.len() as u64 > MANIFEST_MAX {
            let message = format!(
                "what is known of the machine takes {} bytes, more than {MANIFEST_MAX}",
                text.len()
            );
            return Err(io::Error::other(message));
        }
        let mark = key.mark(&text).to_hex();
        write_private(&folder.join(MANIFEST), &text, true)?;
        write_private(&folder.join(MARK), mark.as_bytes(), true)
    }

    /// Reads a manifest, if this node wrote it.
    pub(super) fn read(folder: &Path, key: &NodeKey) -> Result<Self, SnapshotError> {
        let read = |name: &str, max: u64| {
            let path = folder.join(name);
            let mut bytes = Vec::new();
            let opened = fs::File::open(&path).and_then(|file| file.take(max + 1).read_to_end(&mut bytes));
            opened.map_err(SnapshotError::io(path.display().to_string()))?;
            Ok::<_, SnapshotError>(bytes)
        };
        let forged = || SnapshotError::Forged {
            what: folder.join(MANIFEST).display().to_string(),
        };
        let text = read(MANIFEST, MANIFEST_MAX)?;
        let mark = read(MARK, 64)?;
        let mark = blake3::Hash::from_hex(&mark).map_err(|_| forged())?;
        if text.len() as u64 > MANIFEST_MAX || key.mark(&text) != mark {
            return Err(forged());
        }
        serde_json::from_slice(&text).map_err(|error| SnapshotError::Io {
            what: folder.join(MANIFEST).display().to_string(),
            source: error.into(),
        })
    }

    pub(super) fn part(&self, name: &str) -> Result<&SnapshotPart, SnapshotError> {
        let found = self.info.parts.iter().find(|part| part.name == name);
        found.ok_or_else(|| SnapshotError::Part {
            part: name.to_owned(),
            trouble: "is not in its manifest".to_owned(),
        })
    }
}
