//! The file system's own handles: what an inode is called, however it is named, for as long as it is there.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd},
};

use rustix::fs::OFlags;

/// The longest that is taken, in bytes: what fits into a handle of NFS beside the rest of it. File systems have 8 to 20.
pub(crate) const HANDLE_MAX: usize = 30;

/// The same as the kernel has it.
const HANDLE_LENGTH: u32 = 30;
const _: () = assert!(HANDLE_LENGTH as usize == HANDLE_MAX);

/// A handle as the kernel gives it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct KernelHandle {
    pub(crate) kind: i32,
    pub(crate) bytes: Vec<u8>,
}

/// `struct file_handle` with room for the longest.
#[repr(C)]
struct Raw {
    length: u32,
    kind: i32,
    bytes: [u8; HANDLE_MAX],
}

impl KernelHandle {
    /// The handle of an open file.
    pub(crate) fn of(file: impl AsFd) -> io::Result<Self> {
        let mut raw = Raw {
            length: HANDLE_LENGTH,
            kind: 0,
            bytes: [0; HANDLE_MAX],
        };
        let mut mount = 0;
        let file = file.as_fd().as_raw_fd();
        #[expect(unsafe_code, reason = "the call has no safe form")]
        // SAFETY: the path is empty and ends with NUL; `raw` is laid out as `struct file_handle` whose `f_handle` has `length`
        // bytes, which is all that the kernel writes; both pointers are to locals that outlive the call.
        let done = unsafe {
            libc::name_to_handle_at(
                file,
                c"".as_ptr(),
                (&raw mut raw).cast::<libc::file_handle>(),
                &raw mut mount,
                libc::AT_EMPTY_PATH,
            )
        };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
        let length = (raw.length as usize).min(HANDLE_MAX);
        Ok(Self {
            kind: raw.kind,
            bytes: raw.bytes[..length].to_vec(),
        })
    }

    /// Opens what has the handle, on the file system that `mount` is on. Whether a handle may be opened is the caller's to know:
    /// the kernel opens any inode of that file system.
    pub(crate) fn open(&self, mount: impl AsFd, flags: OFlags) -> io::Result<OwnedFd> {
        let mut raw = Raw {
            length: u32::try_from(self.bytes.len()).map_err(io::Error::other)?,
            kind: self.kind,
            bytes: [0; HANDLE_MAX],
        };
        let room = raw.bytes.get_mut(..self.bytes.len());
        room.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(&self.bytes);
        let flags = (flags | OFlags::CLOEXEC | OFlags::NOFOLLOW).bits().cast_signed();
        #[expect(unsafe_code, reason = "the call has no safe form")]
        // SAFETY: `raw` is laid out as `struct file_handle` whose `f_handle` has at least `length` bytes, and outlives the call.
        let opened = unsafe {
            libc::open_by_handle_at(
                mount.as_fd().as_raw_fd(),
                (&raw mut raw).cast::<libc::file_handle>(),
                flags,
            )
        };
        if opened < 0 {
            return Err(io::Error::last_os_error());
        }
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: the kernel has just given us this file, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(opened) })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _};

    use super::*;

    #[test]
    fn a_handle_outlives_a_rename_and_not_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "text").unwrap();
        let root = fs::File::open(folder.path()).unwrap();
        let handle = KernelHandle::of(fs::File::open(&path).unwrap()).unwrap();
        fs::rename(&path, folder.path().join("b")).unwrap();
        let mut text = String::new();
        fs::File::from(handle.open(&root, OFlags::RDONLY).unwrap())
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "text");
        fs::remove_file(folder.path().join("b")).unwrap();
        let error = handle.open(&root, OFlags::RDONLY).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESTALE));
    }
}
