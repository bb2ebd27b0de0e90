//! The jail's files.
//!
//! The jail is built before any code of the VMM runs, in folders of root's that must not exist before: whoever
//! follows a link that a VMM planted does so as root. Files of the host come in by hard link, so that all machines
//! share the page cache of their root; across file systems, by bind mount.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use hearth_driver::{DriverError, StartPlan};
use rustix::{
    fs::StatVfsMountFlags,
    mount::{MountFlags, MountPropagationFlags, UnmountFlags},
};

use crate::layout::{Layout, Origin, jail_base};

/// Makes the jail's root and puts the machine's files into it. Without a jail there is but the disk's link to make.
pub(crate) fn build(plan: &StartPlan, layout: &Layout, origin: Origin<'_>) -> Result<(), DriverError> {
    let Some(root) = &layout.root else {
        return link_disk(plan, layout);
    };
    check_file_system(&plan.folder)?;
    make_folders(&jail_base(&plan.folder), root)?;
    for (file, seen) in layout.gifts(plan, origin) {
        let inside = root.join(seen.strip_prefix("/").unwrap_or(seen));
        give(&file, &inside).map_err(DriverError::io(format!(
            "put {} into the jail as {}",
            file.display(),
            inside.display()
        )))?;
    }
    if let (Some(files), Origin::Saved(_)) = (layout.files(), origin) {
        make_folder(&files)?;
    }
    Ok(())
}

fn link_disk(plan: &StartPlan, layout: &Layout) -> Result<(), DriverError> {
    let (Some(disk), Some(seen)) = (&plan.disk, &layout.seen.disk) else {
        return Ok(());
    };
    let link = plan.folder.join(seen);
    let make = format!("make the link {} to {}", link.display(), disk.display());
    std::os::unix::fs::symlink(disk, link).map_err(DriverError::io(make))
}

/// The jailer makes device nodes in the jail and executes from it.
fn check_file_system(folder: &Path) -> Result<(), DriverError> {
    let look = format!("look at the file system of {}", folder.display());
    let flags = rustix::fs::statvfs(folder)
        .map_err(io::Error::from)
        .map_err(DriverError::io(look))?
        .f_flag;
    for (flag, name) in [
        (StatVfsMountFlags::NODEV, "nodev"),
        (StatVfsMountFlags::NOEXEC, "noexec"),
    ] {
        if flags.contains(flag) {
            let action = format!(
                "jail Firecracker in {}: its file system is mounted {name}; choose a state folder on another one",
                folder.display()
            );
            return Err(DriverError::io(action)(io::ErrorKind::PermissionDenied.into()));
        }
    }
    Ok(())
}

/// Makes `base` and all from it to `root`. That `base` exists already is an error: the machine was not cleaned.
fn make_folders(base: &Path, root: &Path) -> Result<(), DriverError> {
    let mut folders: Vec<&Path> = root.ancestors().take_while(|folder| *folder != base).collect();
    folders.push(base);
    folders.into_iter().rev().try_for_each(make_folder)
}

fn make_folder(folder: &Path) -> Result<(), DriverError> {
    let make = format!("make the jail's folder {}", folder.display());
    fs::DirBuilder::new()
        .mode(0o755)
        .create(folder)
        .map_err(DriverError::io(make))
}

fn give(file: &Path, inside: &Path) -> io::Result<()> {
    // The file itself, not a link to it, which would lead nowhere from inside.
    let file = fs::canonicalize(file)?;
    match fs::hard_link(&file, inside) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::CrossesDevices | io::ErrorKind::TooManyLinks
            ) =>
        {
            bind(&file, inside)
        }
        other => other,
    }
}

fn bind(file: &Path, inside: &Path) -> io::Result<()> {
    fs::File::create_new(inside)?;
    rustix::mount::mount_bind(file, inside)?;
    // What the jailer does with propagation must not come back to the host.
    rustix::mount::mount_change(inside, MountPropagationFlags::PRIVATE)?;
    let flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(rustix::mount::mount_remount(inside, flags, "")?)
}

/// Takes away what is mounted in the jail: nothing below a mount point can be removed, and much may be lost by trying.
pub(crate) fn unmount(folder: &Path) -> Result<(), DriverError> {
    let base = jail_base(folder);
    for mount in mounts_below(&base).map_err(DriverError::io("read the table of mounts"))? {
        // Lazily, since a VMM that is just ending may still hold it; and never through a link.
        match rustix::mount::unmount(&mount, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(DriverError::io(format!("unmount {}", mount.display()))(error.into())),
        }
    }
    Ok(())
}

/// Mount points below a folder, the deepest and latest first.
fn mounts_below(base: &Path) -> io::Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    // The kernel shows resolved paths.
    let base = fs::canonicalize(base).unwrap_or_else(|_gone| base.to_owned());
    let mut mounts: Vec<PathBuf> = table
        .lines()
        .filter_map(mount_point)
        .filter(|path| path.starts_with(&base))
        .collect();
    mounts.reverse();
    Ok(mounts)
}

/// The fifth field of a line of mountinfo, in which blanks and backslashes are written in octal.
fn mount_point(line: &str) -> Option<PathBuf> {
    let field = line.split(' ').nth(4)?;
    let plain = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    Some(PathBuf::from(
        plain
            .iter()
            .fold(field.to_owned(), |text, (octal, plain)| text.replace(octal, plain)),
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        let line = "36 35 98:0 /mnt1 /var/my\\040jail/x rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(mount_point(line), Some(PathBuf::from("/var/my jail/x")));
        assert_eq!(mount_point("garbage"), None);
    }

    #[test]
    fn a_jail_that_exists_is_not_built_again() {
        let folder = tempfile::tempdir().unwrap();
        let base = jail_base(folder.path());
        let root = base.join("firecracker/mch1/root");
        make_folders(&base, &root).unwrap();
        assert!(root.is_dir());
        assert!(make_folders(&base, &root).is_err());
        unmount(folder.path()).unwrap();
    }

    #[test]
    fn links_are_resolved_before_a_file_is_given() {
        let folder = tempfile::tempdir().unwrap();
        let [real, link, inside] = ["real", "link", "inside"].map(|name| folder.path().join(name));
        fs::write(&real, "kernel").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        give(&link, &inside).unwrap();
        assert!(inside.symlink_metadata().unwrap().is_file());
        let inode = |path: &Path| path.metadata().unwrap().ino();
        assert_eq!(inode(&inside), inode(&real));
    }
}
