//! Places where a test may kill the process.
//!
//! `HEARTH_FAULT=<name>` makes a debug build end itself by SIGKILL when it comes to the place of that name, which is
//! as good as a power cut for everything but the disk's cache. A release build ignores it.

/// Every place, in the order in which an image's life passes them. The test walks this list. A daemon's other parts have
/// places of their own, so that these say whose they are.
pub const POINTS: &[&str] = &[
    "image.session.folder",
    "image.work.folder",
    "image.layer.fetched",
    "image.layer.linked",
    "image.layer.stored",
    "image.convert.begun",
    "image.convert.layer",
    "image.convert.done",
    "image.publish.root",
    "image.publish.record",
    "image.publish.name",
    "image.hold.recorded",
    "image.release.recorded",
    "image.remove.name",
    "image.remove.record",
    "image.remove.root",
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
