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

/// Every place where snapshots are made, gone on from, and removed. The test walks this list, too.
pub const SNAPSHOT_POINTS: &[&str] = &[
    "snapshot.frozen",
    "snapshot.paused",
    "snapshot.taken",
    "snapshot.written",
    "snapshot.going",
    "suspend.paused",
    "suspend.saved",
    "suspend.recorded",
    "suspend.ended",
    "resume.ready",
    "restore.ready",
    "restore.started",
    "restore.recorded",
    "restore.resumed",
    "restore.greeted",
    "rollback.noted",
    "rollback.taken",
    "recovery.made",
    "recovery.kept",
    "claim.recorded",
    "claim.resumed",
];

/// Dies here if told to.
pub(crate) fn point(name: &'static str) {
    let points = if POINTS.contains(&name) {
        POINTS
    } else {
        SNAPSHOT_POINTS
    };
    hearth_fault::point(points, name);
}
