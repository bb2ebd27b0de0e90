//! READDIR and READDIRPLUS. A cookie is the file system's own place in a folder, which stays good over calls.

use std::{mem::MaybeUninit, os::fd::OwnedFd};

use rustix::fs::{OFlags, RawDir, SeekFrom, fstat, seek};

use super::{
    LISTING_MAX, attributes,
    look::open_entry,
    mark::{Target, handle_of},
    status::{Failure, TOOSMALL},
    v3::Context,
    xdr::{Reader, Writer},
};

const VERIFIER: [u8; 8] = [0; 8];
/// The end of the list and whether it is the folder's, in bytes.
const END_BYTES: usize = 8;

/// READDIR.
pub(super) fn list(context: &Context<'_>, arguments: &mut Reader<'_>, out: &mut Writer) -> Result<(), Failure> {
    let target = Target::read(arguments, context.exports)?;
    let (cookie, _) = (arguments.u64()?, arguments.fixed::<8>()?);
    let max = arguments.u32()?;
    entries(&target, cookie, max, out, |_, _| Ok(()))
}

/// READDIRPLUS: with the attributes and the handle of each, as LOOKUP gives them.
pub(super) fn list_with_attributes(
    context: &Context<'_>,
    arguments: &mut Reader<'_>,
    out: &mut Writer,
) -> Result<(), Failure> {
    let target = Target::read(arguments, context.exports)?;
    let (cookie, _) = (arguments.u64()?, arguments.fixed::<8>()?);
    let (_names, max) = (arguments.u32()?, arguments.u32()?);
    entries(&target, cookie, max, out, |out, found| {
        let Some(found) = found else {
            out.absent(2);
            return Ok(());
        };
        attributes::after(out, &target.folder, &fstat(found)?);
        out.u32(1).opaque(&handle_of(&target.folder, found)?);
        Ok(())
    })
}

fn entries(
    target: &Target,
    cookie: u64,
    max: u32,
    out: &mut Writer,
    more: impl Fn(&mut Writer, Option<&OwnedFd>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let folder = target.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
    attributes::after(out, &target.folder, &fstat(&folder)?);
    out.fixed(&VERIFIER);
    if cookie > 0 {
        seek(&folder, SeekFrom::Start(cookie))?;
    }
    let (from, max) = (out.len(), max.min(LISTING_MAX) as usize);
    let mut room = [MaybeUninit::uninit(); 8192];
    let mut listed = RawDir::new(&folder, &mut room);
    let mut is_end = true;
    while let Some(entry) = listed.next() {
        let entry = entry?;
        let before = out.len();
        let name = entry.file_name().to_bytes();
        // Gone meanwhile: then its name alone is told.
        let found = open_entry(target, &folder, name).ok();
        let number = match &found {
            Some(found) => fstat(found)?.st_ino,
            None => entry.ino(),
        };
        out.u32(1).u64(number).opaque(name).u64(entry.next_entry_cookie());
        more(out, found.as_ref())?;
        if out.len() - from + END_BYTES > max {
            if before == from {
                return Err(TOOSMALL);
            }
            out.truncate(before);
            is_end = false;
            break;
        }
    }
    out.u32(0).u32(u32::from(is_end));
    Ok(())
}
