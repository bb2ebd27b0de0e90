//! Keeps a VMM's output within its bounds: what comes out of the pipe goes to `console.log`; once that holds half of
//! the allowance it becomes `console.log.1`, in place of the one before.
//!
//! It runs as the VMM's user, in its cgroups and namespaces, and ends with the VMM. Whatever goes wrong with the files
//! (a full disk), it reads on, for a pipe that nobody reads would stop the guest.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::Path,
    time::Duration,
};

use super::{older_output_file, output_file};

/// A serial port gives its bytes one by one. A short rest between two reads gathers them, so that a booting guest does
/// not cost two context switches a byte.
const REST: Duration = Duration::from_millis(4);

/// Opens the newest output file for appending.
pub(super) fn open_output(folder: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(output_file(folder))
}

/// Reads until the VMM has ended.
pub(super) fn run(pipe: OwnedFd, folder: &Path, max_bytes: u64) {
    let mut pipe = File::from(pipe);
    let mut ring = Ring::new(folder, max_bytes);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => ring.append(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
        std::thread::sleep(REST);
    }
}

struct Ring<'a> {
    folder: &'a Path,
    half_bytes: u64,
    file: Option<File>,
    len: u64,
}

impl<'a> Ring<'a> {
    fn new(folder: &'a Path, max_bytes: u64) -> Self {
        let file = open_output(folder).ok();
        let len = file.as_ref().and_then(|f| f.metadata().ok()).map_or(0, |m| m.len());
        Self {
            folder,
            half_bytes: (max_bytes / 2).max(1),
            file,
            len,
        }
    }

    fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.len >= self.half_bytes {
                self.turn();
            }
            let room = usize::try_from(self.half_bytes - self.len).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            if let Some(file) = &mut self.file {
                // Lost, if the disk is full; counted nonetheless, so that it is tried anew with the next file.
                let _ = file.write_all(now);
            }
            self.len += now.len() as u64;
            bytes = later;
        }
    }

    fn turn(&mut self) {
        let turned = fs::rename(output_file(self.folder), older_output_file(self.folder));
        match (&turned, &self.file) {
            // Not allowed to rename: start over in the same file.
            (Err(_), Some(file)) => drop(file.set_len(0)),
            _ => self.file = open_output(self.folder).ok(),
        }
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::output_tail;

    #[test]
    fn keeps_the_newest_within_the_bound() {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = Ring::new(folder.path(), 1000);
        let mut all = Vec::new();
        for i in 0..2000 {
            let line = format!("line {i}\n");
            ring.append(line.as_bytes());
            all.extend_from_slice(line.as_bytes());
        }
        let sizes: u64 = fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().metadata().unwrap().len())
            .sum();
        assert!((500..=1000).contains(&sizes), "{sizes}");
        assert_eq!(output_tail(folder.path(), 400), &all[all.len() - 400..]);
        assert!(all.ends_with(&output_tail(folder.path(), 5000)));
    }

    #[test]
    fn one_write_larger_than_all_is_kept_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        Ring::new(folder.path(), 10).append(b"abcdefghijklmnopqrstuvwxyz");
        assert!(b"abcdefghijklmnopqrstuvwxyz".ends_with(&output_tail(folder.path(), 100)));
    }
}
