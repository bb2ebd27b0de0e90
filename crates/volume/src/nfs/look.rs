//! Procedures that change nothing.

use std::os::fd::{AsFd, OwnedFd};

use rustix::{
    fs::{FileType, Mode, OFlags, Stat, fstat, openat, readlinkat},
    io::{Errno, pread},
};

use super::{
    Credentials, LISTING_MAX, TRANSFER_MAX, attributes,
    mark::{Target, handle_of},
    status::{Failure, INVAL, NAMETOOLONG},
    v3::Context,
    xdr::{Reader, Writer},
};
use crate::{handle::KernelHandle, path::NAME_MAX};

const READ: u32 = 1;
const LOOKUP: u32 = 2;
const MODIFY: u32 = 4;
const EXTEND: u32 = 8;
const DELETE: u32 = 0x10;
const EXECUTE: u32 = 0x20;
/// Hard links, links by name, the same limits everywhere, times that can be set.
const PROPERTIES: u32 = 1 | 2 | 8 | 0x10;
const FILE_SIZE_MAX: u64 = 1 << 43;
const LINKS_MAX: u32 = 32_000;

/// GETATTR.
pub(super) fn attributes(context: &Context<'_>, arguments: &mut Reader<'_>, out: &mut Writer) -> Result<(), Failure> {
    let target = Target::read(arguments, context.exports)?;
    let stat = fstat(target.open_path()?)?;
    attributes::write(out, &target.folder, &stat);
    Ok(())
}

/// Reads a name: one, and none that leads elsewhere.
pub(super) fn name<'a>(arguments: &mut Reader<'a>) -> Result<&'a [u8], Failure> {
    let name = arguments.opaque(4 * NAME_MAX)?;
    if name.len() > NAME_MAX {
        return Err(NAMETOOLONG);
    }
    if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
        return Err(INVAL);
    }
    Ok(name)
}

/// Opens an entry to look at it. Above the root is the root.
pub(super) fn open_entry(target: &Target, folder: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Failure> {
    let is_root = || Ok::<_, Failure>(target.handle == KernelHandle::of(target.folder.root())?);
    let name = if name == b".." && is_root()? { b"." } else { name };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = openat(folder, name, flags, Mode::empty())?;
    if name == b".." {
        // What the API removes is moved beside the volumes first, and whoever had it open could climb from there.
        let (is, refuse) = (fstat(&found)?, fstat(target.folder.refuse())?);
        if (is.st_dev, is.st_ino) == (refuse.st_dev, refuse.st_ino) {
            return Err(Errno::STALE.into());
        }
    }
    Ok(found)
}

/// LOOKUP.
pub(super) fn lookup(context: &Context<'_>, arguments: &mut Reader<'_>, out: &mut Writer) -> Result<(), Failure> {
    let target = Target::read(arguments, context.exports)?;
    let name = name(arguments)?;
    let folder = target.open(OFlags::PATH | OFlags::DIRECTORY)?;
    let found = open_entry(&target, &folder, name)?;
    out.opaque(&handle_of(&target.folder, &found)?);
    attributes::after(out, &target.folder, &fstat(&found)?);
    attributes::after(out, &target.folder, &fstat(&folder)?);
    Ok(())
}

/// ACCESS: by the bits of the file's mode, as its own kernel would.
pub(super) fn access(context: &Context<'_>, arguments: &mut Reader<'_>, out: &mut Writer) -> Result<(), Failure> {
    let target = Target::read(arguments, context.exports)?;
    let wanted = arguments.u32()?;
    let stat = fstat(target.open_path()?)?;
    attributes::after(out, &target.folder, &stat);
    out.u32(wanted & granted(&stat, context.credentials));
    Ok(())
}

fn granted(stat: &Stat, credentials: &Credentials) -> u32 {
    let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let bits = if credentials.is_root() {
        // Root runs what somebody may run.
        6 | u32::from(is_folder || stat.st_mode & 0o111 != 0)
    } else if credentials.uid == stat.st_uid {
        stat.st_mode >> 6
    } else if credentials.is_in(stat.st_gid) {
        stat.st_mode >> 3
    } else {
        stat.st_mode
    };
    let mut granted = 0;
    for (bit, rights) in [
        (4, READ),
        (2, MODIFY | EXTEND | DELETE),
        (1, if is_folder { LOOKUP } else { EXECUTE }),
    ] {
        if bits & bit != 0 {
            granted |= rights;
        }
    }
    granted
}

/// READLINK: the text, which nobody here follows.
pub(super) fn read_link(context: &Context<'_>, arguments: &mut Reader<'_>, out: &mut Writer) -> Result<(), Failure> {
    let target = Target::read(arguments, context.exports)?;
    let link = target.open_path()?;
    let stat = fstat(&link)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        return Err(INVAL);
    }
    let text = readlinkat(&link, "", Vec::new())?;
    attributes::after(out, &target.folder, &stat);
    out.opaque(text.as_bytes());
    Ok(())
}

/// READ.
pub(super) fn read(context: &Context<'_>, arguments: &mut Reader<'_>, out: &mut Writer) -> Result<(), Failure> {
    let target = Target::read(arguments, context.exports)?;
    let (offset, count) = (arguments.u64()?, arguments.u32()?.min(TRANSFER_MAX));
    let file = target.open(OFlags::RDONLY)?;
    let mut data = vec![0; count as usize];
    let length = read_full(&file, &mut data, offset)?;
    data.truncate(length);
    let stat = fstat(&file)?;
    let end = offset.saturating_add(length as u64);
    attributes::after(out, &target.folder, &stat);
    out.u32(u32::try_from(length).unwrap_or(0));
    out.u32(u32::from(end >= u64::try_from(stat.st_size).unwrap_or(0)));
    out.opaque(&data);
    Ok(())
}

fn read_full(file: impl AsFd, data: &mut [u8], offset: u64) -> Result<usize, Failure> {
    let mut done = 0;
    while let Some(rest) = data.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match pread(&file, rest, offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(length) => done += length,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}

/// FSSTAT: what the volume may hold, and what of that is left.
pub(super) fn usage(context: &Context<'_>, arguments: &mut Reader<'_>, out: &mut Writer) -> Result<(), Failure> {
    let target = Target::read(arguments, context.exports)?;
    let stat = fstat(target.open_path()?)?;
    let (used, limit) = target.folder.usage()?;
    let left = limit.saturating_sub(used);
    attributes::after(out, &target.folder, &stat);
    out.u64(limit).u64(left).u64(left);
    let entries = crate::usage::ENTRY_BYTES;
    out.u64(limit / entries).u64(left / entries).u64(left / entries).u32(0);
    Ok(())
}

/// FSINFO.
pub(super) fn abilities(context: &Context<'_>, arguments: &mut Reader<'_>, out: &mut Writer) -> Result<(), Failure> {
    let target = Target::read(arguments, context.exports)?;
    attributes::after(out, &target.folder, &fstat(target.open_path()?)?);
    // Most, preferred and multiple, of READ and of WRITE.
    for _ in 0..2 {
        out.u32(TRANSFER_MAX).u32(TRANSFER_MAX).u32(4096);
    }
    out.u32(LISTING_MAX).u64(FILE_SIZE_MAX);
    // Times are kept to the nanosecond.
    out.u32(0).u32(1).u32(PROPERTIES);
    Ok(())
}

/// PATHCONF.
pub(super) fn path_limits(context: &Context<'_>, arguments: &mut Reader<'_>, out: &mut Writer) -> Result<(), Failure> {
    let target = Target::read(arguments, context.exports)?;
    attributes::after(out, &target.folder, &fstat(target.open_path()?)?);
    out.u32(LINKS_MAX).u32(u32::try_from(NAME_MAX).unwrap_or(0));
    // Long names are refused, only root gives files away, and case counts.
    out.u32(1).u32(1).u32(0).u32(1);
    Ok(())
}
