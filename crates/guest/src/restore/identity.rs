//! What a machine is known by: `/etc/machine-id`, the boot ID, and the generation by which programs learn of a restore.
//!
//! Each file is written beside its place and renamed over it: a reader sees the old or the new one, and a link is replaced
//! instead of followed.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount_bind, mount_remount, unmount};

use super::places::Places;

/// Gives a fresh UUID at each reading, from the kernel's generator.
const UUIDS: &str = "/proc/sys/kernel/random/uuid";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

fn fresh_uuid() -> io::Result<String> {
    Ok(fs::read_to_string(UUIDS)?.trim().to_owned())
}

fn replace(path: &Path, content: &str, mode: u32) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension("hearth-new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&draft)?;
    file.write_all(content.as_bytes())?;
    // Whatever the umask is.
    file.set_permissions(Permissions::from_mode(mode))?;
    fs::rename(&draft, path)
}

/// Writes the ID where the image has one. D-Bus's is often a link to the other.
pub(super) fn set_machine_id(places: &Places, machine_id: &str) -> io::Result<()> {
    let line = format!("{machine_id}\n");
    if places.machine_id().is_file() {
        replace(&places.machine_id(), &line, 0o444)?;
    }
    let dbus = places.dbus_machine_id();
    if fs::symlink_metadata(&dbus).is_ok_and(|metadata| metadata.is_file()) {
        replace(&dbus, &line, 0o444)?;
    }
    Ok(())
}

/// Lays a fresh boot ID over the kernel's, which is the source's and never changes.
pub(super) fn renew_boot_id(places: &Places) -> io::Result<()> {
    let shown = Path::new(BOOT_ID);
    if !shown.exists() {
        return Ok(());
    }
    let path = places.boot_id();
    replace(&path, &format!("{}\n", fresh_uuid()?), 0o444)?;
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
    let generation = fresh_uuid()?;
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
        use std::os::unix::fs::MetadataExt as _;

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
