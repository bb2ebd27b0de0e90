//! Snapshots of machines, and what is begun with them.
//!
//! A row is there before the node is asked for a snapshot, and stays until the node has removed it; so whatever is cut
//! off is settled at the next start ([`reconcile`]). A fork's snapshot is transient: it is never shown, and goes once all
//! machines of the fork are made.

pub(crate) mod change;
pub(crate) mod find;
pub(crate) mod fork;
pub(crate) mod read;
pub(crate) mod reconcile;
pub(crate) mod view;
pub(crate) mod warm;
