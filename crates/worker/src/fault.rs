//! Places where a test may kill the process. See `hearth_fault`.

/// Every place, in the order in which an instance's life passes them.
pub const POINTS: &[&str] = &[
    "provision.taken",
    "provision.created",
    "provision.started",
    "template.made",
    "warm.paused",
    "warm.taken",
    "provision.ready",
    "provision.registered",
    "retire.deregistered",
    "retire.stopped",
    "retire.archived",
];

/// Dies here if told to.
pub(crate) fn point(name: &'static str) {
    hearth_fault::point(POINTS, name);
}
