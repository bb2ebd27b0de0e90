//! What went wrong: in words, or as one JSON object a failure, both on standard error.

use hearth_api::{Problem, ProblemCode};
use hearth_client::ClientError;
use serde::Serialize;

use crate::{commands::Away, output::harmless};

/// What `run` and `exec` give when the program was never reached, and all commands when they are called wrongly;
/// docker's code for it.
pub(crate) const EXIT_NOT_RUN: u8 = 125;
/// Any other failure.
pub(crate) const EXIT_FAILED: u8 = 1;

/// A failure that the daemon knows nothing of, in the shape of the API's problems (RFC 9457).
#[derive(Debug, Serialize)]
struct LocalProblem<'a> {
    #[serde(rename = "type")]
    type_uri: String,
    title: &'a str,
    detail: &'a str,
    code: &'a str,
}

/// Tells of an error with its causes.
pub(crate) fn report(error: &anyhow::Error, json: bool) {
    let client = error.downcast_ref::<ClientError>();
    let hint = client.and_then(ClientError::hint).map(|hint| format!("; {hint}"));
    let words = format!("{error:#}{}", hint.unwrap_or_default());
    match client {
        _ if !json => eprintln!("hearth: {}", harmless(&words)),
        Some(ClientError::Problem(problem)) => print(problem),
        Some(error) if error.is_outage() => print(&Problem::new(ProblemCode::Unavailable, words)),
        _ if error.is::<Away>() => print(&Problem::new(ProblemCode::Unavailable, words)),
        _ => tell("failed", "The command failed", &words, json),
    }
}

/// Tells of a failure that is no error of ours, such as a program's.
pub(crate) fn tell(code: &str, title: &str, detail: &str, json: bool) {
    if json {
        print(&LocalProblem {
            type_uri: format!("urn:hearth:problem:{code}"),
            title,
            detail,
            code,
        });
    } else {
        eprintln!("hearth: {}", harmless(detail));
    }
}

/// Tells of a command line that is wrong, and gives the exit code. Help that was asked for is no failure.
pub(crate) fn usage(error: &clap::Error, json: bool) -> u8 {
    if json && error.use_stderr() {
        let words = error.render().to_string();
        tell("usage", "The command line is not valid", words.trim(), json);
    } else {
        // A reader that is gone is none of our business.
        let _ = error.print();
    }
    if error.use_stderr() { EXIT_NOT_RUN } else { 0 }
}

/// On one line, so that several failures are lines of JSON.
fn print(problem: &impl Serialize) {
    // Types without maps, which cannot fail.
    eprintln!("{}", serde_json::to_string(problem).unwrap_or_default());
}
