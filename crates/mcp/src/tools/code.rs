//! Code in a sandbox's code interpreter, asked from within the sandbox: so nothing is needed but what commands need.

use bytes::Bytes;
use hearth_api::Sandbox;
use hearth_client::ApiPath;
use rmcp::model::ContentBlock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Effect, Offer,
    command::{kept_bytes, seconds},
    events::Event,
    pictures::Pictures,
};
use crate::{
    exec::{self, Ended, Program},
    failure::Failure,
    output::Kept,
    session::Session,
};

/// How long code may take, in seconds, unless it is said.
const TIMEOUT_S: u32 = 60;
/// Bytes of all events of an execution, pictures included.
const EVENTS_MAX_BYTES: usize = 16 << 20;
/// Bytes of code.
const CODE_MAX_BYTES: usize = 1 << 20;
/// Results that are told of.
const RESULTS_MAX: usize = 20;
/// Passes a request on and the answer back. It needs nothing but bash; the request comes by its input, where no other program of
/// the sandbox sees the token in it.
const ASK: &str = r"
{ exec 3<>/dev/tcp/127.0.0.1/49999; } 2>/dev/null || exit 44
cat >&3
exec cat <&3
";
/// Nobody listens.
const ABSENT: i32 = 44;

/// `run_code`.
pub(super) struct Run;

/// What `run_code` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunArgs {
    /// The sandbox's ID, as `sandbox_create` gave it; its template has to be one of the code interpreter.
    sandbox: String,
    /// The code; at most 1 MiB.
    code: String,
    /// `python`, `javascript`, `typescript` or `bash`; python if absent.
    #[serde(default)]
    language: Option<String>,
    /// Seconds after which it is interrupted: 1 to 3600; 60 if absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 3600))]
    timeout_s: Option<u32>,
    /// Bytes kept of each output and each result: 1024 to 262144; 32768 if absent. Of more, the middle is cut out.
    #[serde(default)]
    #[schemars(range(min = 1024, max = 262_144))]
    max_output_bytes: Option<u32>,
}

/// What `run_code` gives.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct Ran {
    /// Whether it was interrupted because its time was over.
    timed_out: bool,
    /// What it printed.
    stdout: String,
    /// What it printed to standard error.
    stderr: String,
    /// What was shown, and last the value of the last expression.
    results: Vec<Shown>,
    /// What it failed with, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Raised>,
    /// Bytes of standard output that were cut out.
    stdout_cut_bytes: u64,
    /// Bytes of standard error that were cut out.
    stderr_cut_bytes: u64,
    /// Results and pictures that there was no room for.
    left_out: u32,
    /// Bytes of the interpreter's answer that were too many: what it printed and showed there, in the middle, is missing.
    answer_cut_bytes: u64,
    /// They stand beside the structured answer.
    #[serde(skip)]
    #[schemars(skip)]
    pictures: Pictures,
}

/// A result. Pictures follow as contents of their own.
#[derive(Debug, Serialize, JsonSchema)]
struct Shown {
    /// As text.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// As Markdown, where there is that.
    #[serde(skip_serializing_if = "Option::is_none")]
    markdown: Option<String>,
    /// As JSON, where there is that.
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<String>,
    /// In which other forms it exists.
    formats: Vec<String>,
    /// Whether it is the value of the last expression.
    is_main_result: bool,
}

/// What code failed with.
#[derive(Debug, Serialize, JsonSchema)]
struct Raised {
    /// The error's name.
    name: String,
    /// What it says.
    value: String,
    /// Where it came from.
    traceback: String,
}

impl Offer for Run {
    type Args = RunArgs;
    type Answer = Ran;
    const NAME: &'static str = "run_code";
    const TITLE: &'static str = "Run code";
    const DESCRIPTION: &'static str = "Runs code in a sandbox's code interpreter, as a cell of a notebook: variables, imports and functions stay \
        for the next call, for each language apart. Gives what it printed, the value of the last expression, and pictures (of matplotlib, say) as \
        images. The sandbox has to be made of a template of the code interpreter, usually `code-interpreter-v1`; elsewhere use run_command. A \
        paused sandbox is resumed, and its end is put off.";
    const EFFECT: Effect = Effect::Destroys;

    async fn call(session: &Session, args: RunArgs) -> Result<Ran, Failure> {
        if args.code.len() > CODE_MAX_BYTES {
            let way_out =
                format!("write at most {CODE_MAX_BYTES} bytes; put more into a file with write_file, and run that");
            return Err(Failure::field(
                "code",
                format_args!("{} bytes", args.code.len()),
                way_out,
            ));
        }
        let within = seconds("timeout_s", args.timeout_s, TIMEOUT_S)?;
        let keep = kept_bytes(args.max_output_bytes)?;
        let id = session.wake(&args.sandbox, within).await?.id.to_string();
        // With what opens it, which only this answer has.
        let sandbox: Sandbox = session.get(&ApiPath::v1(&["sandboxes", &id])).await?;
        let mut body = json!({ "code": args.code });
        if let Some(language) = args.language {
            body["language"] = language.into();
        }
        let mut program = Program::script(ASK, &[], Kept::both_ends(EVENTS_MAX_BYTES));
        program.input = Some(request(&body.to_string(), sandbox.access_token.as_deref()));
        program.within = within;
        let ended = exec::run(&session.client, &id, program).await?;
        told(ended, keep)
    }

    fn beside(answer: &mut Ran) -> Vec<ContentBlock> {
        std::mem::take(&mut answer.pictures).into_content()
    }
}

/// HTTP/1.0, so that the answer comes as it is and ends with its connection. The interpreter asks the agent for the sandbox's
/// variables with the token.
fn request(body: &str, token: Option<&str>) -> Bytes {
    let token = token
        .map(|token| format!("X-Access-Token: {token}\r\n"))
        .unwrap_or_default();
    let length = body.len();
    Bytes::from(format!(
        "POST /execute HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{token}\r\n{body}"
    ))
}

fn told(ended: Ended, keep: usize) -> Result<Ran, Failure> {
    let code = ended.exit.as_ref().map(|exit| exit.code);
    if code == Some(ABSENT) {
        return Err(Failure::new(
            "no code interpreter answers in this sandbox: use run_command, or make a sandbox of a template that has one (code-interpreter-v1)",
        ));
    }
    let cut = ended.stdout.cut_bytes();
    let (mut said, end) = ended.stdout.into_ends();
    if cut > 0 {
        // The halves of two lines are none.
        said.push(b'\n');
    }
    said.extend(end);
    match answer(&said) {
        Some((200, events)) => {
            let mut ran = read(events, keep);
            ran.timed_out = code.is_none();
            ran.answer_cut_bytes = cut;
            Ok(ran)
        }
        Some((_, body)) => {
            let said: Option<Value> = serde_json::from_slice(body).ok();
            let message = said.as_ref().and_then(|said| said["message"].as_str());
            let message = bounded(message.unwrap_or("no reason was given"), 4096);
            Err(Failure::new(format!("the code interpreter refused: {message}")))
        }
        None if code.is_none() => Ok(Ran {
            timed_out: true,
            ..Ran::default()
        }),
        None => Err(Failure::new(format!(
            "the code interpreter gave no answer: {}",
            ended.stderr.text().trim()
        ))),
    }
}

/// Status and body of an answer by HTTP.
fn answer(said: &[u8]) -> Option<(u16, &[u8])> {
    const END: &[u8] = b"\r\n\r\n";
    let head = said.windows(END.len()).position(|window| window == END)?;
    let first = std::str::from_utf8(said[..head].split(|byte| *byte == b'\r').next()?).ok()?;
    let status = first.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some((status, &said[head + END.len()..]))
}

/// Reads the events of an execution, a JSON object a line; the last may be torn.
fn read(said: &[u8], keep: usize) -> Ran {
    let mut ran = Ran::default();
    let (mut stdout, mut stderr) = (Kept::both_ends(keep), Kept::both_ends(keep));
    let lines = said.split(|byte| *byte == b'\n');
    for event in lines.filter_map(Event::parse) {
        let text = |field: &str| event.text(field).unwrap_or_default();
        match text("type").as_ref() {
            "stdout" => stdout.push(text("text").as_bytes()),
            "stderr" => stderr.push(text("text").as_bytes()),
            "result" => {
                ran.pictures.take(&event);
                if ran.results.len() < RESULTS_MAX {
                    ran.results.push(shown(&event, keep));
                } else {
                    ran.left_out += 1;
                }
            }
            "error" => {
                ran.error = Some(Raised {
                    name: bounded(&text("name"), 1024),
                    value: bounded(&text("value"), keep),
                    traceback: bounded(&text("traceback"), keep),
                });
            }
            _ => {}
        }
    }
    ran.left_out += ran.pictures.left_out();
    (ran.stdout, ran.stdout_cut_bytes) = (stdout.text(), stdout.cut_bytes());
    (ran.stderr, ran.stderr_cut_bytes) = (stderr.text(), stderr.cut_bytes());
    ran
}

fn shown(event: &Event<'_>, keep: usize) -> Shown {
    let text = |field: &str| event.text(field).map(|text| bounded(&text, keep));
    let own = ["type", "is_main_result", "text", "markdown", "json", "extra"];
    let formats = event.fields().filter(|name| !own.contains(name));
    Shown {
        text: text("text"),
        markdown: text("markdown"),
        json: event.json("json").map(|json| bounded(json, keep)),
        formats: formats.take(16).map(|name| bounded(name, 64)).collect(),
        is_main_result: event.json("is_main_result") == Some("true"),
    }
}

fn bounded(text: &str, keep: usize) -> String {
    let mut kept = Kept::both_ends(keep);
    kept.push(text.as_bytes());
    kept.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_become_an_answer() {
        let said = concat!(
            "{\"type\":\"number_of_executions\",\"execution_count\":1}\n",
            "{\"type\":\"stdout\",\"text\":\"a\\n\",\"timestamp\":1}\n{\"type\":\"keepalive\"}\n",
            "{\"type\":\"stdout\",\"text\":\"b\\n\"}\n{\"type\":\"stderr\",\"text\":\"\\u001b[31mwarn\"}\n",
            "{\"type\":\"result\",\"is_main_result\":true,\"text\":\"42\",\"png\":\"iVBORw0=\"}\n",
            "{\"type\":\"error\",\"name\":\"ValueError\",\"value\":\"x\",\"traceback\":\"\\u001b[0;31mTraceback\"}\n",
            "{\"type\":\"stdout\",\"te",
        );
        let mut ran = read(said.as_bytes(), 1024);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("a\nb\n", "warn"));
        assert_eq!(ran.results[0].text.as_deref(), Some("42"));
        assert_eq!(ran.results[0].formats, ["png"]);
        assert_eq!(ran.error.as_ref().unwrap().traceback, "Traceback");
        assert_eq!(Run::beside(&mut ran).len(), 1);
        let value = serde_json::to_value(&ran).unwrap();
        assert!(value.get("pictures").is_none());
    }

    #[test]
    fn an_answer_is_of_http() {
        let said = b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n{}\n";
        assert_eq!(answer(said), Some((200, &b"{}\n"[..])));
        assert_eq!(answer(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Some((400, &b""[..])));
        for no in [
            &b""[..],
            b"HTTP/1.0 200 OK\r\n",
            b"SSH-2.0\r\n\r\n",
            b"HTTP/1.0 x\r\n\r\n",
        ] {
            assert_eq!(answer(no), None);
        }
        let asked = request("{}", Some("t"));
        assert!(asked.ends_with(b"Content-Length: 2\r\nX-Access-Token: t\r\n\r\n{}"));
    }

    #[test]
    fn of_a_flood_of_events_both_ends_are_told() {
        let mut stdout = Kept::both_ends(4096);
        stdout.push(b"HTTP/1.0 200 OK\r\n\r\n{\"type\":\"stdout\",\"text\":\"first\"}\n");
        for _ in 0..1000 {
            stdout.push(b"{\"type\":\"stdout\",\"text\":\"x\"}\n");
        }
        stdout.push(b"{\"type\":\"result\",\"text\":\"42\",\"is_main_result\":true}\n");
        let cut = stdout.cut_bytes();
        let ended = Ended {
            exit: Some(serde_json::from_value(json!({ "code": 0 })).unwrap()),
            stdout,
            stderr: Kept::both_ends(16),
        };
        let ran = told(ended, 1024).unwrap();
        assert!(ran.stdout.starts_with("firstx") && cut > 0);
        assert_eq!(
            (ran.answer_cut_bytes, ran.results[0].text.as_deref()),
            (cut, Some("42"))
        );
        assert!(ran.results[0].is_main_result);
    }

    #[test]
    fn a_flood_of_results_is_counted() {
        let said = "{\"type\":\"result\",\"text\":\"x\"}\n".repeat(RESULTS_MAX + 5);
        let ran = read(said.as_bytes(), 1024);
        assert_eq!((ran.results.len(), ran.left_out), (RESULTS_MAX, 5));
    }
}
