//! Procedures that make entries. What is made is the caller's, as its own kernel would have it.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, chownat, fchown, fstat, futimens,
        linkat, mkdirat, openat, symlinkat,
    },
    io::Errno,
};

use super::{
    attributes::{self, Wanted},
    change::{apply, entry_name, resize},
    mark::{Target, handle_of},
    status::{EXIST, Failure, ISDIR, XDEV},
    v3::Context,
    xdr::{Reader, Writer},
};
use crate::{
    handle::KernelHandle,
    path::PATH_MAX,
    usage::{ENTRY_BYTES, cost},
};

const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;
const SET_GROUP: u32 = 0o2000;

/// How CREATE treats a file that is there.
enum How {
    Unchecked(Wanted),
    Guarded(Wanted),
    /// By a number that tells the same call, sent twice, from another's. It is kept in the file's times until these are set.
    Exclusive([u8; 8]),
}

fn read_how(arguments: &mut Reader<'_>) -> Result<How, Failure> {
    Ok(match arguments.u32()? {
        0 => How::Unchecked(Wanted::read(arguments)?),
        1 => How::Guarded(Wanted::read(arguments)?),
        2 => How::Exclusive(arguments.fixed()?),
        _ => return Err(Failure::Garbage),
    })
}

/// CREATE.
pub(super) fn create(context: &Context<'_>, arguments: &mut Reader<'_>, out: &mut Writer) -> Result<(), Failure> {
    let target = Target::read(arguments, context.exports)?;
    let name = entry_name(arguments)?;
    let how = read_how(arguments)?;
    let folder = target.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
    let above = fstat(&folder)?;
    let made = target.folder.with_books(|books| {
        books.check(ENTRY_BYTES)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&folder, name, flags, Mode::from_raw_mode(FILE_MODE))?;
        books.add(cost(&fstat(&file)?));
        Ok(file)
    });
    let file = match (made, &how) {
        (Ok(file), How::Unchecked(wanted) | How::Guarded(wanted)) => {
            give(&file, &above, context, wanted)?;
            file
        }
        (Ok(file), How::Exclusive(verifier)) => {
            own(&file, &above, context)?;
            futimens(&file, &times(*verifier))?;
            file
        }
        (Err(error), how) if error.raw_os_error() == Some(libc::EEXIST) => there(&target, &folder, name, how)?,
        (Err(error), _) => return Err(error.into()),
    };
    answer(&target, &folder, &file, out)
}

/// The file that CREATE has found.
fn there(target: &Target, folder: &OwnedFd, name: &[u8], how: &How) -> Result<OwnedFd, Failure> {
    let file = openat(
        folder,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let stat = fstat(&file)?;
    match (FileType::from_raw_mode(stat.st_mode), how) {
        (FileType::RegularFile, How::Unchecked(wanted)) => {
            if let Some(size) = wanted.size {
                let handle = KernelHandle::of(&file)?;
                resize(
                    &Target {
                        folder: target.folder.clone(),
                        handle,
                    },
                    size,
                )?;
            }
            Ok(file)
        }
        (FileType::Directory, How::Unchecked(_)) => Err(ISDIR),
        (FileType::RegularFile, How::Exclusive(verifier)) if is_marked(&stat, *verifier) => Ok(file),
        _ => Err(EXIST),
    }
}

fn times(verifier: [u8; 8]) -> Timestamps {
    let (a, b) = halves(verifier);
    let time = |seconds: u32| Timespec {
        tv_sec: seconds.into(),
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time(a),
        last_modification: time(b),
    }
}

/// In 31 bits each: some file systems have no more.
fn halves(verifier: [u8; 8]) -> (u32, u32) {
    let number = u64::from_be_bytes(verifier);
    let half = |bits: u64| u32::try_from(bits & 0x7fff_ffff).unwrap_or(0);
    (half(number >> 32), half(number))
}

fn is_marked(stat: &Stat, verifier: [u8; 8]) -> bool {
    let (a, b) = halves(verifier);
    stat.st_atime == i64::from(a) && stat.st_mtime == i64::from(b)
}

/// MKDIR.
pub(super) fn make_folder(context: &Context<'_>, arguments: &mut Reader<'_>, out: &mut Writer) -> Result<(), Failure> {
    let target = Target::read(arguments, context.exports)?;
    let name = entry_name(arguments)?;
    let wanted = Wanted::read(arguments)?;
    let folder = target.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
    let above = fstat(&folder)?;
    let made = target.folder.with_books(|books| {
        books.check(2 * ENTRY_BYTES)?;
        mkdirat(&folder, name, Mode::from_raw_mode(FOLDER_MODE))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(&folder, name, flags, Mode::empty())?;
        books.add(cost(&fstat(&made)?));
        Ok(made)
    })?;
    // A folder of a group hands that on.
    let inherited = above.st_mode & SET_GROUP;
    let wanted = Wanted {
        mode: wanted.mode.map(|bits| bits | inherited),
        ..wanted
    };
    give(&made, &above, context, &wanted)?;
    answer(&target, &folder, &made, out)
}

/// SYMLINK: text, whatever it says.
pub(super) fn link_by_name(context: &Context<'_>, arguments: &mut Reader<'_>, out: &mut Writer) -> Result<(), Failure> {
    let target = Target::read(arguments, context.exports)?;
    let name = entry_name(arguments)?;
    let _ = Wanted::read(arguments)?;
    let text = arguments.opaque(PATH_MAX)?;
    let folder = target.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
    let made = target.folder.with_books(|books| {
        books.check(2 * ENTRY_BYTES)?;
        symlinkat(text, &folder, name)?;
        let made = openat(
            &folder,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        books.add(cost(&fstat(&made)?));
        Ok(made)
    })?;
    let (uid, gid) = (context.credentials.uid, context.credentials.gid);
    let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    chownat(&made, "", owner.0, owner.1, AtFlags::EMPTY_PATH)?;
    answer(&target, &folder, &made, out)
}

/// LINK: a further name for a file.
pub(super) fn link(context: &Context<'_>, arguments: &mut Reader<'_>, out: &mut Writer) -> Result<(), Failure> {
    let file = Target::read(arguments, context.exports)?;
    let target = Target::read(arguments, context.exports)?;
    let name = entry_name(arguments)?;
    if file.folder.id() != target.folder.id() {
        return Err(XDEV);
    }
    let (opened, folder) = (file.open_path()?, target.open(OFlags::PATH | OFlags::DIRECTORY)?);
    target.folder.with_books(|books| {
        books.check(ENTRY_BYTES)?;
        match linkat(&opened, "", &folder, name, AtFlags::EMPTY_PATH) {
            // A file whose last name went meanwhile.
            Err(Errno::NOENT) => return Err(Errno::STALE.into()),
            linked => linked?,
        }
        books.add(ENTRY_BYTES);
        Ok(())
    })?;
    attributes::after(out, &target.folder, &fstat(&opened)?);
    attributes::changed(out, &target.folder, &fstat(&folder)?);
    Ok(())
}

/// Makes a new entry the caller's, with what it wants of it.
fn give(made: &OwnedFd, above: &Stat, context: &Context<'_>, wanted: &Wanted) -> Result<(), Failure> {
    own(made, above, context)?;
    apply(made, wanted)
}

fn own(made: &OwnedFd, above: &Stat, context: &Context<'_>) -> Result<(), Failure> {
    let inherits = above.st_mode & SET_GROUP != 0;
    let gid = if inherits {
        above.st_gid
    } else {
        context.credentials.gid
    };
    fchown(
        made,
        Some(Uid::from_raw(context.credentials.uid)),
        Some(Gid::from_raw(gid)),
    )?;
    Ok(())
}

fn answer(target: &Target, folder: &OwnedFd, made: &OwnedFd, out: &mut Writer) -> Result<(), Failure> {
    out.u32(1).opaque(&handle_of(&target.folder, made)?);
    attributes::after(out, &target.folder, &fstat(made)?);
    attributes::changed(out, &target.folder, &fstat(folder)?);
    Ok(())
}
