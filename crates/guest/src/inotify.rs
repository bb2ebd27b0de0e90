//! Changes in a folder, by inotify.
//!
//! A recursive watch adds folders as they appear; what is made in a new folder before its watch is there is reported by
//! listing it once. Events are the kernel's: several writes may come as one or many.

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
const IN_ISDIR: u32 = 0x4000_0000;
const IN_IGNORED: u32 = 0x8000;

/// One folder, or a tree of them, being watched.
pub(crate) struct Watch {
    pipe: Pipe,
    root: PathBuf,
    folders: HashMap<i32, PathBuf>,
    is_recursive: bool,
    include_entry: bool,
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

impl Watch {
    pub(crate) fn new(root: &Path, is_recursive: bool, include_entry: bool) -> Result<Self, ConnectError> {
        let metadata = std::fs::metadata(root).map_err(|error| rpc_error("watch", root, &error))?;
        if !metadata.is_dir() {
            return Err(invalid(root, "is not a directory"));
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
            is_recursive,
            include_entry,
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

    /// The next events; an error ends the watch.
    pub(crate) async fn next(&mut self) -> Result<Vec<FilesystemEvent>, ConnectError> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let failed = |error| ConnectError::new(Code::Internal, format!("cannot read inotify: {error}"));
        let length = self.pipe.read(&mut buffer).await.map_err(failed)?;
        let mut events = Vec::new();
        for raw in parse(&buffer[..length]) {
            self.translate(&raw, &mut events);
        }
        Ok(events)
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
