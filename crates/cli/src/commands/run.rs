//! `run`, `attach` and `exec`.

use std::path::Path;

use hearth_api::{
    CreateMachine, ExecRequest, LogFormat, LogLine, LogsQuery, Machine, MachineState, ProblemCode, PullPolicy,
    TerminalSize,
};
use hearth_client::{ApiPath, Client, ClientError};
use http::Method;

use super::{image, machine, machine_path, session};
use crate::{
    args::{AttachArgs, ExecArgs, RunArgs},
    output::{note, print_json, print_line},
    terminal,
};

/// For a terminal that is none.
const USUAL_SIZE: TerminalSize = TerminalSize { cols: 80, rows: 24 };

pub(crate) async fn run(client: &Client, args: RunArgs, json: bool) -> anyhow::Result<u8> {
    let detach = args.detach;
    let request = create_request(args);
    let machine = create(client, &request, json).await?;
    let id = machine.id.to_string();
    if detach {
        start(client, &id, request.auto_remove).await?;
        if !json {
            print_line(&id);
        }
        let machine = machine::until_running(client, machine).await?;
        if json {
            print_json(&machine)?;
        }
        return Ok(0);
    }
    let main = session::Main {
        id: id.clone(),
        name: machine.name,
        after: None,
    };
    // Attached before it starts, so that nothing is missed.
    let attached = session::open(client, &main).await?;
    start(client, &id, request.auto_remove).await?;
    let program = session::Program {
        client,
        main: Some(main),
        stdin: request.stdin,
        tty: request.tty,
        json,
    };
    let parting = session::drive(attached, program).await?;
    if request.auto_remove && parting.over {
        clear_away(client, &id, parting.rejoined).await;
    }
    Ok(parting.code)
}

/// Waits until a machine that removes itself is gone. One that a daemon found when it came back waits a while for
/// clients to come back, too: we have.
async fn clear_away(client: &Client, id: &str, rejoined: bool) {
    if rejoined {
        // If it fails, the machine is gone already, or goes by itself.
        let _ = client.act(Method::DELETE, &machine_path(id, &[])).await;
    }
    machine::until_removed(client, id).await;
}

pub(crate) async fn attach(client: &Client, args: AttachArgs, json: bool) -> anyhow::Result<u8> {
    let machine: Machine = client.get(&machine_path(&args.machine, &[])).await?;
    let (name, state) = (machine.name, machine.state);
    anyhow::ensure!(
        !state.is_at_rest() && state != MachineState::Pending,
        "machine {name} is {state}, not running; start it first with: hearth start {name}"
    );
    let id = machine.id.to_string();
    let main = session::Main {
        after: last_number(client, &id).await?,
        id: id.clone(),
        name,
    };
    let attached = session::open(client, &main).await?;
    let program = session::Program {
        client,
        main: Some(main),
        stdin: machine.stdin && !args.no_stdin,
        tty: machine.tty,
        json,
    };
    let parting = session::drive(attached, program).await?;
    if machine.auto_remove && parting.over {
        clear_away(client, &id, parting.rejoined).await;
    }
    Ok(parting.code)
}

/// Number of the last that a machine wrote.
async fn last_number(client: &Client, id: &str) -> anyhow::Result<Option<u64>> {
    let query = LogsQuery {
        tail: Some(1),
        format: LogFormat::Ndjson,
        ..LogsQuery::default()
    };
    let path = machine_path(id, &["logs"]).query(&query);
    let mut lines = client.lines::<LogLine>(Method::GET, &path, None::<&()>).await?;
    let mut last = None;
    while let Some(line) = lines.next().await {
        match line? {
            LogLine::Output(record) => last = Some(record.sequence),
            LogLine::Problem(line) => return Err(ClientError::Problem(Box::new(line.problem)).into()),
        }
    }
    Ok(last)
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

fn create_request(args: RunArgs) -> CreateMachine {
    CreateMachine {
        image: args.image,
        name: args.name.map(String::from),
        // As docker: an empty one takes the image's away.
        entrypoint: args
            .entrypoint
            .map(|program| Vec::from_iter(Some(program).filter(|program| !program.is_empty()))),
        cmd: args.cmd,
        env: args.env.into_iter().filter_map(with_value).collect(),
        secrets: args.secrets.into_iter().chain(args.secret_files).collect(),
        cpus: args.cpus.map(u64::from),
        memory_mib: args.memory.map(u64::from),
        disk_mib: args.disk.map(u64::from),
        working_dir: args.workdir,
        user: args.user,
        network: Some(args.network.into()),
        ports: args.publish.into_iter().map(Into::into).collect(),
        driver: args.driver.map(Into::into),
        restart: args.restart.into(),
        recover: args.recover.into(),
        stop_signal: args.stop_signal,
        stop_timeout_ms: args.stop_timeout.map(|seconds| seconds.saturating_mul(1000)),
        tty: args.tty,
        stdin: args.interactive,
        auto_remove: args.rm,
        kernel: args.kernel,
        snapshot: None,
        start: false,
    }
}

/// `KEY` alone takes its value from here, and is left out where there is none.
pub(crate) fn with_value(variable: String) -> Option<String> {
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
        main: None,
        stdin: args.interactive,
        tty: args.tty,
        json,
    };
    Ok(session::drive(opened, program).await?.code)
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
