//! QEMU's arguments. Pure: everything is decided before.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use hearth_driver::{
    StartPlan,
    launch::{DEVICES_NUMBER, MEMORY_PATH, ROOT_PATH, TAP_FD, layer_path},
};

use crate::accel::Accel;

/// The control socket, in the machine's folder, which is QEMU's working folder.
pub(crate) const QMP_SOCKET: &str = "qmp.sock";

/// Size of the cache of translated code under software emulation. QEMU's own default is 1 GiB of address space that a
/// guest fills as it likes; this holds the whole boot of a stock kernel and Python several times over.
const TRANSLATION_CACHE_MIB: u32 = 128;

/// All that the emulation can do, but for the promise that strings are fast byte by byte: kernels and C libraries that believe it
/// copy and clear all memory by `rep movsb` and `rep stosb`, which are emulated one byte at a time.
const TCG_CPU: &str = "max,-erms";

/// Where a guest begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// With this kernel file and its command line.
    Boot { kernel: PathBuf, command_line: String },
    /// Where another one stood still. Its kernel is in its memory.
    Saved,
}

/// All arguments for a machine.
pub(crate) fn arguments(plan: &StartPlan, accel: Accel, origin: &Origin) -> Vec<OsString> {
    let mut args = Arguments::default();
    args.flag("-no-user-config")
        .flag("-nodefaults")
        .flag("-no-reboot")
        .option("-display", "none");
    args.option("-name", format!("{},debug-threads=on", plan.machine));
    args.option(
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    );
    machine(&mut args, plan, accel);
    memory(&mut args, plan, origin);
    match origin {
        Origin::Boot { kernel, command_line } => args
            .option("-kernel", kernel)
            .option("-initrd", &plan.kernel.initramfs)
            .option("-append", command_line),
        Origin::Saved => args.flag("-S").option("-incoming", format!("fd:{DEVICES_NUMBER}")),
    };
    // What is saved is the devices alone, by a command that writes neither of these.
    args.option("-global", "migration.send-configuration=off");
    // Nobody on the guest's network has to be told that it moved; emulated, each such packet costs it milliseconds.
    args.option("-global", "migration.announce-rounds=0");
    // The machine's ACPI tables name virtio devices of the current standard only if told so.
    args.option("-global", "virtio-mmio.force-legacy=false");
    disks(&mut args, plan);
    args.option("-netdev", format!("tap,id=net,fd={TAP_FD},vhost=off"));
    // A card that can announce itself, and is told after a restore not to (above), has no timer for it any more; QEMU
    // stops that timer all the same when the guest resets the card, as it does when it goes down, and crashes.
    let card = format!("virtio-net-device,netdev=net,mac={},guest_announce=off", plan.net.mac);
    args.option("-device", card);
    args.option("-object", "rng-builtin,id=rng")
        .option("-device", "virtio-rng-device,rng=rng");
    // Standard output is the keeper's pipe, so neither QEMU nor the guest decides how much is kept.
    args.option("-chardev", "stdio,id=console,signal=off")
        .option("-serial", "chardev:console");
    args.option(
        "-chardev",
        format!("socket,id=qmp,path={QMP_SOCKET},server=on,wait=off"),
    );
    args.option("-mon", "chardev=qmp,mode=control");
    args.0
}

fn machine(args: &mut Arguments, plan: &StartPlan, accel: Accel) {
    // ACPI stays on: distribution kernels find virtio-mmio devices by it, not by the command line. PIC and PIT stay
    // on: without them Debian's kernel hangs.
    args.option(
        "-M",
        "microvm,acpi=on,auto-kernel-cmdline=off,suppress-vmdesc=on,memory-backend=memory",
    );
    match accel {
        Accel::Kvm => args.option("-accel", "kvm").option("-cpu", "host"),
        Accel::Tcg => args
            .option("-accel", format!("tcg,thread=multi,tb-size={TRANSLATION_CACHE_MIB}"))
            .option("-cpu", TCG_CPU),
    };
    args.option("-smp", plan.vcpus.to_string())
        .option("-m", format!("{}M", plan.memory_mib));
}

/// The guest's memory is the file that the launcher gave, or what the guest makes of a copy of it.
fn memory(args: &mut Arguments, plan: &StartPlan, origin: &Origin) {
    let share = match origin {
        Origin::Boot { .. } => "on",
        Origin::Saved => "off",
    };
    let size = plan.memory_mib;
    args.option(
        "-object",
        format!("memory-backend-file,id=memory,size={size}M,share={share},mem-path={MEMORY_PATH}"),
    );
}

fn disks(args: &mut Arguments, plan: &StartPlan) {
    image(args, "root", Path::new(ROOT_PATH));
    for index in 0..plan.layers.len() {
        image(args, &format!("layer{index}"), &layer_path(index));
    }
    if let Some(disk) = &plan.disk {
        let file = "driver=file,node-name=disk-file,discard=unmap,filename=";
        args.path_option("-blockdev", file, disk);
        args.option(
            "-blockdev",
            "driver=raw,node-name=disk,file=disk-file,discard=unmap,detect-zeroes=unmap",
        );
        args.option("-device", "virtio-blk-device,drive=disk");
    }
}

/// A read-only drive. Many machines share one image, so nobody locks it.
fn image(args: &mut Arguments, name: &str, path: &Path) {
    let path = path.display();
    let file = format!("driver=file,node-name={name}-file,read-only=on,locking=off,filename={path}");
    args.option("-blockdev", file);
    let raw = format!("driver=raw,node-name={name},file={name}-file,read-only=on");
    args.option("-blockdev", raw);
    args.option("-device", format!("virtio-blk-device,drive={name}"));
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn flag(&mut self, name: &str) -> &mut Self {
        self.0.push(name.into());
        self
    }

    fn option(&mut self, name: &str, value: impl Into<OsString>) -> &mut Self {
        self.0.extend([name.into(), value.into()]);
        self
    }

    /// A path inside a list of properties, whose separator is escaped by doubling it.
    fn path_option(&mut self, name: &str, properties: &str, path: &Path) -> &mut Self {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        let mut value = properties.as_bytes().to_vec();
        for byte in path.as_os_str().as_bytes() {
            value.push(*byte);
            if *byte == b',' {
                value.push(b',');
            }
        }
        self.option(name, OsString::from_vec(value))
    }
}

#[cfg(test)]
mod tests {
    use hearth_driver::{KernelFiles, NetAttachment, VmmUser};
    use hearth_ids::MachineId;

    use super::*;

    fn plan() -> StartPlan {
        StartPlan {
            machine: MachineId::new(),
            folder: "/f".into(),
            kernel: KernelFiles {
                bzimage: "/k/bzImage".into(),
                vmlinux: "/k/vmlinux".into(),
                pvh: false,
                initramfs: "/k/initramfs".into(),
                cmdline: "quiet".into(),
            },
            root: "/images/a".into(),
            layers: vec!["/images/b".into(), "/images/c".into()],
            disk: Some("/d/a,b=c".into()),
            vcpus: 2,
            memory_mib: 300,
            net: NetAttachment {
                netns: None,
                tap: "tap0".into(),
                mac: "06:00:00:00:00:01".into(),
            },
            cgroups: Vec::new(),
            user: VmmUser { uid: 1, gid: 1 },
        }
    }

    fn text(plan: &StartPlan, accel: Accel) -> String {
        let origin = Origin::Boot {
            kernel: "/k/vmlinux".into(),
            command_line: "quiet console=ttyS0".into(),
        };
        text_from(plan, accel, &origin)
    }

    fn text_from(plan: &StartPlan, accel: Accel, origin: &Origin) -> String {
        let args = arguments(plan, accel, origin);
        args.iter().map(|a| a.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_comma_in_a_path_is_no_separator() {
        assert!(text(&plan(), Accel::Tcg).contains("filename=/d/a,,b=c "));
    }

    #[test]
    fn layers_come_between_root_and_disk() {
        let text = text(&plan(), Accel::Tcg);
        let drives: Vec<_> = text.match_indices("virtio-blk-device,drive=").collect();
        let names: Vec<_> = drives
            .iter()
            .map(|(at, found)| text[at + found.len()..].split(' ').next().unwrap())
            .collect();
        assert_eq!(names, ["root", "layer0", "layer1", "disk"]);
        assert!(text.contains("node-name=layer1-file,read-only=on,locking=off,filename=/proc/self/fd/102 "));
    }

    #[test]
    fn a_restored_guest_shares_no_memory_and_waits() {
        let booted = text(&plan(), Accel::Tcg);
        assert!(booted.contains("share=on") && booted.contains("-kernel /k/vmlinux") && !booted.contains("-incoming"));
        let restored = text_from(&plan(), Accel::Tcg, &Origin::Saved);
        assert!(restored.contains("size=300M,share=off,mem-path=/proc/self/fd/99 "));
        assert!(restored.contains("-S -incoming fd:98 ") && !restored.contains(" -kernel "));
    }

    #[test]
    fn holds_the_machine_and_its_walls() {
        let plan = plan();
        let tcg = text(&plan, Accel::Tcg);
        assert!(tcg.contains(&format!("-name {}", plan.machine)));
        assert!(tcg.contains("spawn=deny") && tcg.contains("-nodefaults") && tcg.contains("-cpu max,-erms "));
        assert!(tcg.contains("-smp 2 -m 300M"));
        assert!(text(&plan, Accel::Kvm).contains("-accel kvm -cpu host"));
        let root = tcg.find("drive=root").unwrap();
        assert!(root < tcg.find("drive=disk").unwrap(), "the root is the first disk");
        assert!(!text(&StartPlan { disk: None, ..plan }, Accel::Tcg).contains("drive=disk"));
    }
}
