//! Places where a test may kill the process, or have it stand still.
//!
//! `HEARTH_FAULT=<name>` makes a debug build end itself by SIGKILL when it comes to the place of that name, which is
//! as good as a power cut for everything but the disk's cache. With `HEARTH_FAULT_STOP=<file>` it stands still there
//! instead, once: from when it has made the file until somebody has removed it, and whoever waits for the file has that
//! time to kill something else. A release build ignores both. Each crate lists its places, and its test walks that list;
//! the names say whose they are.

use std::{
    fs,
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// How often it is looked whether it may go on.
const LOOK: Duration = Duration::from_millis(5);

/// Dies here, or stands still, if told to.
///
/// # Panics
/// In a debug build, if `name` is not among the `points` that the test walks.
pub fn point(points: &[&str], name: &str) {
    if cfg!(debug_assertions) {
        debug_assert!(
            points.contains(&name),
            "fault point {name} is not in the list that the test walks"
        );
        if wanted() == Some(name) {
            match std::env::var_os("HEARTH_FAULT_STOP") {
                Some(file) => stand_still(&file.into()),
                None => {
                    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
                }
            }
        }
    }
}

fn wanted() -> Option<&'static str> {
    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    WANTED.get_or_init(|| std::env::var("HEARTH_FAULT").ok()).as_deref()
}

/// Only the first who comes by: what follows may come by again.
fn stand_still(file: &PathBuf) {
    static CAME_BY: AtomicBool = AtomicBool::new(false);
    if CAME_BY.swap(true, Ordering::SeqCst) || fs::write(file, b"").is_err() {
        return;
    }
    // What else the thread had to run is run by others meanwhile.
    tokio::task::block_in_place(|| {
        while file.exists() {
            thread::sleep(LOOK);
        }
    });
}
