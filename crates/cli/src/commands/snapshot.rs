//! Snapshots, and what goes on from them: restored machines, forks, pauses, rollbacks.

use hearth_api::{
    CreateMachine, CreateSnapshot, Fork, ForkMachine, ListSnapshotsQuery, Machine, PauseMode, PauseQuery,
    RollbackMachine, Snapshot, SnapshotList,
};
use hearth_client::{ApiPath, Client, ClientError};
use http::Method;

use super::{
    machine::{Removed, each, show_each, tell_of, until_running},
    machine_path,
};
use crate::{
    args::{ForkArgs, PauseArgs, RestoreArgs, RollbackArgs, SnapshotCommand},
    output::{ago, bytes, note, print_json, print_line, print_table},
    progress::telling,
};

/// Snapshots a page.
const PAGE: u32 = 500;

pub(crate) async fn dispatch(command: SnapshotCommand, client: &Client, json: bool) -> anyhow::Result<u8> {
    match command {
        SnapshotCommand::Create {
            no_memory,
            name,
            machine,
        } => {
            let (name, memory) = (name.map(String::from), no_memory.then_some(false));
            create(client, CreateSnapshot { machine, name, memory }, json).await
        }
        SnapshotCommand::Ls { machine, quiet } => ls(client, machine, quiet, json).await,
        SnapshotCommand::Inspect { snapshots } => {
            show_each(&snapshots, json, async |name| client.get::<Snapshot>(&path(name)).await).await
        }
        SnapshotCommand::Rm { snapshots } => {
            each(&snapshots, json, async |name| {
                client
                    .act(Method::DELETE, &path(name))
                    .await
                    .map(|()| Removed::of(name))
            })
            .await
        }
        SnapshotCommand::Restore(args) => restore(client, args, json).await,
    }
}

fn path(name: &str) -> ApiPath {
    ApiPath::v1(&["snapshots", name])
}

async fn create(client: &Client, request: CreateSnapshot, json: bool) -> anyhow::Result<u8> {
    let path = ApiPath::v1(&["snapshots"]);
    let made = client.post_json(&path, &request);
    let made: Snapshot = telling(&format!("making a snapshot of {}", request.machine), json, made).await?;
    if json {
        print_json(&made)?;
    } else {
        tell_pause(&made.machine_name, made.paused_us);
        print_line(made.id.to_string());
    }
    Ok(0)
}

/// Says how long a machine stood still.
fn tell_pause(machine: &str, paused_us: Option<u64>) {
    if let Some(us) = paused_us {
        note(format_args!("{machine} stood still for {}", milliseconds(us)), false);
    }
}

fn milliseconds(us: u64) -> String {
    format!("{}.{} ms", us / 1000, us % 1000 / 100)
}

async fn ls(client: &Client, machine: Option<String>, quiet: bool, json: bool) -> anyhow::Result<u8> {
    let mut query = ListSnapshotsQuery {
        machine,
        limit: Some(PAGE),
        cursor: None,
    };
    let mut snapshots = Vec::new();
    loop {
        let page: SnapshotList = client.get(&ApiPath::v1(&["snapshots"]).query(&query)).await?;
        snapshots.extend(page.snapshots);
        match page.next_cursor {
            Some(cursor) => query.cursor = Some(cursor),
            None => break,
        }
    }
    if json {
        print_json(&snapshots)?;
    } else if quiet {
        for snapshot in &snapshots {
            print_line(snapshot.id.to_string());
        }
    } else {
        let rows: Vec<[String; 7]> = snapshots.iter().map(row).collect();
        print_table(["ID", "NAME", "MACHINE", "IMAGE", "STATE", "CREATED", "SIZE"], &rows);
    }
    Ok(0)
}

fn row(snapshot: &Snapshot) -> [String; 7] {
    [
        snapshot.id.to_string(),
        snapshot.name.clone().unwrap_or_default(),
        snapshot.machine_name.clone(),
        snapshot.image.clone(),
        snapshot.state.to_string(),
        ago(snapshot.created_at),
        snapshot.data_bytes.map_or_else(String::new, bytes),
    ]
}

async fn restore(client: &Client, args: RestoreArgs, json: bool) -> anyhow::Result<u8> {
    let what = format!("restoring {}", args.snapshot);
    let request = CreateMachine {
        snapshot: Some(args.snapshot),
        cpus: args.cpus.map(Into::into),
        memory_mib: args.memory.map(Into::into),
        name: args.name.map(String::from),
        ports: args.publish.into_iter().map(Into::into).collect(),
        restart: args.restart.into(),
        recover: args.recover.into(),
        auto_remove: args.rm,
        start: true,
        ..CreateMachine::default()
    };
    let restored = async {
        let machine: Machine = client.post_json(&ApiPath::v1(&["machines"]), &request).await?;
        until_running(client, machine).await
    };
    let machine = telling(&what, json, restored).await?;
    if json {
        print_json(&machine)?;
    } else {
        print_line(machine.id.to_string());
    }
    Ok(0)
}

pub(crate) async fn fork(client: &Client, args: ForkArgs, json: bool) -> anyhow::Result<u8> {
    let request = ForkMachine {
        count: args.count,
        names: args.names.into_iter().map(String::from).collect(),
        auto_remove: args.rm,
    };
    let forked = fork_and_wait(client, &args.machine, &request);
    let (fork, failed) = telling(&format!("forking {}", args.machine), json, forked).await?;
    if json {
        print_json(&fork)?;
    } else {
        tell_pause(&args.machine, Some(fork.paused_us));
        let runs = |machine: &&Machine| failed.iter().all(|(name, _)| *name != machine.name);
        for machine in fork.machines.iter().filter(runs) {
            print_line(&machine.name);
        }
    }
    let mut code = 0;
    for (name, error) in failed {
        code = tell_of(&name, error, json)?;
    }
    Ok(code)
}

/// A machine that does not run, by its name, and why.
type Failed = (String, ClientError);

/// Has a machine forked, and waits for each of the new ones. All of them are there, also those that do not run.
async fn fork_and_wait(
    client: &Client,
    machine: &str,
    request: &ForkMachine,
) -> Result<(Fork, Vec<Failed>), ClientError> {
    let mut fork: Fork = client.post_json(&machine_path(machine, &["fork"]), request).await?;
    let mut failed = Vec::new();
    for machine in &mut fork.machines {
        match until_running(client, machine.clone()).await {
            Ok(running) => *machine = running,
            Err(error) => {
                // As it is now, where that can be learnt.
                if let Ok(seen) = client.get::<Machine>(&machine_path(&machine.id.to_string(), &[])).await {
                    *machine = seen;
                }
                failed.push((machine.name.clone(), error));
            }
        }
    }
    Ok((fork, failed))
}

pub(crate) async fn pause(client: &Client, args: &PauseArgs, json: bool) -> anyhow::Result<u8> {
    let query = PauseQuery {
        mode: args.memory.then_some(PauseMode::Memory),
    };
    each(&args.machines, json, async |name| {
        let path = machine_path(name, &["pause"]).query(&query);
        telling(&format!("pausing {name}"), json, client.post::<Machine>(&path)).await
    })
    .await
}

pub(crate) async fn resume(client: &Client, names: &[String], json: bool) -> anyhow::Result<u8> {
    each(names, json, async |name| {
        let path = machine_path(name, &["resume"]);
        telling(&format!("resuming {name}"), json, client.post::<Machine>(&path)).await
    })
    .await
}

pub(crate) async fn rollback(client: &Client, args: &RollbackArgs, json: bool) -> anyhow::Result<u8> {
    let request = RollbackMachine {
        snapshot: args.snapshot.clone(),
    };
    let back = async {
        let path = machine_path(&args.machine, &["rollback"]);
        let machine: Machine = client.post_json(&path, &request).await?;
        until_running(client, machine).await
    };
    let what = format!("taking {} back to {}", args.machine, args.snapshot);
    let machine = telling(&what, json, back).await?;
    if json {
        print_json(&machine)?;
    } else {
        print_line(&machine.name);
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use hearth_api::MachineState;
    use hearth_client::Endpoint;
    use serde_json::{Value, json};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixListener,
    };

    use super::*;

    /// The machine of a number, which is its name as well.
    fn machine(number: u32, state: &str) -> Value {
        json!({
            "id": format!("mch{number:026}"), "name": number.to_string(), "image": "busybox", "image_id": "sha256:1",
            "kernel_id": "k", "driver": "qemu", "state": state, "on_disk": false,
            "created_at": jiff::Timestamp::now(), "restarts": 0, "resources": { "cpus": 1, "memory_mib": 256 },
            "tty": false, "stdin": false, "network": "default", "restart": {}, "stop_timeout_ms": 1,
            "auto_remove": false,
        })
    }

    /// What a daemon says that makes two machines, of which the first fails.
    fn answer(request: &str) -> Value {
        if request.starts_with("POST ") {
            return json!({ "machines": [machine(1, "pending"), machine(2, "pending")], "paused_us": 7 });
        }
        let (number, state) = if request.contains("00001") {
            (1, "failed")
        } else {
            (2, "running")
        };
        let seen = machine(number, state);
        if request.contains("/wait") {
            return json!({ "id": seen["id"], "reached": true, "state": state, "removed": false });
        }
        seen
    }

    #[tokio::test]
    async fn a_fork_that_fails_hides_none_of_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let read = stream.read(&mut request).await.unwrap();
                let body = answer(&String::from_utf8_lossy(&request[..read])).to_string();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).await.unwrap();
                // Whoever closes before all is read breaks the connection.
                tokio::spawn(async move { stream.read_to_end(&mut Vec::new()).await });
            }
        });
        let client = Client::new(Endpoint::Unix(socket));
        let request = ForkMachine {
            count: Some(2),
            names: Vec::new(),
            auto_remove: false,
        };
        let (fork, failed) = fork_and_wait(&client, "web", &request).await.unwrap();
        let states: Vec<MachineState> = fork.machines.iter().map(|machine| machine.state).collect();
        assert_eq!(states, [MachineState::Failed, MachineState::Running]);
        let names: Vec<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["1"]);
    }

    #[test]
    fn a_row_shows_what_there_is() {
        let mut json = json!({
            "id": "snp00000000000000000000000000", "machine": "mch00000000000000000000000000", "machine_name": "web",
            "state": "making", "created_at": jiff::Timestamp::now(), "image": "busybox", "image_id": "sha256:1",
            "kernel_id": "k", "driver": "qemu", "resources": { "cpus": 1, "memory_mib": 256 },
        });
        let making = row(&serde_json::from_value(json.clone()).unwrap());
        assert_eq!(making[1..5], ["", "web", "busybox", "making"]);
        assert_eq!(making[6], "");
        json["state"] = "ready".into();
        json["name"] = "kept".into();
        json["data_bytes"] = (3 << 20).into();
        let ready = row(&serde_json::from_value(json).unwrap());
        assert_eq!(ready[1..5], ["kept", "web", "busybox", "ready"]);
        assert_eq!(ready[6], bytes(3 << 20));
    }

    #[test]
    fn pauses_are_told_in_milliseconds() {
        assert_eq!(milliseconds(12_345), "12.3 ms");
        assert_eq!(milliseconds(99), "0.0 ms");
    }
}
