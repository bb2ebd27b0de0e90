//! Machines: list, look, act.

use hearth_api::{
    KillQuery, ListMachinesQuery, Machine, MachineList, MachineState, Problem, ProblemCode, RemoveQuery, StopQuery,
    WaitCondition, WaitQuery, WaitResult,
};
use hearth_client::{ApiPath, Client, ClientError};
use http::Method;
use serde::Serialize;

use super::{
    comeback::{Away, Comeback},
    machine_path,
};
use crate::{
    args::{KillArgs, PsArgs, RmArgs, StopArgs},
    failure::{self, EXIT_FAILED},
    output::{age_secs, ago, print_json, print_line, print_table, span},
};

/// Machines a page.
const PAGE: u32 = 500;
/// How long a machine that has ended may take to be removed.
const REMOVAL_TIMEOUT_MS: u64 = 30_000;

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

/// What docker shows: how long it runs, or when and how it ended.
fn status(machine: &Machine) -> String {
    let state = machine.state;
    let ended = || {
        machine
            .finished_at
            .map_or_else(String::new, |time| format!(" {}", ago(time)))
    };
    match state {
        MachineState::Running => match machine.started_at {
            Some(time) => format!("{state} {}", span(age_secs(time))),
            None => state.to_string(),
        },
        MachineState::Stopped => {
            let code = machine.exit.as_ref().map_or(0, |exit| exit.code);
            format!("{state} ({code}){}", ended())
        }
        MachineState::Failed => format!("{state}{}", ended()),
        MachineState::Paused if machine.on_disk => format!("{state} (disk)"),
        state => state.to_string(),
    }
}

pub(crate) async fn inspect(client: &Client, names: &[String], json: bool) -> anyhow::Result<u8> {
    show_each(names, json, async |name| {
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
    let (done, code) = all(names, json, async |name| {
        let outcome = action(name).await?;
        if !json {
            print_line(name);
        }
        Ok(outcome)
    })
    .await?;
    if json {
        print_json(&done)?;
    }
    Ok(code)
}

/// Shows what each name stands for, which is always JSON.
pub(crate) async fn show_each<T: Serialize>(
    names: &[String],
    json: bool,
    look: impl AsyncFn(&str) -> Result<T, ClientError>,
) -> anyhow::Result<u8> {
    let (found, code) = all(names, json, look).await?;
    print_json(&found)?;
    Ok(code)
}

/// Does something for each name, and gives what came of it with our exit code. One that fails does not spare the
/// others.
async fn all<T>(
    names: &[String],
    json: bool,
    action: impl AsyncFn(&str) -> Result<T, ClientError>,
) -> anyhow::Result<(Vec<T>, u8)> {
    let (mut code, mut done) = (0, Vec::new());
    for name in names {
        match action(name).await {
            Ok(outcome) => done.push(outcome),
            Err(error) => code = tell_of(name, error, json)?,
        }
    }
    Ok((done, code))
}

/// Tells of what failed with one of several, and gives our exit code. A daemon that is not there would fail all others as well.
pub(crate) fn tell_of(name: &str, error: ClientError, json: bool) -> anyhow::Result<u8> {
    if matches!(error, ClientError::NoDaemon { .. }) {
        return Err(error.into());
    }
    failure::report(&anyhow::Error::from(error).context(name.to_owned()), json);
    Ok(EXIT_FAILED)
}

pub(crate) async fn start(client: &Client, names: &[String], json: bool) -> anyhow::Result<u8> {
    each(names, json, async |name| {
        begin(client, &machine_path(name, &["start"])).await
    })
    .await
}

pub(crate) async fn restart(client: &Client, args: &StopArgs, json: bool) -> anyhow::Result<u8> {
    let query = stop_query(args);
    each(&args.machines, json, async |name| {
        begin(client, &machine_path(name, &["restart"]).query(&query)).await
    })
    .await
}

/// Asks for a start, and waits until the machine runs.
async fn begin(client: &Client, path: &ApiPath) -> Result<Machine, ClientError> {
    let machine: Machine = client.post(path).await?;
    until_running(client, machine).await
}

/// Waits until a machine runs that was started, or until it has ended by itself; gives it as it is then.
pub(crate) async fn until_running(client: &Client, machine: Machine) -> Result<Machine, ClientError> {
    let id = machine.id.to_string();
    let query = WaitQuery {
        condition: WaitCondition::Running,
        ..WaitQuery::default()
    };
    let path = machine_path(&id, &["wait"]).query(&query);
    loop {
        let result: WaitResult = client.get(&path).await?;
        if result.state == MachineState::Failed {
            let reason = result.reason.unwrap_or_else(|| "nothing tells why".to_owned());
            let detail = format!("machine {} failed: {reason}", machine.name);
            return Err(ClientError::Problem(Box::new(Problem::new(
                ProblemCode::Unavailable,
                detail,
            ))));
        }
        if result.removed {
            return Ok(machine);
        }
        if result.reached {
            return client.get(&machine_path(&id, &[])).await;
        }
    }
}

fn stop_query(args: &StopArgs) -> StopQuery {
    StopQuery {
        timeout_ms: args.timeout.map(|seconds| seconds.saturating_mul(1000)),
    }
}

pub(crate) async fn stop(client: &Client, args: &StopArgs, json: bool) -> anyhow::Result<u8> {
    act_on(client, &args.machines, "stop", &stop_query(args), json).await
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
    let (mut code, mut results) = (0, Vec::new());
    for name in names {
        match until_rest(client, name, json).await {
            Ok(result) if json => results.push(result),
            Ok(result) => print_line(exit_code(&result).to_string()),
            Err(error) if ends_all(&error) => return Err(error),
            Err(error) => {
                failure::report(&error.context(name.clone()), json);
                code = EXIT_FAILED;
            }
        }
    }
    if json {
        print_json(&results)?;
    }
    Ok(code)
}

/// Whether a failure is the daemon's, and so would befall all others as well.
fn ends_all(error: &anyhow::Error) -> bool {
    error.is::<Away>() || matches!(error.downcast_ref(), Some(ClientError::NoDaemon { .. }))
}

/// Waits, in long polls, until a machine is at rest. A daemon that goes meanwhile is waited for as well.
async fn until_rest(client: &Client, name: &str, json: bool) -> anyhow::Result<WaitResult> {
    // A name may go to another machine in between; an ID does not. Of one that is gone the name may still be known.
    let known = client.get::<Machine>(&machine_path(name, &[])).await;
    let id = match known {
        Ok(machine) => machine.id.to_string(),
        Err(ClientError::Problem(_)) => name.to_owned(),
        Err(error) => return Err(error.into()),
    };
    let mut comeback = Comeback::new(json);
    loop {
        match client.get::<WaitResult>(&machine_path(&id, &["wait"])).await {
            Ok(result) if result.reached || result.removed => return Ok(result),
            Ok(_) => comeback.answered(),
            Err(error) if error.is_outage() => comeback.wait(|| format!("hearth wait {name}")).await?,
            Err(error) => return Err(error.into()),
        }
    }
}

fn exit_code(result: &WaitResult) -> i32 {
    result.exit.as_ref().map_or(125, |exit| exit.code)
}

/// Waits until a machine that removes itself is gone; gives up in silence, since the machine has ended anyhow.
pub(crate) async fn until_removed(client: &Client, id: &str) {
    let query = WaitQuery {
        condition: WaitCondition::Removed,
        timeout_ms: Some(REMOVAL_TIMEOUT_MS),
    };
    let path = machine_path(id, &["wait"]).query(&query);
    // Whether it is gone, or one cannot know: nothing is left to do.
    let _ = client.get::<WaitResult>(&path).await;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_tells_where_a_machine_is_paused() {
        let machine = |state: &str, on_disk: bool| -> Machine {
            serde_json::from_value(json!({
                "id": "mch00000000000000000000000000", "name": "web", "image": "busybox", "image_id": "sha256:1",
                "kernel_id": "k", "driver": "qemu", "state": state, "on_disk": on_disk,
                "created_at": jiff::Timestamp::now(), "restarts": 0, "resources": { "cpus": 1, "memory_mib": 256 },
                "tty": false, "stdin": false, "network": "default", "restart": {}, "stop_timeout_ms": 1,
                "auto_remove": false,
            }))
            .unwrap()
        };
        assert_eq!(status(&machine("paused", true)), "paused (disk)");
        assert_eq!(status(&machine("paused", false)), "paused");
        assert_eq!(status(&machine("stopping", false)), "stopping");
    }
}
