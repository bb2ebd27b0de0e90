//! What is left of a VMM that was saved: the guest's memory as a sparse file, and the state of its devices.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

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
}
