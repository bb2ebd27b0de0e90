//! The kernel's command line: fixed for a host, so that one template serves every machine. Nothing about a machine is told here.
//!
//! Measured under software emulation with Debian's 6.1 cloud kernel (docs/adr/0004-initramfs-compression.md has the numbers).

use crate::bundle::Bundle;
use crate::tsc;

/// Fits every VMM. Why each is there:
/// - `console=ttyS0`: the machine's console log; `quiet loglevel=4`: writing it byte by byte is slow.
/// - `panic=-1`: a panic ends the VM at once.
/// - `random.trust_cpu=on`: entropy from the start; more comes by virtio-rng.
/// - `cryptomgr.notests`: 0.3 s of self-tests.
/// - `i8042.*`: there is no keyboard to look for, only that controller's reset line.
const COMMON: &str = "console=ttyS0 panic=-1 quiet loglevel=4 random.trust_cpu=on cryptomgr.notests \
                      i8042.noaux i8042.nomux i8042.nopnp i8042.dumbkbd";

/// The command line for `bundle` under the driver of this name: `firecracker`, `qemu-kvm`, or `qemu`, which is safe with and
/// without KVM.
///
/// The first call for `qemu` may take 0.2 s: it measures the host's clock.
pub fn cmdline(bundle: &Bundle, driver: &str) -> String {
    let _ = bundle;
    compose(driver, tsc::host_khz)
}

fn compose(driver: &str, tsc_khz: impl FnOnce() -> Option<u32>) -> String {
    match driver {
        // Its keyboard controller takes the reset; a triple fault it takes for a crash. It has no PCI.
        "firecracker" => format!("{COMMON} reboot=k pci=off"),
        // The microvm machine has no keyboard controller: the kernel would wait for it for 1.4 s.
        "qemu-kvm" => format!("{COMMON} reboot=t"),
        // Without KVM there is no clock but the PIT to measure the TSC against, and on a busy host that measurement fails; the
        // kernel then has no clock source and hangs. So it is told.
        _ => {
            let tsc = tsc_khz()
                .map(|khz| format!(" tsc=reliable tsc_early_khz={khz}"))
                .unwrap_or_default();
            format!("{COMMON} reboot=t{tsc}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vmm_gets_the_reset_that_it_understands_and_emulation_the_clock() {
        let line = |driver| compose(driver, || Some(2_596_146));
        assert!(line("firecracker").contains("reboot=k") && !line("firecracker").contains("tsc"));
        assert!(line("qemu").ends_with("reboot=t tsc=reliable tsc_early_khz=2596146"));
        assert!(line("qemu-kvm").ends_with("reboot=t"));
        assert!(compose("qemu", || None).ends_with("reboot=t"));
        assert!(!line("qemu").contains("  "));
    }
}
