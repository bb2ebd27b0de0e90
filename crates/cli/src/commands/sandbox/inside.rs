//! Commands in a sandbox.

use hearth_api::{ResumeSandbox, Sandbox, SandboxState};
use hearth_client::Client;

use super::{machine, one, path};
use crate::{args::ExecArgs, commands::run, progress::telling};

/// What `connect` runs: a shell that reads what shells of users read.
const SHELL: [&str; 2] = ["/bin/bash", "-l"];

pub(super) async fn exec(client: &Client, mut args: ExecArgs, json: bool) -> anyhow::Result<u8> {
    args.machine = machine(client, &args.machine).await?;
    run::exec(client, args, json).await
}

/// A shell at this terminal.
pub(super) async fn connect(client: &Client, name: &str, user: Option<String>, json: bool) -> anyhow::Result<u8> {
    let mut sandbox = one(client, name).await?;
    let id = sandbox.id.to_string();
    if sandbox.state != SandboxState::Running {
        let request = ResumeSandbox::default();
        let place = path(&id, &["resume"]);
        let resumed = client.post_json::<Sandbox>(&place, &request);
        sandbox = telling(&format!("resuming {id}"), json, resumed).await?;
    }
    run::exec(client, shell(sandbox.id.to_string(), user), json).await
}

fn shell(machine: String, user: Option<String>) -> ExecArgs {
    ExecArgs {
        interactive: true,
        tty: true,
        env: std::env::var("TERM")
            .ok()
            .map(|term| format!("TERM={term}"))
            .into_iter()
            .collect(),
        workdir: None,
        user,
        machine,
        cmd: SHELL.map(ToOwned::to_owned).to_vec(),
    }
}
