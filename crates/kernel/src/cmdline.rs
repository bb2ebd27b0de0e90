//! The kernel's command line: fixed, so that one template serves every machine. Nothing about a machine is told here.
//!
//! Measured under software emulation with Debian's 6.1 cloud kernel (docs/adr/0004-initramfs-compression.md has the numbers).

/// Fits every VMM. Why each is there:
/// - `console=ttyS0`: the machine's console log; `quiet loglevel=4`: writing it byte by byte is slow.
/// - `panic=-1`: a panic ends the VM at once.
/// - `random.trust_cpu=on`: entropy from the start; more comes by virtio-rng.
/// - `cryptomgr.notests`: 0.3 s of self-tests.
/// - `i8042.*`: there is no keyboard to look for, only that controller's reset line.
const COMMON: &str = "console=ttyS0 panic=-1 quiet loglevel=4 random.trust_cpu=on cryptomgr.notests \
                      i8042.noaux i8042.nomux i8042.nopnp i8042.dumbkbd";

/// The command line for the driver of this name: `firecracker`, or `qemu`. What only a driver knows, such as whether the
/// guest must be told how fast its clock runs, the driver adds.
pub fn cmdline(driver: &str) -> String {
    match driver {
        // Its keyboard controller takes the reset; a triple fault it takes for a crash. It has no PCI.
        "firecracker" => format!("{COMMON} reboot=k pci=off"),
        // The microvm machine has no keyboard controller: the kernel would wait for it for 1.4 s.
        _ => format!("{COMMON} reboot=t"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vmm_gets_the_reset_that_it_understands_and_no_clock() {
        assert!(cmdline("firecracker").ends_with("reboot=k pci=off"));
        assert!(cmdline("qemu").ends_with("reboot=t"));
        assert!(!cmdline("qemu").contains("tsc") && !cmdline("qemu").contains("  "));
    }
}
