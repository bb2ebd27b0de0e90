//! What the host must have, tried by use.

use std::{fs, path::Path};

use hearth_node_api::{Check, CheckOutcome};

use crate::services::Services;

/// Below this, images soon fill the disk, in MiB.
const DISK_WARNING_MIB: u64 = 4096;
/// Below this, nothing can be done, in MiB.
const DISK_FAILED_MIB: u64 = 256;

/// Checks that concern no driver.
pub(crate) fn host_checks(services: &Services) -> Vec<Check> {
    vec![
        cgroups(services),
        disk(&services.config.state_dir),
        mkfs(),
        reachable(&services.config.state_dir),
    ]
}

fn check(name: &str, outcome: CheckOutcome, detail: impl Into<String>, advice: Option<&str>) -> Check {
    Check {
        name: name.to_owned(),
        outcome,
        detail: detail.into(),
        advice: advice.map(str::to_owned),
    }
}

/// Makes a group with limits and removes it.
fn cgroups(services: &Services) -> Check {
    let probe = hearth_ids::MachineId::new();
    let limits = crate::cgroup::Limits {
        cpu_millis: 1000,
        memory_bytes: 64 << 20,
        tasks: 8,
    };
    let made = services.cgroups.create(probe, &limits);
    let removed = services.cgroups.remove(probe);
    let (layout, controllers) = (services.cgroups.layout(), services.cgroups.controllers());
    let detail = format!("{layout}, controllers: {}", controllers.join(", "));
    match made.map(drop).and(removed) {
        Err(error) => check(
            "cgroups",
            CheckOutcome::Failed,
            crate::services::chain(&error),
            Some("run the daemon as root; under systemd use the unit that ships with hearth, which sets Delegate=yes"),
        ),
        Ok(()) if !controllers.contains(&"memory") || !controllers.contains(&"cpu") => check(
            "cgroups",
            CheckOutcome::Warning,
            format!("{detail}; VMMs run without some limits"),
            Some(
                "enable the cpu and memory controllers (kernel options cgroup_enable=memory, systemd.unified_cgroup_hierarchy=1)",
            ),
        ),
        Ok(()) => check("cgroups", CheckOutcome::Ok, detail, None),
    }
}

fn disk(state_dir: &Path) -> Check {
    let Ok(stat) = rustix::fs::statvfs(state_dir) else {
        return check(
            "disk",
            CheckOutcome::Failed,
            format!("cannot look at {}", state_dir.display()),
            None,
        );
    };
    let free_mib = (stat.f_bavail * stat.f_frsize) >> 20;
    let detail = format!("{free_mib} MiB free under {}", state_dir.display());
    let advice = Some("free some space (hearth image prune), or move the state folder with --state-dir");
    match free_mib {
        0..DISK_FAILED_MIB => check("disk", CheckOutcome::Failed, detail, advice),
        DISK_FAILED_MIB..DISK_WARNING_MIB => check("disk", CheckOutcome::Warning, detail, advice),
        _ => check("disk", CheckOutcome::Ok, detail, None),
    }
}

fn mkfs() -> Check {
    match std::process::Command::new("mkfs.ext4").arg("-V").output() {
        Ok(_) => check("mkfs.ext4", CheckOutcome::Ok, "found", None),
        Err(error) => check(
            "mkfs.ext4",
            CheckOutcome::Warning,
            format!("cannot run it: {error}; machines with --disk cannot be made"),
            Some("apt-get install e2fsprogs"),
        ),
    }
}

/// VMMs run as users of their own, who must be able to walk to the state folder.
fn reachable(state_dir: &Path) -> Check {
    use std::os::unix::fs::PermissionsExt;
    let closed = state_dir
        .ancestors()
        .find(|folder| fs::metadata(folder).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 == 0));
    match closed {
        None => check(
            "state-dir",
            CheckOutcome::Ok,
            format!("{} can be reached by VMMs", state_dir.display()),
            None,
        ),
        Some(folder) => check(
            "state-dir",
            CheckOutcome::Failed,
            format!("{} cannot be entered by the users that VMMs run as", folder.display()),
            Some("chmod o+x that folder, or choose another with --state-dir"),
        ),
    }
}
