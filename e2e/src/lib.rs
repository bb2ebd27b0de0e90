//! End-to-end tests: the real binary, the real daemon, real microVMs.
//!
//! [`Host`] is a state folder with a kernel and images in it and a daemon on top; it takes everything away when it is
//! dropped, however the test ends. Tests of one binary may run at once: each has its own folder, socket and names.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "what fails here fails a test"
)]

mod command;
mod fixture;
mod host;
pub mod http;
mod mount;
mod ric;
mod terminal;
mod walk;

pub use command::Ran;
pub use fixture::{BUSYBOX, PYTHON, runtime_archive};
pub use host::{Host, HostOptions};
pub use mount::Mount;
pub use ric::ric_archive;
pub use terminal::Terminal;
pub use walk::Walk;

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Nothing that a test waits for takes longer, on a host that is loaded by other tests.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Waits until `condition` gives something.
///
/// # Panics
/// If that takes longer than [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {} s for {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// Kills a process, and waits until it is gone.
///
/// # Panics
/// If there is none.
pub fn kill(pid: Pid) {
    kill_process(pid, Signal::KILL).expect("the process is there");
    wait_for("the process to be gone", || {
        test_kill_process(pid).is_err().then_some(())
    });
}

/// Says loudly that a test cannot run here; the run counts these.
pub fn skip(what: &str) {
    eprintln!("SKIPPED: {what}");
}

/// The drivers whose guests come up on this host: what `doctor` would say. `HEARTH_E2E_DRIVERS` overrides it.
pub fn drivers() -> Vec<String> {
    if let Ok(chosen) = std::env::var("HEARTH_E2E_DRIVERS") {
        return chosen.split(',').map(str::to_owned).collect();
    }
    let mut drivers = vec!["qemu".to_owned()];
    let missing = match (hearth_driver::kvm::usable(), hearth_testkit::firecracker::firecracker()) {
        (Ok(()), Ok(_)) => None,
        (Err(unusable), _) => Some(unusable.to_string()),
        (_, Err(missing)) => Some(missing),
    };
    match missing {
        None => drivers.push("firecracker".to_owned()),
        Some(missing) => skip(&format!("guests under firecracker: {missing}")),
    }
    drivers
}
