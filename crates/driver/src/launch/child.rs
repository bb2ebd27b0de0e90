//! The launcher itself: a process of one thread that turns into the VMM.

use std::{
    ffi::{OsStr, OsString},
    fmt, fs,
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd, RawFd},
        unix::{
            ffi::{OsStrExt, OsStringExt},
            process::CommandExt,
        },
    },
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use rustix::{
    fs::Mode,
    io::Errno,
    mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change, mount_remount},
    process::{DumpableBehavior, Gid, Resource, Rlimit, Uid, set_dumpable_behavior, setrlimit, setsid, umask},
    thread::{
        CapabilitySet, CapabilitySets, LinkNameSpaceType, UnshareFlags, clear_ambient_capability_set,
        move_into_link_name_space, remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
        set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};

use super::{
    DEVICES_FD, EXIT_EXEC, EXIT_PREPARE, EXIT_USAGE, GuestMemory, LAYERS_FD, LaunchPlan, MEMORY_FD, ROOT_FD, STDIN_FD,
    TAP_FD, arguments, cleaning_marker, keeper, keeper_file, pid_file, tap,
};
use crate::{VmmUser, memory, process::ProcessId};

/// What could not be done, and why.
struct Failure {
    exit: u8,
    action: String,
    source: io::Error,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hearth: cannot {}: {}", self.action, self.source)
    }
}

trait Doing<T> {
    fn doing(self, action: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, action: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|e| Failure {
            exit: EXIT_PREPARE,
            action: action(),
            source: e.into(),
        })
    }
}

/// The hidden subcommand. Returns only where the VMM could not be started; the reason is then in the machine's output
/// file. The process must have one thread.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    close_inherited_files();
    let plan = match arguments::parse(args) {
        Ok(plan) => plan,
        Err(message) => {
            let _ = writeln!(io::stderr(), "vmm-launch is started by Hearth itself: {message}");
            return EXIT_USAGE.into();
        }
    };
    match launch(&plan) {
        Ok(never) => match never {},
        Err(failure) => {
            // Standard output leads to the output file by now, if anything could be opened at all.
            let _ = writeln!(io::stdout(), "{failure}");
            failure.exit.into()
        }
    }
}

fn launch(plan: &LaunchPlan) -> Result<std::convert::Infallible, Failure> {
    umask(Mode::from_raw_mode(0o077));
    announce(plan)?;
    let output = keeper::open_output(&plan.folder).doing(|| format!("open the output in {}", plan.folder.display()))?;
    if let Some(user) = plan.user {
        // The keeper opens it again, as that user.
        std::os::unix::fs::fchown(&output, Some(user.uid), Some(user.gid)).doing(|| "give the output away".into())?;
    }
    redirect(&output)?;
    drop(output);
    join_cgroups(plan)?;
    limit(plan)?;
    enter_namespaces(plan)?;
    if let Some(GuestMemory::Jailed { files, .. }) = &plan.memory {
        show_own_files(files)?;
    }
    let tap = plan
        .tap
        .as_deref()
        .map(|name| tap::open(name).doing(|| format!("open the tap {name}")))
        .transpose()?;
    let files = open_files(plan)?;
    setsid().doing(|| "begin a session".into())?;
    std::env::set_current_dir(&plan.folder).doing(|| format!("enter {}", plan.folder.display()))?;
    set_no_new_privs(true).doing(|| "renounce new privileges".into())?;
    if let Some(user) = plan.user {
        drop_privileges(user)?;
    }
    let gifts = Gifts {
        tap: tap.map(OwnedFd::from),
        files,
    };
    keep_output(plan, &gifts)?;
    execute(plan, &gifts)
}

/// Open files for the VMM.
struct Gifts {
    tap: Option<OwnedFd>,
    /// With the number at which the VMM finds it.
    files: Vec<(OwnedFd, RawFd)>,
}

/// The root, the layers and what was saved, in folders that the VMM's user must not enter; and the guest's memory.
fn open_files(plan: &LaunchPlan) -> Result<Vec<(OwnedFd, RawFd)>, Failure> {
    let open = |what: &str, path: &Path| {
        let file = fs::File::open(path).doing(|| format!("read the {what} {}", path.display()))?;
        Ok(OwnedFd::from(file))
    };
    let root = plan.root.iter().map(|path| Ok((open("root", path)?, ROOT_FD)));
    let layers = (LAYERS_FD..).zip(&plan.layers);
    let layers = layers.map(|(number, path)| Ok((open("layer", path)?, number)));
    let devices = plan.devices.iter();
    let devices = devices.map(|path| Ok((open("saved devices", path)?, DEVICES_FD)));
    let memory = plan.memory.iter().map(|memory| match memory {
        GuestMemory::Empty(bytes) => {
            let file = memory::empty(*bytes).doing(|| "make the guest's memory".into())?;
            Ok((file, MEMORY_FD))
        }
        GuestMemory::Saved(path) => Ok((open("saved memory", path)?, MEMORY_FD)),
        GuestMemory::Jailed { saved, .. } => Ok((open("saved memory", saved)?, STDIN_FD)),
    });
    root.chain(layers).chain(devices).chain(memory).collect()
}

/// Open files of the daemon that were not marked close-on-exec would otherwise reach the guest's VMM. Nothing of our
/// own is open yet.
fn close_inherited_files() {
    #[expect(unsafe_code, reason = "close_range has no safe form")]
    // SAFETY: called first of all, by the only thread, when no object owns any file but the standard three.
    let result = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    debug_assert_eq!(result, 0, "Linux 5.9 has it");
}

/// Tells who we are, before anything that could outlast a daemon that dies now.
fn announce(plan: &LaunchPlan) -> Result<(), Failure> {
    let path = pid_file(&plan.folder);
    ProcessId::own()
        .and_then(|own| own.write_file(&path))
        .doing(|| format!("write {}", path.display()))?;
    if cleaning_marker(&plan.folder).symlink_metadata().is_ok() {
        return Err(io::Error::other("the machine is being removed")).doing(|| "start the VMM".into());
    }
    Ok(())
}

fn redirect(output: impl AsFd) -> Result<(), Failure> {
    rustix::stdio::dup2_stdout(&output).doing(|| "redirect standard output".into())?;
    rustix::stdio::dup2_stderr(&output).doing(|| "redirect standard error".into())
}

fn join_cgroups(plan: &LaunchPlan) -> Result<(), Failure> {
    for cgroup in &plan.cgroups {
        let procs = cgroup.join("cgroup.procs");
        fs::write(&procs, std::process::id().to_string()).doing(|| format!("join the cgroup {}", cgroup.display()))?;
    }
    Ok(())
}

fn limit(plan: &LaunchPlan) -> Result<(), Failure> {
    let fixed = |n| Rlimit {
        current: Some(n),
        maximum: Some(n),
    };
    // A core would be the guest's memory on the host's disk.
    setrlimit(Resource::Core, fixed(0)).doing(|| "forbid core dumps".into())?;
    setrlimit(Resource::Nofile, fixed(plan.max_open_files)).doing(|| "limit open files".into())?;
    fs::write("/proc/self/oom_score_adj", plan.oom_score_adj.to_string()).doing(|| "set oom_score_adj".into())
}

fn enter_namespaces(plan: &LaunchPlan) -> Result<(), Failure> {
    if let Some(netns) = &plan.netns {
        let file = fs::File::open(netns).doing(|| format!("open the network namespace {}", netns.display()))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .doing(|| format!("enter the network namespace {}", netns.display()))?;
    }
    if !rustix::process::geteuid().is_root() {
        // An ordinary user's daemon, for development: the VMM runs as that same user, without further walls.
        return Ok(());
    }
    #[expect(
        unsafe_code,
        reason = "rustix marks unshare unsafe for the sake of FILES, which is not among the flags"
    )]
    // SAFETY: there is one thread, and its table of files stays.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS) }
        .doing(|| "make namespaces".into())?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .doing(|| "make the mounts private".into())?;
    if plan.user.is_some() {
        hide_others()?;
    }
    Ok(())
}

/// Shows a VMM no process but its own. (Without capabilities, and as a user of its own, it could do nothing to them
/// anyway.) A PID namespace would hide them as well, but needs one more process between the daemon and each VMM, and
/// the VMM would no longer be the process that was launched.
fn hide_others() -> Result<(), Failure> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match mount("proc", "/proc", "proc", flags, c"hidepid=invisible") {
        // Before Linux 5.8 the word is unknown, and the option would have been that of all mounts; and within some
        // containers /proc must not be mounted.
        Err(Errno::INVAL | Errno::PERM) => Ok(()),
        other => other.doing(|| "mount a /proc of its own".into()),
    }
}

/// Shows the program that this process becomes its own open files in a folder of its root. The mount is seen in the
/// namespace of this process alone, and goes with it.
fn show_own_files(folder: &Path) -> Result<(), Failure> {
    let mount = || {
        mount_bind("/proc/self/fd", folder)?;
        let flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount_remount(folder, flags, "")
    };
    mount().doing(|| format!("show the VMM its open files in {}", folder.display()))
}

fn drop_privileges(user: VmmUser) -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        // From the first to the last that this kernel knows.
        for capability in 0..64 {
            if remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << capability)).is_err() {
                break;
            }
        }
        set_thread_groups(&[]).doing(|| "drop the groups".into())?;
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_thread_res_gid(gid, gid, gid).doing(|| format!("become group {}", user.gid))?;
    set_thread_res_uid(uid, uid, uid).doing(|| format!("become user {}", user.uid))?;
    clear_ambient_capability_set().doing(|| "drop the ambient capabilities".into())?;
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )
    .doing(|| "drop the capabilities".into())
}

/// Puts a keeper between the VMM's output and the disk.
fn keep_output(plan: &LaunchPlan, gifts: &Gifts) -> Result<(), Failure> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing(|| "make a pipe".into())?;
    // The change of user took it away; without it, one process of a user does not see another in a /proc that hides.
    set_dumpable_behavior(DumpableBehavior::Dumpable).doing(|| "become visible to the keeper".into())?;
    #[expect(unsafe_code, reason = "fork has no safe form")]
    // SAFETY: there is one thread, so the child may do whatever the parent may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()).doing(|| "fork".into()),
        0 => {
            drop(writer);
            for gift in gifts.tap.iter().chain(gifts.files.iter().map(|(file, _)| file)) {
                #[expect(
                    unsafe_code,
                    reason = "the parent's owner of the file lives on in our copy of its memory"
                )]
                // SAFETY: this process never uses the file, and leaves by `exit` without dropping its owner.
                unsafe {
                    libc::close(gift.as_raw_fd());
                }
            }
            let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null");
            if let Ok(null) = null {
                let _ = redirect(&null);
            }
            keeper::run(reader, &plan.folder, plan.output_max_bytes);
            std::process::exit(0)
        }
        child => {
            // Written on this side, so that it is there before a VMM that ends at once.
            let write = || {
                let vmm = ProcessId::own()?;
                ProcessId::of(child.unsigned_abs())?.write_file(&keeper_file(&plan.folder, vmm))
            };
            write().doing(|| "write who keeps the output".into())?;
            redirect(&writer)
        }
    }
}

fn execute(plan: &LaunchPlan, gifts: &Gifts) -> Result<std::convert::Infallible, Failure> {
    for (file, number) in &gifts.files {
        #[expect(unsafe_code, reason = "dup2 to a number of one's own choice has no safe form")]
        // SAFETY: nothing else has that number: there are a handful of open files. It is meant to stay open.
        let duplicated = unsafe { libc::dup2(file.as_raw_fd(), *number) };
        if duplicated < 0 {
            return Err(io::Error::last_os_error()).doing(|| "hand a file over".into());
        }
    }
    let mut number = String::new();
    if let Some(tap) = &gifts.tap {
        rustix::io::fcntl_setfd(tap, rustix::io::FdFlags::empty()).doing(|| "hand the tap over".into())?;
        number = tap.as_raw_fd().to_string();
    }
    let has_stdin = gifts.files.iter().any(|(_, number)| *number == STDIN_FD);
    let stdin = if has_stdin { Stdio::inherit() } else { Stdio::null() };
    let error = Command::new(&plan.program)
        .args(plan.args.iter().map(|arg| with_tap(arg, &number)))
        .env_clear()
        .stdin(stdin)
        .exec();
    Err(Failure {
        exit: EXIT_EXEC,
        action: format!("execute {}", plan.program.display()),
        source: error,
    })
}

fn with_tap(arg: &OsStr, number: &str) -> OsString {
    let (bytes, name) = (arg.as_bytes(), TAP_FD.as_bytes());
    match bytes.windows(name.len()).position(|w| w == name) {
        Some(at) => OsString::from_vec([&bytes[..at], number.as_bytes(), &bytes[at + name.len()..]].concat()),
        None => arg.to_owned(),
    }
}
