//! The stores, as the node sees them.

use std::{path::PathBuf, sync::Arc};

use hearth_domain::{DriverKind, SealedSecret};
use hearth_driver::KernelFiles;
use hearth_ids::ProjectId;
use hearth_image::{ImageId, ImageStore};
use hearth_kernel::KernelStore;
use hearth_seal::Seal;
use zeroize::Zeroizing;

use crate::provisions::{HeldRoot, Holder, Kernels, ProvisionError, RootConfig, Roots, Secrets};

/// What of an agent's hash stands in its version.
const AGENT_HASH_CHARS: usize = 12;

impl Secrets for Seal {
    fn open(&self, project: ProjectId, secret: &SealedSecret) -> Result<Zeroizing<Vec<u8>>, ProvisionError> {
        Ok(Seal::open(self, project, &secret.sealed)?)
    }
}

/// Roots out of an image store.
#[derive(Debug, Clone)]
pub struct ImageRoots(pub ImageStore);

impl Roots for ImageRoots {
    fn hold(&self, image_id: &str, layers: &[String], holder: Holder) -> Result<HeldRoot, ProvisionError> {
        let holder = holder.to_string();
        let held = self.0.hold(&image_id.parse()?, &holder)?;
        let hold_layer = |id: &String| -> Result<PathBuf, ProvisionError> {
            let id: ImageId = id.parse()?;
            Ok(self.0.hold(&id, &holder)?.root_path)
        };
        let layers = layers.iter().map(hold_layer).collect::<Result<_, _>>()?;
        let given = |text: String| (!text.is_empty()).then_some(text);
        let config = RootConfig {
            entrypoint: held.config.entrypoint,
            cmd: held.config.cmd,
            env: held.config.env,
            working_dir: given(held.config.working_dir),
            user: given(held.config.user),
            stop_signal: given(held.config.stop_signal),
        };
        Ok(HeldRoot {
            path: held.root_path,
            layers,
            config,
        })
    }

    fn release(&self, holder: Holder) -> Result<(), ProvisionError> {
        Ok(self.0.release(&holder.to_string())?)
    }

    fn holders(&self) -> Result<Vec<Holder>, ProvisionError> {
        let holders = self.0.holders()?.into_iter();
        // Whoever is neither machine nor snapshot is not ours.
        Ok(holders.filter_map(|(_, holder)| holder.parse().ok()).collect())
    }
}

/// Kernels out of a kernel store, with the agent that this binary carries.
#[derive(Debug)]
pub struct KernelBundles {
    store: Arc<KernelStore>,
    agent: &'static [u8],
    agent_version: String,
}

impl KernelBundles {
    /// Kernels of `store`, whose guests run `agent`.
    pub fn new(store: Arc<KernelStore>, agent: &'static [u8]) -> Self {
        let hash = blake3::hash(agent).to_hex();
        let agent_version = format!("{}+{}", env!("CARGO_PKG_VERSION"), &hash[..AGENT_HASH_CHARS]);
        Self {
            store,
            agent,
            agent_version,
        }
    }
}

impl Kernels for KernelBundles {
    fn files(&self, kernel_id: &str, driver: DriverKind) -> Result<KernelFiles, ProvisionError> {
        let bundle = self.store.get(kernel_id)?;
        let initramfs = self.store.ensure_initramfs(&bundle, self.agent)?;
        let cmdline = hearth_kernel::cmdline(driver.as_str());
        Ok(KernelFiles {
            bzimage: bundle.bzimage,
            vmlinux: bundle.vmlinux,
            pvh: bundle.pvh,
            initramfs,
            cmdline,
        })
    }

    fn agent_version(&self) -> &str {
        &self.agent_version
    }

    fn memory_min_mib(&self, kernel_id: &str) -> Result<u64, ProvisionError> {
        Ok(self.store.get(kernel_id)?.memory_min_mib()?)
    }
}
