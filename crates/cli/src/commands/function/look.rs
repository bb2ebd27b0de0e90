//! Looking at functions.

use std::io::Write as _;

use hearth_api::{
    Function, FunctionList, FunctionLogLine, FunctionLogRecord, FunctionLogsQuery, FunctionVersion, InstanceList,
    ListFunctionsQuery, LogStream, TrafficShare, VersionList,
};
use hearth_client::{ApiPath, Client, ClientError};
use http::Method;

use super::function_path;
use crate::{
    args::{FunctionLogsArgs, Tail},
    commands::{
        comeback::Comeback,
        machine::{Removed, each},
    },
    output::{ago, harmless, print_json, print_json_line, print_table},
};

pub(super) async fn ls(client: &Client, json: bool) -> anyhow::Result<u8> {
    let mut functions = Vec::new();
    let mut query = ListFunctionsQuery::default();
    loop {
        let page: FunctionList = client.get(&ApiPath::v1(&["functions"]).query(&query)).await?;
        functions.extend(page.functions);
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    if json {
        print_json(&functions)?;
        return Ok(0);
    }
    let rows: Vec<[String; 7]> = functions.iter().map(row).collect();
    print_table(
        [
            "NAME",
            "CALLS GO TO",
            "LATEST",
            "INSTANCES",
            "ACCESS",
            "RUNS",
            "CHANGED",
        ],
        &rows,
    );
    Ok(0)
}

fn row(function: &Function) -> [String; 7] {
    let latest = function.latest.as_ref();
    [
        function.name.clone(),
        shares(&function.traffic),
        latest.map_or_else(String::new, |version| version.version.to_string()),
        format!("{}/{}", function.instances, function.scale.max),
        if function.public { "public" } else { "key" }.to_owned(),
        latest.map(runs).unwrap_or_default(),
        ago(function.updated_at),
    ]
}

fn runs(version: &FunctionVersion) -> String {
    match (&version.runtime, &version.handler) {
        (Some(runtime), Some(handler)) => format!("{} {handler}", hearth_domain::Runtime::from(*runtime)),
        (Some(runtime), None) => hearth_domain::Runtime::from(*runtime).to_string(),
        (None, _) => version.image.clone(),
    }
}

/// Shares as they are written on the command line.
pub(super) fn shares(shares: &[TrafficShare]) -> String {
    match shares {
        [all] if all.percent == 100 => all.version.to_string(),
        _ => {
            let shares = shares
                .iter()
                .map(|share| format!("{}={}", share.version, share.percent));
            shares.collect::<Vec<_>>().join(" ")
        }
    }
}

pub(super) async fn inspect(client: &Client, names: &[String], _json: bool) -> anyhow::Result<u8> {
    let mut functions: Vec<Function> = Vec::with_capacity(names.len());
    for name in names {
        functions.push(client.get(&function_path(name, &[])).await?);
    }
    print_json(&functions)?;
    Ok(0)
}

pub(super) async fn rm(client: &Client, names: &[String], json: bool) -> anyhow::Result<u8> {
    each(names, json, async |name| {
        client
            .act(Method::DELETE, &function_path(name, &[]))
            .await
            .map(|()| Removed::of(name))
    })
    .await
}

pub(super) async fn versions(client: &Client, name: &str, json: bool) -> anyhow::Result<u8> {
    let list: VersionList = client.get(&function_path(name, &["versions"])).await?;
    if json {
        print_json(&list.versions)?;
        return Ok(0);
    }
    let function: Function = client.get(&function_path(name, &[])).await?;
    let rows: Vec<[String; 6]> = list
        .versions
        .iter()
        .map(|version| {
            let share = function.traffic.iter().find(|share| share.version == version.version);
            [
                version.version.to_string(),
                share.map_or_else(String::new, |share| format!("{} %", share.percent)),
                runs(version),
                format!("{} MiB", version.resources.memory_mib),
                ago(version.created_at),
                version.description.clone(),
            ]
        })
        .collect();
    print_table(["VERSION", "CALLS", "RUNS", "MEMORY", "MADE", "DESCRIPTION"], &rows);
    Ok(0)
}

pub(super) async fn instances(client: &Client, name: &str, json: bool) -> anyhow::Result<u8> {
    let list: InstanceList = client.get(&function_path(name, &["instances"])).await?;
    if json {
        print_json(&list.instances)?;
        return Ok(0);
    }
    let rows: Vec<[String; 5]> = list
        .instances
        .iter()
        .map(|instance| {
            [
                instance.machine.to_string(),
                instance.version.to_string(),
                hearth_domain::StateWord::from(instance.state).to_string(),
                if instance.serving { "yes" } else { "no" }.to_owned(),
                instance.started_at.map(ago).unwrap_or_default(),
            ]
        })
        .collect();
    print_table(["MACHINE", "VERSION", "STATE", "SERVES", "STARTED"], &rows);
    Ok(0)
}

pub(super) async fn logs(client: &Client, args: FunctionLogsArgs, json: bool) -> anyhow::Result<u8> {
    let mut query = FunctionLogsQuery {
        follow: Some(args.follow),
        since: args.since,
        tail: match args.tail {
            Some(Tail::Lines(lines)) => Some(lines),
            Some(Tail::All) | None => None,
        },
        version: args.version,
        invocation: args.invocation.clone(),
    };
    let mut comeback = Comeback::new(json);
    loop {
        match read(client, &args, &mut query, &mut comeback, json).await {
            Ok(()) if !args.follow => return Ok(0),
            // The daemon went down in peace, or the function went: the next request tells which.
            Ok(()) => {
                client.get::<Function>(&function_path(&args.function, &[])).await?;
            }
            Err(error) if args.follow && error.is_outage() => {}
            Err(error) => return Err(error.into()),
        }
        comeback.wait(|| format!("hearth fn logs -f {}", args.function)).await?;
    }
}

async fn read(
    client: &Client,
    args: &FunctionLogsArgs,
    query: &mut FunctionLogsQuery,
    comeback: &mut Comeback,
    json: bool,
) -> Result<(), ClientError> {
    let path = function_path(&args.function, &["logs"]).query(query);
    let mut lines = client.lines::<FunctionLogLine>(Method::GET, &path, None::<&()>).await?;
    while let Some(line) = lines.next().await {
        match line? {
            FunctionLogLine::Line(record) => {
                comeback.answered();
                // Another daemon goes on where this one ends.
                query.since = Some(record.at);
                query.tail = None;
                print(&record, args.timestamps, json);
            }
            FunctionLogLine::Problem(problem) => return Err(ClientError::Problem(Box::new(problem.problem))),
        }
    }
    Ok(())
}

fn print(record: &FunctionLogRecord, timestamps: bool, json: bool) {
    if json {
        print_json_line(record);
        return;
    }
    let head = if timestamps {
        format!("{} v{} {} ", record.at, record.version, record.machine)
    } else {
        String::new()
    };
    let line = format!("{head}{}\n", harmless(&record.line));
    let written = match record.stream {
        LogStream::Stdout => std::io::stdout().lock().write_all(line.as_bytes()),
        LogStream::Stderr => std::io::stderr().lock().write_all(line.as_bytes()),
    };
    if let Err(error) = written {
        std::process::exit(i32::from(error.kind() != std::io::ErrorKind::BrokenPipe));
    }
}
