//! The launcher as a real process, with ordinary programs in place of a VMM.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

use std::{fs, path::PathBuf, time::Duration};

use hearth_driver::{
    VmmExit, VmmUser,
    launch::{self, EXIT_EXEC, EXIT_PREPARE, EXIT_USAGE, LaunchPlan, Launcher},
    process::{self, ProcessId},
};
use hearth_ids::MachineId;
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(10);

fn launcher() -> Launcher {
    Launcher::new(env!("CARGO_BIN_EXE_hearth-vmm-launch"), [""; 0])
}

fn shell(folder: &TempDir, script: &str) -> LaunchPlan {
    let args = ["-c".into(), script.into()];
    LaunchPlan {
        args: args.to_vec(),
        ..LaunchPlan::new(folder.path().join("vm"), "/bin/sh")
    }
}

/// Starts it, waits for its end, and returns that and its output.
async fn run(plan: &LaunchPlan) -> (VmmExit, String) {
    let launcher = launcher();
    let process = launcher.spawn(plan).unwrap();
    let exit = tokio::time::timeout(DEADLINE, launcher.wait(process)).await.unwrap();
    launch::settle(&plan.folder).await;
    (
        exit,
        String::from_utf8_lossy(&launch::output_tail(&plan.folder, 10_000)).into_owned(),
    )
}

#[tokio::test]
async fn a_program_runs_in_its_folder_with_nothing_inherited() {
    let folder = TempDir::new().unwrap();
    let plan = shell(
        &folder,
        "pwd; ls /proc/self/fd | wc -l; env | grep -v -e PWD -e SHLVL -e _=; echo err >&2; exit 7",
    );
    // Open and not marked close-on-exec, as a library's may be.
    let leaked = rustix::io::fcntl_dupfd_cloexec(fs::File::open("/dev/null").unwrap(), 50).unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let (exit, output) = run(&plan).await;
    assert_eq!(
        exit,
        VmmExit {
            code: Some(7),
            signal: None
        }
    );
    // Standard input, output, error, and the folder that `ls` itself reads.
    assert_eq!(output, format!("{}\n4\nerr\n", plan.folder.display()));
}

#[tokio::test]
async fn images_are_handed_over_open_and_in_order() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| {
        let path = folder.path().join(name);
        fs::write(&path, format!("{name}\n")).unwrap();
        path
    };
    let plan = LaunchPlan {
        root: Some(file("root")),
        layers: vec![file("lower"), file("upper")],
        ..shell(
            &folder,
            "cat /proc/self/fd/100 /proc/self/fd/101 /proc/self/fd/102; ls /proc/self/fd | wc -l",
        )
    };
    assert_eq!(
        hearth_driver::launch::layer_path(1),
        std::path::Path::new("/proc/self/fd/102")
    );
    // Beside the three: the standard three, and what `ls` opened.
    assert_eq!(run(&plan).await.1, "root\nlower\nupper\n7\n");
    let absent = LaunchPlan {
        layers: vec!["/nonexistent/layer".into()],
        ..shell(&folder, "true")
    };
    let (exit, output) = run(&absent).await;
    assert_eq!(exit.code, Some(EXIT_PREPARE.into()));
    assert!(output.contains("cannot read the layer /nonexistent/layer"), "{output}");
}

#[tokio::test]
async fn a_vmm_sees_no_process_but_its_own() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root (mounts, another user)");
        return;
    }
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    let user = VmmUser {
        uid: 1_879_000_123,
        gid: 1_879_000_123,
    };
    let plan = LaunchPlan {
        user: Some(user),
        ..shell(&folder, "cd /proc; echo [0-9]*; ls -d self/fd 1 2>&1")
    };
    let (exit, output) = run(&plan).await;
    // The shell and its keeper.
    let seen = output.lines().next().unwrap_or_default().split(' ').count();
    assert_eq!(seen, 2, "{output}");
    assert!(
        output.contains("self/fd") && output.contains("'1': No such file"),
        "{output}"
    );
    assert_eq!(exit.code, Some(2));
    assert!(fs::read_dir("/proc/1").is_ok(), "it changed the host's own /proc");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains("hidepid=invisible"), "{mounts}");
}

#[tokio::test]
async fn failures_have_an_exit_code_and_a_reason() {
    let folder = TempDir::new().unwrap();
    let code = |code: u8| VmmExit {
        code: Some(code.into()),
        signal: None,
    };
    let absent = LaunchPlan::new(folder.path().join("a"), "/nonexistent/vmm");
    let (exit, output) = run(&absent).await;
    assert_eq!(exit, code(EXIT_EXEC));
    assert!(
        output.contains("cannot execute /nonexistent/vmm: No such file"),
        "{output}"
    );

    let lost = LaunchPlan {
        netns: Some("/nonexistent/netns".into()),
        ..LaunchPlan::new(folder.path().join("b"), "/x")
    };
    let (exit, output) = run(&lost).await;
    assert_eq!(exit, code(EXIT_PREPARE));
    assert!(
        output.contains("the network namespace /nonexistent/netns: No such file"),
        "{output}"
    );

    let relative = LaunchPlan::new(folder.path().join("c"), "vmm");
    assert_eq!(run(&relative).await.0, code(EXIT_USAGE));

    let missing = Launcher::new("/nonexistent/launcher", [""; 0])
        .spawn(&absent)
        .unwrap_err();
    assert!(missing.to_string().contains("/nonexistent/launcher"), "{missing}");
}

#[tokio::test]
async fn a_launcher_that_meets_a_cleaning_gives_way() {
    let folder = TempDir::new().unwrap();
    let plan = shell(&folder, "echo ran");
    fs::create_dir(&plan.folder).unwrap();
    // As `clean` leaves it when it finds no pid file yet.
    fs::write(plan.folder.join("cleaning"), "").unwrap();
    let (exit, output) = run(&plan).await;
    assert_eq!(exit.code, Some(EXIT_PREPARE.into()));
    assert_eq!(output, "", "it must not have run");
}

#[tokio::test]
async fn a_kill_of_one_that_is_gone_spares_who_lives_in_its_folder_now() {
    let folder = TempDir::new().unwrap();
    let plan = shell(&folder, "echo up; exec sleep 600");
    let launcher = launcher();
    let keeper_of = |vmm: ProcessId| {
        let file = plan.folder.join(format!("keeper.{}.{}.pid", vmm.pid, vmm.start_ticks));
        ProcessId::read_file(&file).unwrap()
    };
    let first = launcher.spawn(&plan).unwrap();
    assert!(process::until(DEADLINE, || keeper_of(first).is_some()).await);
    launcher.kill(first, &plan.folder).await.unwrap();

    let second = launcher.spawn(&plan).unwrap();
    assert!(process::until(DEADLINE, || keeper_of(second).is_some()).await);
    // As a VMM may leave it, whose folder this is: then the file no longer tells that somebody lives here.
    fs::remove_file(launch::pid_file(&plan.folder)).unwrap();
    launcher.kill(first, &plan.folder).await.unwrap();
    assert!(second.is_alive() && keeper_of(second).unwrap().is_alive());

    launcher.kill(second, &plan.folder).await.unwrap();
    assert!(!second.is_alive() && !keeper_of(second).unwrap().is_alive());
    launch::clean(MachineId::new(), &plan.folder).await.unwrap();
}

#[tokio::test]
async fn clean_ends_the_program_and_removes_the_folder() {
    let folder = TempDir::new().unwrap();
    let plan = shell(&folder, "echo up; exec sleep 600");
    let launcher = launcher();
    let process = launcher.spawn(&plan).unwrap();
    let up = || launch::output_tail(&plan.folder, 10) == b"up\n";
    assert!(process::until(DEADLINE, up).await);
    assert_eq!(
        ProcessId::read_file(&launch::pid_file(&plan.folder)).unwrap(),
        Some(process)
    );
    let waiting = tokio::spawn({
        let launcher = launcher.clone();
        async move { launcher.wait(process).await }
    });
    launch::clean(MachineId::new(), &plan.folder).await.unwrap();
    let exit = tokio::time::timeout(DEADLINE, waiting).await.unwrap().unwrap();
    assert_eq!(
        exit,
        VmmExit {
            code: None,
            signal: Some(9)
        }
    );
    assert!(!process.is_alive() && !plan.folder.exists());
    launch::clean(MachineId::new(), &plan.folder).await.unwrap();
}

#[tokio::test]
async fn clean_follows_no_symbolic_link_out_of_the_folder() {
    let folder = TempDir::new().unwrap();
    let precious = folder.path().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "precious").unwrap();
    let own: PathBuf = folder.path().join("vm");
    fs::create_dir(&own).unwrap();
    std::os::unix::fs::symlink(&precious, own.join("link")).unwrap();
    std::os::unix::fs::symlink("/proc/1/stat", own.join("vmm.pid")).unwrap();
    // Where root writes: once over a file, and once to where none is.
    std::os::unix::fs::symlink(precious.join("file"), own.join("cleaning")).unwrap();
    let temporary = format!("other.pid.{}", std::process::id());
    std::os::unix::fs::symlink(precious.join("new"), own.join(temporary)).unwrap();
    ProcessId::of(std::process::id())
        .and_then(|own_id| own_id.write_file(&own.join("other.pid")))
        .unwrap();
    launch::clean(MachineId::new(), &own).await.unwrap();
    assert_eq!(fs::read(precious.join("file")).unwrap(), b"precious");
    assert!(!own.exists() && !precious.join("new").exists());
}

/// Leaves the pid file of a launcher that has ended.
fn launched_and_ended(machine: &std::path::Path) {
    let mut launcher = std::process::Command::new("true").spawn().unwrap();
    ProcessId::of(launcher.id())
        .and_then(|id| id.write_file(&launch::pid_file(machine)))
        .unwrap();
    launcher.wait().unwrap();
}

/// A process that was started, once it has its arguments, which one that forked has from the beginning: the kernel tells whoever
/// started it that it is being executed a little earlier.
fn executed(child: &std::process::Child) -> ProcessId {
    let id = ProcessId::of(child.id()).unwrap();
    while id.arguments().unwrap().len() < 2 {
        std::thread::yield_now();
    }
    id
}

#[tokio::test]
async fn clean_waits_for_a_keeper_whose_launcher_ended_without_naming_it() {
    let folder = TempDir::new().unwrap();
    let machine = folder.path().join("vm");
    fs::create_dir(&machine).unwrap();
    launched_and_ended(&machine);
    // As a keeper: it has the launcher's arguments, and ends at the end of its pipe.
    let mut keeper = std::process::Command::new("sh")
        .args(["-c", "read end; sleep 0.2; :", "--folder"])
        .arg(&machine)
        .current_dir(&machine)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let id = executed(&keeper);
    drop(keeper.stdin.take());
    launch::clean(MachineId::new(), &machine).await.unwrap();
    let left = id.is_alive();
    keeper.wait().unwrap();
    assert!(!left, "clean left the keeper");
    assert!(!machine.exists());
}

#[tokio::test]
async fn many_that_look_like_keepers_hold_a_clean_up_no_longer_than_one() {
    let folder = TempDir::new().unwrap();
    let machine = folder.path().join("vm");
    fs::create_dir(&machine).unwrap();
    launched_and_ended(&machine);
    let keeper = || {
        std::process::Command::new("sh")
            .args(["-c", "read end; :", "--folder"])
            .arg(&machine)
            .current_dir(&machine)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut keepers: Vec<_> = (0..8).map(|_| keeper()).collect();
    let ids: Vec<_> = keepers.iter().map(executed).collect();
    let cleaned = tokio::time::timeout(DEADLINE, launch::clean(MachineId::new(), &machine)).await;
    let left = ids.iter().filter(|id| id.is_alive()).count();
    for keeper in &mut keepers {
        let _ = keeper.kill();
        keeper.wait().unwrap();
    }
    cleaned.unwrap().unwrap();
    assert_eq!(left, 0);
    assert!(!machine.exists());
}
