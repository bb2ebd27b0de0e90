//! NFS version 3 (RFC 1813) for guests, with its MOUNT protocol, over connections of TCP.
//!
//! ```text
//!   connection ─► record ─► call (RPC) ─┬─ MOUNT ─► the handle of a volume's root
//!                                       └─ NFS ──► handle ─► marked by us, of a volume of this guest ─► the file
//! ```
//! Nothing is kept between calls, so that a guest which was paused, restored or copied, or whose server was started again, goes on by
//! connecting again. Not offered: locks (guests keep their own), ACLs, special files.
//!
//! Calls of one connection are answered in their order. Bounded are the length of a call, the time that one may take to arrive and an
//! answer to be taken, and the connections of one guest.

mod attributes;
mod change;
mod folders;
mod look;
mod make;
mod mark;
mod mount;
mod record;
mod rpc;
mod serve;
mod status;
#[cfg(test)]
mod tests;
mod v3;
mod xdr;

use std::sync::Arc;

pub use serve::{CONNECTIONS_MAX, Serving, serve};

use crate::folder::Folder;

/// A volume that a guest may mount.
pub type Export = Arc<Folder>;

/// Bytes that one READ or WRITE moves at most.
const TRANSFER_MAX: u32 = 256 << 10;
/// Bytes of an answer to READDIR at most.
const LISTING_MAX: u32 = 64 << 10;

/// In whose name a guest's kernel asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Credentials {
    uid: u32,
    gid: u32,
    gids: Vec<u32>,
}

impl Credentials {
    fn is_root(&self) -> bool {
        self.uid == 0
    }

    fn is_in(&self, gid: u32) -> bool {
        self.gid == gid || self.gids.contains(&gid)
    }
}
