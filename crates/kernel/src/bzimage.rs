//! The x86 boot image: its header, and the ELF kernel packed inside (Documentation/arch/x86/boot.rst).

use std::io::Read as _;

use crate::compression::{self, Compression};
use crate::error::KernelError;
use crate::{elf, limits};

/// What was found in a bzImage.
#[derive(Debug)]
pub(crate) struct Extracted {
    /// The release, such as `6.1.0-56-cloud-amd64`.
    pub(crate) release: String,
    pub(crate) vmlinux: Vec<u8>,
    /// Whether the kernel has a PVH entry.
    pub(crate) pvh: bool,
}

/// Positions at which a scan tries to unpack.
const SCAN_ATTEMPTS: usize = 64;

/// Takes a bzImage apart.
pub(crate) fn extract(image: &[u8]) -> Result<Extracted, KernelError> {
    if image.starts_with(b"\x7FELF") {
        return Err(KernelError::bad_kernel(
            "it is an ELF kernel (vmlinux); give the bzImage (vmlinuz), the ELF is taken out of it",
        ));
    }
    let release = release(image)?;
    let (vmlinux, pvh) = match from_header(image) {
        Ok(found) => found,
        // Images that were repacked have a header which points nowhere.
        Err(error) => scan(image).ok_or(error)?,
    };
    Ok(Extracted { release, vmlinux, pvh })
}

fn u16_at(image: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*image.get(at..)?.first_chunk()?))
}

fn u32_at(image: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*image.get(at..)?.first_chunk()?))
}

fn release(image: &[u8]) -> Result<String, KernelError> {
    if u16_at(image, 0x1FE) != Some(0xAA55) || image.get(0x202..0x206) != Some(b"HdrS".as_slice()) {
        return Err(KernelError::bad_kernel("it has no x86 boot header"));
    }
    // 2.08 brought payload_offset and payload_length (Linux 2.6.26).
    if u16_at(image, 0x206) < Some(0x0208) {
        return Err(KernelError::bad_kernel("its boot protocol is older than 2.08"));
    }
    let text = u16_at(image, 0x20E)
        .filter(|at| *at != 0)
        .and_then(|at| image.get(usize::from(at) + 0x200..));
    let word = text
        .and_then(|text| text.split(|byte| !byte.is_ascii_graphic()).next())
        .unwrap_or_default();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_+~".contains(byte);
    if word.is_empty() || word.len() > 64 || !word.iter().all(plain) {
        return Err(KernelError::bad_kernel("its header names no release"));
    }
    Ok(String::from_utf8_lossy(word).into_owned())
}

fn from_header(image: &[u8]) -> Result<(Vec<u8>, bool), KernelError> {
    let setup_sectors = match image.get(0x1F1) {
        Some(0) | None => 4,
        Some(sectors) => usize::from(*sectors),
    };
    let place = u32_at(image, 0x248).zip(u32_at(image, 0x24C));
    let payload = place.and_then(|(offset, length)| {
        let start = (setup_sectors + 1) * 512 + usize::try_from(offset).ok()?;
        image.get(start..start.checked_add(usize::try_from(length).ok()?)?)
    });
    let payload =
        payload.ok_or_else(|| KernelError::bad_kernel("its payload lies outside of the file (cut short?)"))?;
    let format = Compression::detect(payload);
    let vmlinux = compression::unpack(payload, limits::VMLINUX_BYTES)
        .map_err(|error| KernelError::bad_kernel(format!("its payload ({format:?}) cannot be unpacked: {error}")))?;
    let pvh = elf::check_vmlinux(&vmlinux)?;
    Ok((vmlinux, pvh))
}

/// Looks for anything that unpacks to an ELF kernel.
fn scan(image: &[u8]) -> Option<(Vec<u8>, bool)> {
    let starts = (0..image.len()).filter(|at| {
        Compression::magics()
            .iter()
            .any(|(magic, _)| image[*at..].starts_with(magic))
    });
    starts.take(SCAN_ATTEMPTS).find_map(|start| {
        let mut vmlinux = Vec::new();
        let reader = compression::reader(Compression::detect(&image[start..]), &image[start..]).ok()?;
        // What follows the stream may look like more of it; an ELF that is whole is good enough.
        let _ = reader.take(limits::VMLINUX_BYTES).read_to_end(&mut vmlinux);
        let pvh = elf::check_vmlinux(&vmlinux).ok()?;
        Some((vmlinux, pvh))
    })
}

/// A bzImage of release `1.2.3-test` around `vmlinux`, for tests.
#[cfg(test)]
pub(crate) fn tiny_bzimage(vmlinux: &[u8], format: Compression) -> Vec<u8> {
    let mut payload = compression::pack(format, vmlinux).unwrap();
    payload.extend_from_slice(&u32::try_from(vmlinux.len()).unwrap().to_le_bytes());
    let mut image = vec![0; 1024];
    image[0x1F1] = 1;
    image[0x1FE..0x200].copy_from_slice(&0xAA55_u16.to_le_bytes());
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x020F_u16.to_le_bytes());
    image[0x20E..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    image[0x300..0x318].copy_from_slice(b"1.2.3-test (builder) #1\0");
    image[0x248..0x24C].copy_from_slice(&0_u32.to_le_bytes());
    image[0x24C..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    image.extend_from_slice(&payload);
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_elf_is_taken_out_of_each_format() {
        let vmlinux = elf::tiny_vmlinux(&[7; 5000]);
        for format in [Compression::Gzip, Compression::Zstd, Compression::Lz4] {
            let extracted = extract(&tiny_bzimage(&vmlinux, format)).unwrap();
            assert_eq!(extracted.release, "1.2.3-test");
            assert!(extracted.vmlinux == vmlinux, "{format:?}");
        }
    }

    #[test]
    fn a_wrong_header_is_helped_by_a_scan() {
        let mut image = tiny_bzimage(&elf::tiny_vmlinux(&[7; 5000]), Compression::Gzip);
        image[0x24C..0x250].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(extract(&image).is_ok());
    }

    #[test]
    fn what_is_not_a_kernel_is_refused_with_the_reason() {
        let reason = |image: &[u8]| extract(image).unwrap_err().to_string();
        assert!(reason(b"hello").contains("no x86 boot header"));
        assert!(reason(b"\x7FELF....").contains("give the bzImage"));
        let image = tiny_bzimage(b"not an ELF", Compression::Gzip);
        assert!(reason(&image).contains("not 64-bit ELF"));
        assert!(reason(&image[..1030]).contains("outside of the file"));
    }
}
