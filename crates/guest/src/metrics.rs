//! What the guest uses, from /proc and the root's file system.

use std::cell::Cell;
use std::fs;

use hearth_guest_api::guest::MetricsResponse;

use crate::clock::{unix_ns, uptime_ns};

/// The kernel counts CPU time in hundredths of a second for user space, on every x86 configuration.
const TICK_NS: u64 = 10_000_000;

fn read_text(path: &str) -> String {
    // A missing file gives zeroes: some of the numbers are better than none.
    fs::read_to_string(path).unwrap_or_default()
}

/// All of it.
pub(crate) fn read() -> MetricsResponse {
    let memory = parse_meminfo(&read_text("/proc/meminfo"));
    let (rx, tx) = parse_net_dev(&read_text("/proc/net/dev"));
    let stat = parse_stat(&read_text("/proc/stat"));
    let (load1, processes) = parse_loadavg(&read_text("/proc/loadavg"));
    let (disk_total_bytes, disk_used_bytes) = disk();
    MetricsResponse {
        unix_ns: unix_ns(),
        uptime_ns: uptime_ns(),
        cpus: stat.cpus,
        cpu_usage_ns: stat.busy_ticks * TICK_NS,
        memory_total_bytes: memory.total,
        memory_used_bytes: memory.total.saturating_sub(memory.available),
        disk_total_bytes,
        disk_used_bytes,
        network_rx_bytes: rx,
        network_tx_bytes: tx,
        load1,
        processes,
        memory_cache_bytes: memory.cached,
        oom_kills: parse_oom_kills(&read_text("/proc/vmstat")),
    }
}

/// What `/metrics` counts from: the contract's share of the CPUs is that since somebody last asked.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct LastAsked {
    uptime_ns: u64,
    cpu_usage_ns: u64,
}

impl LastAsked {
    /// In hundredths of a per cent, of all CPUs.
    fn used_since(&self, now: &MetricsResponse) -> u32 {
        let wall_ns = now.uptime_ns.saturating_sub(self.uptime_ns);
        let capacity_ns = wall_ns.saturating_mul(now.cpus.into()).max(1);
        let busy_ns = now.cpu_usage_ns.saturating_sub(self.cpu_usage_ns);
        let used = u128::from(busy_ns) * 10_000 / u128::from(capacity_ns);
        u32::try_from(used.min(10_000)).unwrap_or_default()
    }
}

/// `/metrics` of the envd wire contract.
pub(crate) fn envd_json(last: &Cell<LastAsked>) -> serde_json::Value {
    const MIB: u64 = 1024 * 1024;
    let now = read();
    let used = last.get().used_since(&now);
    last.set(LastAsked {
        uptime_ns: now.uptime_ns,
        cpu_usage_ns: now.cpu_usage_ns,
    });
    serde_json::json!({
        "ts": now.unix_ns / 1_000_000_000,
        "cpu_count": now.cpus,
        "cpu_used_pct": f64::from(used) / 100.0,
        "mem_total": now.memory_total_bytes,
        "mem_used": now.memory_used_bytes,
        "mem_cache": now.memory_cache_bytes,
        "mem_total_mib": now.memory_total_bytes / MIB,
        "mem_used_mib": now.memory_used_bytes / MIB,
        "disk_total": now.disk_total_bytes,
        "disk_used": now.disk_used_bytes,
    })
}

pub(crate) fn memory_total_bytes() -> u64 {
    memory_bytes().0
}

/// All of it, and what could not be had without swapping.
pub(crate) fn memory_bytes() -> (u64, u64) {
    let memory = parse_meminfo(&read_text("/proc/meminfo"));
    (memory.total, memory.total.saturating_sub(memory.available))
}

fn disk() -> (u64, u64) {
    let Ok(stat) = rustix::fs::statvfs("/") else {
        return (0, 0);
    };
    let size = stat.f_frsize;
    (stat.f_blocks * size, stat.f_blocks.saturating_sub(stat.f_bfree) * size)
}

#[derive(Default)]
struct Memory {
    total: u64,
    available: u64,
    /// Files that are kept in memory.
    cached: u64,
}

fn parse_meminfo(text: &str) -> Memory {
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kib.unwrap_or_default() * 1024
    };
    Memory {
        total: bytes("MemTotal:"),
        available: bytes("MemAvailable:"),
        cached: bytes("Cached:"),
    }
}

/// Received and sent, without the loopback.
fn parse_net_dev(text: &str) -> (u64, u64) {
    let devices = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.trim() != "lo");
    devices.fold((0, 0), |(rx, tx), (_, counters)| {
        let number = |index| {
            counters
                .split_whitespace()
                .nth(index)
                .and_then(|value| value.parse::<u64>().ok())
                .unwrap_or_default()
        };
        (rx + number(0), tx + number(8))
    })
}

#[derive(Default)]
struct CpuStat {
    cpus: u32,
    busy_ticks: u64,
}

fn parse_stat(text: &str) -> CpuStat {
    let mut stat = CpuStat::default();
    for line in text.lines().filter_map(|line| line.strip_prefix("cpu")) {
        if !line.starts_with(' ') {
            stat.cpus += 1;
            continue;
        }
        // user nice system idle iowait irq softirq steal (guest time is in user already)
        let ticks: Vec<u64> = line
            .split_whitespace()
            .map(|value| value.parse().unwrap_or_default())
            .collect();
        stat.busy_ticks = ticks
            .iter()
            .take(8)
            .enumerate()
            .filter(|(index, _)| !matches!(index, 3 | 4))
            .map(|(_, ticks)| ticks)
            .sum();
    }
    stat
}

fn parse_loadavg(text: &str) -> (f64, u32) {
    let mut fields = text.split_whitespace();
    let load1 = fields.next().and_then(|value| value.parse().ok()).unwrap_or_default();
    let processes = fields
        .nth(2)
        .and_then(|value| value.split_once('/')?.1.parse().ok())
        .unwrap_or_default();
    (load1, processes)
}

fn parse_oom_kills(vmstat: &str) -> u64 {
    vmstat
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_the_kernel_writes() {
        let memory = parse_meminfo(
            "MemTotal:         248000 kB\nMemFree: 1 kB\nMemAvailable:     200000 kB\nCached: 7 kB\nSwapCached: 1 kB\n",
        );
        assert_eq!(
            (memory.total, memory.available, memory.cached),
            (248_000 * 1024, 200_000 * 1024, 7 * 1024)
        );
        let dev = "Inter-| Receive | Transmit\n face |bytes\n    lo: 9 1 0 0 0 0 0 0 9 1 0\n  eth0: 100 1 0 0 0 0 0 0 200 2 0 0 0 0 0 0\n";
        assert_eq!(parse_net_dev(dev), (100, 200));
        let stat = parse_stat("cpu  10 1 5 1000 50 2 3 4 9 9\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nintr 5\n");
        assert_eq!((stat.cpus, stat.busy_ticks), (2, 25));
        assert_eq!(parse_loadavg("0.50 0.10 0.00 1/42 99\n"), (0.5, 42));
        assert_eq!(parse_oom_kills("pgfault 1\noom_kill 2\n"), 2);
    }

    #[test]
    fn the_share_of_the_cpus_is_that_since_last_time() {
        let last = LastAsked {
            uptime_ns: 10_000_000_000,
            cpu_usage_ns: 5_000_000_000,
        };
        let at = |uptime_ns, cpu_usage_ns| MetricsResponse {
            uptime_ns,
            cpu_usage_ns,
            cpus: 2,
            ..Default::default()
        };
        assert_eq!(last.used_since(&at(12_000_000_000, 6_000_000_000)), 2500);
        assert_eq!(
            LastAsked::default().used_since(&at(10_000_000_000, 5_000_000_000)),
            2500
        );
        // Ticks are coarser than the clock, and a snapshot may be from before.
        assert_eq!(last.used_since(&at(10_000_000_000, 6_000_000_000)), 10_000);
        assert_eq!(last.used_since(&at(1, 1)), 0);
    }

    #[test]
    fn nothing_readable_gives_zeroes() {
        assert_eq!(parse_meminfo("").total, 0);
        assert_eq!(parse_net_dev("garbage"), (0, 0));
        assert_eq!(parse_loadavg(""), (0.0, 0));
    }
}
