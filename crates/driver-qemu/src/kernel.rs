//! Which of a bundle's two kernel files boots, and with which command line.
//!
//! QEMU can enter an uncompressed ELF kernel directly if that carries a PVH note, which saves the guest the work of
//! unpacking itself. Under software emulation that work is most of the time before the kernel's first line.

use std::path::PathBuf;

use hearth_driver::KernelFiles;

use crate::accel::Accel;

/// The file to boot.
pub(crate) fn image(files: &KernelFiles) -> PathBuf {
    if files.pvh {
        files.vmlinux.clone()
    } else {
        files.bzimage.clone()
    }
}

/// The bundle's command line, and what this machine type needs beside it. What the bundle sets stays as it is.
pub(crate) fn command_line(base: &str, accel: Accel, tsc_khz: Option<u64>) -> String {
    let mut wanted = vec![("console", "ttyS0".to_owned()), ("panic", "-1".into())];
    if let (Accel::Tcg, Some(khz)) = (accel, tsc_khz) {
        // Without a frequency the kernel hangs in the search for one; not "reliable", it falls back to jiffies.
        wanted.push(("tsc_early_khz", khz.to_string()));
        wanted.push(("tsc", "reliable".into()));
    }
    let mut line = base.trim().to_owned();
    for (key, value) in wanted {
        let set = base
            .split_ascii_whitespace()
            .any(|word| word.split('=').next() == Some(key));
        if !set {
            line.extend([" ", key, "=", &value]);
        }
    }
    // A triple fault, since QEMU was told not to reboot but to end. The last one counts: a bundle says `reboot=k` for
    // Firecracker's sake, and this machine type has no keyboard controller; the kernel would look for it for a second.
    line.push_str(" reboot=t");
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_only_what_is_not_set() {
        assert_eq!(
            command_line("quiet panic=5", Accel::Tcg, Some(2_500_000)),
            "quiet panic=5 console=ttyS0 tsc_early_khz=2500000 tsc=reliable reboot=t"
        );
        assert_eq!(
            command_line("console=hvc0 reboot=k panic=1", Accel::Kvm, Some(1)),
            "console=hvc0 reboot=k panic=1 reboot=t"
        );
        assert_eq!(command_line("", Accel::Kvm, None), "console=ttyS0 panic=-1 reboot=t");
    }
}
