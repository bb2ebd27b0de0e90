//! What must be true of the ELF kernel.

use object::LittleEndian as LE;
use object::elf::{EM_X86_64, ET_DYN, ET_EXEC, FileHeader64, NoteType, PT_LOAD};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

use crate::error::KernelError;

/// `XEN_ELFNOTE_PHYS32_ENTRY`: the entry of the PVH boot protocol.
const PVH_ENTRY_NOTE: NoteType = NoteType(18);

/// Checks that `vmlinux` is a whole x86-64 ELF kernel, and tells whether it has a PVH entry.
pub(crate) fn check_vmlinux(vmlinux: &[u8]) -> Result<bool, KernelError> {
    let bad = |reason: &str| KernelError::bad_kernel(format!("its ELF part {reason}"));
    let header = FileHeader64::<LE>::parse(vmlinux).map_err(|_| bad("is not 64-bit ELF"))?;
    if header.e_machine(LE) != EM_X86_64 || ![ET_EXEC, ET_DYN].contains(&header.e_type(LE)) {
        return Err(bad("is not an x86-64 program"));
    }
    let segments = header
        .program_headers(LE, vmlinux)
        .map_err(|_| bad("has damaged program headers"))?;
    let mut loads = 0;
    let mut pvh = false;
    for segment in segments {
        if segment.p_type(LE) == PT_LOAD {
            loads += 1;
            segment.data(LE, vmlinux).map_err(|()| bad("is cut short"))?;
        }
        if let Ok(Some(mut notes)) = segment.notes(LE, vmlinux) {
            while let Ok(Some(note)) = notes.next() {
                pvh |= note.name() == b"Xen" && note.n_type(LE) == PVH_ENTRY_NOTE;
            }
        }
    }
    if loads == 0 {
        Err(bad("has nothing to load"))
    } else {
        Ok(pvh)
    }
}

/// How much memory the kernel fills where it is loaded: its highest physical address. Only the headers are read, of
/// which `head` is the file's beginning.
pub(crate) fn memory_end(head: &[u8]) -> Option<u64> {
    let header = FileHeader64::<LE>::parse(head).ok()?;
    let segments = header.program_headers(LE, head).ok()?;
    let loads = segments.iter().filter(|segment| segment.p_type(LE) == PT_LOAD);
    loads
        .map(|segment| segment.p_paddr(LE).saturating_add(segment.p_memsz(LE)))
        .max()
}

/// Whether `bytes` are an x86-64 ELF program: the agent must be one.
pub(crate) fn is_program(bytes: &[u8]) -> bool {
    FileHeader64::<LE>::parse(bytes)
        .is_ok_and(|header| header.e_machine(LE) == EM_X86_64 && [ET_EXEC, ET_DYN].contains(&header.e_type(LE)))
}

/// The smallest ELF that passes [`check_vmlinux`], for tests.
#[cfg(test)]
pub(crate) fn tiny_vmlinux(body: &[u8]) -> Vec<u8> {
    let mut elf = vec![0x7F, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for half in [2_u16, 62] {
        elf.extend_from_slice(&half.to_le_bytes());
    }
    elf.extend_from_slice(&1_u32.to_le_bytes());
    for word in [0_u64, 64, 0] {
        elf.extend_from_slice(&word.to_le_bytes());
    }
    elf.extend_from_slice(&0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        elf.extend_from_slice(&half.to_le_bytes());
    }
    elf.extend_from_slice(&1_u32.to_le_bytes());
    elf.extend_from_slice(&5_u32.to_le_bytes());
    for word in [120_u64, 0, 0, body.len() as u64, body.len() as u64, 1] {
        elf.extend_from_slice(&word.to_le_bytes());
    }
    elf.extend_from_slice(body);
    elf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_elf_passes_and_a_cut_one_does_not() {
        let elf = tiny_vmlinux(b"kernel");
        assert!(!check_vmlinux(&elf).unwrap());
        assert!(check_vmlinux(&elf[..elf.len() - 1]).is_err());
        assert!(check_vmlinux(b"\x7FELF").is_err());
        assert_eq!((memory_end(&elf[..120]), memory_end(&elf[..100])), (Some(6), None));
        assert!(is_program(&elf) && !is_program(b"#!/bin/sh\n"));
    }
}
