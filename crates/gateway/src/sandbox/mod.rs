//! The data plane of sandboxes: any port of one machine, and streams that last.
//!
//! ```text
//!  server ──► target ──► access ──► Sandboxes::find ──► connections ──► exchange ──► streaming, upgraded
//!             which      host-only   resumes it          kept by          both ways     until the end,
//!                        paths, token                    sandbox, port                  or the machine's
//! ```
//!
//! A function has instances, and a call waits for a place on one of them. A sandbox is one machine that is its caller's own:
//! there is nothing to wait for but its coming back, nothing to choose, and no time after which a stream is too old. What is
//! bounded is how many streams there are ([`SandboxLimits`]).
//!
//! - A machine's address is another's once it is gone. So nothing is sent on a connection that was made after `gone`, and
//!   what is under way then is cut on both sides, never ended as if it were whole.
//! - What only the host may ask of the agent is refused before anything is connected.
//! - Answers of the gateway itself say what E2B's clients look for in them.

mod access;
mod connections;
mod contract;
mod exchange;
mod limits;
mod outgoing;
mod refusal;
mod streaming;
mod streams;
mod target;
mod upgraded;

use std::sync::Arc;

use connections::Connections;
pub use contract::{Knock, NoSandbox, NoSandboxes, SandboxPlace, Sandboxes};
pub(crate) use exchange::{Asked, serve};
pub use limits::SandboxLimits;
use metrics::{Counter, counter};
use streams::Streams;
pub(crate) use target::target;
use tokio_util::sync::CancellationToken;

/// The agent's port in each sandbox.
const AGENT_PORT: u16 = 49_983;

/// What the requests for ports of sandboxes share.
pub(crate) struct Ports {
    connections: Arc<Connections>,
    streams: Arc<Streams>,
    /// Answers by class of status, from 1xx on.
    classes: [Counter; 5],
}

impl Ports {
    pub(crate) fn new(limits: &SandboxLimits) -> Self {
        let class = |class: &'static str| counter!("hearth_gateway_sandbox_requests_total", "class" => class);
        Self {
            connections: Arc::new(Connections::new(limits.clone())),
            streams: Streams::new(limits),
            classes: ["1xx", "2xx", "3xx", "4xx", "5xx"].map(class),
        }
    }

    /// Closes connections that nobody uses, until it is stopped.
    pub(crate) fn prune(&self, stop: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        connections::prune(Arc::clone(&self.connections), stop)
    }

    fn answered(&self, status: http::StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.classes[class].increment(1);
    }
}
