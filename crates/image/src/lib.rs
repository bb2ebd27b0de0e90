//! Registry client, imports, content store: from a reference to a read-only root.
