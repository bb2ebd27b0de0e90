//! The frequency of the host's time-stamp counter.
//!
//! QEMU's software emulation shows the guest the host's counter, but its `microvm` machine has no timer by which a
//! stock kernel could find out how fast that runs: it hangs in the attempt. So the kernel is told.

use std::{sync::OnceLock, time::Duration};

/// Long enough for a few parts in a million.
const WINDOW: Duration = Duration::from_millis(20);

/// The frequency in kHz, measured once per process, for 20 ms. `None` where there is no such counter.
pub fn host_khz() -> Option<u64> {
    static KHZ: OnceLock<Option<u64>> = OnceLock::new();
    *KHZ.get_or_init(measure)
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
    #[test]
    fn is_that_of_a_cpu_of_this_century() {
        if let Some(khz) = super::host_khz() {
            assert!((400_000..10_000_000).contains(&khz), "{khz}");
        }
    }
}
