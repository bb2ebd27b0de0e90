//! Places where a test may kill the process. See `hearth_fault`.

/// Every place, in the order in which a function's life passes them. The test walks this list.
pub const POINTS: &[&str] = &[
    "deploy.version",
    "deploy.pinned",
    "instance.booked",
    "call.kept",
    "call.claimed",
    "call.answered",
    "call.noted",
    "trigger.due",
    "trigger.kept",
    "trigger.noted",
    "function.removed",
    "function.unpinned",
];

/// Every place in the life of snapshots and forks, in its order.
pub const SNAPSHOT_POINTS: &[&str] = &[
    "snapshot.booked",
    "snapshot.made",
    "snapshot.removing",
    "fork.booked",
    "fork.saved",
    "fork.created",
    "fork.noted",
    "fork.started",
    "rollback.booked",
    "warm.waits",
    "warm.claimed",
    "warm.booked",
];

/// Every place in the life of sandboxes and their templates, in its order.
pub const SANDBOX_POINTS: &[&str] = &[
    "build.layer",
    "build.copied",
    "build.snapshot",
    "sandbox.booked",
    "sandbox.made",
    "sandbox.copied",
    "sandbox.network",
    "sandbox.paused",
    "sandbox.resumed",
    "sandbox.rebooting",
    "sandbox.stopping",
    "sandbox.killing",
];

/// Dies here if told to.
pub(crate) fn point(name: &'static str) {
    let lists = [POINTS, SNAPSHOT_POINTS, SANDBOX_POINTS];
    let list = lists.into_iter().find(|list| list.contains(&name));
    hearth_fault::point(list.unwrap_or(POINTS), name);
}
