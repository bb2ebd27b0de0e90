//! Finding a VMM that nothing else tells of: by the jail that it sits in.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use hearth_driver::process::ProcessId;

use crate::layout::jail_base;

/// The processes whose root is the machine's jail, whatever they call themselves.
pub(crate) fn of_jail(folder: &Path) -> Vec<ProcessId> {
    let roots = jail_roots(folder);
    if roots.is_empty() {
        return Vec::new();
    }
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    // The identity first: a pid that is another's by the time it is judged has another start time when it is killed.
    let processes = pids.filter_map(|pid| ProcessId::of(pid).ok());
    let root = |process: &ProcessId| identity(&Path::new("/proc").join(process.pid.to_string()).join("root"));
    processes
        .filter(|process| root(process).is_ok_and(|root| roots.contains(&root)))
        .collect()
}

/// Device and inode of each folder `<jail>/<program>/<machine>/root`.
fn jail_roots(folder: &Path) -> Vec<(u64, u64)> {
    let machines = below(&jail_base(folder)).flat_map(|program| below(&program));
    machines
        .filter_map(|machine| identity(&machine.join("root")).ok())
        .collect()
}

fn below(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
}

/// Paths do not do: a jailed process is in a mount namespace where that of its root is `/`.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let meta = fs::metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}
