//! Over standard input and output, for the one agent that started us.

use std::{io, sync::Arc};

use hearth_client::Client;
use rmcp::{ServiceExt as _, service::ServerInitializeError};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    signal::unix::{SignalKind, signal},
};

use crate::{
    server::{Caller, Server},
    session::Own,
};

/// How to serve one agent.
#[derive(Debug, Clone, Copy, Default)]
pub struct StdioOptions {
    /// Sandboxes that it made stay when it goes, until their own time is over.
    pub keep: bool,
}

/// Why an agent could not be served.
#[derive(Debug, Error)]
pub enum StdioError {
    /// Nobody would be told to stop.
    #[error("signals cannot be waited for")]
    Signals(#[source] io::Error),
    /// What came first was not the protocol's beginning.
    #[error("the client does not begin as the Model Context Protocol has it; is it an MCP client that started this?")]
    Begin(#[source] Box<ServerInitializeError>),
    /// The task that served it broke off.
    #[error("the session broke off")]
    Broken(#[source] tokio::task::JoinError),
}

/// Serves the agent at standard input and output until it goes, or we are told to stop; then its sandboxes go, too.
pub async fn serve_stdio(client: Client, options: StdioOptions) -> Result<(), StdioError> {
    let (input, output) = rmcp::transport::stdio_pipes();
    serve(client, options, input, output).await
}

pub(crate) async fn serve(
    client: Client,
    options: StdioOptions,
    input: impl AsyncRead + Send + Unpin + 'static,
    output: impl AsyncWrite + Send + Unpin + 'static,
) -> Result<(), StdioError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(StdioError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StdioError::Signals)?;
    let own = Arc::new(Own::default());
    let server = Server::new(client.clone(), Caller::Own(Arc::clone(&own)));
    let session = async {
        let begun = server.serve((input, output)).await;
        let running = match begun {
            Ok(running) => running,
            // It went before it began.
            Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
            Err(error) => return Err(StdioError::Begin(Box::new(error))),
        };
        running.waiting().await.map(drop).map_err(StdioError::Broken)
    };
    let outcome = tokio::select! {
        outcome = session => outcome,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    if !options.keep {
        own.end(&client).await;
    }
    outcome
}
