//! The node.

use hearth_api::{DriverInfo, NodeInfo};
use hearth_client::{ApiPath, Client};

use crate::output::{print_json, print_line};

pub(crate) async fn info(client: &Client, json: bool) -> anyhow::Result<u8> {
    let info: NodeInfo = client.get(&ApiPath::v1(&["node"])).await?;
    if json {
        print_json(&info)?;
        return Ok(0);
    }
    let drivers: Vec<String> = info.drivers.iter().map(driver).collect();
    let rows = [
        ("node", format!("{} on {}", info.id, info.host_name)),
        ("hearth", info.version),
        ("host kernel", format!("{} {}", info.host_kernel, info.architecture)),
        (
            "vCPUs",
            format!(
                "{} of {} given out ({} CPUs × {})",
                info.cpus.allocated, info.cpus.total, info.cpus.capacity, info.cpus.overcommit
            ),
        ),
        (
            "memory",
            format!(
                "{} of {} MiB given out",
                info.memory_mib.allocated, info.memory_mib.total
            ),
        ),
        (
            "machines",
            format!("{}, of which {} active", info.machines, info.machines_active),
        ),
        ("images", info.images.to_string()),
        ("default driver", format!("{:?}", info.default_driver).to_lowercase()),
        ("drivers", drivers.join(", ")),
        (
            "default kernel",
            info.default_kernel.unwrap_or_else(|| "none".to_owned()),
        ),
    ];
    for (name, value) in rows {
        print_line(format!("{name:<15} {value}"));
    }
    Ok(0)
}

/// A driver, and what becomes of machines under it.
fn driver(info: &DriverInfo) -> String {
    let name = format!("{:?}", info.name).to_lowercase();
    match &info.unusable {
        Some(reason) => format!("{name} (unusable: {reason})"),
        None if !info.guest => format!("{name} (runs nothing)"),
        None if info.accelerated => format!("{name} (hardware virtualisation)"),
        None => format!("{name} (software emulation)"),
    }
}
