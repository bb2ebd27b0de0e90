//! Where functions are called.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use hearth_control::FunctionsConfig;
use hearth_gateway::{GatewayConfig, GatewayListener};
use tokio::net::TcpListener;

use super::state_dir::StateDir;
use crate::args::UpArgs;

/// How long an instance may take from its program's start until it can be called. Lambda gives ten seconds; guests that
/// are emulated in software need more.
const READY_TIMEOUT: Duration = Duration::from_mins(1);

pub(super) async fn listen(address: SocketAddr) -> anyhow::Result<GatewayListener> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} for calls of functions; choose another --gateway"))?;
    Ok(GatewayListener { listener, tls: None })
}

/// How functions are served.
pub(super) fn config(listener: &GatewayListener, args: &UpArgs, state: &StateDir) -> anyhow::Result<FunctionsConfig> {
    let address = listener.listener.local_addr()?;
    Ok(FunctionsConfig {
        logs_dir: state.private_folder("function-logs")?,
        gateway: GatewayConfig {
            domain: args.domain.clone(),
            ..GatewayConfig::default()
        },
        base_url: Some(format!("http://{address}")),
        ready_timeout: READY_TIMEOUT,
    })
}
