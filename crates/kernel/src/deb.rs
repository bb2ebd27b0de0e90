//! Reading a Debian `linux-image-….deb`.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use crate::compression::{self, Compression};
use crate::error::KernelError;
use crate::kconfig::KernelConfig;
use crate::modinfo::module_name;
use crate::parts::KernelParts;
use crate::pool::SpoolError;
use crate::progress::KernelProgress;
use crate::{ar, limits};

/// A path in a package is at most this long.
const PATH_BYTES: u64 = 4096;

/// Reads the package `deb`; modules are spooled in `tmp`.
pub(crate) fn read(
    deb: &Path,
    tmp: &Path,
    progress: &mut dyn FnMut(KernelProgress),
) -> Result<KernelParts, KernelError> {
    let bad = |reason: String, source| KernelError::BadPackage {
        path: deb.to_owned(),
        reason,
        source,
    };
    let file = File::open(deb).map_err(|error| bad("it cannot be opened".to_owned(), Some(error)))?;
    let total_bytes = file.metadata().map_err(KernelError::io("look at", deb))?.len();
    if total_bytes > limits::DEB_BYTES {
        return Err(KernelError::TooLarge {
            what: deb.display().to_string(),
            limit_bytes: limits::DEB_BYTES,
        });
    }
    let counted = Counted {
        inner: file,
        done_bytes: 0,
        reported_bytes: 0,
        total_bytes,
        progress,
    };
    let member = ar::find_member(BufReader::with_capacity(1 << 16, counted), "data.tar");
    let (name, data) = member
        .map_err(|error| bad("it is not a Debian package".to_owned(), Some(error)))?
        .ok_or_else(|| bad("it has no data.tar; is it cut short?".to_owned(), None))?;
    let format = match name.as_str() {
        "data.tar" => Compression::None,
        "data.tar.xz" => Compression::Xz,
        "data.tar.zst" => Compression::Zstd,
        "data.tar.gz" => Compression::Gzip,
        "data.tar.lzma" => Compression::Lzma,
        other => return Err(bad(format!("its {other} has an unknown compression"), None)),
    };
    let unpacked = compression::reader(format, BufReader::new(data))
        .map_err(|error| bad(format!("its {name} cannot be read"), Some(error)))?;
    let parts = read_tar(unpacked.take(limits::DEB_UNPACKED_BYTES), tmp).map_err(|error| match error {
        TarError::Read(error) => bad(format!("its {name} is damaged or cut short"), Some(error)),
        TarError::Kernel(error) => error,
    })?;
    if parts.vmlinuz.is_empty() {
        return Err(bad(
            "it holds no boot/vmlinuz-*; a linux-image package is needed, not the meta package".to_owned(),
            None,
        ));
    }
    Ok(parts)
}

enum TarError {
    Read(io::Error),
    Kernel(KernelError),
}

impl From<io::Error> for TarError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// Goes through the archive in raw mode: the tar reader's own handling of long names has no bound.
fn read_tar(data: impl Read, tmp: &Path) -> Result<KernelParts, TarError> {
    let mut parts = KernelParts::default();
    let mut archive = tar::Archive::new(data);
    let mut long_name = None;
    for (count, entry) in archive.entries()?.raw(true).enumerate() {
        let mut entry = entry?;
        if count > limits::ENTRIES {
            return Err(too_large("the number of files in the package", limits::ENTRIES as u64));
        }
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() {
            let name = read_bounded(&mut entry, "a file name in the package", PATH_BYTES)?;
            long_name = Some(name.split(|byte| *byte == 0).next().unwrap_or_default().to_vec());
            continue;
        }
        let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        if let (true, Ok(name)) = (kind.is_file(), str::from_utf8(&name)) {
            take_entry(&mut parts, name, &mut entry, tmp)?;
        }
    }
    Ok(parts)
}

fn take_entry(parts: &mut KernelParts, name: &str, body: &mut dyn Read, tmp: &Path) -> Result<(), TarError> {
    let name = name.strip_prefix("./").unwrap_or(name);
    let name = name.strip_prefix("usr/").unwrap_or(name);
    if let Some(boot) = name.strip_prefix("boot/") {
        if boot.starts_with("vmlinuz-") && parts.vmlinuz.is_empty() {
            parts.vmlinuz = read_bounded(body, "the kernel", limits::VMLINUZ_BYTES)?;
        } else if boot.starts_with("config-") {
            let text = read_bounded(body, "the kernel's config", limits::TEXT_BYTES)?;
            parts.config = Some(KernelConfig::parse(&String::from_utf8_lossy(&text)));
        }
        return Ok(());
    }
    // lib/modules/<release>/<inner>
    let Some((_release, inner)) = name.strip_prefix("lib/modules/").and_then(|rest| rest.split_once('/')) else {
        return Ok(());
    };
    match inner {
        "vmlinuz" if parts.vmlinuz.is_empty() => {
            parts.vmlinuz = read_bounded(body, "the kernel", limits::VMLINUZ_BYTES)?;
        }
        "modules.builtin" => {
            let text = read_bounded(body, "modules.builtin", limits::TEXT_BYTES)?;
            parts.builtins.add_list(&String::from_utf8_lossy(&text));
        }
        "modules.builtin.modinfo" => {
            parts
                .builtins
                .add_modinfo(&read_bounded(body, "modules.builtin.modinfo", limits::TEXT_BYTES)?);
        }
        _ => {
            let Some(module) = inner.rsplit('/').next().and_then(module_name) else {
                return Ok(());
            };
            parts
                .pool
                .add_spooled(module, Path::new(inner), body, tmp)
                .map_err(|error| match error {
                    SpoolError::Read(error) => TarError::Read(error),
                    SpoolError::Write(error) => TarError::Kernel(KernelError::io("spool modules in", tmp)(error)),
                    SpoolError::TooLarge(name) => too_large(&format!("module {name}"), limits::MODULE_BYTES),
                })?;
        }
    }
    Ok(())
}

fn read_bounded(body: &mut dyn Read, what: &str, limit_bytes: u64) -> Result<Vec<u8>, TarError> {
    let mut bytes = Vec::new();
    let read = body.take(limit_bytes + 1).read_to_end(&mut bytes)?;
    if read as u64 > limit_bytes {
        Err(too_large(what, limit_bytes))
    } else {
        Ok(bytes)
    }
}

fn too_large(what: &str, limit_bytes: u64) -> TarError {
    TarError::Kernel(KernelError::TooLarge {
        what: what.to_owned(),
        limit_bytes,
    })
}

/// Reports how much of the package has been read, about a hundred times.
struct Counted<'a, R> {
    inner: R,
    done_bytes: u64,
    reported_bytes: u64,
    total_bytes: u64,
    progress: &'a mut dyn FnMut(KernelProgress),
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.done_bytes += read as u64;
        if self.done_bytes - self.reported_bytes >= (self.total_bytes / 100).max(1) {
            self.reported_bytes = self.done_bytes;
            (self.progress)(KernelProgress::Reading {
                done_bytes: self.done_bytes,
                total_bytes: self.total_bytes,
            });
        }
        Ok(read)
    }
}
