//! From a plan to a running guest, or to one that stands where another did.

use std::{path::Path, time::Duration};

use hearth_driver::{DriverError, StartPlan};
use tokio::time::{Instant, sleep};

use crate::{
    api::{
        Action, ApiClient, ApiError, BootSource, Drive, Entropy, Logger, MachineConfig, MemoryBackend, Metrics,
        MmdsConfig, MmdsVersion, NetworkInterface, NetworkOverride, SnapshotLoad,
    },
    config::{FirecrackerConfig, Mmds},
    features::Features,
    layout::Seen,
};

/// How often it is looked whether the API is there.
const POLL: Duration = Duration::from_millis(2);

/// The network card's name in the API.
const CARD: &str = "eth0";
/// The root drive's.
const ROOT: &str = "root";
/// That of the machine's own disk.
const DISK: &str = "disk";

/// Waits until the API answers; the caller sees to it that a VMM which ends meanwhile ends the waiting too.
pub(crate) async fn api_answers(api: &ApiClient, config: &FirecrackerConfig) -> Result<(), DriverError> {
    let deadline = Instant::now() + Duration::from_millis(config.launch_timeout_ms);
    loop {
        match api.instance_info().await {
            Ok(_there) => return Ok(()),
            Err(ApiError::Connect(_)) if Instant::now() < deadline => sleep(POLL).await,
            Err(ApiError::Connect(_)) => {
                return Err(DriverError::TimedOut {
                    action: "open its API".to_owned(),
                    timeout_ms: config.launch_timeout_ms,
                });
            }
            Err(error) => return Err(refused("say who it is")(error)),
        }
    }
}

/// Configures everything and boots.
pub(crate) async fn configure(
    api: &ApiClient,
    plan: &StartPlan,
    seen: &Seen,
    config: &FirecrackerConfig,
    features: Features,
) -> Result<(), DriverError> {
    set_up_output(api, seen, config).await?;
    let machine = machine_config(plan, config);
    api.put_machine_config(&machine)
        .await
        .map_err(refused("take the machine's size"))?;
    api.put_boot_source(&boot_source(plan, seen))
        .await
        .map_err(refused("take the kernel"))?;
    for drive in drives(seen, config) {
        api.put_drive(&drive)
            .await
            .map_err(refused(&format!("add the drive {}", drive.drive_id)))?;
    }
    api.put_network_interface(&card(plan, config))
        .await
        .map_err(refused("add the network card"))?;
    if config.entropy && features.entropy {
        api.put_entropy(&Entropy::default())
            .await
            .map_err(refused("add the entropy device"))?;
    }
    if let Some(balloon) = &config.balloon {
        api.put_balloon(balloon).await.map_err(refused("add the balloon"))?;
    }
    if let Some(mmds) = &config.mmds {
        serve_metadata(api, mmds).await?;
    }
    api.act(Action::InstanceStart).await.map_err(refused("boot the guest"))
}

/// Goes on from what was saved, in which all is configured but the log and the metrics. The vCPUs stand still.
pub(crate) async fn load(
    api: &ApiClient,
    plan: &StartPlan,
    seen: &Seen,
    devices: &Path,
    config: &FirecrackerConfig,
) -> Result<(), DriverError> {
    set_up_output(api, seen, config).await?;
    let tap = NetworkOverride {
        iface_id: CARD.to_owned(),
        host_dev_name: plan.net.tap.clone(),
    };
    let load = SnapshotLoad {
        snapshot_path: text(devices),
        mem_backend: MemoryBackend::File(text(&seen.memory)),
        // The first write to each page is a fault anyway, since the page is not the guest's own before.
        enable_diff_snapshots: true,
        resume_vm: false,
        network_overrides: vec![tap],
    };
    api.load_snapshot(&load)
        .await
        .map_err(refused("go on from what was saved"))?;
    match &config.mmds {
        // Where it is served is saved; what it holds is not.
        Some(mmds) => api.put_mmds(&mmds.store).await.map_err(refused("take the metadata")),
        None => Ok(()),
    }
}

/// First, so that what goes wrong later is in the log.
async fn set_up_output(api: &ApiClient, seen: &Seen, config: &FirecrackerConfig) -> Result<(), DriverError> {
    let log_path = text(&seen.log);
    let logger = Logger {
        log_path,
        level: config.log_level,
        show_level: true,
        show_log_origin: false,
    };
    api.put_logger(&logger).await.map_err(refused("log"))?;
    let metrics = Metrics {
        metrics_path: text(&seen.metrics),
    };
    api.put_metrics(&metrics).await.map_err(refused("write metrics"))
}

/// Needs the card to be there.
async fn serve_metadata(api: &ApiClient, mmds: &Mmds) -> Result<(), DriverError> {
    let settings = MmdsConfig {
        version: MmdsVersion::V2,
        network_interfaces: vec![CARD.to_owned()],
        ipv4_address: mmds.ipv4_address.clone(),
    };
    api.put_mmds_config(&settings)
        .await
        .map_err(refused("serve metadata"))?;
    api.put_mmds(&mmds.store).await.map_err(refused("take the metadata"))
}

fn machine_config(plan: &StartPlan, config: &FirecrackerConfig) -> MachineConfig {
    MachineConfig {
        vcpu_count: plan.vcpus,
        mem_size_mib: plan.memory_mib,
        smt: false,
        track_dirty_pages: config.track_dirty_pages,
        cpu_template: config.cpu_template,
        huge_pages: config.huge_pages,
    }
}

fn boot_source(plan: &StartPlan, seen: &Seen) -> BootSource {
    BootSource {
        kernel_image_path: text(&seen.kernel),
        initrd_path: Some(text(&seen.initramfs)),
        boot_args: Some(plan.kernel.cmdline.clone()),
    }
}

/// The root first, so that it is the guest's first disk; then the layers, in order; the writable disk last.
fn drives(seen: &Seen, config: &FirecrackerConfig) -> Vec<Drive> {
    let drive = |drive_id: &str, path: &Path, is_read_only, cache_type, rate_limiter| Drive {
        drive_id: drive_id.to_owned(),
        path_on_host: text(path),
        is_root_device: false,
        is_read_only,
        cache_type,
        io_engine: config.io_engine,
        rate_limiter,
    };
    let root = drive(ROOT, &seen.root, true, None, config.root_limiter);
    let layers = seen.layers.iter().enumerate();
    let layers = layers.map(|(index, path)| drive(&format!("layer{index}"), path, true, None, config.root_limiter));
    let disk = seen
        .disk
        .as_ref()
        .map(|disk| drive(DISK, disk, false, Some(config.disk_cache), config.disk_limiter));
    std::iter::once(root).chain(layers).chain(disk).collect()
}

fn card(plan: &StartPlan, config: &FirecrackerConfig) -> NetworkInterface {
    NetworkInterface {
        iface_id: CARD.to_owned(),
        host_dev_name: plan.net.tap.clone(),
        guest_mac: Some(plan.net.mac.clone()),
        rx_rate_limiter: config.rx_limiter,
        tx_rate_limiter: config.tx_limiter,
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// For `map_err`: a call's failure as the driver's, with what was asked.
pub(crate) fn refused(action: &str) -> impl FnOnce(ApiError) -> DriverError {
    let action = action.to_owned();
    move |error| match error {
        ApiError::TimedOut { timeout_ms, .. } => DriverError::TimedOut { action, timeout_ms },
        ApiError::Connect(source) => DriverError::io(format!("ask the VMM to {action}"))(source),
        ApiError::Refused { fault, .. } => DriverError::Refused { action, message: fault },
        other => DriverError::Refused {
            action,
            message: other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(disk: Option<&str>) -> Seen {
        Seen {
            api: "/api.sock".into(),
            kernel: "/vmlinux".into(),
            initramfs: "/initramfs".into(),
            root: "/root".into(),
            layers: vec!["/layer0".into(), "/layer1".into()],
            disk: disk.map(Into::into),
            memory: "/files/0".into(),
            log: "/log.fifo".into(),
            metrics: "/metrics.fifo".into(),
        }
    }

    #[test]
    fn the_root_is_the_first_disk_and_cannot_be_written() {
        let config = FirecrackerConfig::default();
        let both = drives(&seen(Some("/disk")), &config);
        let shown: Vec<_> = both
            .iter()
            .map(|drive| (drive.drive_id.as_str(), drive.is_read_only))
            .collect();
        assert_eq!(
            shown,
            [("root", true), ("layer0", true), ("layer1", true), ("disk", false)]
        );
        assert!(both.iter().all(|drive| !drive.is_root_device));
        assert_eq!(drives(&seen(None), &config).len(), 3);
    }

    #[test]
    fn what_a_call_met_is_told_apart() {
        let timed_out = ApiError::TimedOut {
            method: http::Method::PUT,
            path: "/actions".to_owned(),
            timeout_ms: 5,
        };
        assert!(matches!(
            refused("boot")(timed_out),
            DriverError::TimedOut { timeout_ms: 5, .. }
        ));
        let gone = ApiError::Connect(std::io::ErrorKind::ConnectionRefused.into());
        assert!(matches!(refused("boot")(gone), DriverError::Io { .. }));
        let foreign = refused("boot")(ApiError::Foreign("it is no socket"));
        assert!(matches!(foreign, DriverError::Refused { message, .. } if message.contains("no socket")));
    }
}
