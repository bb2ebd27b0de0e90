//! The node itself: kernels, what it has, and whether it is fit.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use hearth_e2e::{Host, HostOptions, skip, wait_for};

use crate::sleeper;

#[test]
fn the_node_tells_about_itself() {
    let host = Host::start();
    let info = host.hearth(&["node", "info", "--json"]).json();
    assert!(info["cpus"]["total"].as_u64().unwrap() > 0 && info["memory_mib"]["total"].as_u64().unwrap() > 0);
    assert_eq!((&info["images"], &info["machines"]), (&2.into(), &0.into()));
    let kernels = host.hearth(&["kernel", "ls", "--json"]).json();
    assert_eq!(kernels[0]["default"], true);
    let version = kernels[0]["version"].as_str().unwrap();
    assert!(host.hearth(&["kernel", "default"]).ok().ends_with(version));
    host.hearth(&["kernel", "default", version]).ok();
    host.hearth(&["kernel", "default", "no-such"]).failed(1, &["no-such"]);
    let doctor = host.hearth(&["doctor", "--json"]);
    let checks: serde_json::Value = serde_json::from_str(&doctor.stdout).unwrap();
    let names: Vec<_> = checks
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"kvm") && names.len() > 4, "{names:?}");
    let failed = checks
        .as_array()
        .unwrap()
        .iter()
        .any(|check| check["outcome"] == "failed");
    assert_eq!(doctor.code, i32::from(failed), "{doctor:?}");
}

#[test]
fn a_host_is_examined_with_or_without_a_daemon() {
    let names = |ran: &hearth_e2e::Ran| {
        let checks: serde_json::Value =
            serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        let checks = checks.as_array().unwrap().clone();
        let failed = checks.iter().any(|check| check["outcome"] == "failed");
        assert_eq!(ran.code, i32::from(failed), "{ran:?}");
        checks.iter().map(|check| check["name"].to_string()).collect::<Vec<_>>()
    };
    let mut host = Host::empty(&hearth_e2e::HostOptions::default());
    let with = names(&host.hearth(&["doctor", "--json"]));
    host.down();
    let without = host.hearth(&["doctor", "--json"]);
    assert_eq!((names(&without), &*without.stderr), (with, ""));
    let words = host.hearth(&["doctor"]);
    assert!(words.stderr.contains("no daemon"), "{words:?}");
    let advice = "nested virtualisation";
    assert!(words.stdout.matches(advice).count() <= 1, "said once: {words:?}");
    // A folder that VMMs cannot walk to.
    let closed = host.folder().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let closed = closed.join("state");
    let refused = host.hearth(&["doctor", "--state-dir", closed.to_str().unwrap()]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stdout.contains("chmod o+x"), "{refused:?}");
    host.hearth(&["doctor", "--host", "127.0.0.1:1"])
        .failed(1, &["hearth up --detach --listen 127.0.0.1:1"]);
}

#[test]
fn a_command_without_a_daemon_says_how_to_start_it() {
    let mut host = Host::empty(&hearth_e2e::HostOptions::default());
    host.down();
    host.hearth(&["ps"]).failed(1, &["start it with", "hearth up"]);
    host.hearth(&["run", "x"]).failed(125, &["start it with"]);
    assert!(host.hearth(&["completion", "bash"]).ok().contains("_hearth"));
}

#[test]
fn a_wrong_command_line_has_dockers_exit_code() {
    let host = Host::bare();
    host.hearth(&["run", "--cpus", "none", "x"]).failed(125, &["--cpus"]);
    host.hearth(&["run", "--no-such-flag", "x"])
        .failed(125, &["--no-such-flag"]);
    host.hearth(&["run"]).failed(125, &["IMAGE"]);
    host.hearth(&["exec", "--no-such-flag", "m", "id"])
        .failed(125, &["--no-such-flag"]);
    host.hearth(&["exec", "m"]).failed(125, &["CMD"]);
    host.hearth(&["no-such-command"]).failed(125, &["no-such-command"]);
    host.hearth(&[]).failed(125, &["Commands:"]);
    assert!(!host.hearth(&["exec", "m"]).stderr.contains("--socket <SOCKET>"));
    for shell in ["bash", "zsh", "fish"] {
        let script = host.hearth(&["completion", shell]);
        assert!(script.ok().contains("attach") && !script.stdout.contains("vmm-launch"));
    }
    assert!(host.hearth(&["run", "--help"]).ok().contains("125"));
    assert!(host.hearth(&["exec", "--help"]).ok().contains("125"));
}

/// A kernel source whose configuration takes for ever, and says so.
fn endless_source(folder: &Path, mark: &str) -> PathBuf {
    let tree = folder.join("linux");
    fs::create_dir(&tree).unwrap();
    let makefile = format!("allnoconfig:\n\twhile sleep 0.2; do echo {mark}; done\n");
    fs::write(tree.join("Makefile"), makefile).unwrap();
    let source = folder.join("linux-source-9.9.tar.xz");
    let packed = Command::new("tar")
        .arg("-cJf")
        .arg(&source)
        .arg("-C")
        .arg(folder)
        .arg("linux")
        .status();
    assert!(packed.unwrap().success());
    source
}

/// Processes that have `mark` on their command line.
fn processes(mark: &str) -> usize {
    let commands = fs::read_dir("/proc").unwrap().flatten();
    commands
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .filter(|command| String::from_utf8_lossy(command).contains(mark))
        .count()
}

#[test]
fn a_kernel_build_tells_how_far_it_is_and_ends_with_its_client() {
    let missing = ["bc", "flex", "bison", "gcc", "make"]
        .into_iter()
        .find(|program| Command::new(program).arg("--version").output().is_err());
    if let Some(missing) = missing {
        return skip(missing);
    }
    let host = Host::empty(&HostOptions::default());
    let mark = format!("hearth-endless-{}", host.daemon_pid());
    let source = endless_source(host.folder(), &mark);
    let mut client = host
        .command(&["kernel", "build", "--source", source.to_str().unwrap()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(client.stderr.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, format!("hearth: building: {mark}\n"));
    assert!(processes(&mark) > 0);
    client.kill().unwrap();
    client.wait().unwrap();
    wait_for("the build to end", || (processes(&mark) == 0).then_some(()));
    let builds = host.state_dir().join("kernel-builds");
    wait_for("its folder to be gone", || {
        let place = fs::read_dir(&builds).unwrap().flatten().next()?.path();
        (!place.join("work").exists()).then_some(())
    });
}

/// What anybody on the host may read or write below a folder that anybody may walk through.
fn open_to_all(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let metadata = entry.metadata().unwrap();
        let (mode, path) = (metadata.permissions().mode(), entry.path());
        if metadata.is_dir() {
            if mode & 0o001 != 0 {
                open_to_all(&path, found);
            }
            if mode & 0o002 != 0 {
                found.push(path);
            }
        } else if !metadata.is_symlink() && mode & 0o006 != 0 {
            found.push(path);
        }
    }
}

#[test]
fn other_users_of_the_host_see_nothing_but_kernels() {
    let host = Host::start();
    sleeper(&host, "m", &["--disk", "64m", "-e", "SECRET=1"]);
    let state = host.state_dir();
    let mut found = Vec::new();
    open_to_all(&state, &mut found);
    let kernels = state.join("kernels/bundles");
    found.retain(|path| !path.starts_with(&kernels) && *path != state.join("node-id"));
    found.retain(|path| *path != state.join("kernels/default"));
    assert_eq!(found, Vec::<PathBuf>::new());
    assert_eq!(fs::metadata(host.socket()).unwrap().permissions().mode() & 0o007, 0);
}
