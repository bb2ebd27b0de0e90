//! Files with holes: their data is looked at and copied, and the holes stay holes.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::AsFd,
        unix::fs::{FileExt, OpenOptionsExt},
    },
    path::Path,
};

use rustix::{
    fs::{SeekFrom, ioctl_ficlone, seek},
    io::Errno,
};

/// What is copied at once.
pub const PIECE_BYTES: usize = 1 << 20;
const PIECE: u64 = PIECE_BYTES as u64;
const PAGE: u64 = 4096;

/// Copies a file to a new one that only its owner may read: by sharing its blocks where the file system does that, and
/// else its data, which leaves the holes.
pub fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let source = File::open(from)?;
    let copy = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    match ioctl_ficlone(&copy, &source) {
        Ok(()) => return Ok(()),
        // Another file system, or one that does not share blocks.
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY) => {}
        Err(error) => return Err(error.into()),
    }
    let bytes = source.metadata()?.len();
    copy.set_len(bytes)?;
    copy_data(&source, bytes, |at, data| copy.write_all_at(data, at))
}

/// Hands out a sparse file's data piece by piece; none of it crosses a border of [`PIECE_BYTES`].
pub fn copy_data(source: &File, bytes: u64, mut take: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut at = 0;
    while at < bytes {
        let Some((from, to)) = next_data(source, at, bytes)? else {
            return Ok(());
        };
        at = from;
        while at < to {
            let length = (to - at).min(PIECE - at % PIECE);
            let data = &mut buffer[..usize::try_from(length).unwrap_or(PIECE_BYTES)];
            source.read_exact_at(data, at)?;
            take(at, data)?;
            at += length;
        }
    }
    Ok(())
}

/// The next stretch of data at or after `at`, rounded out to pages.
fn next_data(source: impl AsFd, at: u64, bytes: u64) -> io::Result<Option<(u64, u64)>> {
    let from = match seek(&source, SeekFrom::Data(at)) {
        Ok(from) => from,
        Err(Errno::NXIO) => return Ok(None),
        // A file system that knows no holes: all is data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((at, bytes))),
        Err(error) => return Err(error.into()),
    };
    let to = seek(&source, SeekFrom::Hole(from))?;
    Ok(Some((from - from % PAGE, to.next_multiple_of(PAGE).min(bytes))))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_copy_has_the_data_and_the_holes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let file = File::create(&from).unwrap();
        // As a disk of 10 GiB that holds next to nothing.
        file.set_len(10 << 30).unwrap();
        file.write_all_at(b"first", 4096).unwrap();
        file.write_all_at(b"last", (10 << 30) - 4).unwrap();
        copy_file(&from, &to).unwrap();
        let copy = File::open(&to).unwrap();
        let meta = copy.metadata().unwrap();
        assert_eq!(meta.len(), 10 << 30);
        assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
        let mut last = [0; 4];
        copy.read_exact_at(&mut last, (10 << 30) - 4).unwrap();
        assert_eq!(&last, b"last");
        assert!(copy_file(&from, &to).is_err(), "an old copy was written over");
    }
}
