//! Logs, events, figures: what goes on until one has seen enough.

use std::io::Write;

use hearth_api::{Event, EventLine, EventsQuery, LogFormat, LogLine, LogStream, LogsQuery, Stats, StatsQuery};
use hearth_client::{ApiPath, Client, ClientError};
use http::Method;

use super::{machine, machine_path};
use crate::{
    args::{EventsArgs, LogsArgs, StatsArgs},
    output::{bytes, print_json_line, print_line, print_table},
};

/// Between two tables.
const STATS_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);

pub(crate) async fn logs(client: &Client, args: LogsArgs, json: bool) -> anyhow::Result<u8> {
    let query = LogsQuery {
        follow: args.follow,
        since: args.since,
        tail: args.tail,
        format: LogFormat::Ndjson,
    };
    let path = machine_path(&args.machine, &["logs"]).query(&query);
    let mut lines = client.lines::<LogLine>(Method::GET, &path, None::<&()>).await?;
    while let Some(line) = lines.next().await {
        match line? {
            LogLine::Output(record) if json => print_json_line(&record)?,
            LogLine::Output(record) => {
                let written = match record.stream {
                    LogStream::Stdout => std::io::stdout().write_all(&record.data),
                    LogStream::Stderr => std::io::stderr().write_all(&record.data),
                };
                if written.and_then(|()| std::io::stdout().flush()).is_err() {
                    return Ok(0);
                }
            }
            LogLine::Problem(problem) => return Err(ClientError::Problem(Box::new(problem.problem)).into()),
        }
    }
    Ok(0)
}

pub(crate) async fn events(client: &Client, args: EventsArgs, json: bool) -> anyhow::Result<u8> {
    let query = EventsQuery {
        follow: !args.no_follow,
        since: args.since,
        after: None,
        machine: args.machine,
    };
    let path = ApiPath::v1(&["events"]).query(&query);
    let mut lines = client.lines::<EventLine>(Method::GET, &path, None::<&()>).await?;
    while let Some(line) = lines.next().await {
        match line? {
            EventLine::Event(event) if json => print_json_line(&event)?,
            EventLine::Event(event) => print_line(sentence(&event)),
            EventLine::Problem(problem) => return Err(ClientError::Problem(Box::new(problem.problem)).into()),
        }
    }
    Ok(0)
}

fn sentence(event: &Event) -> String {
    let what = match event.kind {
        hearth_api::EventKind::State => event.state.to_string(),
        kind => kind.as_str().to_owned(),
    };
    let why = event
        .reason
        .as_deref()
        .map_or_else(String::new, |reason| format!(" ({reason})"));
    format!("{} {} {} {what}{why}", event.at, event.machine_id, event.machine_name)
}

pub(crate) async fn stats(client: &Client, args: &StatsArgs, json: bool) -> anyhow::Result<u8> {
    let mut before: Vec<Stats> = Vec::new();
    loop {
        let names = if args.machines.is_empty() {
            machine::running(client).await?
        } else {
            args.machines.clone()
        };
        let mut now = Vec::new();
        for name in &names {
            match measure(client, name).await {
                Ok(stats) => now.push(stats),
                // One of all that run may just have ended.
                Err(ClientError::Problem(_)) if args.machines.is_empty() => {}
                Err(error) => return Err(error.into()),
            }
        }
        if json {
            now.iter().try_for_each(print_json_line)?;
        } else {
            let rows: Vec<[String; 7]> = now.iter().map(|stats| row(stats, &before)).collect();
            print_table(
                ["ID", "NAME", "CPU", "MEMORY", "GUEST MEMORY", "NET IN/OUT", "PROCESSES"],
                &rows,
            );
        }
        if args.no_stream {
            return Ok(0);
        }
        before = now;
        tokio::time::sleep(STATS_INTERVAL).await;
    }
}

async fn measure(client: &Client, name: &str) -> Result<Stats, ClientError> {
    let path = machine_path(name, &["stats"]).query(&StatsQuery::default());
    client.get(&path).await
}

/// CPU is a share of the time since the row before; the first row has none to compare with.
fn row(stats: &Stats, before: &[Stats]) -> [String; 7] {
    let earlier = before.iter().find(|s| s.machine_id == stats.machine_id);
    let cpu = earlier.map_or_else(
        || "-".to_owned(),
        |earlier| {
            let passed = stats.at.duration_since(earlier.at).as_micros().max(1);
            let used = i128::from(stats.cpu_usec.saturating_sub(earlier.cpu_usec));
            format!("{} %", used * 100 / passed)
        },
    );
    [
        stats.machine_id.to_string(),
        stats.machine_name.clone(),
        cpu,
        bytes(stats.memory_bytes),
        format!(
            "{} / {}",
            stats.guest_memory_used_bytes.map_or_else(|| "-".to_owned(), bytes),
            bytes(stats.memory_limit_bytes)
        ),
        format!("{} / {}", bytes(stats.net_rx_bytes), bytes(stats.net_tx_bytes)),
        stats
            .processes
            .map_or_else(|| "-".to_owned(), |count| count.to_string()),
    ]
}
