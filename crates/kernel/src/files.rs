//! Reading a kernel that lies in plain files: a vmlinuz, and the folder of its modules.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::error::KernelError;
use crate::kconfig::KernelConfig;
use crate::limits;
use crate::modinfo::module_name;
use crate::parts::KernelParts;

/// The files of a kernel.
#[derive(Clone, Debug, Default)]
pub struct FileInputs {
    /// The bzImage, as distributions install it in `/boot`.
    pub vmlinuz: PathBuf,
    /// Its modules, such as `/lib/modules/6.1.0-56-cloud-amd64`. A kernel without modules needs none.
    pub modules: Option<PathBuf>,
    /// Its config, where there is no `modules.builtin` to tell what is built in, and the kernel does not carry it inside.
    pub config: Option<PathBuf>,
}

/// Notes what the files offer.
pub(crate) fn read(inputs: &FileInputs) -> Result<KernelParts, KernelError> {
    let mut parts = KernelParts {
        vmlinuz: read_file(&inputs.vmlinuz, limits::VMLINUZ_BYTES)?,
        ..KernelParts::default()
    };
    if let Some(config) = &inputs.config {
        let text = read_file(config, limits::TEXT_BYTES)?;
        parts.config = Some(KernelConfig::parse(&String::from_utf8_lossy(&text)));
    }
    if let Some(modules) = &inputs.modules {
        if !modules.is_dir() {
            let reason = format!("the modules folder {} does not exist", modules.display());
            return Err(KernelError::bad_kernel(reason));
        }
        let mut seen = 0;
        add_folder(&mut parts, modules, Path::new(""), &mut seen)?;
        if let Some(list) = read_if_there(&modules.join("modules.builtin"))? {
            parts.builtins.add_list(&String::from_utf8_lossy(&list));
        }
        if let Some(modinfo) = read_if_there(&modules.join("modules.builtin.modinfo"))? {
            parts.builtins.add_modinfo(&modinfo);
        }
    }
    Ok(parts)
}

/// Adds the modules below `inner`. Links are not followed: `build` and `source` lead out of the folder.
fn add_folder(parts: &mut KernelParts, root: &Path, inner: &Path, seen: &mut usize) -> Result<(), KernelError> {
    let folder = root.join(inner);
    let depth = inner.components().count();
    let mut entries: Vec<_> = fs::read_dir(&folder)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(KernelError::io("list", &folder))?;
    // The first module of a name stays: let it always be the same one.
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        *seen += 1;
        if *seen > limits::ENTRIES {
            let what = format!("the number of files in {}", root.display());
            return Err(KernelError::TooLarge {
                what,
                limit_bytes: limits::ENTRIES as u64,
            });
        }
        let kind = entry.file_type().map_err(KernelError::io("look at", entry.path()))?;
        let inner = inner.join(entry.file_name());
        if kind.is_dir() && depth < limits::DEPTH {
            add_folder(parts, root, &inner, seen)?;
        } else if let (true, Some(name)) = (kind.is_file(), entry.file_name().to_str().and_then(module_name)) {
            parts.pool.add_file(name, entry.path(), &inner);
        }
    }
    Ok(())
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, KernelError> {
    if path.exists() {
        read_file(path, limits::TEXT_BYTES).map(Some)
    } else {
        Ok(None)
    }
}

/// Reads a file that the caller named.
fn read_file(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, KernelError> {
    let file = File::open(path)
        .map_err(|error| KernelError::bad_kernel(format!("cannot open {}: {error}", path.display())))?;
    let mut bytes = Vec::new();
    let read = file
        .take(limit_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(KernelError::io("read", path))?;
    if read as u64 > limit_bytes {
        return Err(KernelError::TooLarge {
            what: path.display().to_string(),
            limit_bytes,
        });
    }
    Ok(bytes)
}
