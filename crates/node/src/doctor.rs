//! What the host must have, tried by use. A daemon looks at its own host so, and so does a command line without one.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use hearth_domain::DriverKind;
use hearth_driver::{CheckOutcome as DriverOutcome, Driver};
use hearth_ids::MachineId;
use hearth_node_api::{Check, CheckOutcome};

use crate::{
    cgroup::{Cgroups, Limits},
    node::choose_driver,
    services::chain,
};

/// Below this, images soon fill the disk, in MiB.
const DISK_WARNING_MIB: u64 = 4096;
/// Below this, nothing can be done, in MiB.
const DISK_FAILED_MIB: u64 = 256;

/// Tries whatever a daemon needs that keeps its state in `state_dir`, which need not be there yet, and starts machines
/// by these drivers. Without a wanted driver it is the one that the daemon would choose. What is made is removed again.
pub async fn examine(state_dir: &Path, drivers: Vec<Arc<dyn Driver>>, wanted: Option<DriverKind>) -> Vec<Check> {
    let state_dir = state_dir.to_owned();
    // Namespaces and groups are made and removed: off the runtime's threads.
    let looked = tokio::task::spawn_blocking(move || host_checks(&state_dir)).await;
    let mut checks = looked.unwrap_or_default();
    let drivers: BTreeMap<_, _> = drivers.into_iter().map(|driver| (driver.kind(), driver)).collect();
    let default = choose_driver(wanted, &drivers).await.ok();
    for driver in drivers.values() {
        // A driver that is not the usual one is a choice: without it, machines run all the same.
        let worst = if Some(driver.kind()) == default {
            CheckOutcome::Failed
        } else {
            CheckOutcome::Warning
        };
        checks.extend(driver.probe().await.into_iter().map(|check| of_driver(check, worst)));
    }
    // Drivers look at the same things.
    let mut seen = HashSet::new();
    checks.retain(|check| seen.insert((check.name.clone(), check.detail.clone())));
    checks
}

fn of_driver(check: hearth_driver::Check, worst: CheckOutcome) -> Check {
    Check {
        name: check.name,
        outcome: match check.outcome {
            DriverOutcome::Ok => CheckOutcome::Ok,
            DriverOutcome::Warning => CheckOutcome::Warning,
            DriverOutcome::Failed => worst,
        },
        detail: check.detail,
        advice: check.advice,
    }
}

/// Checks that concern no driver.
fn host_checks(state_dir: &Path) -> Vec<Check> {
    let mut checks = vec![cgroups(), disk(state_dir), mkfs(), reachable(state_dir)];
    checks.extend(hearth_network::detect().into_iter().map(|found| Check {
        name: found.name.to_owned(),
        outcome: if found.ok {
            CheckOutcome::Ok
        } else {
            CheckOutcome::Failed
        },
        detail: found.detail,
        advice: found.advice,
    }));
    checks
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
fn cgroups() -> Check {
    let probe = MachineId::new();
    // A parent of its own, so that those who look at once do not disturb each other.
    let groups = Cgroups::detect(&format!("hearth-doctor-{probe}"));
    let limits = Limits {
        cpu_millis: 1000,
        memory_bytes: 64 << 20,
        tasks: 8,
    };
    let made = groups.create(probe, &limits);
    let removed = groups.remove(probe);
    groups.remove_parent();
    let (layout, controllers) = (groups.layout(), groups.controllers());
    let detail = format!("{layout}, controllers: {}", controllers.join(", "));
    match made.map(drop).and(removed) {
        Err(error) => check(
            "cgroups",
            CheckOutcome::Failed,
            chain(&error),
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

/// The folder, or where it is going to be.
fn existing(state_dir: &Path) -> PathBuf {
    let absolute = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned());
    let there = absolute.ancestors().find(|folder| folder.exists());
    there.unwrap_or(Path::new("/")).to_owned()
}

fn disk(state_dir: &Path) -> Check {
    let Ok(stat) = rustix::fs::statvfs(existing(state_dir)) else {
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
    let closed = existing(state_dir)
        .ancestors()
        .map(Path::to_owned)
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

#[cfg(test)]
mod tests {
    use hearth_driver::fake::FakeDriver;

    use super::*;

    #[tokio::test]
    async fn a_host_is_examined_without_a_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("not/yet/there");
        let checks = examine(&absent, vec![Arc::new(FakeDriver::default())], None).await;
        let names: Vec<_> = checks.iter().map(|check| check.name.as_str()).collect();
        for name in ["cgroups", "disk", "state-dir", "tap devices", "nf_tables"] {
            assert!(names.contains(&name), "{name}: {names:?}");
        }
        assert!(!absent.exists(), "looking changes nothing");
        let disk = checks.iter().find(|check| check.name == "disk").unwrap();
        assert!(disk.detail.contains("MiB free"), "{disk:?}");
    }

    #[test]
    fn what_only_a_spare_driver_lacks_is_a_warning() {
        let failed = hearth_driver::Check {
            name: "x".into(),
            outcome: DriverOutcome::Failed,
            detail: String::new(),
            advice: None,
        };
        assert_eq!(
            of_driver(failed.clone(), CheckOutcome::Warning).outcome,
            CheckOutcome::Warning
        );
        assert_eq!(of_driver(failed, CheckOutcome::Failed).outcome, CheckOutcome::Failed);
    }
}
