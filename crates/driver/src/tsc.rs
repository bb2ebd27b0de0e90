//! The frequency of the host's time-stamp counter.
//!
//! QEMU's software emulation shows the guest the host's counter, but its `microvm` machine has no timer by which a
//! stock kernel could find out how fast that runs: it hangs in the attempt. So the kernel is told.

use std::{fs, path::Path, sync::OnceLock, time::Duration};

/// Long enough for a few parts in a million.
const WINDOW: Duration = Duration::from_millis(20);

/// The frequency in kHz, as the host's kernel tells it, or else measured once per process, for 20 ms. `None` where there
/// is no such counter.
pub fn host_khz() -> Option<u64> {
    static KHZ: OnceLock<Option<u64>> = OnceLock::new();
    *KHZ.get_or_init(|| told().or_else(measure))
}

/// What the host's kernel says. Only where nothing scales the CPU's clock is that the counter's frequency.
fn told() -> Option<u64> {
    if Path::new("/sys/devices/system/cpu/cpu0/cpufreq").exists() {
        return None;
    }
    steady_khz(&fs::read_to_string("/proc/cpuinfo").ok()?)
}

fn steady_khz(cpuinfo: &str) -> Option<u64> {
    let field = |name: &str| {
        let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        fields
            .find(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim())
    };
    let flags = field("flags")?;
    let has = |flag: &str| flags.split(' ').any(|found| found == flag);
    // With APERF/MPERF the field is the speed of the moment.
    if !has("constant_tsc") || has("aperfmperf") {
        return None;
    }
    let (mhz, fraction) = field("cpu MHz")?.split_once('.')?;
    let khz = mhz.parse::<u64>().ok()?.checked_mul(1000)? + fraction.get(..3)?.parse::<u64>().ok()?;
    (khz > 100_000).then_some(khz)
}

#[cfg(target_arch = "x86_64")]
fn measure() -> Option<u64> {
    let (begin_ticks, begin) = sample();
    std::thread::sleep(WINDOW);
    let (end_ticks, end) = sample();
    let nanos = end.duration_since(begin).as_nanos();
    u64::try_from(u128::from(end_ticks.checked_sub(begin_ticks)?) * 1_000_000 / nanos.max(1)).ok()
}

/// Counter and clock of the same moment: of a few tries the one in which least time passed between the two.
#[cfg(target_arch = "x86_64")]
fn sample() -> (u64, std::time::Instant) {
    let read = || {
        #[expect(unsafe_code, reason = "the intrinsic is marked unsafe")]
        // SAFETY: every x86-64 CPU has the instruction.
        unsafe {
            std::arch::x86_64::_rdtsc()
        }
    };
    let attempt = || {
        let before = read();
        let now = std::time::Instant::now();
        let after = read();
        (after.saturating_sub(before), before.midpoint(after), now)
    };
    let (_, ticks, now) = (0..8)
        .map(|_| attempt())
        .min_by_key(|(width, ..)| *width)
        .unwrap_or_else(attempt);
    (ticks, now)
}

#[cfg(not(target_arch = "x86_64"))]
fn measure() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_that_of_a_cpu_of_this_century() {
        if let Some(khz) = host_khz() {
            assert!((400_000..10_000_000).contains(&khz), "{khz}");
        }
    }

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
        let (Some(told), Some(measured)) = (told(), measure()) else {
            eprintln!("SKIPPED: a host that both tells and lets measure its time-stamp counter");
            return;
        };
        assert!(told.abs_diff(measured) < told / 500, "{told} and {measured} kHz");
    }
}
