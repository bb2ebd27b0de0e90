//! What one image may cost: everything a layer can make us store is counted here before it is stored.

use crate::error::Excess;

/// Bounds on what the layers of one image may bring. A layer that passes one is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all uncompressed layer streams together, and of all file contents together (holes counted).
    pub image_bytes: u64,
    /// Tar entries of all layers together, and folders that no entry declares.
    pub entries: u64,
    /// Components in one path.
    pub path_depth: usize,
    /// Bytes in one path.
    pub path_bytes: usize,
    /// Bytes of extended attributes (names and values as stored) on one inode.
    pub xattr_bytes: usize,
    /// Bytes in one PAX header.
    pub pax_bytes: usize,
    /// Bytes of memory that the merged tree may take: names, link targets, attributes, small files kept to the end.
    pub metadata_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            image_bytes: 64 << 30,
            entries: 5_000_000,
            path_depth: 256,
            path_bytes: 4096,
            xattr_bytes: 64 << 10,
            pax_bytes: 1 << 20,
            metadata_bytes: 1 << 30,
        }
    }
}

/// What the image has cost so far.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    pub(crate) stream_bytes: u64,
    content_bytes: u64,
    entries: u64,
    metadata_bytes: u64,
}

/// Memory of one inode and its directory slot beside the variable parts, rounded up.
const NODE_BYTES: u64 = 160;
/// Memory of a folder's map once there is a name in it, rounded up.
const FOLDER_BYTES: usize = 320;

impl Usage {
    pub(crate) fn add_entry(&mut self, limits: &Limits) -> Result<(), Excess> {
        self.entries += 1;
        Excess::check("entries", self.entries, limits.entries)
    }

    pub(crate) fn add_content(&mut self, bytes: u64, limits: &Limits) -> Result<(), Excess> {
        self.content_bytes = self.content_bytes.saturating_add(bytes);
        Excess::check("bytes of file contents", self.content_bytes, limits.image_bytes)
    }

    /// A folder that comes without an entry of its own, which would be counted by its own bytes.
    pub(crate) fn add_folder(&mut self, name_bytes: usize, limits: &Limits) -> Result<(), Excess> {
        self.add_node(FOLDER_BYTES + name_bytes, limits)
    }

    pub(crate) fn add_node(&mut self, variable_bytes: usize, limits: &Limits) -> Result<(), Excess> {
        self.metadata_bytes += NODE_BYTES + variable_bytes as u64;
        Excess::check(
            "bytes of metadata in memory",
            self.metadata_bytes,
            limits.metadata_bytes,
        )
    }
}
