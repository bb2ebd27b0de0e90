//! The data plane of functions and sandboxes.
//!
//! ```text
//!  client ──► server ──► routes ──► pool ──► proxy ──► instance
//!             bounds     whose      a place  streams
//!                                    ▲  │ nobody free: wait
//!             keeper ── instances ───┘  ▼
//!               ▲                     scale ── plan_scale ──► provision queue, InstanceHost
//!               └──────────────────────── registry ◄──────────── a node makes one
//! ```
//!
//! - A warm call asks nothing but memory: the table of routes, a place on an instance, a connection that is there.
//! - A cold call waits for a place. One task a pool asks for instances, so many callers cause one start.
//! - Whatever is waited for has a deadline; whoever goes away leaves queue, place and connection at once.
//! - Clients and instances are hostile: sizes, counts and times of both are bounded.
//!
//! Requests for ports of sandboxes leave behind `server` ([`sandbox`]): they know no pools.
//!
//! The order in which a request is looked at: its form, the function, the key, the project's rate, and then its pool.

mod answer;
mod body;
mod call;
mod client;
mod config;
mod error;
mod gateway;
mod joining;
mod keeper;
mod lambda;
mod meters;
mod network;
mod observe;
mod parts;
mod pool;
mod proxy;
mod room;
mod routes;
mod sandbox;
mod scale;
mod server;

pub use body::{Body, BodyError};
pub use call::{CallOptions, ExecutedVersion, Target};
pub use config::{ClientLimits, GatewayConfig, UpstreamLimits, WaitLimits};
pub use error::CallError;
pub use gateway::Gateway;
pub use parts::{
    AsyncCall, AsyncInvocations, CallObserver, CallRecord, Denied, GatewayParts, InstanceHost, KeyCheck, NodeRoom,
    NotAccepted, ProvisionFailure, RateLimit, RetireReason, RoomLeft,
};
pub use routes::{Qualifier, Route, RouteTable, VersionFacts};
pub use sandbox::{Knock, NoSandbox, NoSandboxes, SandboxLimits, SandboxPlace, Sandboxes};
pub use server::GatewayListener;
