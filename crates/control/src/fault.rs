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

/// Dies here if told to.
pub(crate) fn point(name: &'static str) {
    hearth_fault::point(POINTS, name);
}
