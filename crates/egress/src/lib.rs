//! Reads the name that a guest's connection itself gives, and lets it go where the guest's rules allow.
//!
//! ```text
//!                        ┌─ web door: SNI or Host ─► allowed? ─► we resolve ─► dial ─► bytes both ways
//!   guest ══ (led here) ─┤
//!                        └─ DNS door: the question ─► allowed? ─► the host's resolvers ─► the answer
//! ```
//! The doors are sockets in the guest's own network, where rules lead its connections to ports 80, 443 and 53 whatever
//! address they were meant for. That address is never used: what a connection may reach follows from its name alone, and
//! the name is resolved here, so that no answer of DNS, true or forged, opens anything. TLS is not ended: who the peer is,
//! the guest sees for itself. Where an address leads, and whether it is near, is the [`Dialer`]'s to judge.
//!
//! What this cannot see: another name within an encrypted connection, or in a later request of a connection without TLS.
//! It reaches a server of the name in front, and no other.
//!
//! Everything that a guest sends is bounded in bytes, time and number.

mod dns;
mod gate;
mod name;
mod web;

pub use gate::{Dialer, Doors, Gate, Outside, PROXIED_MAX};

#[doc(hidden)]
pub use {dns::fuzz_question, name::fuzz_name};
