//! Machines: list, look, act.

use hearth_api::{
    KillQuery, ListMachinesQuery, Machine, MachineList, MachineState, RemoveQuery, StopQuery, WaitResult,
};
use hearth_client::{ApiPath, Client, ClientError};
use http::Method;
use serde::Serialize;

use super::machine_path;
use crate::{
    args::{KillArgs, PsArgs, RmArgs, StopArgs},
    failure::{self, EXIT_FAILED},
    output::{ago, print_json, print_line, print_table, span},
};

/// Machines a page.
const PAGE: u32 = 500;

pub(crate) async fn ps(client: &Client, args: &PsArgs, json: bool) -> anyhow::Result<u8> {
    let machines = list(client, args.all).await?;
    if json {
        print_json(&machines)?;
    } else if args.quiet {
        for machine in &machines {
            print_line(machine.id.to_string());
        }
    } else {
        let rows: Vec<[String; 7]> = machines.iter().map(row).collect();
        print_table(["ID", "NAME", "IMAGE", "STATUS", "CREATED", "DRIVER", "PORTS"], &rows);
    }
    Ok(0)
}

async fn list(client: &Client, all: bool) -> Result<Vec<Machine>, ClientError> {
    let mut query = ListMachinesQuery {
        all,
        limit: Some(PAGE),
        ..ListMachinesQuery::default()
    };
    let mut machines = Vec::new();
    loop {
        let page: MachineList = client.get(&ApiPath::v1(&["machines"]).query(&query)).await?;
        machines.extend(page.machines);
        match page.next_cursor {
            Some(cursor) => query.cursor = Some(cursor),
            None => return Ok(machines),
        }
    }
}

/// The machines that run, by name.
pub(crate) async fn running(client: &Client) -> Result<Vec<String>, ClientError> {
    let machines = list(client, false).await?;
    Ok(machines
        .into_iter()
        .filter(|m| m.state == MachineState::Running)
        .map(|m| m.name)
        .collect())
}

fn row(machine: &Machine) -> [String; 7] {
    let ports: Vec<String> = machine
        .ports
        .iter()
        .map(|port| {
            let host = port.host_ip.map_or_else(String::new, |ip| format!("{ip}:"));
            format!("{host}{}->{}/{:?}", port.host_port, port.guest_port, port.protocol).to_lowercase()
        })
        .collect();
    [
        machine.id.to_string(),
        machine.name.clone(),
        machine.image.clone(),
        status(machine),
        ago(machine.created_at),
        format!("{:?}", machine.driver).to_lowercase(),
        ports.join(", "),
    ]
}

fn status(machine: &Machine) -> String {
    let since = |time: Option<jiff::Timestamp>| {
        time.map_or_else(String::new, |t| {
            format!(" {}", span(jiff::Timestamp::now().duration_since(t).as_secs().max(0)))
        })
    };
    match machine.state {
        MachineState::Running => format!("running{}", since(machine.started_at)),
        MachineState::Stopped => {
            let code = machine.exit.as_ref().map_or(0, |exit| exit.code);
            format!("stopped ({code}){}", since(machine.finished_at))
        }
        state => state.to_string(),
    }
}

pub(crate) async fn inspect(client: &Client, names: &[String]) -> anyhow::Result<u8> {
    each(names, true, async |name| {
        client.get::<Machine>(&machine_path(name, &[])).await
    })
    .await
}

/// Does the same to each machine and names those that it was done to, or shows them as JSON.
pub(crate) async fn act_on<Q: Serialize>(
    client: &Client,
    names: &[String],
    verb: &str,
    query: &Q,
    json: bool,
) -> anyhow::Result<u8> {
    each(names, json, async |name| {
        client.post::<Machine>(&machine_path(name, &[verb]).query(query)).await
    })
    .await
}

/// What a removal leaves to show.
#[derive(Debug, Serialize)]
pub(crate) struct Removed {
    removed: [String; 1],
}

impl Removed {
    pub(crate) fn of(name: &str) -> Self {
        Self {
            removed: [name.to_owned()],
        }
    }
}

/// Does something for each name, and prints the name or, as JSON, what came of it.
pub(crate) async fn each<T: Serialize>(
    names: &[String],
    json: bool,
    action: impl AsyncFn(&str) -> Result<T, ClientError>,
) -> anyhow::Result<u8> {
    each_in_words(names, json, action, |name, _| name.to_owned()).await
}

/// As [`each`], with other words. One that fails does not spare the others.
async fn each_in_words<T: Serialize>(
    names: &[String],
    json: bool,
    action: impl AsyncFn(&str) -> Result<T, ClientError>,
    words: impl Fn(&str, &T) -> String,
) -> anyhow::Result<u8> {
    let (mut code, mut done) = (0, Vec::new());
    for name in names {
        match action(name).await {
            Ok(outcome) if json => done.push(outcome),
            Ok(outcome) => print_line(words(name, &outcome)),
            Err(error @ ClientError::NoDaemon { .. }) => return Err(error.into()),
            Err(error) => {
                failure::report(&anyhow::Error::from(error).context(name.clone()), json);
                code = EXIT_FAILED;
            }
        }
    }
    if json {
        print_json(&done)?;
    }
    Ok(code)
}

pub(crate) async fn stop(client: &Client, args: &StopArgs, verb: &str, json: bool) -> anyhow::Result<u8> {
    let query = StopQuery {
        timeout_ms: args.timeout.map(|seconds| seconds.saturating_mul(1000)),
    };
    act_on(client, &args.machines, verb, &query, json).await
}

pub(crate) async fn kill(client: &Client, args: &KillArgs, json: bool) -> anyhow::Result<u8> {
    let query = KillQuery {
        signal: Some(args.signal.clone()),
    };
    act_on(client, &args.machines, "kill", &query, json).await
}

pub(crate) async fn rm(client: &Client, args: &RmArgs, json: bool) -> anyhow::Result<u8> {
    let query = RemoveQuery { force: args.force };
    each(&args.machines, json, async |name| {
        client
            .act(Method::DELETE, &machine_path(name, &[]).query(&query))
            .await
            .map(|()| Removed::of(name))
    })
    .await
}

pub(crate) async fn wait(client: &Client, names: &[String], json: bool) -> anyhow::Result<u8> {
    let waited = async |name: &str| until_rest(client, name).await;
    each_in_words(names, json, waited, |_, result| exit_code(result).to_string()).await
}

/// Waits, in long polls, until a machine is at rest.
async fn until_rest(client: &Client, name: &str) -> Result<WaitResult, ClientError> {
    let mut name = name.to_owned();
    loop {
        let result: WaitResult = client.get(&machine_path(&name, &["wait"])).await?;
        if result.reached || result.removed {
            return Ok(result);
        }
        // A name may go to another machine in between; an ID does not.
        name = result.id.to_string();
    }
}

fn exit_code(result: &WaitResult) -> i32 {
    result.exit.as_ref().map_or(125, |exit| exit.code)
}
