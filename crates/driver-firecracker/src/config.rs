//! What the driver can be told beyond a machine's plan.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::api::{Balloon, CacheType, CpuTemplate, HugePages, IoEngine, LogLevel, RateLimiter};
use crate::features::Features;

/// Configuration of the driver, the same for all of its machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a yes or no of its own")]
pub struct FirecrackerConfig {
    /// The program; else it is looked for on `PATH`.
    pub firecracker: Option<PathBuf>,
    /// The jailer; else it is looked for beside `firecracker` and on `PATH`.
    pub jailer: Option<PathBuf>,
    /// How the VMM is kept from the host.
    pub confinement: Confinement,
    /// Whether KVM is taken for usable whatever the trial says.
    pub trust_kvm: bool,
    /// Whether a VMM that boots tracks what its guest writes, as one that is restored does anyway. When it is saved for the
    /// first time it then writes that alone, and else all of its memory, zeros included, while the guest stands still.
    /// Costs the guest some speed.
    pub track_dirty_pages: bool,
    /// Hides CPU features, so that snapshots move between CPU models.
    pub cpu_template: Option<CpuTemplate>,
    /// What pages back the guests' memory (from 1.7 on).
    pub huge_pages: Option<HugePages>,
    /// Puts the devices on a PCI bus (from 1.13 on); the guest's kernel must know it.
    pub pci: bool,
    /// How drives are read and written.
    pub io_engine: Option<IoEngine>,
    /// What a guest's flush of its own disk does.
    pub disk_cache: CacheType,
    /// Limits of the root drive.
    pub root_limiter: Option<RateLimiter>,
    /// Limits of the machine's own disk.
    pub disk_limiter: Option<RateLimiter>,
    /// Limits of what a guest receives.
    pub rx_limiter: Option<RateLimiter>,
    /// Limits of what a guest sends.
    pub tx_limiter: Option<RateLimiter>,
    /// A balloon.
    pub balloon: Option<Balloon>,
    /// A metadata service inside the VMM, version 2 only.
    pub mmds: Option<Mmds>,
    /// Whether guests get a virtio-rng device (from 1.4 on; Debian's kernel has its driver as a module).
    pub entropy: bool,
    /// How much the VMM logs.
    pub log_level: LogLevel,
    /// How long one API call may take, in ms.
    pub call_timeout_ms: u64,
    /// How long the API may take to appear after the launch, in ms.
    pub launch_timeout_ms: u64,
}

/// How the VMM is kept from the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confinement {
    /// By Firecracker's jailer: its own root, user, namespaces and devices.
    #[default]
    Jailer,
    /// By the launcher's namespaces, its user and its seccomp filters alone; that user must be able to open `/dev/kvm`,
    /// `/dev/net/tun`, the program and all files. For hosts where the jailer cannot run; never a silent fallback.
    None,
}

/// The metadata service inside the VMM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mmds {
    /// Where the guest finds it; Firecracker's default is 169.254.169.254.
    #[serde(default)]
    pub ipv4_address: Option<String>,
    /// What it holds at first.
    #[serde(default)]
    pub store: serde_json::Value,
}

impl Default for FirecrackerConfig {
    fn default() -> Self {
        Self {
            firecracker: None,
            jailer: None,
            confinement: Confinement::default(),
            trust_kvm: false,
            track_dirty_pages: false,
            cpu_template: None,
            huge_pages: None,
            pci: false,
            io_engine: None,
            disk_cache: CacheType::Writeback,
            root_limiter: None,
            disk_limiter: None,
            rx_limiter: None,
            tx_limiter: None,
            balloon: None,
            mmds: None,
            entropy: true,
            log_level: LogLevel::default(),
            call_timeout_ms: 10_000,
            launch_timeout_ms: 10_000,
        }
    }
}

impl FirecrackerConfig {
    /// The first thing asked for that a version cannot do.
    pub(crate) fn beyond(&self, features: Features) -> Option<&'static str> {
        let asked = [
            (
                self.huge_pages == Some(HugePages::TwoMebibytes),
                features.huge_pages,
                "use huge pages before 1.7",
            ),
            (self.pci, features.pci, "use a PCI bus before 1.13"),
            (
                self.io_engine.is_some(),
                features.io_engine,
                "choose an I/O engine before 1.0",
            ),
            (
                self.mmds.is_some(),
                features.mmds_v2,
                "serve metadata by MMDS version 2 before 1.0",
            ),
        ];
        asked
            .into_iter()
            .find(|(wanted, there, _what)| *wanted && !there)
            .map(|(_wanted, _there, what)| what)
    }

    pub(crate) fn call_timeout(&self) -> Duration {
        Duration::from_millis(self.call_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_version_cannot_do_is_refused_only_if_asked_for() {
        let old = Features::of("1.4.0".parse().unwrap());
        let new = Features::of("1.13.0".parse().unwrap());
        let plain = FirecrackerConfig::default();
        let demanding = FirecrackerConfig {
            pci: true,
            ..plain.clone()
        };
        assert_eq!(plain.beyond(old), None);
        assert!(demanding.beyond(old).unwrap().contains("1.13"));
        assert_eq!(demanding.beyond(new), None);
    }

    #[test]
    fn configuration_is_read_from_its_parts() {
        let text =
            r#"{"confinement": "none", "balloon": {"amount_mib": 8, "deflate_on_oom": true}, "huge_pages": "2M"}"#;
        let config: FirecrackerConfig = serde_json::from_str(text).unwrap();
        assert_eq!(
            (config.confinement, config.huge_pages),
            (Confinement::None, Some(HugePages::TwoMebibytes))
        );
        assert_eq!(config.balloon.unwrap().stats_polling_interval_s, 0);
        assert!(config.entropy);
        assert!(serde_json::from_str::<FirecrackerConfig>(r#"{"baloon": null}"#).is_err());
        // The handbook's example.
        let text = r#"{"balloon": {"amount_mib": 64, "deflate_on_oom": true, "stats_polling_interval_s": 5},
            "rx_limiter": {"bandwidth": {"size": 10485760, "refill_time": 1000}},
            "disk_limiter": {"ops": {"size": 1000, "refill_time": 1000}}, "io_engine": "Async",
            "mmds": {"ipv4_address": "169.254.169.254", "store": {"region": "here"}}}"#;
        let config: FirecrackerConfig = serde_json::from_str(text).unwrap();
        assert!(config.rx_limiter.is_some() && config.mmds.is_some());
    }
}
