//! `exec`: further commands in a running machine.

use std::{
    io::Write,
    process::{Child, Stdio},
    thread::{JoinHandle, spawn},
};

use hearth_e2e::{BUSYBOX, Host, wait_for};
use rustix::process::{Pid, Signal, kill_process};

use crate::{exec, on_each_driver, sleeper};

/// A command that reads nothing of the endless input that it is given.
fn deaf(host: &Host, seconds: &str) -> (Child, JoinHandle<()>) {
    let mut child = host
        .command(&["exec", "-i", "m", "sleep", seconds])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Ends with the command.
    let writer = spawn(move || while stdin.write_all(&[b'y'; 8 << 10]).is_ok() {});
    wait_for("the command to run", || runs(host, seconds).then_some(()));
    (child, writer)
}

fn runs(host: &Host, seconds: &str) -> bool {
    let script =
        format!("cat /proc/[0-9]*/cmdline 2>/dev/null | busybox tr '\\0' ' ' | grep -c 'slee[p] {seconds} ' || :");
    exec(host, "m", &script) != "0"
}

#[test]
fn a_command_that_does_not_read_is_ended_by_ctrl_c_and_with_its_client() {
    on_each_driver(|host| {
        sleeper(host, "m", &[]);
        let (mut child, writer) = deaf(host, "7001");
        // As many as it takes until there is no more room for one.
        let code = wait_for("the client to end by SIGINT", || {
            kill_process(Pid::from_child(&child), Signal::INT).unwrap();
            child.try_wait().unwrap()
        });
        assert_eq!(code.code(), Some(130));
        writer.join().unwrap();
        wait_for("the command to be gone", || (!runs(host, "7001")).then_some(()));

        let (mut child, writer) = deaf(host, "7002");
        child.kill().unwrap();
        child.wait().unwrap();
        writer.join().unwrap();
        wait_for("the command to be gone", || (!runs(host, "7002")).then_some(()));
    });
}

#[test]
fn a_command_in_a_running_machine_is_as_the_first_one() {
    on_each_driver(|host| {
        sleeper(host, "m", &["-e", "OF=machine"]);
        let ran = host.hearth(&["exec", "m", "sh", "-c", "echo out; echo err >&2; exit 3"]);
        assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (3, "out\n", "err\n"));
        let input = "line\n".repeat(200_000);
        let ran = host.hearth_with(&["exec", "-i", "m", "busybox", "wc", "-c"], input.as_bytes());
        assert_eq!(ran.ok(), "1000000");
        let given = [
            "exec",
            "-u",
            "nobody",
            "-w",
            "/tmp",
            "-e",
            "MINE=1",
            "m",
            "sh",
            "-c",
            "echo $(id -u) $PWD $MINE $OF",
        ];
        assert_eq!(host.hearth(&given).ok(), "65534 /tmp 1 machine");
        assert_eq!(host.hearth(&["exec", "m", "sh", "-c", "kill -9 $$"]).code, 137);
        host.hearth(&["exec", "m", "no-such-program"])
            .failed(127, &["no-such-program"]);
        host.hearth(&["exec", "m", "/etc/passwd"]).failed(126, &["/etc/passwd"]);
        host.hearth(&["exec", "-u", "nosuchuser", "m", "id"])
            .failed(126, &["nosuchuser"]);
        host.hearth(&["exec", "nobody-here", "id"])
            .failed(125, &["nobody-here"]);
        host.hearth(&["kill", "m"]).ok();
        host.wait_for_state("m", "stopped");
        host.hearth(&["exec", "m", "id"]).failed(125, &["not running"]);
        host.hearth(&["run", "--rm", BUSYBOX, ""]).failed(125, &["empty"]);
    });
}

#[test]
fn a_command_has_the_programs_user_folder_and_environment() {
    on_each_driver(|host| {
        let told = "echo $(id -un) $PWD $HOME $OF";
        sleeper(host, "plain", &["-u", "root"]);
        assert_eq!(exec(host, "plain", told), "root / /root");
        let flags = ["-u", "nobody", "-w", "/srv/work", "-e", "OF=machine"];
        sleeper(host, "dressed", &flags);
        assert_eq!(exec(host, "dressed", told), "nobody /srv/work / machine");
        let own = ["exec", "-u", "root", "-w", "/", "dressed", "sh", "-c", told];
        assert_eq!(host.hearth(&own).ok(), "root / /root machine");
    });
}
