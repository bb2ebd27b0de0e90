//! The frequency of the host's time stamp counter, which QEMU's software emulation passes through to guests.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

/// In kHz; `None` on a host whose counter cannot be trusted.
pub(crate) fn host_khz() -> Option<u32> {
    static KHZ: LazyLock<Option<u32>> = LazyLock::new(|| told().or_else(measured));
    *KHZ
}

/// What the host's kernel says. Only where nothing scales the CPU's clock is that the counter's frequency.
fn told() -> Option<u32> {
    if Path::new("/sys/devices/system/cpu/cpu0/cpufreq").exists() {
        return None;
    }
    steady_khz(&fs::read_to_string("/proc/cpuinfo").ok()?)
}

fn steady_khz(cpuinfo: &str) -> Option<u32> {
    let field = |name: &str| {
        let line = cpuinfo
            .lines()
            .find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
        line.split(':').nth(1).map(str::trim)
    };
    let flags = field("flags")?;
    let has = |flag: &str| flags.split(' ').any(|found| found == flag);
    // With APERF/MPERF the field is the speed of the moment.
    if !has("constant_tsc") || has("aperfmperf") {
        return None;
    }
    let (mhz, fraction) = field("cpu MHz")?.split_once('.')?;
    let khz = mhz.parse::<u32>().ok()?.checked_mul(1000)? + fraction.get(..3)?.parse::<u32>().ok()?;
    (khz > 100_000).then_some(khz)
}

/// Measures the counter against the monotonic clock.
fn measured() -> Option<u32> {
    const TICKS: u64 = 1_000_000_000_000;
    let nanoseconds = quanta::Clock::new().delta_as_nanos(0, TICKS);
    // Where the counter is of no use, quanta counts nanoseconds, whose delta is itself.
    if nanoseconds == 0 || nanoseconds == TICKS {
        return None;
    }
    u32::try_from(u128::from(TICKS) * 1_000_000 / u128::from(nanoseconds)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_clock_is_believed_a_scaled_one_is_not() {
        let cpuinfo = "cpu MHz\t\t: 2596.146\nflags\t\t: fpu constant_tsc nonstop_tsc\n";
        assert_eq!(steady_khz(cpuinfo), Some(2_596_146));
        assert_eq!(steady_khz(&cpuinfo.replace("nonstop_tsc", "aperfmperf")), None);
        assert_eq!(steady_khz(&cpuinfo.replace("constant_tsc ", "")), None);
        assert_eq!(steady_khz("flags : constant_tsc\ncpu MHz : ?\n"), None);
    }

    #[test]
    fn telling_and_measuring_agree() {
        let (Some(told), Some(measured)) = (told(), measured()) else {
            eprintln!("SKIPPED: a host that both tells and lets measure its time stamp counter");
            return;
        };
        assert!(told.abs_diff(measured) < told / 500, "{told} and {measured} kHz");
    }
}
