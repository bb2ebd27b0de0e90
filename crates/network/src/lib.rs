//! Slots: namespaces, taps, addresses, rules.
//!
//! A *slot* is a pre-made network place for one machine. Inside a namespace of its own every guest sees the same link
//! (169.254.0.2/30, the same hardware address), so that a snapshot restores anywhere; outside, the slot has a unique
//! address where the node reaches the guest.
//!
//! ```text
//!            host                      │            namespace hv-<instance>-<n>
//!  world ◄── masquerade ◄── hv<inst><n>┼ up0 ◄── masquerade ◄── policy ◄── guard ◄── tap0 ◄── guest
//!  -p ─► dnat ────────────► hv<inst><n>┼ up0 ─► dnat ─► masquerade (169.254.0.1) ─► tap0 ──► guest
//! ```
//! Invariants: a guest is heard only with its own addresses; it reaches neither the node, nor another machine, nor
//! anything but the public internet (and the configured name servers); a slot that changes hands carries no rule, no
//! connection and no packet from one holder to the next; a machine's own rules ([`Network::set_egress`]) only take away
//! from that, and what of them goes by names is decided by a gate within the slot; whatever is on the host bears the instance's name, so that
//! what a killed daemon left is found and removed by the next.
//!
//! Everything goes by netlink and system calls; no tool is run.

mod address;
mod bridge;
mod conntrack;
mod detect;
mod gate;
mod link;
mod netlink;
mod netns;
mod nft;
mod policy;
mod pool;
mod port;
mod record;
mod site;
mod slot;
mod sysctl;
mod tap;

pub use address::{
    AddressPlan, GATEWAY_IPV4, GATEWAY_IPV6, GUEST_IPV4, GUEST_IPV6, GUEST_MAC, GUEST_PREFIX_LEN, GUEST_PREFIX_LEN_V6,
    InstanceId, MAX_CAPACITY, MacAddr, PoolTooSmall, SlotAddresses, SlotAllocator,
};
pub use bridge::BridgeConfig;
pub use detect::{Check, detect};
pub use netns::in_netns;
pub use pool::{PoolConfig, SlotPool};
pub use site::{FaultHook, STEPS};
pub use slot::{Network, NetworkError, NoNetwork, Slot, SlotRequest, TapOwner, host_resolvers, resolvers_of};
pub use tap::open_tap;
