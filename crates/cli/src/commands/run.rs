//! `run` and `exec`.

use std::path::Path;

use hearth_api::{CreateMachine, ExecRequest, Machine, MachineState, ProblemCode, PullPolicy, TerminalSize};
use hearth_client::{ApiPath, Client, ClientError};
use http::Method;

use super::{image, machine_path, session};
use crate::{
    args::{ExecArgs, RunArgs},
    output::{note, print_json, print_line},
    terminal,
};

/// For a terminal that is none.
const USUAL_SIZE: TerminalSize = TerminalSize { cols: 80, rows: 24 };

pub(crate) async fn run(client: &Client, args: RunArgs, json: bool) -> anyhow::Result<u8> {
    let detach = args.detach;
    let request = create_request(args)?;
    let (stdin, tty) = (request.stdin, request.tty);
    let machine = create(client, &request, json).await?;
    let id = machine.id.to_string();
    if detach {
        start(client, &id, request.auto_remove).await?;
        if json {
            print_json(&client.get::<Machine>(&machine_path(&id, &[])).await?)?;
        } else {
            print_line(&id);
        }
        return Ok(0);
    }
    // Attached before it starts, so that nothing is missed.
    let attached = client.session(&machine_path(&id, &["attach"])).await?;
    start(client, &id, request.auto_remove).await?;
    let program = session::Program {
        client,
        machine: Some(id),
        stdin,
        tty,
        json,
    };
    session::drive(attached, &program).await
}

/// Starts the machine; one that cannot start is not left behind when nobody is to see it.
async fn start(client: &Client, id: &str, auto_remove: bool) -> Result<(), ClientError> {
    let started = client.act(Method::POST, &machine_path(id, &["start"])).await;
    if started.is_err() && auto_remove {
        // The failure that is reported is the first one.
        let _ = client.act(Method::DELETE, &machine_path(id, &[])).await;
    }
    started
}

/// Makes the machine, and fetches its image first if that is not here yet.
async fn create(client: &Client, request: &CreateMachine, json: bool) -> anyhow::Result<Machine> {
    let path = ApiPath::v1(&["machines"]);
    match client.post_json(&path, request).await {
        Err(ClientError::Problem(problem)) if problem.code == ProblemCode::ImageNotFound => {
            note(
                format_args!("image {} is not here yet; pulling it", request.image),
                json,
            );
            image::fetch(client, &request.image, PullPolicy::Missing, json).await?;
            Ok(client.post_json(&path, request).await?)
        }
        outcome => Ok(outcome?),
    }
}

fn create_request(args: RunArgs) -> anyhow::Result<CreateMachine> {
    anyhow::ensure!(
        !(args.detach && args.interactive && args.tty),
        "--detach leaves no terminal to be interactive on"
    );
    Ok(CreateMachine {
        image: args.image,
        name: args.name.map(String::from),
        entrypoint: args.entrypoint.map(|program| vec![program]),
        cmd: args.cmd,
        env: args.env.into_iter().filter_map(with_value).collect(),
        cpus: args.cpus.map(u64::from),
        memory_mib: args.memory.map(u64::from),
        disk_mib: args.disk.map(u64::from),
        working_dir: args.workdir,
        user: args.user,
        network: args.network.into(),
        ports: args.publish.into_iter().map(Into::into).collect(),
        driver: args.driver.map(Into::into),
        restart: args.restart.into(),
        stop_signal: args.stop_signal,
        stop_timeout_ms: args.stop_timeout.map(|seconds| seconds.saturating_mul(1000)),
        tty: args.tty,
        stdin: args.interactive,
        auto_remove: args.rm,
        kernel: args.kernel,
        start: false,
    })
}

/// `KEY` alone takes its value from here, and is left out where there is none.
fn with_value(variable: String) -> Option<String> {
    if variable.contains('=') {
        return Some(variable);
    }
    std::env::var(&variable).ok().map(|value| format!("{variable}={value}"))
}

pub(crate) async fn exec(client: &Client, args: ExecArgs, json: bool) -> anyhow::Result<u8> {
    let request = ExecRequest {
        cmd: args.cmd,
        env: args.env.into_iter().filter_map(with_value).collect(),
        working_dir: args.workdir,
        user: args.user,
        tty: args.tty.then(|| terminal::size().unwrap_or(USUAL_SIZE)),
        stdin: args.interactive,
    };
    let mut opened = client.session(&machine_path(&args.machine, &["exec"])).await?;
    opened.sender.begin(&request).await?;
    let program = session::Program {
        client,
        machine: None,
        stdin: args.interactive,
        tty: args.tty,
        json,
    };
    session::drive(opened, &program).await
}

/// Whether a machine's program has not begun yet.
pub(crate) async fn is_coming_up(client: &Client, id: &str) -> bool {
    let machine: Result<Machine, ClientError> = client.get(&machine_path(id, &[])).await;
    machine.is_ok_and(|m| {
        matches!(
            m.state,
            MachineState::Pending | MachineState::Preparing | MachineState::Starting
        )
    })
}

/// A path as the daemon, which may run elsewhere in the file system, can open it.
pub(crate) fn absolute(path: &Path) -> anyhow::Result<String> {
    let absolute = std::path::absolute(path)?;
    absolute
        .into_os_string()
        .into_string()
        .map_err(|path| anyhow::anyhow!("path {} is not valid UTF-8", path.display()))
}
