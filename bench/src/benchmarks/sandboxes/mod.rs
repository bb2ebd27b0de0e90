//! Sandboxes by E2B's SDK as it is, against what lies below: machines that are forked, their agents, plain sockets.
//!
//! The SDK is driven by [`sdk`]; what it is measured against goes around gateway and E2B's API, in turns with it.

mod crowd;
mod files;
mod first;
mod sdk;
mod trip;

use std::net::IpAddr;

use anyhow::Context as _;
use sdk::Sdk;

use super::snapshots::machines::Machines;
use crate::{daemon::Daemon, fixtures, host::Ground, output::Row, servers::free_address};

const TEMPLATE: &str = "base";
const IMAGE: &str = "hearth/template-base";
/// Room for fifty sandboxes on a small host.
const OVERCOMMIT: [&str; 6] = [
    "--cpu-overcommit",
    "1000",
    "--memory-overcommit",
    "1000",
    "--disk-overcommit",
    "64",
];

/// A daemon with the template, and the SDK that speaks to it. The SDK's process goes first.
struct Sandboxes {
    sdk: Sdk,
    machines: Machines,
    daemon: Daemon,
}

pub(crate) async fn measure(ground: &Ground) -> anyhow::Result<Vec<Row>> {
    let mut sandboxes = Sandboxes::start(ground).await?;
    let (mut rows, one) = first::measure(ground, &mut sandboxes).await?;
    rows.extend(trip::measure(ground, &mut sandboxes).await?);
    rows.extend(files::measure(ground, &mut sandboxes).await?);
    rows.extend(crowd::measure(ground, &mut sandboxes, &one).await?);
    Ok(rows)
}

impl Sandboxes {
    async fn start(ground: &Ground) -> anyhow::Result<Self> {
        let (api, gateway) = (free_address()?, free_address()?);
        let (listen, gateway_text) = (api.to_string(), gateway.to_string());
        let args = [&["--driver", "qemu", "--listen", &listen], &OVERCOMMIT[..]].concat();
        let daemon = Daemon::start(ground, "sandboxes", &args, &[("HEARTH_GATEWAY", &gateway_text)]).await?;
        daemon.provide_kernel().await?;
        let image = fixtures::base_template().await?;
        daemon
            .hearth(&["image", "import", &image.to_string_lossy(), "--name", IMAGE])
            .await?;
        let size = ["--cpus", "1", "--memory", "512m"];
        let build = ["template", "build", TEMPLATE, "--image", IMAGE];
        daemon.hearth(&[&build[..], &size].concat()).await?;
        let key = daemon
            .hearth(&["key", "create", "--role", "developer", "--name", "bench"])
            .await?;
        let key = key.lines().next().context("the daemon gave no key")?;
        Ok(Self {
            sdk: Sdk::start(api, gateway, key).await?,
            machines: Machines::of(&daemon),
            daemon,
        })
    }

    /// Where the host reaches a machine, or a sandbox by its ID.
    async fn address(&self, id: &str) -> anyhow::Result<IpAddr> {
        let address = self.machines.get(id).await?.address;
        let address = address.with_context(|| format!("machine {id} has no address"))?;
        address
            .parse()
            .with_context(|| format!("machine {id} is at {address:?}"))
    }

    /// Kills all sandboxes, and returns when nothing of them is left.
    async fn settle(&mut self) -> anyhow::Result<()> {
        self.sdk.kill_all().await?;
        self.daemon.settle().await
    }
}
