//! Logs, events, figures: what goes on until one has seen enough.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use hearth_api::{
    Event, EventLine, EventsQuery, LogFormat, LogLine, LogRecord, LogStream, LogsQuery, Machine, ProblemCode, Stats,
    StatsQuery, WaitQuery, WaitResult,
};
use hearth_client::{ApiPath, Client, ClientError, Lines};
use http::Method;

use super::{comeback::Comeback, machine, machine_path, sandbox};
use crate::{
    args::{EventsArgs, LogsArgs, StatsArgs, Tail},
    output::{bytes, print_json_line, print_line, print_table},
};

/// How long after the end of its log a machine may take to come to rest.
const REST_TIMEOUT_MS: u64 = 10_000;
/// Between two tables.
const STATS_INTERVAL: Duration = Duration::from_secs(1);
/// Before the first table.
const FIRST_INTERVAL: Duration = Duration::from_millis(500);
/// To the top left, and empty what is there.
const CLEAR_SCREEN: &str = "\x1b[H\x1b[2J";

pub(crate) async fn logs(client: &Client, args: LogsArgs, json: bool) -> anyhow::Result<u8> {
    let mut reading = Reading {
        query: LogsQuery {
            follow: args.follow,
            since: args.since,
            tail: match args.tail {
                Some(Tail::Lines(lines)) => Some(lines),
                Some(Tail::All) | None => None,
            },
            format: LogFormat::Ndjson,
            ..LogsQuery::default()
        },
        // A name may go to another machine while we follow; an ID does not.
        machine: if args.follow {
            let machine: Machine = client.get(&machine_path(&args.machine, &[])).await?;
            machine.id.to_string()
        } else {
            args.machine.clone()
        },
        begun: jiff::Timestamp::now(),
        json,
    };
    let mut comeback = Comeback::new(json);
    loop {
        match reading.read(client, &mut comeback).await {
            Ok(End::Reader) => return Ok(0),
            Ok(End::Log) if !args.follow || is_at_rest(client, &reading.machine).await? => return Ok(0),
            Ok(End::Log) => {}
            Err(error) if args.follow && error.is_outage() => {}
            Err(error) => return Err(error.into()),
        }
        comeback.wait(|| format!("hearth logs -f {}", args.machine)).await?;
    }
}

/// Whether a machine whose log has ended has ended itself, which may be a moment later. One that cannot be asked about
/// has not.
async fn is_at_rest(client: &Client, machine: &str) -> Result<bool, ClientError> {
    let query = WaitQuery {
        timeout_ms: Some(REST_TIMEOUT_MS),
        ..WaitQuery::default()
    };
    match client
        .get::<WaitResult>(&machine_path(machine, &["wait"]).query(&query))
        .await
    {
        Ok(result) => Ok(result.reached || result.removed),
        Err(ClientError::Problem(problem)) if problem.code == ProblemCode::MachineNotFound => Ok(true),
        Err(error) if error.is_outage() => Ok(false),
        Err(error) => Err(error),
    }
}

/// A log that is being read, from one daemon after the other.
struct Reading {
    machine: String,
    query: LogsQuery,
    begun: jiff::Timestamp,
    json: bool,
}

/// Why nothing more is read.
enum End {
    Log,
    /// Nobody reads what we write.
    Reader,
}

impl Reading {
    /// Reads on to the end.
    async fn read(&mut self, client: &Client, comeback: &mut Comeback) -> Result<End, ClientError> {
        let path = machine_path(&self.machine, &["logs"]).query(&self.query);
        let mut lines = client.lines::<LogLine>(Method::GET, &path, None::<&()>).await?;
        self.begin_where_it_ends();
        while let Some(line) = lines.next().await {
            match line? {
                LogLine::Output(record) => {
                    comeback.answered();
                    self.query.after = Some(record.sequence);
                    if !self.write(&record) {
                        return Ok(End::Reader);
                    }
                }
                LogLine::Problem(problem) => return Err(ClientError::Problem(Box::new(problem.problem))),
            }
        }
        Ok(End::Log)
    }

    /// Should this daemon go, the next one has no tail to find any more: it goes on after the last record, and where
    /// there was none yet, all that comes is new.
    fn begin_where_it_ends(&mut self) {
        if self.query.tail.take() == Some(0) {
            self.query.since = Some(self.begun);
        }
    }

    /// Whether somebody reads it.
    fn write(&self, record: &LogRecord) -> bool {
        if self.json {
            print_json_line(record);
            return true;
        }
        let written = match record.stream {
            LogStream::Stdout => std::io::stdout().write_all(&record.data),
            LogStream::Stderr => std::io::stderr().write_all(&record.data),
        };
        written.and_then(|()| std::io::stdout().flush()).is_ok()
    }
}

pub(crate) async fn events(client: &Client, args: EventsArgs, json: bool) -> anyhow::Result<u8> {
    let mut query = EventsQuery {
        follow: !args.no_follow,
        since: args.since,
        after: None,
        machine: args.machine,
    };
    let mut comeback = Comeback::new(json);
    let mut lines = listen(client, &query).await?;
    // Where the next daemon begins, if this one tells of nothing.
    query.since = query.since.or_else(|| Some(jiff::Timestamp::now()));
    loop {
        match tell(&mut lines, &mut query, &mut comeback, json).await {
            Ok(()) if args.no_follow => return Ok(0),
            Err(error) if args.no_follow || !error.is_outage() => return Err(error.into()),
            // One that ends in order breaks off without a word.
            Ok(()) | Err(_) => {}
        }
        lines = loop {
            comeback.wait(|| "hearth events".to_owned()).await?;
            match listen(client, &query).await {
                Err(error) if error.is_outage() => {}
                lines => break lines?,
            }
        };
    }
}

async fn listen(client: &Client, query: &EventsQuery) -> Result<Lines<EventLine>, ClientError> {
    let path = ApiPath::v1(&["events"]).query(query);
    client.lines(Method::GET, &path, None::<&()>).await
}

/// Tells of events until there are no more, and notes from where on the next ones are wanted.
async fn tell(
    lines: &mut Lines<EventLine>,
    query: &mut EventsQuery,
    comeback: &mut Comeback,
    json: bool,
) -> Result<(), ClientError> {
    while let Some(line) = lines.next().await {
        match line? {
            EventLine::Event(event) => {
                comeback.answered();
                query.after = Some(event.sequence);
                if json {
                    print_json_line(&event);
                } else {
                    print_line(sentence(&event));
                }
            }
            EventLine::Problem(problem) => return Err(ClientError::Problem(Box::new(problem.problem))),
        }
    }
    Ok(())
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

/// What is measured where nobody is named: whichever of these run at that moment.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Running {
    Machines,
    Sandboxes,
}

impl Running {
    async fn names(self, client: &Client) -> Result<Vec<String>, ClientError> {
        match self {
            Self::Machines => machine::running(client).await,
            Self::Sandboxes => sandbox::running(client).await,
        }
    }
}

pub(crate) async fn stats(client: &Client, args: &StatsArgs, of: Running, json: bool) -> anyhow::Result<u8> {
    if json {
        return stream_stats(client, args, of).await;
    }
    // A use of the CPU lies between two looks: the first one is not shown.
    let mut before = measure_all(client, &args.machines, of).await?;
    let mut interval = FIRST_INTERVAL;
    loop {
        tokio::time::sleep(interval).await;
        let now = measure_all(client, &args.machines, of).await?;
        if !args.no_stream && std::io::stdout().is_terminal() {
            print!("{CLEAR_SCREEN}");
        }
        let rows: Vec<[String; 7]> = now.iter().map(|stats| row(stats, &before)).collect();
        print_table(
            ["ID", "NAME", "CPU", "MEMORY", "GUEST MEMORY", "NET IN/OUT", "PROCESSES"],
            &rows,
        );
        if args.no_stream {
            return Ok(0);
        }
        (before, interval) = (now, STATS_INTERVAL);
    }
}

/// As the API gives it: CPU time is a sum, of which whoever reads takes differences.
async fn stream_stats(client: &Client, args: &StatsArgs, of: Running) -> anyhow::Result<u8> {
    loop {
        let now = measure_all(client, &args.machines, of).await?;
        now.iter().for_each(print_json_line);
        if args.no_stream {
            return Ok(0);
        }
        tokio::time::sleep(STATS_INTERVAL).await;
    }
}

/// Measures these machines, or all that run.
async fn measure_all(client: &Client, names: &[String], of: Running) -> Result<Vec<Stats>, ClientError> {
    let all = names.is_empty();
    let names = if all { of.names(client).await? } else { names.to_vec() };
    let mut measured = Vec::new();
    for name in &names {
        match measure(client, name).await {
            Ok(stats) => measured.push(stats),
            // One of all that run may just have ended.
            Err(ClientError::Problem(_)) if all => {}
            Err(error) => return Err(error),
        }
    }
    Ok(measured)
}

async fn measure(client: &Client, name: &str) -> Result<Stats, ClientError> {
    let path = machine_path(name, &["stats"]).query(&StatsQuery::default());
    client.get(&path).await
}

/// CPU is a share of the time since the row before; a machine that is new has none to compare with.
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
