//! Processes that show no arguments: between an exec that took away the old ones and the moment when the new ones are
//! in place, nobody's are to be seen. That moment lasts as long as the host is busy, so here it lasts for ever.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

use std::{ffi::OsString, fs, os::unix::fs::chown, time::Duration};

use hearth_driver::{
    launch::{self, LaunchPlan, Launcher},
    process::{self, ProcessId},
};
use hearth_ids::MachineId;
use rustix::fs::{CWD, FileType, Mode};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(10);
/// Who never has a process of its own: owns the folder, and is not who runs the launcher.
const OWNER: u32 = 1_879_000_124;

/// A machine's folder that belongs to another user; `None`, and says so, where that cannot be made.
fn folder() -> Option<TempDir> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root (a folder of another user)");
        return None;
    }
    let folder = TempDir::new().unwrap();
    let machine = folder.path().join("vm");
    fs::create_dir(&machine).unwrap();
    rustix::fs::mknodat(CWD, machine.join("wait"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    chown(&machine, Some(OWNER), Some(OWNER)).unwrap();
    Some(folder)
}

/// A script that becomes a process whose one argument is empty, and which waits for what never comes.
fn nameless(wait: &str) -> [OsString; 2] {
    ["-c".into(), format!("exec -a '' cat <>{wait}").into()]
}

/// Cleans once the process shows nothing that would name it.
async fn is_cleaned(launcher: &Launcher, plan: &LaunchPlan) {
    let process = launcher.spawn(plan).unwrap();
    let nameless = || process.arguments().is_ok_and(|shown| shown == [b"", b""]);
    assert!(process::until(DEADLINE, nameless).await);
    let cleaned = launch::clean(MachineId::new(), &plan.folder).await;
    let left = process.is_alive();
    process.kill(DEADLINE).await.unwrap();
    cleaned.unwrap();
    assert!(!left, "clean left the process {}", process.pid);
    assert!(!plan.folder.exists());
}

#[tokio::test]
async fn clean_knows_a_vmm_in_the_middle_of_its_exec() {
    let Some(folder) = folder() else { return };
    let launcher = Launcher::new(env!("CARGO_BIN_EXE_hearth-vmm-launch"), [""; 0]);
    // As the jailer is launched, which drops privileges itself.
    let plan = LaunchPlan {
        args: nameless("wait").into(),
        user: None,
        ..LaunchPlan::new(folder.path().join("vm"), "/bin/bash")
    };
    is_cleaned(&launcher, &plan).await;
}

#[tokio::test]
async fn clean_knows_a_launcher_in_the_middle_of_its_exec() {
    let Some(folder) = folder() else { return };
    // What follows the script is what the launcher is told, first of all the folder.
    let launcher = Launcher::new("/bin/bash", nameless("\"$1/wait\""));
    let plan = LaunchPlan::new(folder.path().join("vm"), "/nonexistent/vmm");
    is_cleaned(&launcher, &plan).await;
}

#[tokio::test]
async fn clean_spares_whom_the_vmm_itself_named() {
    let Some(folder) = folder() else { return };
    let machine = folder.path().join("vm");
    // As an administrator's shell that looks at the folder.
    let mut shell = std::process::Command::new("sleep")
        .arg("600")
        .current_dir(&machine)
        .spawn()
        .unwrap();
    let named = launch::pid_file(&machine);
    let stranger = ProcessId::of(shell.id()).unwrap();
    stranger.write_file(&named).unwrap();
    chown(&named, Some(OWNER), Some(OWNER)).unwrap();
    let cleaned = launch::clean(MachineId::new(), &machine).await;
    let lives = stranger.is_alive();
    shell.kill().unwrap();
    shell.wait().unwrap();
    cleaned.unwrap();
    assert!(
        lives,
        "clean killed a process that only the VMM's user said to be the VMM"
    );
    assert!(!machine.exists());
}
