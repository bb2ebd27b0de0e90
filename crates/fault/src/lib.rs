//! Places where a test may kill the process.
//!
//! `HEARTH_FAULT=<name>` makes a debug build end itself by SIGKILL when it comes to the place of that name, which is
//! as good as a power cut for everything but the disk's cache. A release build ignores it. Each crate lists its places,
//! and its test walks that list; the names say whose they are.

use std::sync::OnceLock;

/// Dies here if told to.
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
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}

fn wanted() -> Option<&'static str> {
    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    WANTED.get_or_init(|| std::env::var("HEARTH_FAULT").ok()).as_deref()
}
