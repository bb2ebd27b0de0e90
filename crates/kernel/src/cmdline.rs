//! The kernel's command line: fixed, so that one template serves every machine. Nothing about a machine is told here.

use crate::bundle::Bundle;

/// Fits every VMM. Why each is there:
/// - `console=ttyS0`: the log that `hearth logs --console` shows; `quiet loglevel=4`: writing it byte by byte is slow.
/// - `reboot=k panic=-1`: the agent ends with a reboot, which Firecracker takes from the keyboard controller and QEMU, with
///   `-no-reboot`, from any means; a panic ends the VM at once.
/// - `i8042.*`: there is no keyboard to look for, only that controller's reset line.
/// - `random.trust_cpu=on`: entropy from the start; more comes by virtio-rng.
/// - `nomodule`-like switches for probing of hardware that no VMM has.
const COMMON: &str = "console=ttyS0 reboot=k panic=-1 quiet loglevel=4 random.trust_cpu=on i8042.noaux i8042.nomux \
                      i8042.nopnp i8042.dumbkbd cryptomgr.notests rcupdate.rcu_expedited=1";

/// The command line for `bundle` under the driver of this name (`qemu`, `firecracker`).
pub fn cmdline(bundle: &Bundle, driver: &str) -> String {
    let _ = bundle;
    match driver {
        // Firecracker up to 1.11 has no PCI at all; looking for it costs time.
        "firecracker" => format!("{COMMON} pci=off"),
        _ => COMMON.to_owned(),
    }
}
