//! What a sandbox says: what its agent notes of processes, and what programs write to its console log.
//!
//! Guests write what they like. A log is read, and told, where that may take its time; few are at once, and what each holds is bounded.

mod lines;

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use futures::{TryStreamExt as _, stream::BoxStream};
use hearth_api::ProblemCode;
use hearth_domain::Action;
use hearth_node_api::{LogChunk, LogQuery, NodeError};
use http::header;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{runtime::Handle, sync::Semaphore, task::spawn_blocking, time::timeout};

use self::lines::{Line, Lines};
use super::view;
use crate::{
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiPath, ApiQuery},
    sandboxes,
};

/// Lines of an answer.
const LIMIT_MAX: usize = 1000;
/// Bytes of an answer. The cursor goes on from its last line.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Logs that are read at once: each may be 16 MiB.
/// How long a turn for that is waited for.
const READING_WITHIN: Duration = Duration::from_secs(30);
static READING: Semaphore = Semaphore::const_new(8);
/// From what weighs least.
pub(super) const LEVELS: [&str; 4] = ["debug", "info", "warn", "error"];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Query {
    /// Milliseconds since the Unix epoch.
    start: Option<u64>,
    cursor: Option<u64>,
    limit: Option<usize>,
    direction: Option<String>,
    level: Option<String>,
    search: Option<String>,
}

/// `GET /sandboxes/{sandbox}/logs`: the older call.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    ApiQuery(query): ApiQuery<Query>,
) -> ApiResult<Response> {
    answer(&app, &caller, &wanted, query, Form::Older).await
}

/// `GET /v2/sandboxes/{sandbox}/logs`.
pub(super) async fn list_v2(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
    ApiQuery(query): ApiQuery<Query>,
) -> ApiResult<Response> {
    answer(&app, &caller, &wanted, query, Form::Newer).await
}

async fn answer(app: &App, caller: &Caller, wanted: &str, query: Query, form: Form) -> ApiResult<Response> {
    let tenant = caller.may(app, Action::MachineRead).await?;
    let (sandbox, _) = sandboxes::find(app, &tenant, wanted).await?;
    let meant = Meant::new(query)?;
    let cut_off = || ApiError::internal("reading a log was cut off");
    let busy = |_| ApiError::new(ProblemCode::TooManyRequests, "too many logs are read at once").retry_after_ms(1000);
    let turn = timeout(READING_WITHIN, READING.acquire()).await.map_err(busy)?;
    let turn = turn.map_err(|error| cut_off().caused_by(error))?;
    // Piece by piece, and not its end, which would be held as it lies there.
    let chunks = app.node.logs(sandbox.machine, LogQuery::default()).await?;
    let runtime = Handle::current();
    let told = spawn_blocking(move || {
        let lines = runtime.block_on(read(chunks))?;
        let told = form.tell(meant.of(lines));
        drop(turn);
        Ok::<_, NodeError>(told)
    });
    let told = told.await.map_err(|error| cut_off().caused_by(error))??;
    Ok(([(header::CONTENT_TYPE, "application/json")], told).into_response())
}

async fn read(mut chunks: BoxStream<'static, Result<LogChunk, NodeError>>) -> Result<Vec<Line>, NodeError> {
    let mut lines = Lines::default();
    while let Some(chunk) = chunks.try_next().await? {
        lines.add(&chunk);
    }
    Ok(lines.finish())
}

/// What is meant by a query.
#[derive(Debug)]
struct Meant {
    from: Option<u64>,
    limit: usize,
    backward: bool,
    /// Its rank.
    level: usize,
    search: Option<String>,
}

impl Meant {
    fn new(query: Query) -> ApiResult<Self> {
        Ok(Self {
            level: lowest(query.level.as_deref())?,
            backward: is_backward(query.direction.as_deref())?,
            limit: query.limit.unwrap_or(LIMIT_MAX).min(LIMIT_MAX),
            from: query.cursor.or(query.start),
            search: query.search,
        })
    }

    /// The lines that are meant, in their order.
    fn of(self, mut lines: Vec<Line>) -> impl Iterator<Item = Line> {
        if self.backward {
            lines.reverse();
        }
        let limit = self.limit;
        lines.into_iter().filter(move |line| self.is(line)).take(limit)
    }

    fn is(&self, line: &Line) -> bool {
        let within = match self.from {
            Some(from) if self.backward => line.at_unix_ms <= from,
            Some(from) => line.at_unix_ms >= from,
            None => true,
        };
        let found = |text: &String| Said::by(line).message.contains(text.as_str());
        within && rank(line.level) >= Some(self.level) && self.search.as_ref().is_none_or(found)
    }
}

/// How weighty a level is.
fn rank(level: &str) -> Option<usize> {
    LEVELS.iter().position(|known| *known == level)
}

/// The rank of the lowest level that is asked for.
pub(super) fn lowest(level: Option<&str>) -> ApiResult<usize> {
    let level = level.unwrap_or(LEVELS[0]);
    rank(level).ok_or_else(|| invalid("level", level, "debug, info, warn or error"))
}

/// Whether the newest line comes first.
pub(super) fn is_backward(direction: Option<&str>) -> ApiResult<bool> {
    match direction {
        None | Some("forward") => Ok(false),
        Some("backward") => Ok(true),
        Some(other) => Err(invalid("direction", other, "forward or backward")),
    }
}

pub(super) fn invalid(field: &'static str, value: &str, use_this: &str) -> ApiError {
    let value: String = value.chars().take(80).collect();
    ApiError::field(field, format!("{field} {value:?} is not valid: use {use_this}"))
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Older,
    Newer,
}

impl Form {
    /// Writes as many lines as an answer may have bytes for, and one at least. Each is written at once: as values they would take
    /// many times as much.
    fn tell(self, lines: impl Iterator<Item = Line>) -> String {
        let (mut entries, mut plain) = (String::new(), String::new());
        for line in lines {
            let said = Said::by(&line);
            let simple = match self {
                Self::Older => {
                    json!({ "timestamp": view::time(line.at_unix_ms), "line": said.object(&line) }).to_string()
                }
                Self::Newer => String::new(),
            };
            let entry = said.entry(&line).to_string();
            let bytes = entries.len() + plain.len() + entry.len() + simple.len();
            if !entries.is_empty() && bytes > ANSWER_BYTES_MAX {
                break;
            }
            for (all, one) in [(&mut entries, entry), (&mut plain, simple)] {
                if !all.is_empty() {
                    all.push(',');
                }
                all.push_str(&one);
            }
        }
        match self {
            Self::Older => format!(r#"{{"logs":[{plain}],"logEntries":[{entries}]}}"#),
            Self::Newer => format!(r#"{{"logs":[{entries}]}}"#),
        }
    }
}

/// What a line says: one that is a JSON object tells its fields, unless it is cut.
struct Said {
    message: String,
    fields: Map<String, Value>,
}

impl Said {
    fn by(line: &Line) -> Self {
        let text = line.text();
        let parsed = line.is_whole().then(|| serde_json::from_str(&text).ok()).flatten();
        let mut fields: Map<String, Value> = parsed.unwrap_or_default();
        let message = fields.remove("message").map_or(text, |message| plain(&message));
        Self { message, fields }
    }

    fn entry(self, line: &Line) -> Value {
        let fields = self
            .fields
            .iter()
            .map(|(name, value)| (name.clone(), json!(plain(value))));
        json!({
            "timestamp": view::time(line.at_unix_ms),
            "level": line.level,
            "message": self.message,
            "fields": fields.collect::<Map<_, _>>(),
        })
    }

    /// As the older call writes it. E2B's command line reads each line as an object, and wants a level, a logger and a message of it.
    fn object(&self, line: &Line) -> String {
        let mut fields = self.fields.clone();
        for (name, otherwise) in [("level", line.level), ("logger", "")] {
            if !fields.get(name).is_some_and(Value::is_string) {
                fields.insert(name.to_owned(), json!(otherwise));
            }
        }
        fields.insert("message".to_owned(), json!(self.message));
        Value::Object(fields).to_string()
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use hearth_node_api::LogStream;

    use super::{
        lines::tests::{chunk, split},
        *,
    };

    fn told(form: Form, text: &str) -> (Value, usize) {
        let told = form.tell(split(&[chunk(0, LogStream::Stdout, text)]).into_iter());
        (serde_json::from_str(&told).unwrap(), told.len())
    }

    #[test]
    fn objects_tell_their_fields() {
        let (shown, _) = told(Form::Newer, r#"{"message":"process started","pid":7}"#);
        let shown = &shown["logs"][0];
        assert_eq!(
            (&shown["message"], &shown["fields"]["pid"]),
            (&json!("process started"), &json!("7"))
        );
        let (shown, _) = told(Form::Older, "plain\nnext\n");
        let line: Value = serde_json::from_str(shown["logs"][0]["line"].as_str().unwrap()).unwrap();
        assert_eq!(line, json!({ "level": "info", "logger": "", "message": "plain" }));
        assert_eq!(shown["logEntries"][1]["message"], "next");
        assert_eq!(told(Form::Older, "").0, json!({ "logs": [], "logEntries": [] }));
    }

    #[test]
    fn lines_of_the_older_call_are_objects_whatever_was_written() {
        let read = |text: &str| {
            let (shown, _) = told(Form::Older, text);
            let line = shown["logs"][0]["line"].as_str().unwrap();
            serde_json::from_str::<Value>(line).unwrap()
        };
        let own = json!({ "level": "debug", "logger": "mine", "message": "hi", "pid": 7 });
        assert_eq!(read(&own.to_string()), own);
        let odd = read(r#"{"level":3,"message":null}"#);
        assert_eq!((&odd["level"], &odd["message"]), (&json!("info"), &json!("null")));
        assert_eq!(read("[1]")["message"], "[1]");
    }

    #[test]
    fn an_answer_has_so_many_bytes_and_no_more() {
        // Each byte of it is written as six.
        let line = "\u{1}".repeat(60_000) + "\n";
        for form in [Form::Older, Form::Newer] {
            let (shown, bytes) = told(form, &line.repeat(100));
            let lines = shown["logs"].as_array().unwrap().len();
            assert!(bytes < ANSWER_BYTES_MAX + 1024, "{bytes}");
            assert!(bytes > ANSWER_BYTES_MAX - 2 * 6 * line.len() - 1024, "{bytes}");
            assert!((1..100).contains(&lines), "{lines}");
        }
    }

    #[test]
    fn what_is_cut_is_no_object() {
        let long = format!(r#"{{"message":"short","rest":"{}"}}"#, "x".repeat(1 << 20));
        let (shown, bytes) = told(Form::Newer, &(long + "\n"));
        assert!(bytes < 1 << 17, "{bytes}");
        assert_eq!(shown["logs"][0]["fields"], json!({}));
        let message = shown["logs"][0]["message"].as_str().unwrap();
        assert!(message.ends_with("more bytes of this line are left out)"), "{message}");
    }
}
