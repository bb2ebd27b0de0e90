//! How a VMM is ended, and how all that its launch left is removed.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path, time::Duration};

use hearth_ids::MachineId;
use rustix::process::Signal;
use tokio::time::{Instant, timeout_at};

use super::{cleaning_marker, keeper_file, pid_file};
use crate::{DriverError, process::ProcessId};

/// How long a killed process may take to be gone: one in uninterruptible sleep takes as long as its disk.
pub(super) const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// How long keepers may take to write down what is left in the pipe, and then to be gone when they are killed.
const KEEPER_DEADLINE: Duration = Duration::from_secs(2);
/// How often a folder is tried to be removed, and the rest before the next time.
const REMOVALS_MAX: u32 = 50;
const REMOVAL_REST: Duration = Duration::from_millis(10);

/// Kills a VMM, and waits for the end of its keeper.
pub(super) async fn kill(process: ProcessId, folder: &Path) -> Result<(), DriverError> {
    kill_vmm(process).await?;
    settle_of(process, folder, Instant::now() + KEEPER_DEADLINE).await;
    Ok(())
}

async fn kill_vmm(process: ProcessId) -> Result<(), DriverError> {
    let gone = process
        .kill(KILL_DEADLINE)
        .await
        .map_err(DriverError::io(format!("kill process {}", process.pid)))?;
    if !gone {
        return Err(DriverError::TimedOut {
            action: "end by SIGKILL".into(),
            timeout_ms: 10_000,
        });
    }
    Ok(())
}

/// Waits until the keeper has written down the last words of a VMM that has ended. At once, if the folder's VMM lives.
pub async fn settle(folder: &Path) {
    match ProcessId::read_file(&pid_file(folder)) {
        Ok(Some(vmm)) if !vmm.is_alive() => settle_of(vmm, folder, Instant::now() + KEEPER_DEADLINE).await,
        _ => {}
    }
}

async fn settle_of(vmm: ProcessId, folder: &Path, until: Instant) {
    let Ok(Some(keeper)) = Named::read(&keeper_file(folder, vmm)) else {
        return;
    };
    if is_ours(&keeper, folder, None) {
        settle_all(&[keeper.process], until).await;
    }
}

/// Waits for keepers until then, and kills those that are left: only such as somebody else still writes to, which none
/// should.
async fn settle_all(keepers: &[ProcessId], until: Instant) {
    if timeout_at(until, all_ended(keepers)).await.is_ok() {
        return;
    }
    for keeper in keepers {
        let _ = keeper.signal(Signal::KILL);
    }
    let _ = timeout_at(until + KEEPER_DEADLINE, all_ended(keepers)).await;
}

async fn all_ended(processes: &[ProcessId]) {
    for process in processes {
        process.ended().await;
    }
}

/// Until when a clean waits for keepers: once, from when it first does, however many there seem to be and however often it
/// tries. A VMM's user that broke out can make as many that look like keepers as it likes.
#[derive(Default)]
struct Patience(Option<Instant>);

impl Patience {
    fn until(&mut self) -> Instant {
        *self.0.get_or_insert_with(|| Instant::now() + KEEPER_DEADLINE)
    }
}

/// Ends the VMM of a folder, if there is one, and removes the folder with all that is in it. Needs no handle, and may
/// be called at any moment of a launch, and again.
pub async fn clean(machine: MachineId, folder: &Path) -> Result<(), DriverError> {
    let (mut removed, mut patience) = (Ok(()), Patience::default());
    for _ in 0..REMOVALS_MAX {
        if !mark(folder)? {
            return Ok(());
        }
        end(machine, folder, &mut patience).await?;
        removed = remove(folder);
        if removed.is_ok() {
            return Ok(());
        }
        // A launcher is in the way, which is being told off or is found at the next turn.
        tokio::time::sleep(REMOVAL_REST).await;
    }
    removed.map_err(DriverError::io(format!("remove the folder {}", folder.display())))
}

/// Tells launchers that the machine is being removed. `false` if there is no folder.
fn mark(folder: &Path) -> Result<bool, DriverError> {
    let marker = cleaning_marker(folder);
    // Only ever made anew: the VMM may have put a link there, which root must not follow.
    match fs::File::create_new(&marker) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(DriverError::io(format!("write {}", marker.display()))(e)),
    }
}

/// Ends the VMM that the pid file names, and its keeper.
async fn end(machine: MachineId, folder: &Path, patience: &mut Patience) -> Result<(), DriverError> {
    let path = pid_file(folder);
    let named = Named::read(&path).map_err(DriverError::io(format!("read the pid file {}", path.display())))?;
    let Some(named) = named else { return Ok(()) };
    let vmm = named.process;
    if is_ours(&named, folder, Some(machine)) {
        kill_vmm(vmm).await?;
    }
    if vmm.is_alive() {
        // A stranger, whom the VMM named.
        return Ok(());
    }
    if keeper_file(folder, vmm).exists() {
        settle_of(vmm, folder, patience.until()).await;
    } else {
        // It ended before it could write down whom it had forked.
        settle_forked(folder, patience.until()).await;
    }
    Ok(())
}

/// Waits for the keeper of a launcher that is gone and did not name it: it has the launcher's arguments and
/// working folder, and ends by itself at the end of the pipe.
async fn settle_forked(folder: &Path, until: Instant) {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let processes = pids.filter_map(|pid: u32| ProcessId::of(pid).ok());
    let names_it = |process: &ProcessId| {
        let arguments = process.arguments().unwrap_or_default();
        let mut arguments = arguments.iter();
        arguments.any(|argument| argument == folder.as_os_str().as_encoded_bytes())
    };
    let keepers = processes.filter(|process| process.works_in(folder) && names_it(process));
    settle_all(&keepers.collect::<Vec<_>>(), until).await;
}

/// Whom a file in the machine's folder names.
struct Named {
    process: ProcessId,
    /// Whether we, or the launcher before it became another user, wrote the file.
    by_us: bool,
}

impl Named {
    fn read(path: &Path) -> io::Result<Option<Self>> {
        let own = rustix::process::geteuid().as_raw();
        let read = ProcessId::read_owned_file(path)?;
        Ok(read.map(|(process, owner)| Self {
            process,
            by_us: owner == own,
        }))
    }
}

/// A folder belongs to the VMM's user, who may have put a file of its own there that names another's process: an
/// administrator's shell, for one, that works in the folder. Such a file is believed of that user's processes only. Of
/// those that we named ourselves, ours is also one that works in the folder, as the launcher does from before its exec,
/// and one that names the machine or its folder.
///
/// In the middle of an exec, which takes as long as the host is busy, a process shows no arguments. The launcher's exec
/// and that into the jailer are made in the folder. The jailer then goes to its jail, and becomes the user before it
/// becomes the VMM: the questions are asked in that order, so that no exec falls between two of them.
fn is_ours(named: &Named, folder: &Path, machine: Option<MachineId>) -> bool {
    let process = named.process;
    let shown = || process.works_in(folder) || is_named(process, folder, machine);
    named.by_us && shown() || is_of_owner(process, folder)
}

fn is_named(process: ProcessId, folder: &Path, machine: Option<MachineId>) -> bool {
    let mut names = vec![folder.as_os_str().as_encoded_bytes().to_vec()];
    names.extend(machine.map(|m| m.to_string().into_bytes()));
    let arguments = process.arguments().unwrap_or_default();
    arguments.iter().any(|a| names.iter().any(|name| contains(a, name)))
}

fn is_of_owner(process: ProcessId, folder: &Path) -> bool {
    let owner = fs::symlink_metadata(folder).map(|m| m.uid());
    owner.is_ok_and(|owner| process.uid().is_ok_and(|uid| uid == owner))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && haystack.windows(needle.len()).any(|w| w == needle)
}

/// Removes the folder and what is in it, the marker last.
fn remove(folder: &Path) -> io::Result<()> {
    empty(folder).and_then(|()| vanish(folder)).or_else(or_gone)
}

/// Removes all but the marker.
fn empty(folder: &Path) -> io::Result<()> {
    let marker = cleaning_marker(folder);
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path != marker {
            remove_entry(&path)?;
        }
    }
    Ok(())
}

/// Removes an empty folder. Of what has come into it meanwhile nothing is removed: a launcher that did not find the
/// marker any more is thus either in the way, or without a folder.
fn vanish(folder: &Path) -> io::Result<()> {
    remove_entry(&cleaning_marker(folder))?;
    fs::remove_dir(folder)
}

fn remove_entry(path: &Path) -> io::Result<()> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let removed = if is_folder {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    removed.or_else(or_gone)
}

fn or_gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launcher_meets_the_marker_until_the_folder_can_go() {
        let folder = tempfile::tempdir().unwrap();
        let machine = folder.path().join("vm");
        fs::create_dir_all(machine.join("jail/root")).unwrap();
        fs::write(machine.join("console.log"), "up").unwrap();
        assert!(mark(&machine).unwrap());
        empty(&machine).unwrap();
        let left: Vec<_> = fs::read_dir(&machine).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(left, [cleaning_marker(&machine)]);
        vanish(&machine).unwrap();
        assert!(!machine.exists() && !mark(&machine).unwrap());
        remove(&machine).unwrap();
    }

    #[test]
    fn a_launcher_that_came_when_the_marker_went_is_not_lost_sight_of() {
        let folder = tempfile::tempdir().unwrap();
        let machine = folder.path().join("vm");
        fs::create_dir(&machine).unwrap();
        let launcher = ProcessId::own().unwrap();
        launcher.write_file(&pid_file(&machine)).unwrap();
        assert!(vanish(&machine).is_err());
        assert_eq!(ProcessId::read_file(&pid_file(&machine)).unwrap(), Some(launcher));
    }

    #[test]
    fn whatever_stands_in_place_of_the_marker_goes() {
        let folder = tempfile::tempdir().unwrap();
        let machine = folder.path().join("vm");
        fs::create_dir_all(cleaning_marker(&machine).join("folder")).unwrap();
        assert!(mark(&machine).unwrap());
        remove(&machine).unwrap();
        assert!(!machine.exists());
    }
}
