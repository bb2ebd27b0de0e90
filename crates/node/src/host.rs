//! What this host has: CPUs and memory, as far as we may use them.

use std::{fs, path::Path};

use hearth_domain::Capacity;

/// Part of the memory left to the host and to the daemon, in MiB.
const RESERVED_MIB: u64 = 256;

/// CPUs by affinity and by cgroup quota, memory by the kernel's count and by cgroup limit; the least of each.
pub fn detect_capacity() -> Capacity {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get) as u64;
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let memory_limit = memory_limit_bytes(&groups, Path::new("/sys/fs/cgroup"));
    let total_mib = meminfo_kib(&meminfo, "MemTotal") / 1024;
    let usable_mib = memory_limit.map_or(total_mib, |limit| (limit >> 20).min(total_mib));
    Capacity {
        cpu_millis: cpus * 1000,
        memory_mib: usable_mib.saturating_sub(RESERVED_MIB),
    }
}

/// A field of `/proc/meminfo`, in KiB; 0 if it is not there.
fn meminfo_kib(meminfo: &str, field: &str) -> u64 {
    meminfo
        .lines()
        .find_map(|line| {
            line.strip_prefix(field)?
                .strip_prefix(':')?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(0)
}

/// The tightest memory limit on the way from our cgroup up, v2 or v1. `available_parallelism` does the same for CPUs.
fn memory_limit_bytes(groups: &str, root: &Path) -> Option<u64> {
    let mut tightest: Option<u64> = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (base, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            c if c.split(',').any(|c| c == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        let mut folder = base.join(path.trim_start_matches('/'));
        while folder.starts_with(&base) {
            let limit = fs::read_to_string(folder.join(file))
                .ok()
                .and_then(|text| text.trim().parse::<u64>().ok());
            tightest = tightest.into_iter().chain(limit).min();
            if !folder.pop() {
                break;
            }
        }
    }
    tightest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_something() {
        let capacity = detect_capacity();
        assert!(capacity.cpu_millis >= 1000);
        assert!(capacity.memory_mib > 0);
    }

    #[test]
    fn the_tightest_limit_on_the_way_up_counts() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        fs::write(root.path().join("a/memory.max"), "1048576\n").unwrap();
        assert_eq!(memory_limit_bytes("0::/a/b\n", root.path()), Some(1_048_576));
        assert_eq!(memory_limit_bytes("0::/\n", root.path()), None);

        fs::create_dir_all(root.path().join("memory/x")).unwrap();
        fs::write(root.path().join("memory/x/memory.limit_in_bytes"), "4096\n").unwrap();
        assert_eq!(memory_limit_bytes("4:memory:/x\n0::/\n", root.path()), Some(4096));
    }
}
