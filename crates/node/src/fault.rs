//! Places where a test may kill the daemon. See `hearth_fault`.

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
    hearth_fault::point(POINTS, name);
}
