//! Writes EROFS images from a merged tree of OCI layers.
