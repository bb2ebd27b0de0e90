//! Copies of sandboxes, and what sandboxes may reach.

use hearth_api::{ForkSandbox, Sandbox, SandboxFork, SandboxNetwork, SnapshotSandbox, Template};
use hearth_client::Client;
use http::Method;

use super::path;
use crate::{
    output::{print_json, print_line},
    progress::telling,
};

/// Makes copies of a sandbox. Those that were made are printed also where others were not.
pub(super) async fn fork(
    client: &Client,
    sandbox: &str,
    count: u32,
    timeout_s: Option<i64>,
    json: bool,
) -> anyhow::Result<u8> {
    let request = ForkSandbox {
        count: Some(count),
        timeout_s,
    };
    let place = path(sandbox, &["fork"]);
    let forked = client.post_json::<SandboxFork>(&place, &request);
    let forked = telling(&format!("forking {sandbox}"), json, forked).await?;
    if json {
        print_json(&forked)?;
    } else {
        for copy in &forked.sandboxes {
            print_line(copy.id.to_string());
        }
    }
    match forked.failures.first() {
        None => Ok(0),
        Some(problem) => anyhow::bail!(
            "{} of {count} copies could not be made: {}",
            forked.failures.len(),
            problem.detail
        ),
    }
}

/// Makes a template of a sandbox as it is now.
pub(super) async fn snapshot(
    client: &Client,
    sandbox: &str,
    name: Option<String>,
    no_memory: bool,
    json: bool,
) -> anyhow::Result<u8> {
    let request = SnapshotSandbox {
        name,
        memory: no_memory.then_some(false),
    };
    let place = path(sandbox, &["snapshot"]);
    let made = client.post_json::<Template>(&place, &request);
    let made = telling(&format!("making a snapshot of {sandbox}"), json, made).await?;
    if json {
        print_json(&made)?;
    } else {
        print_line(made.id.to_string());
    }
    Ok(0)
}

/// Says what a sandbox may reach from now on.
pub(super) async fn set_network(
    client: &Client,
    sandbox: &str,
    network: SandboxNetwork,
    json: bool,
) -> anyhow::Result<u8> {
    let place = path(sandbox, &["network"]);
    let seen: Sandbox = client.send_json(Method::PUT, &place, &network).await?;
    if json {
        print_json(&seen)?;
    }
    Ok(0)
}
