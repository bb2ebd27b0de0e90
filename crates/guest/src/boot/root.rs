//! The guest's root: the images, read-only and shared, under what the guest writes.
//!
//! ```text
//!  what the guest writes   tmpfs, or ext4 on the disk that can be written
//!  layer n … layer 1       EROFS on the disks that cannot, each over those before it
//!  root                    EROFS on the first disk
//! ```

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::mount::{MountFlags, mount, mount_move};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::BootError;
use super::disks::{Disks, FIRST, wait_for};
use crate::ioctl;

const LOWER: &str = "/hearth/lower";
const WRITABLE: &str = "/hearth/writable";
const NEW_ROOT: &str = "/hearth/root";

/// Mounts the root and makes it `/`. The writable disk is returned where there is one, opened, to be frozen and thawed by.
pub(super) fn switch(dev: &Path, sys_block: &Path) -> Result<Option<OwnedFd>, BootError> {
    for folder in [WRITABLE, NEW_ROOT] {
        fs::create_dir_all(folder).map_err(|error| BootError::new(format!("make {folder}"), error))?;
    }
    let first = dev.join(FIRST);
    wait_for(&first).map_err(|error| BootError::new(format!("find the root disk {}", first.display()), error))?;
    let disks = Disks::find(dev, sys_block).map_err(|error| BootError::new("look at the disks", error))?;
    mount_image(&disks.root, LOWER)?;
    // The topmost first, as the overlay wants it.
    let mut lower = LOWER.to_owned();
    for (number, layer) in (1..).zip(&disks.layers) {
        let folder = format!("{LOWER}{number}");
        mount_image(layer, &folder)?;
        lower = format!("{folder}:{lower}");
    }
    mount_writable(disks.writable.as_deref())?;
    mount_overlay(&lower)?;
    let disk = match &disks.writable {
        Some(_) => Some(open_folder(WRITABLE).map_err(|errno| BootError::new("open the disk", errno))?),
        None => None,
    };
    if let (Some(device), Some(folder)) = (&disks.writable, &disk) {
        // What it has will do.
        if let Err(error) = grow(device, sys_block, folder) {
            crate::console(&format!("the file system does not grow to its disk: {error}"));
        }
    }
    free_initramfs();
    move_into_place().map_err(|errno| BootError::new("switch to the root", errno))?;
    Ok(disk)
}

fn mount_image(image: &Path, folder: &str) -> Result<(), BootError> {
    fs::create_dir_all(folder).map_err(|error| BootError::new(format!("make {folder}"), error))?;
    mount(image, folder, "erofs", MountFlags::RDONLY, c"")
        .map_err(|errno| BootError::new(format!("mount the image on {}", image.display()), errno))
}

fn mount_writable(disk: Option<&Path>) -> Result<(), BootError> {
    if let Some(disk) = disk {
        return mount(disk, WRITABLE, "ext4", MountFlags::NOATIME, c"")
            .map_err(|errno| BootError::new(format!("mount the disk {}", disk.display()), errno));
    }
    mount("tmpfs", WRITABLE, "tmpfs", MountFlags::NOATIME, c"mode=755")
        .map_err(|errno| BootError::new("mount a tmpfs for changes", errno))
}

/// A disk that was copied of a smaller one has a file system that is as small. The kernel does nothing where it fills the disk.
fn grow(device: &Path, sys_block: &Path, folder: &OwnedFd) -> io::Result<()> {
    let name = device.file_name().unwrap_or_default();
    let sectors = fs::read_to_string(sys_block.join(name).join("size"))?;
    let sectors: u64 = sectors.trim().parse().map_err(io::Error::other)?;
    let block = rustix::fs::fstatvfs(folder)?.f_bsize.max(512);
    ioctl::resize_ext4(folder, sectors * 512 / block)
}

fn mount_overlay(lower: &str) -> Result<(), BootError> {
    let failed = |error: io::Error| BootError::new("mount the overlay", error);
    let (upper, work) = (format!("{WRITABLE}/upper"), format!("{WRITABLE}/work"));
    let is_new = !Path::new(&upper).exists();
    fs::create_dir_all(&upper)
        .and_then(|()| fs::create_dir_all(&work))
        .map_err(failed)?;
    if is_new {
        copy_attributes(Path::new(LOWER), Path::new(&upper)).map_err(failed)?;
    }
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let options = std::ffi::CString::new(options).map_err(|error| failed(error.into()))?;
    mount("overlay", NEW_ROOT, "overlay", MountFlags::NOATIME, options.as_c_str()).map_err(|errno| failed(errno.into()))
}

/// The merged root shows the upper folder's owner and mode, which should be the image's.
fn copy_attributes(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = fs::metadata(from)?;
    rustix::fs::chown(
        to,
        Some(Uid::from_raw(metadata.uid())),
        Some(Gid::from_raw(metadata.gid())),
    )?;
    fs::set_permissions(to, fs::Permissions::from_mode(metadata.mode() & 0o7777))
}

fn open_folder(path: &str) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// The initramfs lives in memory, and nobody can reach it after the switch. Our own file stays, since it runs.
fn free_initramfs() {
    let _ = fs::remove_dir_all("/lib/hearth");
}

fn move_into_place() -> rustix::io::Result<()> {
    for name in ["proc", "sys", "dev"] {
        let target = Path::new(NEW_ROOT).join(name);
        // An image may lack the folder; that it cannot be made shows in the move.
        let _ = fs::create_dir_all(&target);
        mount_move(Path::new("/").join(name).as_path(), target.as_path())?;
    }
    rustix::process::chdir(NEW_ROOT)?;
    mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")
}
