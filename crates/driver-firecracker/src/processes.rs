//! Finding a machine's processes when there is no handle: a start that was cut off.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use hearth_ids::MachineId;

use crate::layout::jail_base;

/// The processes that the driver started for a machine and that still live: those with the machine's jail as their
/// root (whatever they call themselves), and those that were given the machine's ID (launcher and jailer, before
/// they enter it).
pub(crate) fn of_machine(machine: MachineId, folder: &Path) -> Vec<u32> {
    let roots = jail_roots(folder);
    let id = machine.to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| has_root(*pid, &roots) || was_given(*pid, &id))
        .collect()
}

/// Device and inode of each folder `<jail>/<program>/<machine>/root`.
fn jail_roots(folder: &Path) -> Vec<(u64, u64)> {
    let below = |folder: &Path| {
        fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(|e| Some(e.ok()?.path()))
    };
    let machines = below(&jail_base(folder)).flat_map(|program| below(&program).collect::<Vec<_>>());
    machines
        .filter_map(|machine| crate::jail::identity(&machine.join("root")).ok())
        .collect()
}

fn has_root(pid: u32, roots: &[(u64, u64)]) -> bool {
    fs::metadata(format!("/proc/{pid}/root")).is_ok_and(|meta| roots.contains(&(meta.dev(), meta.ino())))
}

/// Whether the process has `--id <machine>` among its arguments.
fn was_given(pid: u32, id: &str) -> bool {
    let Ok(arguments) = fs::read(format!("/proc/{pid}/cmdline")) else {
        return false;
    };
    let arguments: Vec<&[u8]> = arguments.split(|byte| *byte == 0).collect();
    arguments
        .windows(2)
        .any(|pair| pair[0] == b"--id" && pair[1] == id.as_bytes())
}
