//! What a machine is known by: `/etc/machine-id`, the boot ID, and the generation by which programs learn of a restore.
//!
//! Each file is written beside its place and renamed over it: a reader sees the old or the new one, and a link is replaced
//! instead of followed. One that is as long as its new text and nothing but a file is written over.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount_bind, mount_remount, unmount};

use super::places::Places;
use crate::rewrite::write_over;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

fn replace(path: &Path, content: &str, mode: u32) -> io::Result<()> {
    let draft = path.with_extension("hearth-new");
    let is_empty = |found: &Metadata| found.len() == 0 && found.mode() & 0o7777 == mode;
    if !write_over(&draft, content, is_empty) {
        create(&draft, mode)?.write_all(content.as_bytes())?;
    }
    fs::rename(&draft, path)
}

/// A new file, and only where it does not go at once what is in its way is cleared: a restored guest pays dearly for each step.
fn create(path: &Path, mode: u32) -> io::Result<File> {
    let create = || OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let file = match create() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().unwrap_or(path))?;
            create()?
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            create()?
        }
        created => created?,
    };
    // Whatever the umask is.
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Writes the ID where the image has one. D-Bus's is often a link to the other.
pub(super) fn set_machine_id(places: &Places, machine_id: &str) -> io::Result<()> {
    let line = format!("{machine_id}\n");
    if places.machine_id().is_file() {
        set(&places.machine_id(), &line)?;
    }
    let dbus = places.dbus_machine_id();
    if fs::symlink_metadata(&dbus).is_ok_and(|metadata| metadata.is_file()) {
        set(&dbus, &line)?;
    }
    Ok(())
}

fn set(path: &Path, line: &str) -> io::Result<()> {
    if write_over(path, line, |found| found.len() == line.len() as u64) {
        return Ok(());
    }
    replace(path, line, 0o444)
}

/// Before a snapshot: makes the file that the next generation is written to.
pub(super) fn prepare_generation(places: &Places) -> io::Result<()> {
    create(&places.generation().with_extension("hearth-new"), 0o644).map(drop)
}

/// Before a snapshot: lays a file with the boot ID over the kernel's, which never changes, so that a copy has only to write it.
pub(super) fn prepare_boot_id(places: &Places) -> io::Result<()> {
    let id = fs::read_to_string(BOOT_ID)?;
    match fs::metadata(places.boot_id()) {
        Ok(file) if is_same(&file, &fs::metadata(BOOT_ID)?) => Ok(()),
        _ => lay_boot_id(places, &id),
    }
}

/// Has the guest show a fresh boot ID, since the kernel's is the source's.
pub(super) fn renew_boot_id(places: &Places) -> io::Result<()> {
    let id = format!("{}\n", crate::entropy::uuid()?);
    // Laid before the snapshot.
    let is_shown = |own: &Metadata| fs::metadata(BOOT_ID).is_ok_and(|shown| is_same(own, &shown));
    if write_over(&places.boot_id(), &id, is_shown) {
        return Ok(());
    }
    if Path::new(BOOT_ID).exists() {
        lay_boot_id(places, &id)
    } else {
        Ok(())
    }
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn lay_boot_id(places: &Places, id: &str) -> io::Result<()> {
    let (path, shown) = (places.boot_id(), Path::new(BOOT_ID));
    replace(&path, id, 0o444)?;
    match unmount(shown, UnmountFlags::DETACH) {
        // The first one.
        Err(Errno::INVAL) => {}
        other => other?,
    }
    mount_bind(&path, shown)?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount_remount(shown, flags, "")?)
}

/// Tells programs, which may watch the folder, that they go on from a snapshot. Gives the new generation.
pub(super) fn renew_generation(places: &Places) -> io::Result<String> {
    let generation = crate::entropy::uuid()?;
    replace(&places.generation(), &format!("{generation}\n"), 0o644)?;
    Ok(generation)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn places() -> (tempfile::TempDir, Places) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        fs::create_dir_all(root.path().join("var/lib/dbus")).unwrap();
        let places = Places::new(root.path());
        (root, places)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn machine_ids_are_replaced_where_they_are() {
        let (_root, places) = places();
        set_machine_id(&places, ID).unwrap();
        assert!(!places.machine_id().exists() && !places.dbus_machine_id().exists());

        // An image's is often empty.
        fs::write(places.machine_id(), "").unwrap();
        set_machine_id(&places, ID).unwrap();
        assert_eq!(fs::read_to_string(places.machine_id()).unwrap(), format!("{ID}\n"));
        assert_eq!(mode(&places.machine_id()), 0o444);
        assert!(!places.dbus_machine_id().exists());

        fs::write(places.dbus_machine_id(), "old").unwrap();
        set_machine_id(&places, ID).unwrap();
        assert_eq!(fs::read_to_string(places.dbus_machine_id()).unwrap(), format!("{ID}\n"));
    }

    #[test]
    fn a_link_of_dbus_stays_one() {
        let (_root, places) = places();
        fs::write(places.machine_id(), "old\n").unwrap();
        symlink(places.machine_id(), places.dbus_machine_id()).unwrap();
        set_machine_id(&places, ID).unwrap();
        assert!(fs::symlink_metadata(places.dbus_machine_id()).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(places.dbus_machine_id()).unwrap(), format!("{ID}\n"));
    }

    #[test]
    fn a_link_is_replaced_and_its_target_kept() {
        let (root, places) = places();
        let target = root.path().join("elsewhere");
        fs::write(&target, "kept").unwrap();
        symlink(&target, places.machine_id()).unwrap();
        set_machine_id(&places, ID).unwrap();
        assert_eq!(fs::read_to_string(places.machine_id()).unwrap(), format!("{ID}\n"));
        assert_eq!(fs::read_to_string(target).unwrap(), "kept");
    }

    #[test]
    fn each_generation_is_a_new_file() {
        let (_root, places) = places();
        let first = renew_generation(&places).unwrap();
        let held = fs::File::open(places.generation()).unwrap();
        let second = renew_generation(&places).unwrap();
        assert_ne!(first, second);
        assert_eq!(second.len(), 36);
        assert_eq!(fs::read_to_string(places.generation()).unwrap(), format!("{second}\n"));
        assert_eq!(mode(&places.generation()), 0o644);
        let inode = fs::metadata(places.generation()).unwrap().ino();
        assert_ne!(held.metadata().unwrap().ino(), inode, "replaced, not written over");
    }
}
