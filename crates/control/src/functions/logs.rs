//! A function's log: what its instances wrote, those that are gone and those that are there.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use axum::{extract::State, response::Response};
use futures::{Stream, StreamExt as _, stream};
use hearth_api::{FunctionLogLine, FunctionLogRecord, FunctionLogsQuery, ProblemLine};
use hearth_domain::Action;
use hearth_ids::{FunctionId, MachineId};
use hearth_node_api::LogQuery;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::DropGuard;

use super::{
    calls::Run,
    lines::{Lines, Merged, Newest},
};
use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiPath, ApiQuery},
    machines::input,
    stream as answer,
    time::{now_unix_ms, timestamp, unix_ms},
};

const TAIL_MAX: u64 = 1_000_000;
/// Lines that are gathered, and their bytes; of more, the newest.
const LINES_MAX: usize = 100_000;
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Lines that a slow client may be behind.
const BACKLOG: usize = 1024;
/// How often new instances are looked for.
const LOOK: Duration = Duration::from_millis(300);
/// What a call's lines may be late by: they come from the program by way of the guest's agent.
const LATE_MS: u64 = 200;

/// What a function wrote, as JSON lines, oldest first.
#[utoipa::path(get, path = "/v1/functions/{function}/logs", tag = "functions", operation_id = "function_logs",
    params(("function" = String, Path, description = "Name"), FunctionLogsQuery),
    responses((status = 200, description = "The lines", body = FunctionLogLine, content_type = "application/x-ndjson"), Problems))]
pub(crate) async fn logs(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(name): ApiPath,
    ApiQuery(query): ApiQuery<FunctionLogsQuery>,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::FunctionRead).await?;
    let row = app.find_function(&tenant, &name).await?;
    let tail = query
        .tail
        .map(|lines| input::at_most("tail", lines, TAIL_MAX))
        .transpose()?;
    let runs = match query.invocation.as_deref() {
        Some(id) => Some(app.runs(row.spec.id, id).await?),
        None => None,
    };
    let wanted = Wanted {
        function: row.spec.id,
        since: query.since.map(unix_ms),
        version: query.version,
        runs,
        invocation: query.invocation.clone(),
    };
    let (mut lines, seen) = gather(&app, &wanted).await?;
    if let Some(tail) = tail {
        let skip = lines.len().saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX));
        lines.drain(..skip);
    }
    let there = stream::iter(lines.into_iter().map(FunctionLogLine::Line));
    if query.follow != Some(true) {
        return Ok(answer::ndjson(&app, there));
    }
    let later = follow(&app, wanted, seen);
    Ok(answer::ndjson(&app, there.chain(later)))
}

/// Which lines.
#[derive(Debug, Clone)]
struct Wanted {
    function: FunctionId,
    since: Option<u64>,
    version: Option<u32>,
    /// Where the call ran, if one is asked for.
    runs: Option<Vec<Run>>,
    invocation: Option<String>,
}

impl Wanted {
    fn wants(&self, line: &FunctionLogRecord) -> bool {
        let at = unix_ms(line.at);
        self.since.is_none_or(|since| at >= since)
            && self.version.is_none_or(|version| version == line.version)
            && self.runs.as_ref().is_none_or(|runs| {
                let mut runs = runs.iter();
                runs.any(|run| {
                    run.machine == line.machine && (run.from_unix_ms..=run.to_unix_ms + LATE_MS).contains(&at)
                })
            })
    }

    fn wants_machine(&self, machine: MachineId, version: u32) -> bool {
        self.version.is_none_or(|wanted| wanted == version)
            && self
                .runs
                .as_ref()
                .is_none_or(|runs| runs.is_empty() || runs.iter().any(|run| run.machine == machine))
    }
}

/// What one instance wrote for a request, where the agent marked it.
fn of_request(lines: &[FunctionLogRecord], request: &str) -> Vec<FunctionLogRecord> {
    let marked = |word: &str| {
        let mark = format!("{word} RequestId: {request}");
        lines.iter().position(|line| line.line.starts_with(&mark))
    };
    let Some(from) = marked("START") else {
        return Vec::new();
    };
    let to = marked("REPORT").map_or(lines.len(), |to| to + 1);
    lines.get(from..to).unwrap_or_default().to_vec()
}

/// The number of the last record that was seen of each instance that is there.
type Seen = HashMap<MachineId, u64>;

/// All that is there, and how far it was read.
async fn gather(app: &Arc<App>, wanted: &Wanted) -> ApiResult<(Vec<FunctionLogRecord>, Seen)> {
    // Each holds much for a while.
    let _turn = app.plane().gathering.acquire().await;
    let mut seen = Seen::new();
    let mut lines = Merged::new(LINES_MAX, BYTES_MAX);
    let mut live = HashSet::new();
    for instance in app.plane().instances(wanted.function) {
        if !wanted.wants_machine(instance.machine, instance.version) {
            continue;
        }
        // One that just went is in the archive.
        let Ok(mut log) = app.node.logs(instance.machine, LogQuery::default()).await else {
            continue;
        };
        live.insert(instance.machine);
        let mut own = newest();
        let mut text = Lines::new(instance.machine, instance.version);
        while let Some(Ok(chunk)) = log.next().await {
            seen.insert(instance.machine, chunk.sequence);
            own.extend(text.push(&chunk));
        }
        own.extend(text.rest(timestamp(now_unix_ms())));
        lines.extend(kept(own.into_lines(), wanted));
    }
    let (archive, asked) = (app.plane().archive.clone(), wanted.clone());
    let all = app.blocking(move || {
        read_archive(&archive, &asked, &live, &mut lines)?;
        Ok::<_, std::io::Error>(lines.into_lines())
    });
    let all = all.await?;
    let all = all.map_err(|error| ApiError::internal("an archived log cannot be read").caused_by(error))?;
    Ok((all, seen))
}

fn newest() -> Newest {
    Newest::new(LINES_MAX, BYTES_MAX)
}

/// Lines that are wanted: a call's by its marks, which are exact, or else by the time in which it ran.
fn kept(own: Vec<FunctionLogRecord>, wanted: &Wanted) -> Vec<FunctionLogRecord> {
    let runs = wanted.runs.iter().flatten().map(|run| run.request.as_str());
    // One that is no longer remembered may be told by its request all the same.
    let requests: BTreeSet<&str> = runs.chain(wanted.invocation.as_deref()).collect();
    let marked: Vec<_> = requests
        .into_iter()
        .flat_map(|request| of_request(&own, request))
        .collect();
    if !marked.is_empty() {
        return marked;
    }
    own.into_iter().filter(|line| wanted.wants(line)).collect()
}

fn read_archive(
    archive: &super::archive::Archive,
    wanted: &Wanted,
    live: &HashSet<MachineId>,
    lines: &mut Merged,
) -> std::io::Result<()> {
    for machine in archive.machines(wanted.function) {
        if live.contains(&machine) {
            continue;
        }
        let mut own = newest();
        archive.read(wanted.function, machine, |line| own.push(line))?;
        lines.extend(kept(own.into_lines(), wanted));
    }
    Ok(())
}

/// What is written from now on. Ends when the client goes, or the function.
fn follow(app: &Arc<App>, wanted: Wanted, seen: Seen) -> impl Stream<Item = FunctionLogLine> + Send + 'static {
    let (lines, received) = mpsc::channel(BACKLOG);
    let stop = app.shutdown.child_token();
    let guard: DropGuard = stop.clone().drop_guard();
    let app = Arc::clone(app);
    let tasks = app.sessions.clone();
    tasks.spawn(async move {
        let work = follow_all(app, wanted, seen, lines);
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    });
    // The task ends when the stream is dropped.
    ReceiverStream::new(received).map(move |line| {
        let _held = &guard;
        line
    })
}

async fn follow_all(app: Arc<App>, wanted: Wanted, seen: Seen, lines: mpsc::Sender<FunctionLogLine>) {
    let mut followed = HashSet::new();
    let mut followers = tokio::task::JoinSet::new();
    loop {
        for instance in app.plane().instances(wanted.function) {
            if !wanted.wants_machine(instance.machine, instance.version) || !followed.insert(instance.machine) {
                continue;
            }
            let after = seen.get(&instance.machine).copied();
            let text = Lines::new(instance.machine, instance.version);
            followers.spawn(follow_one(
                app.clone(),
                wanted.clone(),
                text,
                instance.machine,
                after,
                lines.clone(),
            ));
        }
        while followers.try_join_next().is_some() {}
        match app.store.function(wanted.function).await {
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(error) => {
                let problem = ApiError::from(error).problem;
                let _ = lines
                    .send(FunctionLogLine::Problem(ProblemLine { problem: *problem }))
                    .await;
                return;
            }
        }
        tokio::select! {
            () = lines.closed() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn follow_one(
    app: Arc<App>,
    wanted: Wanted,
    mut text: Lines,
    machine: MachineId,
    after: Option<u64>,
    lines: mpsc::Sender<FunctionLogLine>,
) {
    let query = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    let Ok(mut log) = app.node.logs(machine, query).await else {
        return;
    };
    while let Some(Ok(chunk)) = log.next().await {
        if after.is_some_and(|after| chunk.sequence <= after) {
            continue;
        }
        for line in text.push(&chunk) {
            if wanted.wants(&line) && lines.send(FunctionLogLine::Line(line)).await.is_err() {
                return;
            }
        }
    }
    for line in text.rest(timestamp(now_unix_ms())) {
        if wanted.wants(&line) && lines.send(FunctionLogLine::Line(line)).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use hearth_domain::MachineOwner;
    use hearth_node_api::{LogChunk, LogStream};
    use hearth_worker::LogArchive as _;

    use super::*;

    #[tokio::test]
    async fn of_instances_that_ended_the_newest_lines_are_shown_whichever_was_made_first() {
        let folder = tempfile::tempdir().unwrap();
        let archive = super::super::archive::Archive::new(folder.path().to_owned());
        let function = FunctionId::new();
        let mut machines: Vec<_> = (0..2).map(|_| MachineId::new()).collect();
        machines.sort();
        // The first lived on after the second had ended.
        for (machine, times) in machines.into_iter().zip([[1, 5, 6], [2, 3, 4]]) {
            let mut spec = crate::reconcile::test_spec();
            spec.id = machine;
            spec.owner = Some(MachineOwner::Function { function, version: 1 });
            let log = times.map(|at| {
                Ok(LogChunk {
                    sequence: at,
                    unix_ns: at,
                    stream: LogStream::Stdout,
                    bytes: format!("{at}\n").into(),
                })
            });
            archive.archive(&spec, stream::iter(log).boxed()).await.unwrap();
        }
        let wanted = Wanted {
            function,
            since: None,
            version: None,
            runs: None,
            invocation: None,
        };
        let shown = |lines_max, bytes_max| {
            let mut lines = Merged::new(lines_max, bytes_max);
            read_archive(&archive, &wanted, &HashSet::new(), &mut lines).unwrap();
            let lines = lines.into_lines().into_iter().map(|line| line.line);
            lines.collect::<Vec<_>>().concat()
        };
        assert_eq!(shown(100, 100), "123456");
        assert_eq!(shown(3, 100), "456");
        assert_eq!(shown(100, 2), "56");
    }

    #[test]
    fn a_kept_calls_lines_are_found_by_the_marks_of_its_requests_whatever_the_guests_clock() {
        let machine = MachineId::new();
        let mut text = Lines::new(machine, 1);
        let chunk = hearth_node_api::LogChunk {
            sequence: 1,
            unix_ns: 1,
            stream: hearth_node_api::LogStream::Stdout,
            bytes: bytes::Bytes::from_static(
                b"init\nSTART RequestId: req1 Version: 1\none\nREPORT RequestId: req1\nSTART RequestId: req2\ntwo\n",
            ),
        };
        let own = text.push(&chunk);
        let run = |request: &str| Run {
            request: request.to_owned(),
            machine,
            from_unix_ms: 60_000,
            to_unix_ms: 61_000,
        };
        let of = |invocation: &str, runs| {
            let wanted = Wanted {
                function: FunctionId::new(),
                since: None,
                version: None,
                runs: Some(runs),
                invocation: Some(invocation.to_owned()),
            };
            let kept = kept(own.clone(), &wanted).into_iter();
            kept.map(|line| line.line).collect::<Vec<_>>()
        };
        assert_eq!(of("inv1", vec![run("req1")])[1], "one");
        assert_eq!(of("inv1", vec![run("req1"), run("req2")]).len(), 5);
        assert_eq!(of("req2", Vec::new()), ["START RequestId: req2", "two"]);
        assert!(of("inv1", vec![run("req3")]).is_empty());
    }
}
