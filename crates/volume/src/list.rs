//! Listings of volumes' folders. They are held whole, and sent whole, so they are bounded: in entries, and in the text of these.
//! Guests choose that text.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::{fs::OFlags, io::Errno};

use crate::{
    content::{Entry, EntryKind, read_entry},
    folder::Folder,
    path::VolumePath,
    usage::names,
};

/// Entries that one listing may have.
pub const LIST_MAX: usize = 10_000;
/// Bytes that names, paths and targets of one listing may have, as JSON writes them.
pub const LIST_BYTES_MAX: usize = 4 << 20;

impl Folder {
    /// What is in a folder, and in those within it as far as `depth` says: 1 is the folder alone. At most [`LIST_MAX`], and
    /// [`LIST_BYTES_MAX`]: `E2BIG` says that there is more.
    pub fn list(&self, path: &VolumePath, depth: u32) -> io::Result<Vec<Entry>> {
        let prefix = if path.is_root() {
            String::new()
        } else {
            path.to_string()
        };
        let mut listing = Listing::default();
        // Folders are opened anew by their path from the one asked for, so that few are open at once.
        let top = self.open_folder(path)?;
        listing.add(&top, &prefix)?;
        let (mut from, mut left) = (0, depth.saturating_sub(1));
        while left > 0 && from < listing.found.len() {
            let until = listing.found.len();
            for at in from..until {
                let inner = listing.found.get(at);
                let Some(inner) = inner.filter(|entry| entry.kind == EntryKind::Directory) else {
                    continue;
                };
                let inner_path = inner.path.clone();
                let Ok(parsed) = VolumePath::parse(&inner_path) else {
                    continue;
                };
                match self.open(&parsed, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW) {
                    Ok(folder) => listing.add(&folder, &inner_path)?,
                    // Gone, or another thing by now.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
                    Err(error) => return Err(error),
                }
            }
            (from, left) = (until, left - 1);
        }
        let mut found = listing.found;
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }
}

/// What was found so far.
#[derive(Default)]
struct Listing {
    found: Vec<Entry>,
    bytes: usize,
}

impl Listing {
    /// Adds what is in one folder.
    fn add(&mut self, folder: &OwnedFd, prefix: &str) -> io::Result<()> {
        for name in names(folder.as_fd())? {
            let name = name?;
            let path = format!("{prefix}/{}", name.to_string_lossy());
            let entry = match read_entry(folder, &name, path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => read?,
            };
            let target = entry.target.as_deref().unwrap_or_default();
            let texts = [entry.name.as_str(), entry.path.as_str(), target];
            self.bytes += texts.map(json_bytes).iter().sum::<usize>();
            self.found.push(entry);
            if self.found.len() > LIST_MAX || self.bytes > LIST_BYTES_MAX {
                return Err(Errno::TOOBIG.into());
            }
        }
        Ok(())
    }
}

/// What a text takes as JSON, at most: a control character is written as six.
fn json_bytes(text: &str) -> usize {
    let one = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(one).sum()
}
