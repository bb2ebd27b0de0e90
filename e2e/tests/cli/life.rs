//! What ends a machine, and what starts it again.

use std::process::Command;

use hearth_e2e::{BUSYBOX, Host, wait_for};

use crate::{detached, on_each_driver, sleeper};

/// Answers USR1, and TERM not at all.
const STUBBORN: &str = "trap 'echo got-usr1' USR1; trap 'echo got-term' TERM; echo ready; while :; do sleep 0.1; done";

#[test]
fn signals_reach_the_program_and_a_stop_is_final() {
    on_each_driver(|host| {
        detached(host, "m", &["--stop-timeout", "1"], STUBBORN);
        let logs = |word: &str| wait_for(word, || host.hearth(&["logs", "m"]).stdout.contains(word).then_some(()));
        logs("ready");
        host.hearth(&["kill", "-s", "USR1", "m"]).ok();
        logs("got-usr1");
        host.hearth(&["rm", "m"]).failed(1, &["m is running", "by force"]);
        let waiting = host
            .command(&["wait", "m"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        host.hearth(&["stop", "m"]).ok();
        logs("got-term");
        let waited = waiting.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&waited.stdout), "137\n");
        assert_eq!(host.inspect("m")["exit"]["code"], 137);
        host.hearth(&["restart", "m"]).ok();
        host.wait_for_state("m", "running");
        host.hearth(&["kill", "m"]).ok();
        host.wait_for_state("m", "stopped");
        host.hearth(&["kill", "-s", "USR1", "m"]).failed(1, &["m", "running"]);
        host.hearth(&["kill", "m"]).failed(1, &["m is stopped"]);
        host.hearth(&["kill", "-s", "NONSENSE", "m"]).failed(1, &["NONSENSE"]);
        host.hearth(&["rm", "m"]).ok();
        host.hearth(&["inspect", "m"]).failed(1, &["m"]);
        wait_for("nothing to be left", || host.leftovers().is_empty().then_some(()));
    });
}

#[test]
fn a_program_that_heeds_its_signal_ends_by_it() {
    on_each_driver(|host| {
        sleeper(host, "polite", &[]);
        host.hearth(&["pause", "polite"]).ok();
        host.wait_for_state("polite", "paused");
        host.hearth(&["resume", "polite"]).ok();
        host.wait_for_state("polite", "running");
        host.hearth(&["stop", "polite"]).ok();
        assert_eq!(host.inspect("polite")["exit"]["signal"], 15);
        host.hearth(&["rm", "polite", "nobody-here"])
            .failed(1, &["nobody-here"]);
        assert_eq!(
            host.state_of("polite"),
            None,
            "one that fails does not spare the others"
        );
    });
}

#[test]
fn restart_policies_start_it_again() {
    on_each_driver(|host| {
        host.hearth(&[
            "run",
            "-d",
            "--name",
            "twice",
            "--restart",
            "on-failure:2",
            BUSYBOX,
            "false",
        ])
        .ok();
        wait_for("two restarts", || {
            let shown = host.inspect("twice");
            (shown["restarts"] == 2 && shown["state"] == "stopped").then_some(())
        });
        host.hearth(&["run", "-d", "--name", "always", "--restart", "always", BUSYBOX, "true"])
            .ok();
        wait_for("a restart", || {
            (host.inspect("always")["restarts"].as_u64()? >= 1).then_some(())
        });
        host.hearth(&["stop", "always"]).ok();
        assert_eq!(host.state_of("always").as_deref(), Some("stopped"), "a stop is final");
        let both = ["run", "--rm", "--restart", "always", BUSYBOX];
        host.hearth(&both).failed(125, &["restart", "--rm"]);
    });
}

#[test]
fn ctrl_alt_del_ends_a_machine_as_a_stop_does() {
    on_each_driver(|host| {
        sleeper(host, "m", &[]);
        // What the kernel sends to PID 1; the keyboard itself is Firecracker's.
        host.hearth(&["exec", "m", "kill", "-INT", "1"]);
        host.wait_for_state("m", "stopped");
        assert_eq!(host.inspect("m")["exit"]["signal"], 15);
    });
}

/// Cuts the machine's link, so that its agent hears nothing any more.
fn cut_link(host: &Host, machine: &str) {
    let namespace = format!("--net=/proc/{}/ns/net", host.inspect(machine)["pid"]);
    let cut = Command::new("nsenter")
        .args([&namespace, "ip", "link", "set", "tap0", "down"])
        .status();
    assert!(cut.unwrap().success());
}

#[test]
fn a_guest_whose_agent_is_cut_off_ends_by_its_power_button() {
    on_each_driver(|host| {
        sleeper(host, "deaf", &[]);
        cut_link(host, "deaf");
        host.hearth(&["stop", "--timeout", "1", "deaf"]).ok();
        let log = host.log();
        assert!(log.contains("pressing the guest's power button"), "{log}");
        assert!(!log.contains("does not heed its power button"), "{log}");
        let message = host.inspect("deaf")["exit"]["message"].to_string();
        assert!(message.contains("was not heard"), "{message}");
    });
}
