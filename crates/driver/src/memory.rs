//! A guest's memory on the host: as an open file that its VMM maps, and how it is copied out while the VMM stands still.
//!
//! The launcher gives each VMM that wants it one file for the guest's memory, at [`MEMORY_PATH`](crate::launch::MEMORY_PATH).
//! A VMM that boots maps an empty file of its own and shares its pages with it, so the file is the memory. A VMM that was
//! restored maps what was saved, privately: what the guest has not written since is in the file, and the rest are pages of
//! the process. Either way a copy is: the file's data, and over it the process's own pages.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{OwnedFd, RawFd},
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::Path,
};

use procfs::process::{MMPermissions, MemoryPageFlags, PageInfo, Process};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use crate::{
    launch::{MEMORY_FD, STDIN_FD},
    process::ProcessId,
    sparse::{PIECE_BYTES, copy_data},
};

const PAGE_BYTES: usize = 4096;
const PIECE: u64 = PIECE_BYTES as u64;
const PAGE: u64 = PAGE_BYTES as u64;

/// An empty memory for a guest that boots. Nobody else can open it.
pub(crate) fn empty(bytes: u64) -> io::Result<OwnedFd> {
    let file = memfd_create("guest-memory", MemfdFlags::CLOEXEC)?;
    ftruncate(&file, bytes)?;
    Ok(file)
}

/// A memory that many VMMs may map privately, and none of them can change: not even one that a guest broke out into, which
/// holds it open for writing because QEMU opens it so.
///
/// It lives as long as somebody holds or maps it.
#[derive(Debug)]
pub struct SealedMemory(OwnedFd);

impl SealedMemory {
    /// Copies a sparse file's data. `seen` is shown all of it, in order, with its place in the file.
    pub fn copy_of(source: &File, mut seen: impl FnMut(u64, &[u8])) -> io::Result<Self> {
        let sealed = File::from(memfd_create(
            "template-memory",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        )?);
        let bytes = source.metadata()?.len();
        sealed.set_len(bytes)?;
        copy_data(source, bytes, |at, data| {
            seen(at, data);
            sealed.write_all_at(data, at)
        })?;
        fcntl_add_seals(
            &sealed,
            SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
        )?;
        Ok(Self(sealed.into()))
    }

    /// A path by which this process and its children may open it, as long as this is held.
    pub fn path(&self) -> std::path::PathBuf {
        use std::os::fd::AsRawFd as _;
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }

    /// The memory itself, for reading.
    pub fn try_clone(&self) -> io::Result<File> {
        Ok(self.0.try_clone()?.into())
    }
}

/// How much was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Bytes that were not a hole.
    pub data_bytes: u64,
}

/// Writes the memory of a VMM that stands still into a new sparse file. `bytes` is what the guest was given.
///
/// The process is trusted by half: what it shows as its memory is taken only if it is a file or memory of that very size,
/// and what else it may map are its own pages.
pub fn copy_out(vmm: ProcessId, bytes: u64, to: &Path) -> io::Result<Copied> {
    let backing = open_held(vmm, MEMORY_FD, bytes)?;
    let (out, mut copied) = copy_file(&backing, bytes, to)?;
    if let Some(mapping) = private_mapping(vmm, &backing, bytes)? {
        mapping.copy_own_pages(&out, &mut copied)?;
    }
    if !vmm.is_alive() {
        return Err(io::Error::other("the VMM ended meanwhile"));
    }
    Ok(copied)
}

/// Copies a memory that a VMM wrote to a file of its own, of that very size, into a new sparse file: what is zero becomes
/// a hole, whether it was one or not. That file is handed back open.
pub fn copy_written(source: &File, bytes: u64, to: &Path) -> io::Result<(File, Copied)> {
    check_length(source, bytes)?;
    copy_file(source, bytes, to)
}

/// What a VMM of this kind was restored from, [`GuestMemory::Jailed`](crate::launch::GuestMemory::Jailed) or
/// [`GuestMemory::Saved`](crate::launch::GuestMemory::Saved): it holds it open. For reading.
pub fn restored_from(vmm: ProcessId, jailed: bool, bytes: u64) -> io::Result<File> {
    open_held(vmm, if jailed { STDIN_FD } else { MEMORY_FD }, bytes)
}

fn copy_file(source: &File, bytes: u64, to: &Path) -> io::Result<(File, Copied)> {
    let out = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    out.set_len(bytes)?;
    let mut copied = Copied::default();
    copy_data(source, bytes, |at, data| copied.write_data(&out, at, data))?;
    Ok((out, copied))
}

impl Copied {
    /// Writes what is not zero; the rest stays a hole.
    fn write_data(&mut self, out: &File, at: u64, data: &[u8]) -> io::Result<()> {
        let mut pages = data.chunks(PAGE_BYTES).enumerate().peekable();
        while let Some((first, page)) = pages.next() {
            if is_zero(page) {
                continue;
            }
            let start = first * PAGE_BYTES;
            let mut end = start + page.len();
            while let Some((_, page)) = pages.next_if(|(_, page)| !is_zero(page)) {
                end += page.len();
            }
            self.write(out, at + start as u64, &data[start..end])?;
        }
        Ok(())
    }

    fn write(&mut self, out: &File, at: u64, data: &[u8]) -> io::Result<()> {
        self.data_bytes += data.len() as u64;
        out.write_all_at(data, at)
    }
}

/// By comparison, which is one call, also where nothing is optimised.
fn is_zero(page: &[u8]) -> bool {
    const ZERO: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
    page == &ZERO[..page.len()]
}

/// The file of this number that a VMM has its guest's memory from.
fn open_held(vmm: ProcessId, number: RawFd, bytes: u64) -> io::Result<File> {
    let path = format!("/proc/{}/fd/{number}", vmm.pid);
    // A VMM that was taken over may have put anything there: a pipe, for one, that would keep us waiting.
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    if !vmm.is_alive() {
        return Err(io::ErrorKind::NotFound.into());
    }
    check_length(&file, bytes)?;
    Ok(file)
}

fn check_length(file: &File, bytes: u64) -> io::Result<()> {
    let meta = file.metadata()?;
    if meta.is_file() && meta.len() == bytes {
        return Ok(());
    }
    let found = meta.len();
    let message = format!("its memory has {found} bytes, not the {bytes} of its guest");
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

/// Where a VMM maps its guest's memory, if it has pages of its own there.
struct Mapping {
    process: Process,
    memory: File,
    start: u64,
    bytes: u64,
}

fn private_mapping(vmm: ProcessId, backing: &File, bytes: u64) -> io::Result<Option<Mapping>> {
    let pid = i32::try_from(vmm.pid).map_err(io::Error::other)?;
    let process = Process::new(pid).map_err(io::Error::other)?;
    let inode = backing.metadata()?.ino();
    let maps = process.maps().map_err(io::Error::other)?;
    let Some(map) = maps.iter().find(|map| map.inode == inode && map.offset == 0) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not map its memory"));
    };
    let (start, end) = map.address;
    if end - start != bytes {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it maps another part of its memory",
        ));
    }
    if map.perms.contains(MMPermissions::SHARED) {
        return Ok(None);
    }
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    Ok(Some(Mapping {
        process,
        memory,
        start,
        bytes,
    }))
}

impl Mapping {
    /// Copies the pages that the guest wrote since it was restored.
    fn copy_own_pages(&self, out: &File, copied: &mut Copied) -> io::Result<()> {
        let mut table = self.process.pagemap().map_err(io::Error::other)?;
        let mut buffer = vec![0; PIECE_BYTES];
        let first_page = self.start / PAGE;
        let pages_in_piece = PIECE / PAGE;
        let mut page = 0;
        while page < self.bytes / PAGE {
            let until = (page + pages_in_piece).min(self.bytes / PAGE);
            let index = |page: u64| usize::try_from(first_page + page).map_err(io::Error::other);
            let info = table
                .get_range_info(index(page)?..index(until)?)
                .map_err(io::Error::other)?;
            for (run, length) in runs(&info) {
                let at = (page + run as u64) * PAGE;
                let data = &mut buffer[..length * PAGE_BYTES];
                self.memory.read_exact_at(data, self.start + at)?;
                copied.write(out, at, data)?;
            }
            page = until;
        }
        Ok(())
    }
}

/// Runs of pages that are the process's own: index and length.
fn runs(pages: &[PageInfo]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (index, page) in pages.iter().enumerate() {
        if !is_own(page) {
            continue;
        }
        match runs.last_mut() {
            Some((first, length)) if *first + *length == index => *length += 1,
            _ => runs.push((index, 1)),
        }
    }
    runs
}

/// A page that is neither the file's nor absent.
fn is_own(page: &PageInfo) -> bool {
    match page {
        PageInfo::MemoryPage(flags) => {
            flags.contains(MemoryPageFlags::PRESENT) && !flags.contains(MemoryPageFlags::FILE)
        }
        PageInfo::SwapPage(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sparse(folder: &Path, pieces: &[(u64, &[u8])], bytes: u64) -> File {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(folder.join("sparse"))
            .unwrap();
        file.set_len(bytes).unwrap();
        for (at, data) in pieces {
            file.write_all_at(data, *at).unwrap();
        }
        file
    }

    #[test]
    fn a_sealed_memory_is_a_copy_that_nobody_changes() {
        let folder = tempfile::tempdir().unwrap();
        let source = sparse(folder.path(), &[(5 << 20, b"five"), (9 << 20, &[7; 5000])], 16 << 20);
        let mut shown = 0;
        let sealed = SealedMemory::copy_of(&source, |_, data| shown += data.len()).unwrap();
        assert!((5004..100_000).contains(&shown), "{shown}");
        let open = |write| {
            fs::OpenOptions::new()
                .read(true)
                .write(write)
                .open(sealed.path())
                .unwrap()
        };
        let mut data = [0; 4];
        open(false).read_exact_at(&mut data, 5 << 20).unwrap();
        assert_eq!(&data, b"five");
        let writable = open(true);
        assert_eq!(writable.metadata().unwrap().len(), 16 << 20);
        assert!(writable.write_all_at(b"x", 0).is_err() && writable.set_len(0).is_err());
    }

    #[test]
    fn zeros_become_holes() {
        let folder = tempfile::tempdir().unwrap();
        let out = sparse(folder.path(), &[], 3 << 20);
        let mut data = vec![0; PIECE_BYTES];
        data[PAGE_BYTES * 3] = 1;
        data[PAGE_BYTES * 4] = 1;
        let mut copied = Copied::default();
        copied.write_data(&out, PIECE, &data).unwrap();
        assert_eq!(copied.data_bytes, 2 * PAGE);
        let mut found = Vec::new();
        copy_data(&out, 3 << 20, |at, data| {
            found.push((at, data.len() as u64));
            Ok(())
        })
        .unwrap();
        assert_eq!(found, [(PIECE + 3 * PAGE, 2 * PAGE)]);
    }

    #[test]
    fn a_memory_without_holes_gets_them_and_one_of_another_size_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut data = vec![0; PIECE_BYTES];
        data[PAGE_BYTES * 7] = 1;
        let source = sparse(folder.path(), &[(0, &data), (PIECE, &data)], 2 * PIECE);
        let to = folder.path().join("copy");
        assert!(copy_written(&source, PIECE, &to).is_err() && !to.exists());
        let (_copy, copied) = copy_written(&source, 2 * PIECE, &to).unwrap();
        assert_eq!(copied.data_bytes, 2 * PAGE);
        let meta = to.metadata().unwrap();
        assert_eq!((meta.len(), meta.mode() & 0o777), (2 * PIECE, 0o600));
        assert!(meta.blocks() * 512 <= 4 * PAGE, "{} blocks", meta.blocks());
        assert!(
            copy_written(&source, 2 * PIECE, &to).is_err(),
            "an old copy was written over"
        );
    }

    #[test]
    fn only_the_processs_own_pages_are_taken() {
        let page = |flags| PageInfo::MemoryPage(flags);
        let own = page(MemoryPageFlags::PRESENT);
        let shared = page(MemoryPageFlags::PRESENT | MemoryPageFlags::FILE);
        let absent = page(MemoryPageFlags::empty());
        let found = runs(&[own, own, absent, shared, own]);
        assert_eq!(found, [(0, 2), (4, 1)]);
    }
}
