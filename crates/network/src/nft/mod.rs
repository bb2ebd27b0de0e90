//! `nf_tables` over netlink: as much of it as slots need.
//!
//! A [`Batch`] is one transaction: the kernel applies all of it or nothing. Its order is that of `nft -f`. Constants
//! are those of `linux/netfilter/nf_tables.h`; the tests compare what the kernel holds afterwards with the listing of
//! the `nft` tool.

pub(crate) mod attribute;
mod batch;
mod rule;
mod set;

pub(crate) use batch::{Batch, Chain, Hook, Table};
pub(crate) use rule::{Rule, Transport};
pub(crate) use set::{Interval, Set};
