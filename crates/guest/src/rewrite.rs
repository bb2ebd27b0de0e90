//! Writing over a small file instead of renaming another one over it, which takes a restored guest ten times as long.

use std::fs::{Metadata, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Writes over the file if it is a plain one, by one name, not longer than the text, so that nobody reads the end of the old
/// text after the new one, and fit. Whether that was done: else it is to be replaced.
pub(crate) fn write_over(path: &Path, text: &str, is_fit: impl Fn(&Metadata) -> bool) -> bool {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .write(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let may_write =
        |found: &Metadata| found.is_file() && found.nlink() == 1 && found.len() <= text.len() as u64 && is_fit(found);
    opened.is_ok_and(|mut file| {
        file.metadata().is_ok_and(|found| may_write(&found)) && file.write_all(text.as_bytes()).is_ok()
    })
}
