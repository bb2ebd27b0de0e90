//! Places where a test may kill the daemon.
//!
//! `HEARTH_FAULT=<name>` makes a debug build end itself by SIGKILL when it comes to the place of that name, which is
//! as good as a power cut for everything but the disk's cache. A release build ignores it.

/// Every place, in the order in which a machine's life passes them. The test walks this list.
pub const POINTS: &[&str] = &[
    "create.folder",
    "create.recorded",
    "prepare.recorded",
    "prepare.cgroup",
    "prepare.slot",
    "prepare.disk",
    "launch.recorded",
    "launch.started",
    "launch.handle",
    "ready.reached",
    "ready.initialised",
    "ready.recorded",
    "exit.seen",
    "stop.recorded",
    "stop.asked",
    "release.vmm",
    "release.slot",
    "release.cgroup",
    "release.recorded",
    "remove.recorded",
    "remove.image",
    "remove.folder",
];

/// Dies here if told to.
pub(crate) fn point(name: &'static str) {
    if cfg!(debug_assertions) {
        debug_assert!(
            POINTS.contains(&name),
            "fault point {name} is not in the list that the test walks"
        );
        if wanted() == Some(name) {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}

fn wanted() -> Option<&'static str> {
    static WANTED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    WANTED.get_or_init(|| std::env::var("HEARTH_FAULT").ok()).as_deref()
}
