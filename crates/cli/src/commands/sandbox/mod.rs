//! Sandboxes: machines of templates, for a time. What is done within one goes by its machine.

mod copy;
mod files;
mod inside;
mod look;

pub(crate) use look::running;

use hearth_api::{CreateSandbox, PauseSandbox, ResumeSandbox, Sandbox, SetSandboxTimeout};
use hearth_client::{ApiPath, Client, ClientError};
use http::Method;

use super::{
    machine::{Removed, each, show_each},
    run::with_value,
    watch,
};
use crate::{
    args::{CreateSandboxArgs, SandboxCommand},
    output::{print_json, print_line},
    progress::telling,
};

pub(crate) async fn dispatch(command: SandboxCommand, client: &Client, json: bool) -> anyhow::Result<u8> {
    match command {
        SandboxCommand::Create(args) => create(client, args, json).await,
        SandboxCommand::Ls(args) => look::ls(client, args, json).await,
        SandboxCommand::Get(args) => show_each(&args.sandboxes, json, async |id| one(client, id).await).await,
        SandboxCommand::Exec(args) => inside::exec(client, args, json).await,
        SandboxCommand::Connect { user, sandbox } => inside::connect(client, &sandbox, user, json).await,
        SandboxCommand::Files(command) => files::dispatch(command, client, json).await,
        SandboxCommand::Pause { no_memory, sandboxes } => {
            let memory = no_memory.then_some(false);
            pause(client, &sandboxes.sandboxes, PauseSandbox { memory }, json).await
        }
        SandboxCommand::Resume {
            no_memory,
            timeout,
            sandboxes,
        } => {
            let request = ResumeSandbox {
                timeout_s: timeout,
                memory: no_memory.then_some(false),
            };
            resume(client, &sandboxes.sandboxes, request, json).await
        }
        SandboxCommand::Fork {
            count,
            timeout,
            sandbox,
        } => copy::fork(client, &sandbox, count, timeout, json).await,
        SandboxCommand::Snapshot {
            name,
            no_memory,
            sandbox,
        } => copy::snapshot(client, &sandbox, name, no_memory, json).await,
        SandboxCommand::Network { rules, sandbox } => copy::set_network(client, &sandbox, rules.into(), json).await,
        SandboxCommand::Timeout { sandbox, timeout } => set_timeout(client, &sandbox, timeout, json).await,
        SandboxCommand::Kill(args) => kill(client, &args.sandboxes, json).await,
        SandboxCommand::Logs(mut args) => {
            args.machine = machine(client, &args.machine).await?;
            watch::logs(client, args, json).await
        }
        SandboxCommand::Metrics(mut args) => {
            for name in &mut args.machines {
                *name = machine(client, name).await?;
            }
            if args.machines.is_empty() {
                anyhow::ensure!(!running(client).await?.is_empty(), "no sandbox runs");
            }
            watch::stats(client, &args, watch::Running::Sandboxes, json).await
        }
        SandboxCommand::Url { sandbox, port } => look::url(client, &sandbox, port, json).await,
    }
}

fn path(sandbox: &str, rest: &[&str]) -> ApiPath {
    let mut segments = vec!["sandboxes", sandbox];
    segments.extend(rest);
    ApiPath::v1(&segments)
}

async fn one(client: &Client, sandbox: &str) -> Result<Sandbox, ClientError> {
    client.get(&path(sandbox, &[])).await
}

/// The machine that a sandbox is.
async fn machine(client: &Client, sandbox: &str) -> Result<String, ClientError> {
    one(client, sandbox).await.map(|sandbox| sandbox.id.to_string())
}

async fn create(client: &Client, args: CreateSandboxArgs, json: bool) -> anyhow::Result<u8> {
    let request = CreateSandbox {
        template: args.template,
        env: args.env.into_iter().filter_map(with_value).collect(),
        metadata: args.metadata.into_iter().collect(),
        timeout_s: args.timeout,
        on_timeout: args.on_timeout.into(),
        auto_resume: args.auto_resume,
        keep_alive: args.keep_alive,
        private_traffic: args.private,
        recover: args.recover.into(),
        cpus: args.cpus.map(Into::into),
        memory_mib: args.memory.map(Into::into),
        disk_mib: args.disk.map(Into::into),
        network: args.network.into(),
    };
    let what = format!("making a sandbox of {}", request.template);
    let path = ApiPath::v1(&["sandboxes"]);
    let made = client.post_json(&path, &request);
    let made: Sandbox = telling(&what, json, made).await?;
    if json {
        print_json(&made)?;
    } else {
        print_line(made.id.to_string());
    }
    Ok(0)
}

async fn pause(client: &Client, names: &[String], request: PauseSandbox, json: bool) -> anyhow::Result<u8> {
    each(names, json, async |name| {
        let place = path(name, &["pause"]);
        let paused = client.post_json::<Sandbox>(&place, &request);
        telling(&format!("pausing {name}"), json, paused).await
    })
    .await
}

async fn resume(client: &Client, names: &[String], request: ResumeSandbox, json: bool) -> anyhow::Result<u8> {
    each(names, json, async |name| {
        let place = path(name, &["resume"]);
        let resumed = client.post_json::<Sandbox>(&place, &request);
        telling(&format!("resuming {name}"), json, resumed).await
    })
    .await
}

async fn set_timeout(client: &Client, name: &str, timeout_s: i64, json: bool) -> anyhow::Result<u8> {
    let request = SetSandboxTimeout { timeout_s };
    let seen: Sandbox = client.post_json(&path(name, &["timeout"]), &request).await?;
    if json {
        print_json(&seen)?;
    } else {
        print_line(format!("{} lasts {}", seen.id, look::left(&seen)));
    }
    Ok(0)
}

async fn kill(client: &Client, names: &[String], json: bool) -> anyhow::Result<u8> {
    each(names, json, async |name| {
        let killed = client.act(Method::DELETE, &path(name, &[])).await;
        killed.map(|()| Removed::of(name))
    })
    .await
}
