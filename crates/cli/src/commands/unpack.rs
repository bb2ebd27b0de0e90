//! Unpacking a tar that a guest made, which may hold anything.
//!
//! - Only what was asked for is taken: every entry lies at or under the one name that the copy is for.
//! - It is unpacked into a folder of its own beside its place and then moved, entry by entry where folders are there
//!   already. A link that was there is replaced, never followed.
//! - No setuid and setgid, no devices, no header that eats the memory.

use std::{
    cell::Cell,
    ffi::{OsStr, OsString},
    fs,
    io::{self, Read},
    path::{Component, Path},
    rc::Rc,
};

use anyhow::{Context, bail, ensure};

/// What may be read to come from one entry to the next, in bytes: long names and the like.
const HEADERS_MAX: u64 = 1 << 20;

/// What a copy is of: a path of a machine.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Its last name; a root folder has none.
    name: Option<OsString>,
    /// What is in the folder, and not the folder itself.
    contents: bool,
}

impl Wanted {
    /// As docker has it, `FOLDER/.` means what is in it.
    pub(crate) fn of(path: &str) -> Self {
        let name = Path::new(path).file_name().map(OsString::from);
        Self {
            contents: name.is_none() || path.ends_with("/."),
            name,
        }
    }
}

/// Unpacks what is wanted, at `target` or, if that is a folder, in it.
pub(crate) fn unpack(tar: impl Read, wanted: &Wanted, target: &Path) -> anyhow::Result<()> {
    let (folder, place) = if target.is_dir() {
        let name = wanted.name.as_ref().filter(|_| !wanted.contents);
        (target, name.map_or_else(|| target.to_owned(), |name| target.join(name)))
    } else {
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        (parent.unwrap_or(Path::new(".")), target.to_owned())
    };
    let names_a_folder = target.as_os_str().as_encoded_bytes().ends_with(b"/") && !target.is_dir();
    ensure!(
        folder.is_dir() && !names_a_folder,
        "folder {} does not exist",
        if names_a_folder { target } else { folder }.display()
    );
    let beside = tempfile::Builder::new().prefix(".hearth-cp-").tempdir_in(folder)?;
    unpack_into(tar, wanted.name.as_deref(), beside.path())?;
    let top = beside.path().to_owned();
    let source = wanted.name.as_ref().map_or(top, |name| beside.path().join(name));
    let sent = source.symlink_metadata().context("the machine sent an empty archive")?;
    if wanted.contents && sent.is_dir() {
        move_all(&source, &place)
    } else {
        move_to(&source, &place)
    }
}

fn unpack_into(tar: impl Read, wanted: Option<&OsStr>, folder: &Path) -> anyhow::Result<()> {
    let left = Rc::new(Cell::new(Some(HEADERS_MAX)));
    let mut archive = tar::Archive::new(Bounded {
        inner: tar,
        left: Rc::clone(&left),
    });
    // Not "preserved" means the nine plain bits of the mode, without setuid and setgid.
    archive.set_preserve_permissions(false);
    archive.set_unpack_xattrs(false);
    for entry in archive.entries()? {
        let mut entry = entry?;
        left.set(None);
        let path = entry.path()?.into_owned();
        let kind = entry.header().entry_type();
        ensure!(
            kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_hard_link(),
            "{} is a device, a socket or a pipe, which cannot be copied",
            path.display()
        );
        let top = path.components().find_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        });
        ensure!(
            wanted.is_none() || top == wanted,
            "the machine's archive names {}, which was not asked for; it is refused",
            path.display()
        );
        let inside = entry
            .unpack_in(folder)
            .with_context(|| format!("cannot unpack {}", path.display()))?;
        ensure!(
            inside,
            "the machine's archive names {}, which leaves the target; it is refused",
            path.display()
        );
        left.set(Some(HEADERS_MAX));
    }
    Ok(())
}

fn move_all(source: &Path, folder: &Path) -> anyhow::Result<()> {
    if !folder.is_dir() {
        fs::create_dir(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        move_to(&entry.path(), &folder.join(entry.file_name()))?;
    }
    Ok(())
}

/// Moves to a place that may be taken: folders are merged, anything else is replaced.
fn move_to(source: &Path, place: &Path) -> anyhow::Result<()> {
    let is_folder = source.symlink_metadata()?.is_dir();
    match place.symlink_metadata() {
        Ok(there) if there.is_dir() && is_folder => return move_all(source, place),
        Ok(there) if there.is_dir() => bail!("{} is a folder, and a file would take its place", place.display()),
        Ok(_) if is_folder => bail!("{} is no folder, and a folder would take its place", place.display()),
        _ => {}
    }
    fs::rename(source, place).with_context(|| format!("cannot write {}", place.display()))
}

/// A reader that fails once more than `left` bytes, if any, were read.
struct Bounded<R> {
    inner: R,
    left: Rc<Cell<Option<u64>>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if let Some(left) = self.left.get() {
            let left = left.checked_sub(read as u64).ok_or_else(|| {
                io::Error::other("the machine's archive has a header that is too long; it is refused")
            })?;
            self.left.set(Some(left));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn add(tar: &mut tar::Builder<Vec<u8>>, name: &str, kind: tar::EntryType, content: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o6755);
        header.set_cksum();
        tar.append(&header, content).unwrap();
    }

    fn tar_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in entries {
            let kind = if name.ends_with('/') {
                tar::EntryType::Directory
            } else {
                tar::EntryType::Regular
            };
            add(&mut tar, name, kind, content);
        }
        tar.into_inner().unwrap()
    }

    fn take(tar: &[u8], wanted: &str, target: &Path) -> anyhow::Result<()> {
        unpack(tar, &Wanted::of(wanted), target)
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().flatten();
        let mut names: Vec<_> = entries.map(|e| e.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_takes_the_targets_name_or_goes_into_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        take(&tar_of(&[("a.txt", b"x")]), "a.txt", &path.join("b.txt")).unwrap();
        take(&tar_of(&[("a.txt", b"y")]), "a.txt", path).unwrap();
        assert_eq!(fs::read(path.join("b.txt")).unwrap(), b"x");
        assert_eq!(fs::read(path.join("a.txt")).unwrap(), b"y");
        assert_eq!(names(path), ["a.txt", "b.txt"], "nothing else is left");
        let mode = fs::metadata(path.join("a.txt")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755, "no setuid, no setgid");
    }

    #[test]
    fn folders_are_merged_and_links_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, outside) = (folder.path().join("d"), folder.path().join("outside"));
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("mine"), "mine").unwrap();
        fs::write(&outside, "outside").unwrap();
        symlink(&outside, inner.join("x")).unwrap();
        let tar = tar_of(&[("d/", b""), ("d/x", b"new"), ("d/sub/", b""), ("d/sub/y", b"y")]);
        take(&tar, "d", folder.path()).unwrap();
        assert_eq!(names(&inner), ["mine", "sub", "x"]);
        assert_eq!(fs::read(inner.join("x")).unwrap(), b"new");
        assert_eq!(fs::read(&outside).unwrap(), b"outside");

        symlink("/etc", inner.join("etc")).unwrap();
        assert!(take(&tar_of(&[("d/", b""), ("d/etc/", b"")]), "d", folder.path()).is_err());
        assert!(take(&tar_of(&[("d", b"file")]), "d", folder.path()).is_err());
    }

    #[test]
    fn only_what_was_asked_for_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "../evil",
            "/evil",
            ".ssh/authorized_keys",
            ".bashrc",
            "out.txt/../../evil",
            ".",
        ] {
            let tar = tar_of(&[("out.txt", b"x"), (name, b"evil")]);
            assert!(take(&tar, "out.txt", folder.path()).is_err(), "{name}");
        }
        assert!(take(&tar_of(&[]), "out.txt", folder.path()).is_err());
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }

    #[test]
    fn a_root_folder_comes_as_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("root");
        take(&tar_of(&[("./", b""), ("./a", b"a"), ("./b/", b"")]), "/", &target).unwrap();
        assert_eq!(names(&target), ["a", "b"]);
        assert!(take(&tar_of(&[("../evil", b"x")]), "/", &target).is_err());
        assert_eq!(names(folder.path()), ["root"]);
    }

    #[test]
    fn a_dot_means_what_is_in_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let tar = tar_of(&[("d/", b""), ("d/a", b"a")]);
        take(&tar, "/x/d/.", folder.path()).unwrap();
        take(&tar, "/x/d/", folder.path()).unwrap();
        take(&tar, "/x/d/.", &folder.path().join("new")).unwrap();
        assert_eq!(names(folder.path()), ["a", "d", "new"]);
        assert_eq!(names(&folder.path().join("new")), ["a"]);
    }

    #[test]
    fn a_header_without_end_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut tar = tar::Builder::new(Vec::new());
        add(
            &mut tar,
            "././@LongLink",
            tar::EntryType::GNULongName,
            &vec![b'a'; 2 << 20],
        );
        add(&mut tar, "a", tar::EntryType::Regular, b"x");
        let refused = take(&tar.into_inner().unwrap(), "a", folder.path()).unwrap_err();
        assert!(format!("{refused:#}").contains("too long"), "{refused:#}");
    }
}
