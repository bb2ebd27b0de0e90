//! A build, as it goes on: its log on standard error, what came of it on standard output.

use std::time::Duration;

use hearth_api::{BuildLogLine, BuildQuery, BuildState, TemplateBuild};
use hearth_client::{Client, ClientError};
use tokio::time::sleep;

use super::path;
use crate::{
    failure::{self, EXIT_FAILED},
    output::{harmless, note, print_json, print_json_line, print_line},
};

/// Between two looks at a build.
const LOOK: Duration = Duration::from_millis(300);
/// Lines of a log at once.
const LINES: u32 = 500;
/// Exit code of what Ctrl-C ended.
const EXIT_INTERRUPTED: u8 = 130;

/// Follows a build until it is over. Ctrl-C leaves it alone, and it goes on.
pub(super) async fn to_the_end(client: &Client, name: &str, build: TemplateBuild, json: bool) -> anyhow::Result<u8> {
    let id = build.id.to_string();
    let told = |line: &BuildLogLine| {
        if !json {
            eprintln!("{}", harmless(&words(line)));
        }
    };
    let over = tokio::select! {
        over = follow(client, name, &id, told) => over?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            note(format_args!("the build goes on; follow it: hearth template logs -f {name} {id}"), json);
            return Ok(EXIT_INTERRUPTED);
        }
    };
    if json {
        print_json(&over)?;
    }
    if over.state == BuildState::Failed {
        if !json {
            failure::tell("build_failed", "The build failed", &why(name, &over), json);
        }
        return Ok(EXIT_FAILED);
    }
    if !json {
        print_line(over.template.to_string());
    }
    Ok(0)
}

fn why(name: &str, build: &TemplateBuild) -> String {
    let reason = build.reason.as_deref().unwrap_or("nothing tells why");
    match &build.step {
        Some(step) => format!("the build of {name} failed at step {step}: {reason}"),
        None => format!("the build of {name} failed: {reason}"),
    }
}

/// Shows a build's log, and goes on with what it says later if that is wanted.
pub(super) async fn log(client: &Client, name: &str, id: &str, go_on: bool, json: bool) -> anyhow::Result<u8> {
    let show = |line: &BuildLogLine| {
        if json {
            print_json_line(line);
        } else {
            print_line(words(line));
        }
    };
    if go_on {
        follow(client, name, id, show).await?;
        return Ok(0);
    }
    let mut from = 0;
    while read(client, name, id, &mut from, &show).await?.log.len() >= LINES as usize {}
    Ok(0)
}

async fn follow(
    client: &Client,
    name: &str,
    id: &str,
    show: impl Fn(&BuildLogLine),
) -> Result<TemplateBuild, ClientError> {
    let mut from = 0;
    loop {
        let seen = read(client, name, id, &mut from, &show).await?;
        let all = seen.log.len() < LINES as usize;
        if seen.state.is_over() && all {
            return Ok(TemplateBuild {
                log: Vec::new(),
                ..seen
            });
        }
        if all {
            sleep(LOOK).await;
        }
    }
}

/// Reads the lines that are new.
async fn read(
    client: &Client,
    name: &str,
    id: &str,
    from: &mut u64,
    show: impl Fn(&BuildLogLine),
) -> Result<TemplateBuild, ClientError> {
    let query = BuildQuery {
        log_from: Some(*from),
        limit: Some(LINES),
    };
    let seen: TemplateBuild = client.get(&path(name, &["builds", id]).query(&query)).await?;
    *from += seen.log.len() as u64;
    seen.log.iter().for_each(show);
    Ok(seen)
}

/// A line, with its step.
fn words(line: &BuildLogLine) -> String {
    match &line.step {
        Some(step) => format!("{step:>8}  {}", line.message),
        None => line.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_bear_their_step() {
        let mut line = BuildLogLine {
            at: jiff::Timestamp::now(),
            level: "info".into(),
            step: Some("2".into()),
            message: "hi".into(),
        };
        assert_eq!(words(&line), "       2  hi");
        line.step = None;
        assert_eq!(words(&line), "hi");
    }
}
