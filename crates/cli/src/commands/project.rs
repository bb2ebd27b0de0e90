//! Projects.

use hearth_api::{CreateProject, Project, ProjectList, Quotas, UpdateProject};
use hearth_client::{ApiPath, Client};
use http::Method;

use super::machine::{Removed, each, show_each};
use crate::{
    args::{ProjectCommand, QuotaArgs},
    output::{print_json, print_line, print_table},
};

pub(crate) async fn dispatch(command: ProjectCommand, client: &Client, json: bool) -> anyhow::Result<u8> {
    match command {
        ProjectCommand::Create { name, quotas } => create(client, name.into(), &quotas, json).await,
        ProjectCommand::Ls => ls(client, json).await,
        ProjectCommand::Inspect { projects } => {
            show_each(&projects, json, async |name| client.get::<Project>(&path(name)).await).await
        }
        ProjectCommand::Set {
            name,
            quotas,
            unlimited,
        } => set(client, &name, &quotas, &unlimited, json).await,
        ProjectCommand::Rm { projects } => {
            each(&projects, json, async |name| {
                client
                    .act(Method::DELETE, &path(name))
                    .await
                    .map(|()| Removed::of(name))
            })
            .await
        }
    }
}

fn path(name: &str) -> ApiPath {
    ApiPath::v1(&["projects", name])
}

async fn create(client: &Client, name: String, quotas: &QuotaArgs, json: bool) -> anyhow::Result<u8> {
    let request = CreateProject {
        name,
        quotas: changed(Quotas::default(), quotas),
    };
    let project: Project = client.post_json(&ApiPath::v1(&["projects"]), &request).await?;
    tell(&project, json)
}

async fn set(client: &Client, name: &str, quotas: &QuotaArgs, unlimited: &[String], json: bool) -> anyhow::Result<u8> {
    let before: Project = client.get(&path(name)).await?;
    let mut wanted = changed(before.quotas, quotas);
    for quota in unlimited {
        match quota.as_str() {
            "machines" => wanted.machines = None,
            "cpus" => wanted.cpus = None,
            "memory" => wanted.memory_mib = None,
            "functions" => wanted.functions = None,
            "snapshots" => wanted.snapshots = None,
            _ => wanted.requests_per_second = None,
        }
    }
    let request = UpdateProject { quotas: Some(wanted) };
    let project: Project = client.send_json(Method::PATCH, &path(name), &request).await?;
    tell(&project, json)
}

fn changed(quotas: Quotas, args: &QuotaArgs) -> Quotas {
    Quotas {
        machines: args.machines.or(quotas.machines),
        cpus: args.cpus.or(quotas.cpus),
        memory_mib: args.memory.map(u64::from).or(quotas.memory_mib),
        functions: args.functions.or(quotas.functions),
        snapshots: args.snapshots.or(quotas.snapshots),
        requests_per_second: args.requests.or(quotas.requests_per_second),
    }
}

fn tell(project: &Project, json: bool) -> anyhow::Result<u8> {
    if json {
        print_json(project)?;
    } else {
        print_line(&project.name);
    }
    Ok(0)
}

async fn ls(client: &Client, json: bool) -> anyhow::Result<u8> {
    let list: ProjectList = client.get(&ApiPath::v1(&["projects"])).await?;
    if json {
        print_json(&list.projects)?;
        return Ok(0);
    }
    let rows: Vec<[String; 6]> = list.projects.iter().map(row).collect();
    print_table(
        ["NAME", "MACHINES", "CPUS", "MEMORY MIB", "SNAPSHOTS", "REQUESTS/S"],
        &rows,
    );
    Ok(0)
}

fn row(project: &Project) -> [String; 6] {
    let (holds, quotas) = (&project.holds, &project.quotas);
    let of = |held: u64, limit: Option<u64>| match limit {
        Some(limit) => format!("{held} of {limit}"),
        None => held.to_string(),
    };
    [
        project.name.clone(),
        of(holds.machines, quotas.machines.map(u64::from)),
        of(holds.cpus, quotas.cpus.map(u64::from)),
        of(holds.memory_mib, quotas.memory_mib),
        of(holds.snapshots, quotas.snapshots.map(u64::from)),
        quotas
            .requests_per_second
            .map_or_else(String::new, |rate| rate.to_string()),
    ]
}
