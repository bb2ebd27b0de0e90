//! What is left of a VMM that was saved: the guest's memory as a sparse file, and the state of its devices.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::DriverError;

/// The greatest length of the devices' state. Machines of ours have some 17 KB (Firecracker) to 60 KB (QEMU).
const DEVICES_MAX_BYTES: u64 = 64 << 20;

/// Copies the devices' state, which a VMM may have written, to a new file of our own. Gives that, and its length in bytes.
pub fn copy_devices(source: File, to: &Path) -> io::Result<(File, u64)> {
    let mut out = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    let copied = io::copy(&mut source.take(DEVICES_MAX_BYTES + 1), &mut out)?;
    if copied > DEVICES_MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
    }
    Ok((out, copied))
}

/// Refuses a file that is not a memory of so many bytes, before a VMM refuses it in words of its own, or maps it.
pub fn check_memory(path: &Path, bytes: u64) -> Result<(), DriverError> {
    let read = |source| DriverError::Io {
        action: format!("read the saved memory {}", path.display()),
        source,
    };
    let found = File::open(path).and_then(|file| file.metadata()).map_err(read)?.len();
    if found == bytes {
        return Ok(());
    }
    let message = format!("it has {found} bytes, and the machine's memory {bytes}");
    Err(read(io::Error::new(io::ErrorKind::InvalidData, message)))
}

/// Removes a file that was handed over between a VMM and us. One that is not there is no error.
pub fn forget(path: &Path) -> Result<(), DriverError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DriverError::io(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

/// The files of a VMM that stood still, from which others of the same shape go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedState {
    /// The guest's memory, byte for byte; what is a hole was never written. A VMM maps it privately, and needs to be
    /// allowed to open it for reading and writing.
    pub memory: PathBuf,
    /// The state of vCPUs and devices, in the VMM's own format.
    pub devices: PathBuf,
}

impl SavedState {
    /// The files as [`Driver::save`](crate::Driver::save) names them in a folder.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            memory: folder.join("memory"),
            devices: folder.join("devices"),
        }
    }
}

/// What another VMM must have in common with the one that was saved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmmIdentity {
    /// The VMM's version, such as `7.2.22`.
    pub version: String,
    /// What executes the guest's instructions: `kvm`, `tcg`.
    pub accelerator: String,
    /// Features of the host's processor that guests see, sorted; none where the VMM makes the processor up.
    pub cpu_features: Vec<String>,
}

impl VmmIdentity {
    /// Why what was saved under `saved` cannot go on here; `None` if it can.
    pub fn cannot_restore(&self, saved: &Self) -> Option<String> {
        if self.version != saved.version {
            let (there, here) = (&saved.version, &self.version);
            return Some(format!(
                "it was saved by version {there} of the VMM, and here is {here}"
            ));
        }
        if self.accelerator != saved.accelerator {
            let (there, here) = (&saved.accelerator, &self.accelerator);
            return Some(format!("its instructions were executed by {there}, and here by {here}"));
        }
        let lacks = |feature: &&String| !self.cpu_features.contains(feature);
        let lacking: Vec<&str> = saved.cpu_features.iter().filter(lacks).map(String::as_str).collect();
        (!lacking.is_empty()).then(|| format!("this host's processor lacks {}", lacking.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(version: &str, accelerator: &str, features: &[&str]) -> VmmIdentity {
        VmmIdentity {
            version: version.into(),
            accelerator: accelerator.into(),
            cpu_features: features.iter().map(|f| (*f).to_owned()).collect(),
        }
    }

    #[test]
    fn a_stranger_is_refused_with_the_reason() {
        let here = identity("7.2.22", "kvm", &["avx", "avx2", "sse"]);
        let refused = |saved: &VmmIdentity| here.cannot_restore(saved).unwrap_or_default();
        assert_eq!(refused(&identity("7.2.22", "kvm", &["avx"])), "");
        assert!(refused(&identity("8.0.0", "kvm", &[])).contains("version 8.0.0"));
        assert!(refused(&identity("7.2.22", "tcg", &[])).contains("tcg"));
        let lacking = refused(&identity("7.2.22", "kvm", &["amx_tile", "avx", "avx512f"]));
        assert_eq!(lacking, "this host's processor lacks amx_tile, avx512f");
    }

    #[test]
    fn devices_without_end_are_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
        File::create(&from).unwrap().set_len(DEVICES_MAX_BYTES + 1).unwrap();
        assert!(copy_devices(File::open(&from).unwrap(), &to).is_err());
    }
}
