//! Network namespaces with a name, as `ip netns` keeps them: a file that the namespace is mounted on.
//!
//! Only threads made for it change their namespace. A worker of the runtime never does: whatever task it ran next
//! would find itself in another network.

use std::{
    fs::{self, File},
    io,
    path::Path,
    thread,
};

use nix::sched::{CloneFlags, setns, unshare};
use rustix::{
    io::Errno,
    mount::{MountPropagationFlags, UnmountFlags, mount_bind_recursive, mount_change, unmount},
};

/// Runs `work` on a short-lived thread of its own inside the namespace.
pub fn in_netns<T, F>(path: &Path, work: F) -> io::Result<T>
where
    T: Send,
    F: FnOnce() -> io::Result<T> + Send,
{
    on_own_thread(|| {
        enter(path)?;
        work()
    })
}

/// Runs `work` on a short-lived thread of its own, which may change its namespace.
pub(crate) fn on_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let handle = thread::Builder::new().name("netns".into()).spawn_scoped(scope, work)?;
        handle
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread inside the namespace panicked")))
    })
}

/// Moves the calling thread into the namespace, for good.
pub(crate) fn enter(path: &Path) -> io::Result<()> {
    setns(File::open(path)?, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
}

/// Makes a namespace and mounts it on `path`.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    File::create_new(path)?;
    on_own_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        rustix::mount::mount_bind("/proc/thread-self/ns/net", path)?;
        Ok(())
    })
}

/// Removes the name; the namespace itself goes with its last process and socket. Nothing there is fine.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    // A name may be mounted more than once when an attempt was cut short.
    loop {
        match unmount(path, UnmountFlags::DETACH) {
            Ok(()) => {}
            // Not a mount, or not there.
            Err(Errno::INVAL | Errno::NOENT) => break,
            Err(error) => return Err(error.into()),
        }
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the folder of names a mount of its own that is shared with other mount namespaces, as `ip netns add` does:
/// were it done later, by `ip`, our mounts would be hidden below its mount and could not be taken away.
pub(crate) fn prepare_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    match mount_change(folder, MountPropagationFlags::SHARED) {
        Err(Errno::INVAL) => {
            mount_bind_recursive(folder, folder)?;
            mount_change(folder, MountPropagationFlags::SHARED).map_err(io::Error::from)
        }
        done => done.map_err(io::Error::from),
    }
}
