//! What is launched: the jailer, or the VMM itself.
//!
//! The jailer ends by executing the VMM, so the launched process is the VMM's from the first moment on. The jailer's
//! `--daemonize` is not used (the launcher makes the session, and the console would be lost) and neither is
//! `--new-pid-ns` (it forks: the VMM would be a process known only by a file in a folder that it can write).

use std::path::PathBuf;

use hearth_driver::{
    StartPlan,
    launch::{GuestMemory, LaunchPlan},
};

use crate::{
    cgroups,
    config::FirecrackerConfig,
    layout::{Layout, Origin, jail_base},
    programs::Programs,
};

/// Descriptors that the VMM may hold: some 20 for itself and its devices.
const MAX_OPEN_FILES: u32 = 1_024;

/// The launch of a machine's VMM.
pub(crate) fn launch_plan(
    plan: &StartPlan,
    programs: &Programs,
    layout: &Layout,
    config: &FirecrackerConfig,
    origin: Origin<'_>,
) -> LaunchPlan {
    let vmm = vmm_arguments(plan, layout, config);
    let common = LaunchPlan {
        cgroups: plan.cgroups.clone(),
        max_open_files: u64::from(MAX_OPEN_FILES),
        memory: memory(layout, origin),
        ..LaunchPlan::new(&plan.folder, &programs.firecracker)
    };
    match &programs.jailer {
        Some(jailer) => {
            let unified = cgroups::unified_parent(&plan.cgroups).filter(|_group| programs.features().jailer_cgroup_v2);
            let mut arguments = jailer_arguments(plan, programs, unified);
            arguments.push("--".to_owned());
            arguments.extend(vmm);
            let args = arguments.into_iter().map(Into::into).collect();
            LaunchPlan {
                program: jailer.clone(),
                args,
                ..common
            }
        }
        None => LaunchPlan {
            args: vmm.into_iter().map(Into::into).collect(),
            netns: plan.net.netns.clone(),
            root: Some(plan.root.clone()),
            layers: plan.layers.clone(),
            user: Some(plan.user),
            ..common
        },
    }
}

/// What a VMM is restored from; one that boots makes its own.
fn memory(layout: &Layout, origin: Origin<'_>) -> Option<GuestMemory> {
    let Origin::Saved(state) = origin else { return None };
    let saved = state.memory.clone();
    Some(match layout.files() {
        Some(files) => GuestMemory::Jailed { saved, files },
        None => GuestMemory::Saved(saved),
    })
}

/// The VMM's own arguments. The jailer adds `--id` itself.
fn vmm_arguments(plan: &StartPlan, layout: &Layout, config: &FirecrackerConfig) -> Vec<String> {
    let mut arguments = vec!["--api-sock".to_owned(), layout.seen.api.display().to_string()];
    if layout.root.is_none() {
        arguments.extend(["--id".to_owned(), plan.machine.to_string()]);
    }
    if config.pci {
        arguments.push("--enable-pci".to_owned());
    }
    arguments
}

fn jailer_arguments(plan: &StartPlan, programs: &Programs, unified: Option<PathBuf>) -> Vec<String> {
    let mut pairs = vec![
        ("--id", plan.machine.to_string()),
        ("--exec-file", programs.firecracker.display().to_string()),
        ("--chroot-base-dir", jail_base(&plan.folder).display().to_string()),
        ("--uid", plan.user.uid.to_string()),
        ("--gid", plan.user.gid.to_string()),
        ("--resource-limit", format!("no-file={MAX_OPEN_FILES}")),
    ];
    if let Some(netns) = &plan.net.netns {
        pairs.push(("--netns", netns.display().to_string()));
    }
    if let Some(group) = unified {
        pairs.push(("--cgroup-version", "2".to_owned()));
        pairs.push(("--parent-cgroup", group.display().to_string()));
    }
    pairs
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
}

#[cfg(test)]
mod tests {
    use hearth_driver::{KernelFiles, NetAttachment, SavedState, VmmUser};
    use hearth_ids::MachineId;

    use super::*;
    use crate::{config::Confinement, features::Version};

    fn plan() -> StartPlan {
        StartPlan {
            machine: MachineId::new(),
            folder: "/m".into(),
            kernel: KernelFiles {
                bzimage: "/k/bzImage".into(),
                vmlinux: "/k/vmlinux".into(),
                pvh: false,
                initramfs: "/k/initramfs".into(),
                cmdline: "quiet".to_owned(),
            },
            root: "/r".into(),
            layers: vec!["/l".into()],
            disk: None,
            vcpus: 1,
            memory_mib: 128,
            net: NetAttachment {
                netns: Some("/run/netns/a".into()),
                tap: "tap0".to_owned(),
                mac: String::new(),
            },
            cgroups: vec!["/sys/fs/cgroup/pids/a".into()],
            user: VmmUser { uid: 7, gid: 8 },
        }
    }

    fn launch(confinement: Confinement, origin: Origin<'_>) -> LaunchPlan {
        let jailer = (confinement == Confinement::Jailer).then(|| "/bin/jailer".into());
        let programs = Programs {
            firecracker: "/bin/firecracker".into(),
            jailer,
            version: Version::new(1, 12, 1),
        };
        let plan = plan();
        let layout = Layout::of(&plan, &programs, confinement);
        launch_plan(&plan, &programs, &layout, &FirecrackerConfig::default(), origin)
    }

    fn text(launch: &LaunchPlan) -> String {
        launch
            .args
            .iter()
            .map(|arg| arg.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn the_jailer_does_the_confining() {
        let launch = launch(Confinement::Jailer, Origin::Kernel);
        assert_eq!(launch.program, PathBuf::from("/bin/jailer"));
        assert_eq!((launch.user, &launch.netns), (None, &None));
        let text = text(&launch);
        for part in [
            "--uid 7",
            "--gid 8",
            "--netns /run/netns/a",
            "--chroot-base-dir /m/jail",
            "-- --api-sock /api.sock",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn without_it_the_launcher_does() {
        let launch = launch(Confinement::None, Origin::Kernel);
        assert_eq!(launch.program, PathBuf::from("/bin/firecracker"));
        assert_eq!(launch.user, Some(VmmUser { uid: 7, gid: 8 }));
        assert_eq!(launch.netns, Some("/run/netns/a".into()));
        assert!(text(&launch).starts_with("--api-sock /m/api.sock --id mch"));
    }

    #[test]
    fn only_one_that_is_restored_is_given_a_memory() {
        let saved = SavedState::in_folder("/snapshots/a".as_ref());
        let memory = |confinement, origin| launch(confinement, origin).memory;
        let file = || PathBuf::from("/snapshots/a/memory");
        assert_eq!(memory(Confinement::Jailer, Origin::Kernel), None);
        let unjailed = memory(Confinement::None, Origin::Saved(&saved));
        assert_eq!(unjailed, Some(GuestMemory::Saved(file())));
        let jailed = memory(Confinement::Jailer, Origin::Saved(&saved));
        let Some(GuestMemory::Jailed { saved, files }) = jailed else {
            panic!("{jailed:?}")
        };
        assert_eq!(saved, file());
        assert!(files.starts_with("/m/jail/firecracker") && files.ends_with("root/files"));
    }

    #[test]
    fn the_jailer_is_told_its_group_of_the_unified_hierarchy_only() {
        let programs = Programs {
            firecracker: "/f".into(),
            jailer: None,
            version: Version::new(1, 12, 1),
        };
        let arguments = |unified| jailer_arguments(&plan(), &programs, unified).join(" ");
        assert!(arguments(Some("hearth/a".into())).ends_with("--cgroup-version 2 --parent-cgroup hearth/a"));
        assert!(!arguments(None).contains("cgroup"));
    }
}
