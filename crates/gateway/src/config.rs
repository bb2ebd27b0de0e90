//! What the gateway is told when it starts: names, bounds, times.

use std::time::Duration;

use crate::SandboxLimits;

/// The gateway's settings. Each has a default that suits a host of its own.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// The domain under which functions have host names: `NAME.PROJECT.fn.<domain>`.
    pub domain: String,
    /// The region that Lambda programs are told.
    pub region: String,
    /// Whether `X-Forwarded-*` of clients is believed: only behind a proxy of one's own.
    pub trust_forwarded: bool,
    /// Bounds on what clients send.
    pub client: ClientLimits,
    /// Bounds on waiting for instances and on starting them.
    pub waiting: WaitLimits,
    /// Bounds on connections to instances.
    pub upstream: UpstreamLimits,
    /// Bounds on the way to sandboxes.
    pub sandboxes: SandboxLimits,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            domain: "localhost".to_owned(),
            region: "us-east-1".to_owned(),
            trust_forwarded: false,
            client: ClientLimits::default(),
            waiting: WaitLimits::default(),
            upstream: UpstreamLimits::default(),
            sandboxes: SandboxLimits::default(),
        }
    }
}

/// Bounds on clients.
#[derive(Debug, Clone)]
pub struct ClientLimits {
    /// Connections at once; further ones are closed at once.
    pub connections: usize,
    /// Connections at once from one address.
    pub connections_per_address: usize,
    /// Header fields of a request.
    pub headers: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Bytes of a request's path and query.
    pub uri_bytes: usize,
    /// Bytes of a body for a function of the HTTP contract; without bound if absent, for it is passed on as it comes.
    pub body_bytes: Option<u64>,
    /// Bytes of a body for a function of the Lambda contract, which is held in memory. Lambda's own bound is 6 MiB.
    pub event_bytes: usize,
    /// Bytes of a body of an asynchronous call.
    pub async_bytes: usize,
    /// Bytes of events and bodies of asynchronous calls that are held in memory at once, of all clients.
    pub held_bytes: usize,
    /// The same of one client's address.
    pub held_bytes_per_address: usize,
    /// How long a request's head may take, and how long a connection may be idle.
    pub head_timeout: Duration,
    /// How long a body may stand still, and how long a client may not read.
    pub body_idle: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// Streams at once in an HTTP/2 connection.
    pub h2_streams: u32,
    /// Streams that a client may have reset before we answered them; more end the connection.
    pub h2_pending_resets: usize,
    /// How long requests may go on once the gateway is told to stop.
    pub grace: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_address: 4096,
            headers: 100,
            head_bytes: 64 * 1024,
            uri_bytes: 16 * 1024,
            body_bytes: None,
            event_bytes: 6 * 1024 * 1024,
            async_bytes: 1024 * 1024,
            held_bytes: crate::room::default_max(),
            held_bytes_per_address: 64 * 1024 * 1024,
            head_timeout: Duration::from_secs(30),
            body_idle: Duration::from_mins(1),
            handshake_timeout: Duration::from_secs(10),
            h2_streams: 200,
            h2_pending_resets: 20,
            grace: Duration::from_secs(20),
        }
    }
}

/// Bounds on waiting.
#[derive(Debug, Clone)]
pub struct WaitLimits {
    /// Calls that may wait for an instance of one version.
    pub queue: usize,
    /// How long a call waits for an instance.
    pub timeout: Duration,
    /// Instances of one version that may be on their way at a time; more are asked for as these come. Twice as many as a
    /// worker makes of one function at a time keep it busy, and others need not wait long behind them.
    pub provisions_max: u32,
    /// How long a wanted instance may take before it is wanted anew.
    pub provision_timeout: Duration,
    /// After so many failed starts in a row the calls that wait are told.
    pub provision_attempts: u32,
    /// The wait before a failed start is tried again; doubles each time.
    pub provision_backoff: Duration,
    /// How long it is believed of nodes that they have no room; then one instance is asked for all the same.
    pub room_doubt: Duration,
    /// How long an instance may take to end its calls before it is retired all the same.
    pub drain: Duration,
}

impl Default for WaitLimits {
    fn default() -> Self {
        Self {
            queue: 10_000,
            timeout: Duration::from_mins(1),
            provisions_max: 16,
            provision_timeout: Duration::from_mins(2),
            provision_attempts: 3,
            provision_backoff: Duration::from_millis(250),
            room_doubt: Duration::from_secs(30),
            drain: Duration::from_mins(15),
        }
    }
}

/// Bounds on instances' side.
#[derive(Debug, Clone)]
pub struct UpstreamLimits {
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// Idle connections kept for an instance.
    pub idle_connections: usize,
    /// How long a connection may be idle.
    pub idle_timeout: Duration,
    /// How old a connection may become.
    pub max_age: Duration,
    /// Bytes of an answer that is held in memory: an event's. Lambda's own bound is 6 MiB.
    pub answer_bytes: usize,
    /// How long an instance that could not be reached is left alone.
    pub suspect: Duration,
    /// How often a call is tried on another instance when the first cannot be reached.
    pub attempts: u32,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            idle_connections: 256,
            idle_timeout: Duration::from_secs(30),
            max_age: Duration::from_mins(10),
            answer_bytes: 6 * 1024 * 1024,
            suspect: Duration::from_millis(500),
            attempts: 3,
        }
    }
}
