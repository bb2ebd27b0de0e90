//! The file systems of the kernel, before and after the switch to the guest's root.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, mount};

use super::BootError;

struct Mount {
    kind: &'static str,
    target: &'static str,
    flags: MountFlags,
    options: &'static std::ffi::CStr,
}

const NO_EXEC: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

const EARLY: [Mount; 3] = [
    Mount {
        kind: "proc",
        target: "/proc",
        flags: NO_EXEC,
        options: c"",
    },
    Mount {
        kind: "sysfs",
        target: "/sys",
        flags: NO_EXEC,
        options: c"",
    },
    Mount {
        kind: "devtmpfs",
        target: "/dev",
        flags: MountFlags::NOSUID,
        options: c"mode=755",
    },
];

const LATE: [Mount; 4] = [
    Mount {
        kind: "devpts",
        target: "/dev/pts",
        flags: MountFlags::NOSUID.union(MountFlags::NOEXEC),
        options: c"ptmxmode=666,mode=620,gid=5",
    },
    Mount {
        kind: "tmpfs",
        target: "/dev/shm",
        flags: MountFlags::NOSUID.union(MountFlags::NODEV),
        options: c"mode=1777",
    },
    Mount {
        kind: "mqueue",
        target: "/dev/mqueue",
        flags: NO_EXEC,
        options: c"",
    },
    Mount {
        kind: "cgroup2",
        target: "/sys/fs/cgroup",
        flags: NO_EXEC,
        options: c"",
    },
];

impl Mount {
    fn apply(&self) -> std::io::Result<()> {
        fs::create_dir_all(self.target)?;
        match mount(self.kind, self.target, self.kind, self.flags, self.options) {
            // The kernel itself may have mounted it (devtmpfs).
            Err(rustix::io::Errno::BUSY) => Ok(()),
            result => Ok(result?),
        }
    }
}

/// What everything else needs.
pub(super) fn mount_early() -> Result<(), BootError> {
    for mount in &EARLY {
        mount
            .apply()
            .map_err(|error| BootError::new(format!("mount {}", mount.target), error))?;
    }
    Ok(())
}

/// What processes expect. A kernel may lack one or the other, which then fails where it is used.
pub(super) fn mount_late() {
    for mount in &LATE {
        if let Err(error) = mount.apply() {
            crate::console(&format!("cannot mount {}: {error}", mount.target));
        }
    }
    let links = [
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
        ("/proc/kcore", "/dev/core"),
    ];
    for (target, link) in links {
        // Some kernels' devtmpfs has them already.
        let _ = symlink(target, link);
    }
    if Path::new("/dev/pts/ptmx").exists() {
        let _ = fs::remove_file("/dev/ptmx");
        let _ = symlink("pts/ptmx", "/dev/ptmx");
    }
}

/// Standard input, output and error on the console: the kernel opened them only if the initramfs had the device.
pub(super) fn open_console() {
    // Without a console there is nobody to write to, and nothing else changes.
    let Ok(console) = rustix::fs::open(
        "/dev/console",
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    ) else {
        return;
    };
    let _ = rustix::stdio::dup2_stdin(&console);
    let _ = rustix::stdio::dup2_stdout(&console);
    let _ = rustix::stdio::dup2_stderr(&console);
}
