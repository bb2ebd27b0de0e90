//! Places where a test may kill the process. See `hearth_fault`.

/// Every place, in the order in which an image's life passes them. The test walks this list.
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
    hearth_fault::point(POINTS, name);
}
