//! Changes in a folder, by inotify.
//!
//! A recursive watch adds folders as they appear; what is made in a new folder before its watch is there is reported by
//! listing it once. Events are the kernel's: several writes may come as one or many. A watch is over when its folder is removed or
//! moved away, which is its last event, under the name `.`; and when the kernel had to drop events, which is an error.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use hearth_guest_api::connect::{Code, ConnectError};
use hearth_guest_api::filesystem::{EventType, FilesystemEvent};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::files::{entry, invalid, rpc_error};
use crate::process::pipe::Pipe;
use crate::process::users::Accounts;

/// Folders in one recursive watch; the kernel's own limit for all is of this order.
const MAX_FOLDERS: usize = 8192;
const BUFFER_BYTES: usize = 64 * 1024;
/// `struct inotify_event` without its name.
const HEADER_BYTES: usize = 16;

// From the kernel's header; the crate's flags are for asking, these come back.
const IN_MODIFY: u32 = 0x2;
const IN_ATTRIB: u32 = 0x4;
const IN_MOVED_FROM: u32 = 0x40;
const IN_MOVED_TO: u32 = 0x80;
const IN_CREATE: u32 = 0x100;
const IN_DELETE: u32 = 0x200;
const IN_DELETE_SELF: u32 = 0x400;
const IN_MOVE_SELF: u32 = 0x800;
const IN_Q_OVERFLOW: u32 = 0x4000;
const IN_IGNORED: u32 = 0x8000;
const IN_ISDIR: u32 = 0x4000_0000;

/// File systems whose changes may be made elsewhere, where inotify sees nothing of them: NFS, the three that speak SMB, FUSE.
const REMOTE_FILESYSTEMS: [u32; 5] = [0x6969, 0xff53_4d42, 0x517b, 0xfe53_4d42, 0x6573_5546];

/// One folder, or a tree of them, being watched.
pub(crate) struct Watch {
    pipe: Pipe,
    root: PathBuf,
    folders: HashMap<i32, PathBuf>,
    is_recursive: bool,
    include_entry: bool,
    is_over: bool,
}

/// What to watch, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) is_recursive: bool,
    pub(crate) include_entry: bool,
    /// Also where changes that others make are not seen.
    pub(crate) allow_remote: bool,
}

struct RawEvent {
    watch: i32,
    mask: u32,
    name: PathBuf,
}

/// Cuts what the kernel wrote into events.
fn parse(mut bytes: &[u8]) -> Vec<RawEvent> {
    let mut events = Vec::new();
    while let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) {
        let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let length = usize::try_from(word(12)).unwrap_or(usize::MAX);
        let Some((name, rest)) = rest.split_at_checked(length) else {
            break;
        };
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        events.push(RawEvent {
            watch: word(0).cast_signed(),
            mask: word(4),
            name: OsStr::from_bytes(name).into(),
        });
        bytes = rest;
    }
    events
}

fn event_type(mask: u32) -> Option<EventType> {
    let types = [
        (IN_CREATE | IN_MOVED_TO, EventType::Create),
        (IN_MODIFY, EventType::Write),
        (IN_DELETE, EventType::Remove),
        (IN_MOVED_FROM, EventType::Rename),
        (IN_ATTRIB, EventType::Chmod),
    ];
    types
        .into_iter()
        .find(|(bits, _)| mask & bits != 0)
        .map(|(_, event)| event)
}

fn is_remote(folder: &Path) -> bool {
    // A folder that is gone again cannot be watched either, and that is said then.
    let Ok(found) = rustix::fs::statfs(folder) else {
        return false;
    };
    // The kernel's number has 32 bits, whatever the type.
    u32::try_from(found.f_type & 0xffff_ffff).is_ok_and(|kind| REMOTE_FILESYSTEMS.contains(&kind))
}

impl Watch {
    pub(crate) fn new(root: &Path, wanted: Wanted) -> Result<Self, ConnectError> {
        let metadata = std::fs::metadata(root).map_err(|error| rpc_error("watch", root, &error))?;
        if !metadata.is_dir() {
            return Err(invalid(root, "is not a directory"));
        }
        if !wanted.allow_remote && is_remote(root) {
            return Err(invalid(
                root,
                "lies on a network file system; set `allow_network_mounts` to watch it",
            ));
        }
        let failed =
            |error: std::io::Error| ConnectError::new(Code::Internal, format!("cannot start inotify: {error}"));
        let fd: OwnedFd =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(|errno| failed(errno.into()))?;
        let pipe = Pipe::new(fd).map_err(failed)?;
        let mut watch = Self {
            pipe,
            root: root.to_owned(),
            folders: HashMap::new(),
            is_recursive: wanted.is_recursive,
            include_entry: wanted.include_entry,
            is_over: false,
        };
        watch.add(root, &mut Vec::new())?;
        Ok(watch)
    }

    /// Watches a folder and, recursively, those in it; what is already there is noted in `found`.
    fn add(&mut self, folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), ConnectError> {
        if self.folders.len() >= MAX_FOLDERS {
            return Err(ConnectError::new(
                Code::ResourceExhausted,
                format!("more than {MAX_FOLDERS} folders to watch"),
            ));
        }
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR
            | WatchFlags::EXCL_UNLINK;
        let watch = inotify::add_watch(self.pipe.fd(), folder, flags)
            .map_err(|errno| rpc_error("watch", folder, &errno.into()))?;
        self.folders.insert(watch, folder.to_owned());
        if !self.is_recursive {
            return Ok(());
        }
        // A folder that is gone again has nothing in it.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            found.push(entry.path());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.add(&entry.path(), found)?;
            }
        }
        Ok(())
    }

    /// The next events; none when the watch is over. An error ends it, too.
    pub(crate) async fn next(&mut self) -> Result<Vec<FilesystemEvent>, ConnectError> {
        loop {
            if self.is_over {
                return Ok(Vec::new());
            }
            let events = self.read().await?;
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    async fn read(&mut self) -> Result<Vec<FilesystemEvent>, ConnectError> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let failed = |error| ConnectError::new(Code::Internal, format!("cannot read inotify: {error}"));
        let length = self.pipe.read(&mut buffer).await.map_err(failed)?;
        let mut events = Vec::new();
        for raw in parse(&buffer[..length]) {
            if raw.mask & IN_Q_OVERFLOW != 0 {
                let lost = "so much changed at once that events were lost; look at the folder, and watch it again";
                return Err(ConnectError::new(Code::DataLoss, lost));
            }
            if self.ends_with(&raw, &mut events) {
                break;
            }
            self.translate(&raw, &mut events);
        }
        Ok(events)
    }

    /// Whether the watched folder itself is gone.
    fn ends_with(&mut self, raw: &RawEvent, events: &mut Vec<FilesystemEvent>) -> bool {
        let is_root = self.folders.get(&raw.watch) == Some(&self.root);
        let kind = match raw.mask {
            mask if mask & IN_DELETE_SELF != 0 => EventType::Remove,
            mask if mask & IN_MOVE_SELF != 0 => EventType::Rename,
            // An unmounted one.
            mask if mask & IN_IGNORED != 0 => EventType::Remove,
            _ => return false,
        };
        if is_root {
            self.is_over = true;
            events.push(FilesystemEvent {
                name: ".".to_owned(),
                r#type: kind.into(),
                entry: None,
            });
        }
        is_root
    }

    /// A folder that was moved away is not watched under its old name any more; where it is moved to, it is new.
    fn forget(&mut self, moved: &Path) {
        let below: Vec<i32> = self
            .folders
            .iter()
            .filter(|(_, folder)| folder.starts_with(moved))
            .map(|(watch, _)| *watch)
            .collect();
        for watch in below {
            self.folders.remove(&watch);
            // Gone already, if it was removed meanwhile.
            let _ = inotify::remove_watch(self.pipe.fd(), watch);
        }
    }

    fn translate(&mut self, raw: &RawEvent, events: &mut Vec<FilesystemEvent>) {
        let Some(folder) = self.folders.get(&raw.watch).cloned() else {
            return;
        };
        if raw.mask & IN_IGNORED != 0 {
            self.folders.remove(&raw.watch);
            return;
        }
        let Some(kind) = event_type(raw.mask).filter(|_| !raw.name.as_os_str().is_empty()) else {
            return;
        };
        let path = folder.join(&raw.name);
        events.push(self.event(&path, kind));
        if kind == EventType::Rename && raw.mask & IN_ISDIR != 0 {
            self.forget(&path);
        }
        if self.is_recursive && kind == EventType::Create && raw.mask & IN_ISDIR != 0 {
            let mut found = Vec::new();
            // Gone again, or too many: then it is just not watched.
            let _ = self.add(&path, &mut found);
            events.extend(found.iter().map(|path| self.event(path, EventType::Create)));
        }
    }

    fn event(&self, path: &Path, kind: EventType) -> FilesystemEvent {
        let entry = self
            .include_entry
            .then(|| entry::read(path, &Accounts::load()).ok())
            .flatten();
        let name = path
            .strip_prefix(&self.root)
            .unwrap_or(path)
            .to_string_lossy()
            .into_owned();
        FilesystemEvent {
            name,
            r#type: kind.into(),
            entry,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_events_and_stops_at_nonsense() {
        let mut bytes = Vec::new();
        for word in [1_u32, IN_CREATE, 0, 4] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(b"a\0\0\0");
        let whole = bytes.len();
        bytes.extend_from_slice(&[0xff; 20]);
        let events = parse(&bytes);
        assert_eq!(
            (events.len(), events[0].watch, events[0].name.as_path()),
            (1, 1, Path::new("a"))
        );
        assert_eq!(parse(&bytes[..whole - 1]).len(), 0);
    }
}
