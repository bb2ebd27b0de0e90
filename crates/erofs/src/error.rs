//! Why an image could not be built. Every error of a layer names the layer, and the entry where there is one.

use std::io;

use crate::tar::TarError;

/// Why an image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The image file cannot be written (or read back): disk full, for example.
    #[error("cannot {action} the image file")]
    Output {
        /// What was being done.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The layer's stream broke: the caller's reader failed, or the compressed data is damaged or cut off.
    #[error("layer {layer}: cannot read or decompress its data")]
    Read {
        /// The layer's label.
        layer: String,
        /// The cause.
        source: io::Error,
    },
    /// The uncompressed stream is no well-formed tar.
    #[error("layer {layer}: not a valid tar at byte {offset}")]
    Tar {
        /// The layer's label.
        layer: String,
        /// Where in the uncompressed stream.
        offset: u64,
        /// The cause.
        source: TarError,
    },
    /// An entry that a read-only root cannot hold, or that tries to leave it.
    #[error("layer {layer} is refused: entry {entry}: {reason}")]
    Refused {
        /// The layer's label.
        layer: String,
        /// The entry's name, escaped.
        entry: String,
        /// The reason.
        reason: Refusal,
    },
    /// The layer is larger than [`crate::Limits`] allow.
    #[error(
        "layer {layer} is refused: {}{excess}; raise the limit if the image is trusted",
        at(entry)
    )]
    Limit {
        /// The layer's label.
        layer: String,
        /// The name of the entry that passed it, escaped; none where it is not known yet.
        entry: Option<String>,
        /// Which limit.
        excess: Excess,
    },
    /// The image would need more blocks than EROFS can address (16 TiB).
    #[error("the image passes what EROFS can address (2^32 blocks of 4 KiB)")]
    TooLarge,
    /// An earlier layer failed, so the merged tree is incomplete.
    #[error("the image is incomplete because an earlier layer failed; start again with a new builder")]
    Incomplete,
    /// No thread to decompress in.
    #[error("cannot start the thread that applies a layer")]
    Thread {
        /// The cause.
        source: io::Error,
    },
}

#[expect(clippy::ref_option, reason = "what the message's format has at hand")]
fn at(entry: &Option<String>) -> String {
    entry.as_ref().map(|name| format!("entry {name}: ")).unwrap_or_default()
}

/// A limit that was passed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("more than {limit} {what}")]
pub struct Excess {
    /// What there is too much of.
    pub what: &'static str,
    /// How much is allowed.
    pub limit: u64,
}

impl Excess {
    pub(crate) fn check(what: &'static str, value: u64, limit: u64) -> Result<(), Self> {
        if value > limit {
            Err(Self { what, limit })
        } else {
            Ok(())
        }
    }
}

/// Why an entry is refused, and with it the whole layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Refusal {
    #[error("its name contains '..'")]
    DotDot,
    #[error("its name contains a NUL byte")]
    NulInName,
    #[error("a part of its name has {len} bytes, a file system takes 255")]
    ComponentTooLong { len: usize },
    #[error("its name has {len} bytes, the limit is {limit}")]
    PathTooLong { len: usize, limit: usize },
    #[error("it lies more than {limit} folders deep")]
    TooDeep { limit: usize },
    #[error("its parent {link} is a symbolic link (to {target}) of the same layer")]
    SymlinkParent { link: String, target: String },
    #[error("its parent {link} is a symbolic link that leaves the root (to {target})")]
    ParentLeavesRoot { link: String, target: String },
    #[error("its parents are a loop of symbolic links")]
    ParentLoop,
    #[error("its parent {parent} is not a folder")]
    ParentNotFolder { parent: String },
    #[error("the hard link's target {target} contains '..'")]
    HardLinkOutside { target: String },
    #[error("the hard link's target {target} does not exist in the image")]
    HardLinkMissing { target: String },
    #[error("the hard link's target {target} is a folder")]
    HardLinkToFolder { target: String },
    #[error("the hard link's target {target} cannot be reached: {reason}")]
    HardLinkTarget { target: String, reason: Box<Refusal> },
    #[error("it would put something other than a folder in place of the root")]
    RootNotFolder,
    #[error("it is a whiteout that names nothing that could be removed")]
    BadWhiteout,
    #[error("a folder in its name begins with '.wh.', which is kept for whiteouts")]
    ReservedName,
    #[error("a symbolic link needs a target of 1 to 4095 bytes without NUL, this one has {len}")]
    BadSymlink { len: usize },
    #[error("device {major}:{minor} is outside what Linux can number (4095:1048575)")]
    DeviceNumber { major: u64, minor: u64 },
    #[error("extended attribute {name} has a name of more than 255 bytes or a value of more than 65535")]
    BadXattr { name: String },
    #[error("its extended attributes take {len} bytes, the limit is {limit}")]
    XattrsTooLarge { len: usize, limit: usize },
}

/// A name from a layer as it may be shown: escaped, and cut to a readable length.
pub(crate) fn shown(name: &[u8]) -> String {
    const SHOWN_BYTES: usize = 256;
    let cut = &name[..name.len().min(SHOWN_BYTES)];
    let ellipsis = if cut.len() < name.len() { "…" } else { "" };
    format!("\"{}{ellipsis}\"", cut.escape_ascii())
}
