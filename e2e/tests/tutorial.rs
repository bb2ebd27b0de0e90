//! `docs/tutorial.md`, line by line: every command that it shows, in one shell, and what each prints.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod guide;

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use guide::{Shell, Step, matches, steps};
use hearth_e2e::{Host, wait_for};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// What the tutorial calls the gateway: the default, where this test takes a free port.
const GATEWAY: &str = "127.0.0.1:8480";

#[test]
fn the_tutorial_is_true() {
    let host = Host::bare();
    let work = host.folder().join("work");
    prepare(&host, &work);
    let mut shell = Shell::start(&work, &environment(&host));
    let text = fs::read_to_string(root().join("docs/tutorial.md")).unwrap();
    let steps = steps(&text);
    assert!(steps.len() > 20, "the tutorial has lost its commands: {}", steps.len());
    let mut daemon = None;
    let mut gateway = GATEWAY.to_owned();
    for step in &steps {
        match step {
            Step::File { path, text } => {
                fs::create_dir_all(work.join(path).parent().unwrap()).unwrap();
                fs::write(work.join(path), text).unwrap();
            }
            Step::Command { line, command, shown } => {
                let ran = shell.run(&command.replace(GATEWAY, &gateway));
                if let Some(pid) = daemon_pid(&ran.output) {
                    daemon = Some(Daemon(pid));
                }
                if let Some(found) = told_gateway(&ran.output) {
                    gateway = found;
                }
                let printed = ran.output.replace(&gateway, GATEWAY);
                let at = format!("docs/tutorial.md:{line}: $ {command}");
                assert!(matches(shown, &printed), "{at}\nshows\n{shown}\nbut printed\n{printed}");
                assert_eq!(ran.code, 0, "{at} failed\n{printed}");
            }
        }
    }
    drop(daemon);
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

/// The daemon that `hearth up --detach` started; ended with the test, however that ends.
struct Daemon(Pid);

impl Drop for Daemon {
    fn drop(&mut self) {
        if kill_process(self.0, Signal::TERM).is_ok() {
            wait_for("the daemon to end", || test_kill_process(self.0).is_err().then_some(()));
        }
    }
}

/// What the tutorial's first block makes: the command, the runtime's image, the kernel's package.
fn prepare(host: &Host, work: &Path) {
    fs::create_dir_all(work.join("bin")).unwrap();
    symlink(host.command(&[]).get_program(), work.join("bin/hearth")).unwrap();
    let made = Command::new("bash")
        .arg(root().join("scripts/runtimes"))
        .arg("python3")
        .output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let archive = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim());
    symlink(archive, work.join("python3.oci.tar")).unwrap();
    let deb = hearth_testkit::kernel::debian_kernel_deb();
    symlink(&deb, work.join(deb.file_name().unwrap())).unwrap();
    fs::remove_dir(host.state_dir()).unwrap();
}

fn environment(host: &Host) -> Vec<(&'static str, String)> {
    let path = std::env::var("PATH").unwrap();
    vec![
        ("PATH", format!("{}/work/bin:{path}", host.folder().display())),
        ("HEARTH_SOCKET", host.socket().display().to_string()),
        ("HEARTH_STATE_DIR", host.state_dir().display().to_string()),
        ("HEARTH_GATEWAY", "127.0.0.1:0".to_owned()),
    ]
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn daemon_pid(output: &str) -> Option<Pid> {
    let (_, rest) = output.split_once("hearth is up: pid ")?;
    Pid::from_raw(rest.split(',').next()?.parse().ok()?)
}

/// Where functions are called here, once something tells it.
fn told_gateway(output: &str) -> Option<String> {
    let (before, _) = output.split_once("/fn/default/")?;
    let (_, address) = before.rsplit_once("http://")?;
    address.starts_with("127.0.0.1:").then(|| address.to_owned())
}
