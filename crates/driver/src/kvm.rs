//! Does KVM work here? Found out by use.
//!
//! That `/dev/kvm` opens is no proof: under some hypervisors KVM exists although the CPU has no virtualisation
//! extension, and then interprets a guest kernel instruction by instruction, in slow motion. So two things are asked:
//! the CPU's flags, and a virtual machine of one page that must run to its end.

use std::{
    fs, io,
    sync::{OnceLock, mpsc},
    time::Duration,
};

use thiserror::Error;

/// How long the one-page machine may take. It needs well below a millisecond.
const TRIAL_TIMEOUT: Duration = Duration::from_millis(100);

/// Why KVM cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KvmUnusable {
    /// No `/dev/kvm`.
    #[error("/dev/kvm does not exist")]
    Absent,
    /// It does not open.
    #[error("/dev/kvm does not open: {reason}")]
    Closed {
        /// The system's words.
        reason: String,
    },
    /// The CPU has no virtualisation extension.
    #[error("/dev/kvm exists, but the CPU shows neither vmx nor svm")]
    NoCpuSupport,
    /// The trial machine did not run.
    #[error("a trial machine failed: {reason}")]
    TrialFailed {
        /// What happened.
        reason: String,
    },
    /// The trial machine ran, far too slowly.
    #[error("a trial machine did not end within {} ms", TRIAL_TIMEOUT.as_millis())]
    TrialTimedOut,
}

impl KvmUnusable {
    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Absent => {
                "load the module (`modprobe kvm_intel` or `modprobe kvm_amd`) and enable virtualisation in the \
                 firmware or, inside a virtual machine, nested virtualisation on its host"
            }
            Self::Closed { .. } => "run as root or add the user to the group `kvm`",
            Self::NoCpuSupport => "enable virtualisation in the firmware, or nested virtualisation on the host",
            Self::TrialFailed { .. } | Self::TrialTimedOut => "look for KVM's messages in `dmesg`",
        }
    }
}

/// Whether KVM works. Tried once per process.
pub fn usable() -> Result<(), KvmUnusable> {
    static RESULT: OnceLock<Result<(), KvmUnusable>> = OnceLock::new();
    RESULT.get_or_init(probe).clone()
}

fn probe() -> Result<(), KvmUnusable> {
    match fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(KvmUnusable::Absent),
        Err(e) => return Err(KvmUnusable::Closed { reason: e.to_string() }),
    }
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !cpu_virtualises(&cpuinfo) {
        return Err(KvmUnusable::NoCpuSupport);
    }
    trial_in_time(TRIAL_TIMEOUT)
}

/// The features of the host's first processor, sorted: what guests under KVM may see of it.
pub fn cpu_features() -> Vec<String> {
    features_in(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

fn features_in(cpuinfo: &str) -> Vec<String> {
    let mut features: Vec<String> = flags(cpuinfo).take(1).flatten().map(str::to_owned).collect();
    features.sort_unstable();
    features
}

fn cpu_virtualises(cpuinfo: &str) -> bool {
    flags(cpuinfo).flatten().any(|flag| flag == "vmx" || flag == "svm")
}

/// The flags of each processor.
fn flags(cpuinfo: &str) -> impl Iterator<Item = std::str::SplitAsciiWhitespace<'_>> {
    let fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    fields
        .filter(|(key, _)| key.trim() == "flags")
        .map(|(_, flags)| flags.split_ascii_whitespace())
}

fn trial_in_time(timeout: Duration) -> Result<(), KvmUnusable> {
    let (sender, receiver) = mpsc::channel();
    // A vCPU that never returns cannot be called back; the thread then stays until the process ends. Once at most,
    // since the result is kept.
    std::thread::spawn(move || sender.send(trial::run()));
    match receiver.recv_timeout(timeout) {
        Ok(result) => result.map_err(|reason| KvmUnusable::TrialFailed { reason }),
        Err(_) => Err(KvmUnusable::TrialTimedOut),
    }
}

#[cfg(target_arch = "x86_64")]
mod trial {
    use kvm_bindings::kvm_userspace_memory_region;
    use kvm_ioctls::{Kvm, VcpuExit};
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

    const PAGE: usize = 4096;
    const GUEST_ADDRESS: u64 = 0x1000;
    const PORT: u16 = 0x10;
    /// `mov al, 42; out 0x10, al; hlt`
    const PROGRAM: [u8; 5] = [0xb0, 42, 0xe6, 0x10, 0xf4];

    struct Page(*mut std::ffi::c_void);

    impl Page {
        #[expect(unsafe_code, reason = "guest memory must be a mapping that stays where it is")]
        fn new() -> Result<Self, String> {
            // SAFETY: a new mapping, at an address of the kernel's choice.
            let page = unsafe {
                mmap_anonymous(
                    std::ptr::null_mut(),
                    PAGE,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::PRIVATE,
                )
            }
            .map_err(|e| format!("cannot map a page: {e}"))?;
            // SAFETY: the mapping is writable, larger than the program, and nobody else's.
            unsafe {
                std::ptr::copy_nonoverlapping(PROGRAM.as_ptr(), page.cast(), PROGRAM.len());
            }
            Ok(Self(page))
        }
    }

    impl Drop for Page {
        #[expect(unsafe_code, reason = "the counterpart of the mapping")]
        fn drop(&mut self) {
            // SAFETY: mapped by `new` with this length, and no VM uses it any more: it was made before the VM and so
            // is dropped after it.
            let _ = unsafe { munmap(self.0, PAGE) };
        }
    }

    pub(super) fn run() -> Result<(), String> {
        let page = Page::new()?;
        let kvm = Kvm::new().map_err(|e| format!("cannot open /dev/kvm: {e}"))?;
        let vm = kvm.create_vm().map_err(|e| format!("cannot create a VM: {e}"))?;
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: GUEST_ADDRESS,
            memory_size: PAGE as u64,
            userspace_addr: page.0 as u64,
        };
        #[expect(unsafe_code, reason = "the kernel cannot know that the mapping outlives the VM")]
        // SAFETY: `page` is mapped, of that size, and dropped after `vm`.
        unsafe { vm.set_user_memory_region(region) }.map_err(|e| format!("cannot give it memory: {e}"))?;
        let mut vcpu = vm.create_vcpu(0).map_err(|e| format!("cannot create a vCPU: {e}"))?;
        let mut sregs = vcpu.get_sregs().map_err(|e| format!("cannot read registers: {e}"))?;
        sregs.cs.base = 0;
        sregs.cs.selector = 0;
        vcpu.set_sregs(&sregs)
            .map_err(|e| format!("cannot set registers: {e}"))?;
        let mut regs = vcpu.get_regs().map_err(|e| format!("cannot read registers: {e}"))?;
        regs.rip = GUEST_ADDRESS;
        regs.rflags = 2;
        vcpu.set_regs(&regs).map_err(|e| format!("cannot set registers: {e}"))?;
        match vcpu.run() {
            Ok(VcpuExit::IoOut(PORT, [42])) => {}
            other => return Err(format!("expected an output, got {other:?}")),
        }
        match vcpu.run() {
            Ok(VcpuExit::Hlt) => Ok(()),
            other => Err(format!("expected a halt, got {other:?}")),
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod trial {
    pub(super) fn run() -> Result<(), String> {
        Err("the trial machine is written for x86-64".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_flags_line_and_no_other() {
        assert!(cpu_virtualises("model name\t: x\nflags\t\t: fpu vmx sse\n"));
        assert!(cpu_virtualises("flags : svm\n"));
        assert!(!cpu_virtualises(
            "flags\t\t: fpu sse svm_lock\nvmx flags\t: vnmi\nbugs\t: svm vmx\n"
        ));
    }

    #[test]
    fn features_are_those_of_one_processor_in_order() {
        let cpuinfo = "vmx flags\t: vnmi\nflags\t\t: vmx fpu\nflags\t\t: sse\n";
        assert_eq!(features_in(cpuinfo), ["fpu", "vmx"]);
        assert!(features_in("").is_empty());
    }

    #[test]
    fn the_trial_ends_in_time_whatever_kvm_does() {
        if !std::path::Path::new("/dev/kvm").exists() {
            eprintln!("SKIPPED: /dev/kvm");
            return;
        }
        let begin = std::time::Instant::now();
        let result = trial_in_time(Duration::from_secs(2));
        assert!(begin.elapsed() < Duration::from_secs(3));
        eprintln!("trial machine: {result:?}; usable: {:?}", usable());
    }
}
