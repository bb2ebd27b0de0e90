//! Volumes: shared folders that outlive machines.
//!
//! ```text
//!   clients of the API ──► content: files by their path ──┐
//!                                                         ├──► Folder ──► <folder>/<volume's ID>/…
//!   guests ──► nfs: NFS version 3, a connection at a time ┘      └ books: bytes in use, a limit
//! ```
//! Invariants:
//! - Whoever writes into a volume is hostile. A path is resolved below the volume's root by the kernel (`openat2`), a link is text that is
//!   followed there and nowhere else, and there are no device nodes, sockets or pipes.
//! - A handle that a guest shows is one that it was given, of one of its own volumes: each bears a mark that only this node can make. What
//!   is in it is the file system's own handle, so that it stays good over renames and restarts of the daemon.
//! - What a volume holds is bounded in bytes, and each entry counts as some, so that their number is bounded too.
//! - A volume appears by rename and vanishes by rename; what was cut off is swept at the next start.
//!
//! Files bear the users that guests name. Which of a guest's users may do what is its own kernel's to say; the folder is the daemon's
//! alone, so that a file which sets its user means nothing on the host.

mod content;
mod folder;
mod handle;
mod list;
mod nfs;
mod path;
mod purge;
mod turns;
mod uploading;
mod usage;
mod volumes;

pub use content::{Changes, Entry, EntryKind, Upload};
pub use folder::Folder;
pub use list::{LIST_BYTES_MAX, LIST_MAX};
pub use nfs::{CONNECTIONS_MAX, Export, Serving, serve};
pub use path::{InvalidPath, PATH_MAX, VolumePath};
pub use uploading::Uploading;
pub use volumes::{VolumeError, Volumes};
