//! `run`: streams, exit codes, and what the program is given.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use hearth_e2e::{BUSYBOX, PYTHON, wait_for};
use rustix::process::{Pid, Signal, kill_process};

use crate::{on_each_driver, sh, sleeper};

#[test]
fn streams_are_kept_apart_and_the_exit_code_is_the_programs() {
    on_each_driver(|host| {
        let ran = sh(host, &[], "echo out; echo err >&2; exit 3");
        assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (3, "out\n", "err\n"));
        assert_eq!(sh(host, &[], "true").code, 0);
        assert_eq!(sh(host, &[], "kill -USR1 $$").code, 128 + 10);
        host.hearth(&["run", "--rm", BUSYBOX, "no-such-program"])
            .failed(127, &["no-such-program"]);
        host.hearth(&["run", "--rm", BUSYBOX, "/etc/passwd"])
            .failed(126, &["/etc/passwd"]);
        sh(host, &[], "true").ok();
        assert_eq!(host.hearth(&["ps", "-aq"]).ok(), "", "--rm returns when it is gone");
        wait_for("--rm to leave nothing", || host.leftovers().is_empty().then_some(()));
    });
}

#[test]
fn standard_input_goes_to_the_program_whole() {
    on_each_driver(|host| {
        let input: Vec<u8> = (0..4_000_000_u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes().into_iter().take(1))
            .collect();
        let script = "cat | busybox sha256sum";
        let ran = host.hearth_with(&["run", "--rm", "-i", BUSYBOX, "sh", "-c", script], &input);
        assert_eq!(ran.ok(), format!("{}  -", hearth_testkit::images::sha256_hex(&input)));
        let program = "import sys, os; print(len(sys.stdin.read()), os.uname().sysname)";
        let ran = host.hearth_with(&["run", "--rm", "-i", PYTHON, "python3", "-c", program], b"four");
        assert_eq!(ran.ok(), "4 Linux");
    });
}

#[test]
fn output_is_streamed_while_the_program_runs() {
    on_each_driver(|host| {
        let mut command = host.command(&[
            "run",
            "--rm",
            "-i",
            BUSYBOX,
            "sh",
            "-c",
            "echo first; read x; echo $x; exec sleep 1000",
        ]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "first");
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, b"second\n").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "second");
        // Ctrl-C without a terminal of the program's own.
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let status = wait_for("the program to heed Ctrl-C", || child.try_wait().unwrap());
        assert_eq!(status.code(), Some(130));
    });
}

#[test]
fn the_program_is_given_what_was_asked_for() {
    on_each_driver(|host| {
        let flags = [
            "-e",
            "A=1 2",
            "-e",
            "FROM_HERE",
            "-e",
            "ABSENT",
            "-w",
            "/made/up",
            "-u",
            "nobody",
            "--name",
            "given",
        ];
        let script = "echo $A/$FROM_HERE/${ABSENT-unset}; pwd; id -u; id -g; hostname; cat /etc/hostname";
        let args = [&["run", "--rm"], &flags[..], &[BUSYBOX, "sh", "-c", script]].concat();
        let output = host
            .command(&args)
            .env("FROM_HERE", "here")
            .env_remove("ABSENT")
            .output()
            .unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            stdout, "1 2/here/unset\n/made/up\n65534\n65534\ngiven\ngiven\n",
            "{output:?}"
        );
        assert_eq!(sh(host, &["-u", "12:34"], "id -u; id -g").ok(), "12\n34");
        assert_eq!(sh(host, &["-u", "0:nogroup"], "id -u; id -g").ok(), "0\n65534");
        sh(host, &["-u", "nosuchuser"], "id").failed(125, &["nosuchuser"]);
        let echo = ["run", "--rm", "--entrypoint", "/bin/echo", BUSYBOX, "one", "two"];
        assert_eq!(host.hearth(&echo).ok(), "one two");
        let bare = ["run", "--rm", "--entrypoint", "", BUSYBOX, "echo", "bare"];
        assert_eq!(host.hearth(&bare).ok(), "bare");
    });
}

#[test]
fn who_detaches_finds_it_running() {
    on_each_driver(|host| {
        let ran = host.hearth(&["run", "-dit", "--name", "m", BUSYBOX, "sh"]);
        assert!(ran.ok().starts_with("mch"));
        host.hearth(&["exec", "m", "true"]).ok();
        host.hearth(&["restart", "-t", "0", "m"]).ok();
        host.hearth(&["exec", "m", "true"]).ok();
        host.hearth(&["stop", "-t", "0", "m"]).ok();
        host.hearth(&["start", "m"]).ok();
        host.hearth(&["exec", "m", "true"]).ok();
    });
}

#[test]
fn a_name_belongs_to_one_machine() {
    on_each_driver(|host| {
        sleeper(host, "mine", &[]);
        sh(host, &["--name", "mine"], "true").failed(125, &["mine", "remove that one"]);
        host.hearth(&["rm", "-f", "mine"]).ok();
        assert_eq!(sh(host, &["--name", "mine"], "echo again").ok(), "again");
    });
}

/// However long a boot takes, the guest's clock is the host's when its program begins.
#[test]
fn a_guests_clock_is_the_hosts() {
    let now = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    on_each_driver(|host| {
        sleeper(host, "m", &[]);
        let before = now();
        let told: u64 = crate::exec(host, "m", "date +%s").parse().unwrap();
        // A second is as fine as busybox tells it.
        assert!(
            (before.saturating_sub(1)..=now() + 1).contains(&told),
            "{before} {told}"
        );
    });
}
