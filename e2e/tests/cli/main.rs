//! The command line, with real machines: each test on a daemon of its own, for each driver that works here.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod copy;
mod exec;
mod image;
mod json;
mod layers;
mod life;
mod look;
mod mcp;
mod network;
mod node;
mod options;
mod outage;
mod refused;
mod resources;
mod run;
mod sandbox;
mod tenancy;
mod terminal;
mod volume;

use hearth_e2e::{BUSYBOX, Host, HostOptions, Ran, drivers};

/// Runs a test on a daemon of its own for each driver.
fn on_each_driver(test: impl Fn(&Host)) {
    for driver in drivers() {
        test(&Host::with(&HostOptions::default().arg("--driver").arg(&driver)));
    }
}

/// Runs a shell script in a machine that is gone afterwards.
fn sh(host: &Host, flags: &[&str], script: &str) -> Ran {
    host.hearth(&[&["run", "--rm"], flags, &[BUSYBOX, "sh", "-c", script]].concat())
}

/// A running machine with a shell script as its program.
fn detached(host: &Host, name: &str, flags: &[&str], script: &str) {
    host.hearth(&[&["run", "-d", "--name", name], flags, &[BUSYBOX, "sh", "-c", script]].concat())
        .ok();
    host.wait_for_state(name, "running");
}

/// A running machine that does nothing until it is told to end.
fn sleeper(host: &Host, name: &str, flags: &[&str]) {
    detached(host, name, flags, "exec sleep 1000");
}

/// What a shell script prints in a running machine.
fn exec(host: &Host, machine: &str, script: &str) -> String {
    host.hearth(&["exec", machine, "sh", "-c", script]).ok().to_owned()
}
