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
    let mut machines: Vec<Machine> = Vec::new();
    for name in names {
        machines.push(client.get(&machine_path(name, &[])).await?);
    }
    print_json(&machines)?;
    Ok(0)
}

/// Does the same to each machine and names those that it was done to; one that fails does not spare the others.
pub(crate) async fn act_on<Q: Serialize>(
    client: &Client,
    names: &[String],
    verb: &str,
    query: &Q,
) -> anyhow::Result<u8> {
    each(names, async |name| {
        client
            .act(Method::POST, &machine_path(name, &[verb]).query(query))
            .await
    })
    .await
}

/// As [`act_on`], for any action.
pub(crate) async fn each(
    names: &[String],
    action: impl AsyncFn(&str) -> Result<(), ClientError>,
) -> anyhow::Result<u8> {
    let mut code = 0;
    for name in names {
        match action(name).await {
            Ok(()) => print_line(name),
            Err(error @ ClientError::NoDaemon { .. }) => return Err(error.into()),
            Err(error) => {
                eprintln!("hearth: {name}: {error}");
                code = 1;
            }
        }
    }
    Ok(code)
}

pub(crate) async fn stop(client: &Client, args: &StopArgs, verb: &str) -> anyhow::Result<u8> {
    let query = StopQuery {
        timeout_ms: args.timeout.map(|seconds| seconds.saturating_mul(1000)),
    };
    act_on(client, &args.machines, verb, &query).await
}

pub(crate) async fn kill(client: &Client, args: &KillArgs) -> anyhow::Result<u8> {
    act_on(
        client,
        &args.machines,
        "kill",
        &KillQuery {
            signal: Some(args.signal.clone()),
        },
    )
    .await
}

pub(crate) async fn rm(client: &Client, args: &RmArgs) -> anyhow::Result<u8> {
    let query = RemoveQuery { force: args.force };
    each(&args.machines, async |name| {
        client.act(Method::DELETE, &machine_path(name, &[]).query(&query)).await
    })
    .await
}

pub(crate) async fn wait(client: &Client, names: &[String], json: bool) -> anyhow::Result<u8> {
    let mut results = Vec::new();
    for name in names {
        let result = until_rest(client, name).await?;
        if !json {
            print_line(exit_code(&result).to_string());
        }
        results.push(result);
    }
    if json {
        print_json(&results)?;
    }
    Ok(0)
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
