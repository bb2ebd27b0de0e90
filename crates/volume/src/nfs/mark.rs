//! Handles as guests have them: which volume, what the file system calls the file, and a mark that says it was given out for that volume.
//!
//! Without the mark a guest could name any inode of the host's file system.

use hearth_ids::VolumeId;
use rustix::fs::OFlags;

use super::{
    Export,
    status::{BADHANDLE, Failure},
    xdr::Reader,
};
use crate::{
    folder::Folder,
    handle::{HANDLE_MAX, KernelHandle},
};

/// The longest that NFS version 3 has, in bytes.
pub(super) const FH_MAX: usize = 64;
const VERSION: u8 = 1;
const VOLUME_BYTES: usize = 16;
const MARK_BYTES: usize = 12;
const _: () = assert!(1 + VOLUME_BYTES + 4 + 1 + HANDLE_MAX + MARK_BYTES <= FH_MAX);

/// A file that a guest has named by a handle of one of its volumes.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) folder: Export,
    pub(super) handle: KernelHandle,
}

impl Target {
    /// Reads a handle.
    pub(super) fn read(reader: &mut Reader<'_>, exports: &[Export]) -> Result<Self, Failure> {
        let bytes = reader.opaque(FH_MAX)?;
        let (volume, handle, mark) = parse(bytes).ok_or(BADHANDLE)?;
        // One that it is not given is as good as none.
        let folder = exports.iter().find(|folder| folder.id() == volume).ok_or(BADHANDLE)?;
        if !same(&mark_of(folder, &handle), mark) {
            return Err(BADHANDLE);
        }
        folder.check_there()?;
        Ok(Self {
            folder: folder.clone(),
            handle,
        })
    }

    pub(super) fn open(&self, flags: OFlags) -> Result<std::os::fd::OwnedFd, Failure> {
        // Special files are not made here; should there be one, it must not be waited for.
        let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(self.handle.open(self.folder.root(), flags)?)
    }

    /// For looking at it, whatever it is.
    pub(super) fn open_path(&self) -> Result<std::os::fd::OwnedFd, Failure> {
        Ok(self.handle.open(self.folder.root(), OFlags::PATH)?)
    }
}

/// The handle of an open file of a volume.
pub(super) fn handle_of(folder: &Folder, file: impl std::os::fd::AsFd) -> Result<Vec<u8>, Failure> {
    let handle = KernelHandle::of(file)?;
    let mark = mark_of(folder, &handle);
    let mut bytes = unmarked(folder.id(), &handle);
    bytes.extend(mark);
    Ok(bytes)
}

fn unmarked(volume: VolumeId, handle: &KernelHandle) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FH_MAX);
    bytes.push(VERSION);
    bytes.extend(volume.to_u128().to_be_bytes());
    bytes.extend(handle.kind.to_be_bytes());
    // At most HANDLE_MAX.
    bytes.push(u8::try_from(handle.bytes.len()).unwrap_or(u8::MAX));
    bytes.extend(&handle.bytes);
    bytes
}

/// The volume that a handle names; its mark is not looked at.
pub(super) fn volume_of(bytes: &[u8]) -> Option<VolumeId> {
    parse(bytes).map(|(volume, ..)| volume)
}

fn parse(bytes: &[u8]) -> Option<(VolumeId, KernelHandle, &[u8])> {
    let (version, rest) = bytes.split_first()?;
    let (volume, rest) = rest.split_first_chunk::<VOLUME_BYTES>()?;
    let (kind, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first()?;
    let (name, mark) = rest.split_at_checked(usize::from(*length))?;
    if *version != VERSION || name.len() > HANDLE_MAX || mark.len() != MARK_BYTES {
        return None;
    }
    let handle = KernelHandle {
        kind: i32::from_be_bytes(*kind),
        bytes: name.to_vec(),
    };
    Some((VolumeId::from_u128(u128::from_be_bytes(*volume)), handle, mark))
}

fn mark_of(folder: &Folder, handle: &KernelHandle) -> [u8; MARK_BYTES] {
    let hash = blake3::keyed_hash(folder.mark_key(), &unmarked(folder.id(), handle));
    let mut mark = [0; MARK_BYTES];
    mark.copy_from_slice(&hash.as_bytes()[..MARK_BYTES]);
    mark
}

/// Compares without telling by the time it takes how much of it is right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}
