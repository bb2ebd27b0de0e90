//! Finds out what an archive is, and makes its parts accessible.
//!
//! A compressed archive is unpacked into the work folder first, unless its first entry shows that it is a root file system: that goes to the converter
//! as it is.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use super::ImportKind;
use super::archive::Archive;
use super::spool::{self, Compression};
use super::tar_index::TarIndex;
use crate::digest::Digest;
use crate::error::{ImageError, ImportError};
use crate::store::{Opener, open_regular};

/// Enough for the first headers of any archive.
const HEAD_BYTES: u64 = 256 * 1024;

pub(super) enum Opened {
    Layout(Archive),
    Docker(Archive),
    RootTar { open: Opener, size_bytes: u64 },
}

/// Opens what lies at `path`, which is called `shown` in messages.
pub(super) fn open(
    path: &Path,
    shown: &Path,
    work: &Path,
    wanted: Option<ImportKind>,
    spool_max_bytes: u64,
) -> Result<Opened, ImageError> {
    let failed = |source| ImportError::Read {
        path: shown.to_owned(),
        source,
    };
    let unknown = || ImportError::UnknownKind(shown.display().to_string());
    if path.metadata().map_err(failed)?.is_dir() {
        let layout = path.join("index.json").is_file() && wanted.is_none_or(|kind| kind == ImportKind::OciLayout);
        if !layout {
            return Err(unknown().into());
        }
        return Ok(Opened::Layout(Archive::Folder(path.to_owned())));
    }
    // The path itself may be a link: it is the user's own word, not the archive's.
    let path = &path.canonicalize().map_err(failed)?;
    let file = open_regular(path).map_err(failed)?;
    let compression = Compression::of(&file).map_err(failed)?;
    if compression == Compression::Bzip2 {
        return Err(ImportError::Compression {
            path: shown.to_owned(),
            method: "bzip2",
        }
        .into());
    }
    let mut head = Vec::new();
    compression
        .decoder(file)
        .map_err(failed)?
        .take(HEAD_BYTES)
        .read_to_end(&mut head)
        .map_err(failed)?;
    let first = TarIndex::first_name(head.as_slice()).ok_or_else(unknown)?;
    match wanted {
        Some(ImportKind::RootTar) => return Ok(root_tar(path, shown, compression)?),
        None if !is_archive_part(&first) => return Ok(root_tar(path, shown, compression)?),
        _ => {}
    }
    let file = match compression {
        Compression::None => open_regular(path).map_err(failed)?,
        _ => spool::unpack(path, shown, compression, (work, spool_max_bytes))?,
    };
    let index = TarIndex::read(&file)?;
    let layout = index.contains("oci-layout") && index.contains("index.json");
    let docker = index.contains("manifest.json");
    let archive = Archive::Tar {
        file: Arc::new(file),
        index,
    };
    match wanted {
        // Current docker writes both; its own manifest has the names.
        Some(ImportKind::DockerArchive) | None if docker => Ok(Opened::Docker(archive)),
        Some(ImportKind::OciLayout) | None if layout => Ok(Opened::Layout(archive)),
        Some(_) => Err(unknown().into()),
        None => Ok(root_tar(path, shown, compression)?),
    }
}

fn root_tar(path: &Path, shown: &Path, compression: Compression) -> Result<Opened, ImportError> {
    let failed = |source| ImportError::Read {
        path: shown.to_owned(),
        source,
    };
    let size_bytes = open_regular(path)
        .and_then(|file| file.metadata())
        .map_err(failed)?
        .len();
    let path = path.to_owned();
    let open: Opener = Box::new(move || {
        let file: File = open_regular(&path)?;
        if compression.converter_reads_it() {
            Ok(Box::new(file))
        } else {
            compression.decoder(file)
        }
    });
    Ok(Opened::RootTar { open, size_bytes })
}

/// Whether an archive of images may begin with `name`. Root file systems do not.
fn is_archive_part(name: &str) -> bool {
    let first = name.split('/').next().unwrap_or_default();
    let stem = first.split('.').next().unwrap_or_default();
    matches!(
        first,
        "blobs" | "oci-layout" | "index.json" | "manifest.json" | "repositories"
    ) || Digest::from_hex(stem).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_told_from_root_file_systems_by_their_first_entry() {
        let hex = Digest::of(b"").hex();
        for name in [
            "blobs/sha256",
            "oci-layout",
            &hex,
            &format!("{hex}/layer.tar"),
            &format!("{hex}.json"),
        ] {
            assert!(is_archive_part(name), "{name}");
        }
        for name in ["bin/sh", "etc", ".dockerenv", "blobs.txt"] {
            assert!(!is_archive_part(name), "{name}");
        }
    }
}
