//! Snapshots, and what goes on from them: restored machines, forks, pauses, rollbacks.

use hearth_api::{
    CreateMachine, CreateSnapshot, Fork, ForkMachine, ListSnapshotsQuery, Machine, PauseMode, PauseQuery,
    RollbackMachine, Snapshot, SnapshotList,
};
use hearth_client::{ApiPath, Client, ClientError};
use http::Method;

use super::{
    machine::{Removed, each, show_each, until_running},
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
        SnapshotCommand::Create { name, machine } => {
            let name = name.map(String::from);
            create(client, CreateSnapshot { machine, name }, json).await
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
    let forked = async {
        let mut fork: Fork = client
            .post_json(&machine_path(&args.machine, &["fork"]), &request)
            .await?;
        for machine in &mut fork.machines {
            *machine = until_running(client, machine.clone()).await?;
        }
        Ok::<_, ClientError>(fork)
    };
    let fork = telling(&format!("forking {}", args.machine), json, forked).await?;
    if json {
        print_json(&fork)?;
        return Ok(0);
    }
    tell_pause(&args.machine, Some(fork.paused_us));
    for machine in &fork.machines {
        print_line(&machine.name);
    }
    Ok(0)
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
    use serde_json::json;

    use super::*;

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
