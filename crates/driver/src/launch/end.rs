//! How a VMM is ended, and how all that its launch left is removed.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path, time::Duration};

use hearth_ids::MachineId;

use super::{cleaning_marker, keeper_file, pid_file};
use crate::{DriverError, process::ProcessId};

/// How long a killed process may take to be gone: one in uninterruptible sleep takes as long as its disk.
pub(super) const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// How long a keeper may take to write down what is left in the pipe.
const KEEPER_DEADLINE: Duration = Duration::from_secs(2);

pub(super) async fn kill(process: ProcessId, folder: &Path) -> Result<(), DriverError> {
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
    settle_of(process, folder).await;
    Ok(())
}

/// Waits until the keeper has written down the last words of a VMM that has ended. At once, if the folder's VMM lives.
pub async fn settle(folder: &Path) {
    match ProcessId::read_file(&pid_file(folder)) {
        Ok(Some(vmm)) if !vmm.is_alive() => settle_of(vmm, folder).await,
        _ => {}
    }
}

async fn settle_of(vmm: ProcessId, folder: &Path) {
    let Ok(Some(keeper)) = ProcessId::read_file(&keeper_file(folder, vmm)) else {
        return;
    };
    if is_ours(keeper, folder, None) && tokio::time::timeout(KEEPER_DEADLINE, keeper.ended()).await.is_err() {
        // Only one that somebody else still writes to, which none should.
        let _ = keeper.kill(KEEPER_DEADLINE).await;
    }
}

/// Ends the VMM of a folder, if there is one, and removes the folder with all that is in it. Needs no handle, and may
/// be called at any moment of a launch, and again.
pub async fn clean(machine: MachineId, folder: &Path) -> Result<(), DriverError> {
    let marker = cleaning_marker(folder);
    // Only ever made anew: the VMM may have put a link there, which root must not follow.
    match fs::File::create_new(&marker) {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(DriverError::io(format!("write {}", marker.display()))(e)),
    }
    let path = pid_file(folder);
    let process =
        ProcessId::read_file(&path).map_err(DriverError::io(format!("read the pid file {}", path.display())))?;
    if let Some(process) = process.filter(|p| is_ours(*p, folder, Some(machine))) {
        kill(process, folder).await?;
        if !keeper_file(folder, process).exists() {
            // Killed before it could write down whom it had forked.
            settle_forked(folder).await;
        }
    }
    settle(folder).await;
    remove_folder(folder).await
}

/// Waits for the keeper of a launcher that is gone and did not name it: it has the launcher's arguments, and ends by
/// itself at the end of the pipe.
async fn settle_forked(folder: &Path) {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let processes = pids.filter_map(|pid: u32| ProcessId::of(pid).ok());
    let names_it = |process: &ProcessId| {
        let arguments = process.arguments().unwrap_or_default();
        arguments
            .iter()
            .any(|argument| argument == folder.as_os_str().as_encoded_bytes())
    };
    for keeper in processes.filter(names_it) {
        if is_ours(keeper, folder, None) && tokio::time::timeout(KEEPER_DEADLINE, keeper.ended()).await.is_err() {
            let _ = keeper.kill(KEEPER_DEADLINE).await;
        }
    }
}

/// A folder's files belong to the VMM's user, who may have written another's pid there. Ours is a process that works in
/// the folder, as the launcher does from before its exec; one that names the machine or its folder; or one of that user.
///
/// In the middle of an exec, which takes as long as the host is busy, a process shows no arguments. The launcher's exec
/// and that into the jailer are made in the folder. The jailer then goes to its jail, and becomes the user before it
/// becomes the VMM: the questions are asked in that order, so that no exec falls between two of them.
fn is_ours(process: ProcessId, folder: &Path, machine: Option<MachineId>) -> bool {
    process.works_in(folder) || is_named(process, folder, machine) || is_of_owner(process, folder)
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

/// A launcher that is just being told off may still write into it: try again for a while.
async fn remove_folder(folder: &Path) -> Result<(), DriverError> {
    let mut result = Ok(());
    for _ in 0..50 {
        result = match fs::remove_dir_all(folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        if result.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    result.map_err(DriverError::io(format!("remove the folder {}", folder.display())))
}
