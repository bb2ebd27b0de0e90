//! Procedures that change what is there.

use std::{os::fd::OwnedFd, sync::LazyLock};

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fchmod, fchown, fdatasync, fstat, fsync, ftruncate,
        futimens, renameat, statat, unlinkat,
    },
    io::{Errno, pwrite},
};

use super::{
    TRANSFER_MAX,
    attributes::{self, Wanted},
    look::name,
    mark::Target,
    status::{Failure, INVAL, ISDIR, NOT_SYNC, XDEV},
    v3::Context,
    xdr::{Reader, Writer},
};
use crate::usage::{ENTRY_BYTES, content, freed_by_removal, is_dot};

const UNSTABLE: u32 = 0;
const FILE_SYNC: u32 = 2;

/// Another one after each start of the daemon: by it a guest sees that it must send again what was not committed.
static VERIFIER: LazyLock<[u8; 8]> = LazyLock::new(rand::random);

/// SETATTR.
pub(super) fn set_attributes(
    context: &Context<'_>,
    arguments: &mut Reader<'_>,
    out: &mut Writer,
) -> Result<(), Failure> {
    let target = Target::read(arguments, context.exports)?;
    let wanted = Wanted::read(arguments)?;
    let guard = if arguments.bool()? {
        Some((arguments.u32()?, arguments.u32()?))
    } else {
        None
    };
    let stat = fstat(target.open_path()?)?;
    let changed = (
        u32::try_from(stat.st_ctime).unwrap_or(0),
        u32::try_from(stat.st_ctime_nsec).unwrap_or(0),
    );
    if guard.is_some_and(|guard| guard != changed) {
        return Err(NOT_SYNC);
    }
    set(&target, &stat, &wanted)?;
    attributes::changed(out, &target.folder, &fstat(target.open_path()?)?);
    Ok(())
}

fn set(target: &Target, stat: &Stat, wanted: &Wanted) -> Result<(), Failure> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            let (uid, gid) = (wanted.uid.map(Uid::from_raw), wanted.gid.map(Gid::from_raw));
            // Of a link only its owner can be set; the rest is passed over.
            Ok(chownat(target.open_path()?, "", uid, gid, AtFlags::EMPTY_PATH)?)
        }
        FileType::RegularFile => {
            if let Some(size) = wanted.size {
                resize(target, size)?;
            }
            apply(&target.open(OFlags::RDONLY)?, wanted)
        }
        FileType::Directory if wanted.size.is_some() => Err(ISDIR),
        FileType::Directory => apply(&target.open(OFlags::RDONLY | OFlags::DIRECTORY)?, wanted),
        _ => Err(INVAL),
    }
}

pub(super) fn resize(target: &Target, size: u64) -> Result<(), Failure> {
    let file = target.open(OFlags::WRONLY)?;
    let resized = target.folder.with_books(|books| {
        let before = fstat(&file)?;
        let done = ftruncate(&file, size);
        books.changed(&before, &fstat(&file)?);
        Ok(done?)
    });
    Ok(resized?)
}

/// Sets all but the size. Mode after user: the kernel takes bits off when the user changes.
pub(super) fn apply(file: &OwnedFd, wanted: &Wanted) -> Result<(), Failure> {
    if wanted.uid.is_some() || wanted.gid.is_some() {
        fchown(file, wanted.uid.map(Uid::from_raw), wanted.gid.map(Gid::from_raw))?;
    }
    if let Some(mode) = wanted.mode {
        fchmod(file, Mode::from_raw_mode(mode))?;
    }
    if wanted.sets_times() {
        futimens(file, &wanted.times)?;
    }
    Ok(())
}

/// WRITE.
pub(super) fn write(context: &Context<'_>, arguments: &mut Reader<'_>, out: &mut Writer) -> Result<(), Failure> {
    let target = Target::read(arguments, context.exports)?;
    let (offset, count, stable) = (arguments.u64()?, arguments.u32()?, arguments.u32()?);
    let data = arguments.opaque(TRANSFER_MAX as usize)?;
    let data = data.get(..count as usize).ok_or(INVAL)?;
    let file = target.open(OFlags::WRONLY)?;
    let after = target.folder.with_books(|books| {
        let before = fstat(&file)?;
        if !is_within(&before, offset, data.len() as u64) {
            books.check(data.len() as u64 + ENTRY_BYTES)?;
        }
        let written = write_full(&file, data, offset);
        let after = fstat(&file)?;
        books.changed(&before, &after);
        written?;
        Ok(after)
    })?;
    if stable != UNSTABLE {
        fdatasync(&file)?;
    }
    attributes::changed(out, &target.folder, &after);
    let committed = if stable == UNSTABLE { UNSTABLE } else { FILE_SYNC };
    out.u32(count).u32(committed).fixed(&*VERIFIER);
    Ok(())
}

/// Whether the file has the place already, so that a full volume can still be written over.
fn is_within(stat: &Stat, offset: u64, length: u64) -> bool {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    offset.checked_add(length).is_some_and(|end| end <= size) && content(stat) >= size
}

fn write_full(file: &OwnedFd, data: &[u8], offset: u64) -> std::io::Result<()> {
    let mut done = 0;
    while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
        let at = offset.checked_add(done as u64).ok_or(Errno::FBIG)?;
        match pwrite(file, rest, at) {
            Ok(0) => return Err(Errno::IO.into()),
            Ok(length) => done += length,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// COMMIT.
pub(super) fn commit(context: &Context<'_>, arguments: &mut Reader<'_>, out: &mut Writer) -> Result<(), Failure> {
    let target = Target::read(arguments, context.exports)?;
    let file = target.open(OFlags::RDONLY)?;
    fsync(&file)?;
    attributes::changed(out, &target.folder, &fstat(&file)?);
    out.fixed(&*VERIFIER);
    Ok(())
}

/// REMOVE.
pub(super) fn remove(context: &Context<'_>, arguments: &mut Reader<'_>, out: &mut Writer) -> Result<(), Failure> {
    unlink(context, arguments, out, AtFlags::empty())
}

/// RMDIR.
pub(super) fn remove_folder(
    context: &Context<'_>,
    arguments: &mut Reader<'_>,
    out: &mut Writer,
) -> Result<(), Failure> {
    unlink(context, arguments, out, AtFlags::REMOVEDIR)
}

fn unlink(context: &Context<'_>, arguments: &mut Reader<'_>, out: &mut Writer, flags: AtFlags) -> Result<(), Failure> {
    let target = Target::read(arguments, context.exports)?;
    let name = entry_name(arguments)?;
    let folder = target.open(OFlags::PATH | OFlags::DIRECTORY)?;
    target.folder.with_books(|books| {
        let stat = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        unlinkat(&folder, name, flags)?;
        books.take_off(freed_by_removal(&stat));
        Ok(())
    })?;
    attributes::changed(out, &target.folder, &fstat(&folder)?);
    Ok(())
}

/// A name of an entry that can be made, moved or removed.
pub(super) fn entry_name<'a>(arguments: &mut Reader<'a>) -> Result<&'a [u8], Failure> {
    let name = name(arguments)?;
    if is_dot(name) { Err(INVAL) } else { Ok(name) }
}

/// RENAME.
pub(super) fn rename(context: &Context<'_>, arguments: &mut Reader<'_>, out: &mut Writer) -> Result<(), Failure> {
    let from = Target::read(arguments, context.exports)?;
    let from_name = entry_name(arguments)?;
    let to = Target::read(arguments, context.exports)?;
    let to_name = entry_name(arguments)?;
    if from.folder.id() != to.folder.id() {
        return Err(XDEV);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let (from_folder, to_folder) = (from.open(flags)?, to.open(flags)?);
    from.folder.with_books(|books| {
        let moved = statat(&from_folder, from_name, AtFlags::SYMLINK_NOFOLLOW)?;
        let replaced = statat(&to_folder, to_name, AtFlags::SYMLINK_NOFOLLOW).ok();
        renameat(&from_folder, from_name, &to_folder, to_name)?;
        if let Some(stat) = replaced.filter(|stat| stat.st_ino != moved.st_ino) {
            books.take_off(freed_by_removal(&stat));
        }
        Ok(())
    })?;
    attributes::changed(out, &from.folder, &fstat(&from_folder)?);
    attributes::changed(out, &to.folder, &fstat(&to_folder)?);
    Ok(())
}
