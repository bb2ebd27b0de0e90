//! Bounds on the way to sandboxes.

use std::time::Duration;

/// Bounds on what goes to sandboxes. There is none on how long a stream lasts, how long its body is silent, or on its bytes.
#[derive(Debug, Clone)]
pub struct SandboxLimits {
    /// Requests under way at once, upgraded connections among them.
    pub streams: usize,
    /// The same of one sandbox.
    pub streams_per_sandbox: usize,
    /// How long a sandbox may take to be found, and resumed for that.
    pub find_timeout: Duration,
    /// How long a port may take to accept a connection. A guest whose firewall drops what comes says nothing at all.
    pub connect_timeout: Duration,
    /// Idle connections that are kept, in all.
    pub idle_connections: usize,
    /// Idle connections that are kept to one port of a sandbox.
    pub idle_connections_per_port: usize,
    /// How long a connection may be idle. Less than the 5 s after which the servers of Node and of uvicorn close theirs, so
    /// that no request meets one that is just being closed.
    pub idle_timeout: Duration,
    /// How long a client may not read what there is for it.
    pub stalled: Duration,
    /// How long an upgraded connection may be silent in both directions.
    pub upgraded_idle: Duration,
}

impl Default for SandboxLimits {
    fn default() -> Self {
        Self {
            streams: 16_384,
            streams_per_sandbox: 4096,
            find_timeout: Duration::from_mins(2),
            connect_timeout: Duration::from_secs(5),
            idle_connections: 1024,
            idle_connections_per_port: 8,
            idle_timeout: Duration::from_secs(4),
            stalled: Duration::from_hours(1),
            upgraded_idle: Duration::from_hours(24),
        }
    }
}
