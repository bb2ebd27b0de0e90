//! Where functions are called.

use std::{net::IpAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use hearth_control::{FunctionsConfig, Identity};
use hearth_gateway::{GatewayConfig, GatewayListener};
use tokio::net::TcpListener;

use super::state_dir::StateDir;
use crate::args::UpArgs;

/// How long an instance may take from its program's start until it can be called. Lambda gives ten seconds; guests that
/// are emulated in software need more.
const READY_TIMEOUT: Duration = Duration::from_mins(1);

/// Where functions are called by TLS: wherever others may listen in, unless a proxy of the user's has it.
pub(super) fn by_tls(args: &UpArgs) -> Option<IpAddr> {
    let address = args.gateway.ip();
    let plain = address.is_loopback() || args.gateway_plain;
    (!plain).then_some(address)
}

/// Listens, by TLS where it has to be.
pub(super) async fn listen(args: &UpArgs, identity: Option<&Identity>) -> anyhow::Result<GatewayListener> {
    let address = args.gateway;
    let identity = identity.filter(|_| by_tls(args).is_some());
    let tls = identity.map(|identity| Arc::clone(&identity.config));
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} for calls of functions; choose another --gateway"))?;
    Ok(GatewayListener { listener, tls })
}

/// How functions are served.
pub(super) fn config(listener: &GatewayListener, args: &UpArgs, state: &StateDir) -> anyhow::Result<FunctionsConfig> {
    let address = listener.listener.local_addr()?;
    let scheme = if listener.tls.is_some() { "https" } else { "http" };
    Ok(FunctionsConfig {
        logs_dir: state.private_folder("function-logs")?,
        gateway: GatewayConfig {
            domain: args.domain.clone(),
            ..GatewayConfig::default()
        },
        base_url: Some(format!("{scheme}://{address}")),
        ready_timeout: READY_TIMEOUT,
        warm_memory_mib: args.warm_memory,
    })
}
