//! What a guest needs from its kernel.

/// A driver or facility that may be a module.
#[derive(Debug)]
pub(crate) struct Feature {
    /// Its module's name, which is also what `modules.builtin` calls it.
    pub(crate) module: &'static str,
    /// The option that gives it, without `CONFIG_`.
    pub(crate) option: &'static str,
    pub(crate) need: Need,
}

/// How much a guest needs a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A kernel without it is refused.
    Required,
    /// Taken if it is there, and the agent goes on if it does not load.
    Optional,
}

const fn required(module: &'static str, option: &'static str) -> Feature {
    Feature {
        module,
        option,
        need: Need::Required,
    }
}

const fn optional(module: &'static str, option: &'static str) -> Feature {
    Feature {
        module,
        option,
        need: Need::Optional,
    }
}

/// In load order, as far as dependencies leave a choice: what the root needs first, conveniences last.
///
/// `virtio_pci` is not here: neither VMM is given PCI.
pub(crate) const FEATURES: [Feature; 15] = [
    required("virtio_mmio", "VIRTIO_MMIO"),
    required("virtio_blk", "VIRTIO_BLK"),
    required("erofs", "EROFS_FS"),
    required("overlay", "OVERLAY_FS"),
    required("ext4", "EXT4_FS"),
    required("virtio_net", "VIRTIO_NET"),
    required("virtio_rng", "HW_RANDOM_VIRTIO"),
    optional("virtio_balloon", "VIRTIO_BALLOON"),
    optional("virtio_console", "VIRTIO_CONSOLE"),
    optional("vmw_vsock_virtio_transport", "VIRTIO_VSOCKETS"),
    optional("fuse", "FUSE_FS"),
    optional("tun", "TUN"),
    // By it the connections of a restored copy are ended; `INET_DIAG_DESTROY` is an option of it.
    optional("tcp_diag", "INET_TCP_DIAG"),
    // Shared folders. Loaded when the first is mounted.
    optional("nfsv3", "NFS_V3"),
    // A guest whose agent cannot be reached still ends by its power button.
    optional("button", "ACPI_BUTTON"),
];

/// Options that cannot be modules; known only if the kernel's config is. Any one of a row is enough.
pub(crate) const REQUIRED_OPTIONS: [&[&str]; 7] = [
    &["BLK_DEV_INITRD"],
    &["DEVTMPFS"],
    &["TMPFS"],
    &["SERIAL_8250_CONSOLE"],
    &["BINFMT_ELF"],
    &["UNIX"],
    // How virtio devices are found.
    &["ACPI", "VIRTIO_MMIO_CMDLINE_DEVICES"],
];
