//! What the gateway has to know of sandboxes, and asks of whoever keeps them.

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;
use futures::future::BoxFuture;
use hearth_ids::SandboxId;
use http::HeaderMap;
use thiserror::Error;

use super::{
    AGENT_PORT,
    access::{self, check_token},
};

/// Knows sandboxes.
#[async_trait]
pub trait Sandboxes: Send + Sync {
    /// Where a port of a sandbox is. One that is paused and resumes by traffic is resumed first, which may take seconds.
    ///
    /// Asked for each request. Whoever asks may go away before it is answered, also in the midst of a resume.
    async fn find(&self, id: SandboxId, knock: Knock<'_>) -> Result<SandboxPlace, NoSandbox>;
}

/// Who asks for a port: what counts before a sandbox is woken for somebody.
#[derive(Debug, Clone, Copy)]
pub struct Knock<'a> {
    /// The port.
    pub port: u16,
    /// The headers of the request.
    pub headers: &'a HeaderMap,
}

impl Knock<'_> {
    /// Whether it shows a sandbox's traffic token, where it has to.
    pub fn shows(&self, traffic_token: &str) -> bool {
        check_token(self.port, Some(traffic_token), self.headers).is_ok()
    }

    /// Whether it is the agent's port that is asked for.
    pub fn is_for_agent(&self) -> bool {
        self.port == AGENT_PORT
    }

    /// Whether it shows a sandbox's access token, as the agent asks for it.
    pub fn shows_access(&self, access_token: &str) -> bool {
        access::shows_access(access_token, self.headers)
    }
}

/// Where a sandbox is, for as long as it is there.
pub struct SandboxPlace {
    /// Its machine's address.
    pub address: IpAddr,
    /// What a request has to show, unless it is for the agent's port.
    pub traffic_token: Option<Arc<str>>,
    /// The host that programs are told instead of the one that was asked for. `${PORT}` in it stands for the port.
    pub mask_host: Option<String>,
    /// Resolves when the sandbox is paused, killed, or its machine has ended: streams are cut. It must have resolved before
    /// the address is given to another machine.
    pub gone: BoxFuture<'static, ()>,
    /// Kept until the request is over, with the stream that it may have become.
    pub held: Option<Box<dyn Send + Sync>>,
}

/// Why there is no place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoSandbox {
    /// It never was, is gone, or is paused and does not resume by traffic.
    #[error("there is no such sandbox, or it does not run")]
    NotFound,
    /// It could not be resumed now; the text is for the log.
    #[error("the sandbox could not be resumed: {0}")]
    Unavailable(String),
}

/// Knows of no sandbox.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSandboxes;

#[async_trait]
impl Sandboxes for NoSandboxes {
    async fn find(&self, _: SandboxId, _: Knock<'_>) -> Result<SandboxPlace, NoSandbox> {
        Err(NoSandbox::NotFound)
    }
}
