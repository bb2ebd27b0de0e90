//! `mcp`: sandboxes as tools for agents.

use hearth_client::{Client, Endpoint};
use hearth_mcp::{HttpOptions, StdioOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::McpArgs;

pub(crate) async fn mcp(client: &Client, args: McpArgs) -> anyhow::Result<u8> {
    let Some(listen) = args.listen else {
        hearth_mcp::serve_stdio(client.clone(), StdioOptions { keep: args.keep }).await?;
        return Ok(0);
    };
    // There the kernel says who calls, which would be us, and so an operator of the host, whatever key an agent sends.
    anyhow::ensure!(
        !matches!(client.endpoint(), Endpoint::Unix(_)),
        "--listen passes agents' keys on, and the daemon's socket asks for none: name the daemon by --host or HEARTH_HOST, \
         as in hearth --host http://127.0.0.1:8481 mcp --listen {listen}"
    );
    let options = HttpOptions {
        listen,
        hosts: args.allow_host,
        origins: args.allow_origin,
    };
    let stop = stopped()?;
    hearth_mcp::listen(client.clone(), options, stop, |address| {
        eprintln!("agents are served at http://{address}/mcp");
    })
    .await?;
    Ok(0)
}

/// Cancelled by SIGTERM or SIGINT.
fn stopped() -> anyhow::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopping.cancel();
    });
    Ok(stop)
}
