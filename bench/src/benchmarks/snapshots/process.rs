//! What processes take of the host, by `/proc`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// The kernel counts in hundredths of a second wherever it speaks of ticks.
const TICK_MS: f64 = 10.0;

/// What a VMM holds that nobody else has, in MiB.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Own {
    /// Of the memory of a guest that was restored: the pages that it wrote.
    pub(super) guest: f64,
    /// All else.
    pub(super) vmm: f64,
}

/// Pages of the process's own, in the guest's memory and elsewhere.
pub(super) fn own_memory(pid: u32) -> anyhow::Result<Own> {
    let mut own = Own::default();
    let mut in_guest = false;
    for line in read(pid, "smaps")?.lines() {
        let first = line.split_whitespace().next().unwrap_or_default();
        if !first.ends_with(':') {
            // The head of a mapping. The guest's memory is the one file in memory that a VMM of ours maps.
            in_guest = line.contains("/memfd:");
        } else if first == "Anonymous:" {
            let part = if in_guest { &mut own.guest } else { &mut own.vmm };
            *part += mib(line)?;
        }
    }
    Ok(own)
}

/// The process's share of all that it maps, in MiB: of a page that many map, each has a part.
pub(super) fn share(pid: u32) -> anyhow::Result<f64> {
    rolled_up(pid, &["Pss:"])
}

/// Pages that only this process maps, in MiB.
pub(super) fn private(pid: u32) -> anyhow::Result<f64> {
    rolled_up(pid, &["Private_Clean:", "Private_Dirty:"])
}

fn rolled_up(pid: u32, fields: &[&str]) -> anyhow::Result<f64> {
    let text = read(pid, "smaps_rollup")?;
    let lines = text
        .lines()
        .filter(|line| fields.iter().any(|field| line.starts_with(field)));
    lines.map(mib).sum()
}

/// The MiB of a line such as `Pss:   123 kB`.
fn mib(line: &str) -> anyhow::Result<f64> {
    let kib = line.split_whitespace().nth(1).context("no figure")?;
    Ok(kib.parse::<f64>()? / 1024.0)
}

/// The CPU time of the threads that the process has, in milliseconds, exactly.
pub(in crate::benchmarks) fn cpu_of_threads(pid: u32) -> anyhow::Result<f64> {
    let mut nanoseconds = 0.0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        // A thread that ends while we look.
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let run: f64 = text.split_whitespace().next().unwrap_or("0").parse()?;
        nanoseconds += run;
    }
    Ok(nanoseconds / 1e6)
}

/// The CPU time of a process and of all of its children that have ended, in milliseconds, by the tick.
pub(in crate::benchmarks) fn cpu_with_children(pid: u32) -> anyhow::Result<f64> {
    let text = read(pid, "stat")?;
    let (_, fields) = text.rsplit_once(')').context("no end of its name")?;
    // The state is the third field of all; utime, stime, cutime and cstime are from the 14th on.
    let ticks = fields.split_whitespace().skip(11).take(4).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? * TICK_MS)
}

fn read(pid: u32, what: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/{what}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

/// Processes of this program but one: those that stand beside VMMs.
pub(super) fn others_of(program: &Path, but: u32) -> anyhow::Result<Vec<u32>> {
    let pid = |path: PathBuf| {
        let pid = path.file_name()?.to_str()?.parse().ok()?;
        let runs = fs::read_link(path.join("exe")).ok()?;
        (runs == program && pid != but).then_some(pid)
    };
    let found = fs::read_dir("/proc")?.flatten();
    Ok(found.filter_map(|entry| pid(entry.path())).collect())
}
