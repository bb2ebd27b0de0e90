//! `hearth up`: control and node in one process.

mod detach;
mod drivers;
mod first_key;
mod gateway;
mod notify;
mod remote;
mod state_dir;

use std::{collections::HashSet, path::Path, sync::Arc};

use anyhow::Context;
pub(crate) use drivers::drivers;
use hearth_control::{Control, ControlConfig, Listener};
use hearth_domain::Overcommit;
use hearth_image::{ImageStore, StoreConfig, registry::RegistryConfig};
use hearth_kernel::KernelStore;
use hearth_network::{BridgeConfig, NoNetwork, PoolConfig, SlotPool};
use hearth_node::{ImageRoots, KernelBundles, Node, NodeConfig, NodeParts, machines_under_way};
use hearth_seal::{MASTER_KEY_VARIABLE, Seal};
use hearth_store::Store;
use hearth_telemetry::trace::{self, TraceConfig};
use hearth_volume::Volumes;
use state_dir::StateDir;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::args::UpArgs;

/// Runs the daemon until it is told to end, or starts it and leaves it running.
pub(crate) fn up(socket: &Path, args: &UpArgs, json: bool) -> anyhow::Result<u8> {
    if args.detach {
        return detach::start(socket, args, json);
    }
    detach::leave_terminal();
    log_to_stderr(args.log_json);
    let state = StateDir::claim(&args.state_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(socket, args, &state, json));
    // What blocks (a conversion, a read of a slow disk) is left to its own recovery.
    runtime.shutdown_background();
    outcome.map(|()| 0)
}

fn log_to_stderr(json: bool) {
    let filter = EnvFilter::try_from_env("HEARTH_LOG").unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if json {
        lines.json().flatten_event(true).init();
    } else {
        lines.with_ansi(false).init();
    }
}

async fn serve(socket: &Path, args: &UpArgs, state: &StateDir, json: bool) -> anyhow::Result<()> {
    hearth_telemetry::install();
    open_traces(args)?;
    let shutdown = stop_on_signals()?;
    // Claimed first: a socket in use is found before anything is touched.
    let mut listeners = vec![Listener::unix(socket)?];
    let identity = remote::identity(args, state)?;
    listeners.extend(remote::listen(args, identity.as_ref()).await?);
    if let Some(address) = args.metrics {
        listeners.push(Listener::watching(address).await?);
    }
    let gateway = gateway::listen(args, identity.as_ref()).await?;
    let images = open_images(args, state).await?;
    let kernels_dir = state.open_folder("kernels")?;
    let kernels = Arc::new(tokio::task::spawn_blocking(move || KernelStore::open(&kernels_dir)).await??);
    let variable = std::env::var(MASTER_KEY_VARIABLE).ok().filter(|key| !key.is_empty());
    let seal = Arc::new(Seal::load(variable, &state.path().join("master.key"))?);
    let volumes = open_volumes(args, state, &seal).await?;
    let store = Store::open(&state.private_file("hearth.db")?).await?;
    let network = Arc::new(open_network(args, state).await?);
    let parts = NodeParts {
        roots: Arc::new(ImageRoots(images.clone())),
        kernels: Arc::new(KernelBundles::new(kernels.clone(), hearth_guest_bin::GUEST)),
        network: network.clone(),
        no_network: Arc::new(NoNetwork),
        secrets: seal.clone(),
        volumes: volumes.clone(),
        drivers: drivers(&args.vmm, state.path())?,
    };
    let config = NodeConfig {
        overcommit: Overcommit {
            cpu: args.cpu_overcommit,
            memory: args.memory_overcommit,
            disk: args.disk_overcommit,
        },
        default_driver: args.driver,
        ..NodeConfig::new(state.path())
    };
    let node = Node::open(config, parts).await.context("cannot open the node")?;
    let config = ControlConfig {
        tmp_dir: state.emptied("uploads")?,
        template_files_dir: state.private_folder("template-files")?,
        kernel_cache_dir: state.private_folder("kernel-builds")?,
        volumes,
        seal,
        group: hearth_control::GROUP.to_owned(),
        functions: gateway::config(&gateway, args, state)?,
    };
    let mut control = Control::open(config, node.clone(), images, kernels, store).await?;
    if let Some(key) = control.take_first_key() {
        first_key::tell(&key, json)?;
    }
    tracing::info!(socket = %socket.display(), state_dir = %state.path().display(), "hearth is up");
    // The listeners are bound, so whoever calls from now on is answered.
    notify::ready();
    let certificate = identity.map(|identity| tokio::spawn(identity.keep(shutdown.clone())));
    control.serve(listeners, vec![gateway], shutdown).await;
    notify::stopping();
    if let Some(kept) = certificate {
        kept.await?;
    }
    tracing::info!("going down; machines are left as they are");
    node.close().await;
    hearth_network::Network::close(&*network, true).await;
    let _ = std::fs::remove_file(socket);
    tokio::task::spawn_blocking(trace::close).await?;
    Ok(())
}

async fn open_volumes(args: &UpArgs, state: &StateDir, seal: &Seal) -> anyhow::Result<Arc<Volumes>> {
    let folder = state.private_folder("volumes")?;
    let (secret, limit_bytes) = (seal.token("volume-handles", ""), args.volume_gib << 30);
    let opened = tokio::task::spawn_blocking(move || Volumes::open(&folder, secret.as_bytes(), limit_bytes));
    Ok(Arc::new(opened.await??))
}

fn open_traces(args: &UpArgs) -> anyhow::Result<()> {
    let Some(endpoint) = args.otlp_endpoint.clone().filter(|endpoint| !endpoint.is_empty()) else {
        return Ok(());
    };
    trace::open(&TraceConfig {
        endpoint,
        ratio: args.trace_ratio,
        version: env!("CARGO_PKG_VERSION"),
    })?;
    Ok(())
}

fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let told = shutdown.clone();
    // Lives as long as the process.
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    });
    Ok(shutdown)
}

async fn open_images(args: &UpArgs, state: &StateDir) -> anyhow::Result<ImageStore> {
    let registry = RegistryConfig {
        insecure_registries: args.insecure_registries.clone(),
        private_registries: args.private_registries.clone(),
        ca_files: args.registry_ca.clone(),
        ..RegistryConfig::default()
    };
    let config = StoreConfig {
        registry,
        ..StoreConfig::default()
    };
    ImageStore::open(&state.private_folder("images")?, config)
        .await
        .context("cannot open the image store")
}

async fn open_network(args: &UpArgs, state: &StateDir) -> anyhow::Result<SlotPool> {
    let mut config = PoolConfig::new(state.private_folder("slots")?);
    let network = &args.network;
    config.warm = network.warm_slots;
    config.capacity = network.max_slots;
    config.pool = network.slot_network;
    config.bridge = BridgeConfig {
        name: network.bridge.clone(),
        subnet: network.bridge_subnet.trunc(),
    };
    if !network.dns.is_empty() {
        config.resolvers.clone_from(&network.dns);
    }
    let alive: HashSet<_> = machines_under_way(state.path()).into_iter().collect();
    SlotPool::open(config, alive)
        .await
        .context("cannot open the network; hearth needs root for namespaces and taps")
}
