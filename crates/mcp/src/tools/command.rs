//! A command in a sandbox.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use hearth_api::ExecRequest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Effect, Offer};
use crate::{
    exec::{self, Program},
    failure::Failure,
    output::Kept,
    session::Session,
};

/// How long a command may take, in seconds, unless it is said.
const TIMEOUT_S: u32 = 60;
/// How long one may be given, in seconds.
pub(super) const TIMEOUT_MAX_S: u32 = 3600;
/// Bytes kept of each stream, unless it is said.
const OUTPUT_BYTES: u32 = 32 << 10;
/// Bytes that may be asked for of each stream.
pub(super) const OUTPUT_MAX_BYTES: u32 = 256 << 10;
/// Bytes of a command: what the kernel takes as one argument, with room.
const COMMAND_MAX_BYTES: usize = 100 << 10;

/// `run_command`.
pub(super) struct Run;

/// What `run_command` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunArgs {
    /// The sandbox's ID, as `sandbox_create` gave it.
    sandbox: String,
    /// The command, as a line or a script for bash; at most 100 KiB.
    #[schemars(length(min = 1))]
    command: String,
    /// Folder in which it runs; the template's working folder if absent.
    #[serde(default)]
    working_dir: Option<String>,
    /// Environment variables, added to the sandbox's.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// User, by name or number; the template's if absent.
    #[serde(default)]
    user: Option<String>,
    /// What it reads from its standard input; without one, its input is empty.
    #[serde(default)]
    stdin: Option<String>,
    /// Seconds after which it is killed: 1 to 3600; 60 if absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 3600))]
    timeout_s: Option<u32>,
    /// Bytes kept of standard output and of standard error, each: 1024 to 262144; 32768 if absent. Of more, the middle is cut out.
    #[serde(default)]
    #[schemars(range(min = 1024, max = 262_144))]
    max_output_bytes: Option<u32>,
}

/// What `run_command` gives.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Ran {
    /// Exit code, 128 + signal for a signal, 127 for a command that was not found; null where its time was over.
    exit_code: Option<i32>,
    /// Whether it was killed because its time was over.
    timed_out: bool,
    /// Whether it was killed because the sandbox had no memory left.
    out_of_memory: bool,
    /// What it wrote to standard output.
    stdout: String,
    /// What it wrote to standard error.
    stderr: String,
    /// Bytes of standard output that were cut out.
    stdout_cut_bytes: u64,
    /// Bytes of standard error that were cut out.
    stderr_cut_bytes: u64,
    /// Why it could not be run, where it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl Offer for Run {
    type Args = RunArgs;
    type Answer = Ran;
    const NAME: &'static str = "run_command";
    const TITLE: &'static str = "Run a command";
    const DESCRIPTION: &'static str = "Runs a command in a sandbox by `bash -l -c` and waits for its end. Gives exit code, standard output and \
        standard error; an exit code other than 0 is an answer, not an error. Each command is a process of its own: `cd` and variables do not \
        last until the next one, files do. There is no terminal. For a server, start it so that it lets go of its output: \
        `nohup CMD >/tmp/log 2>&1 &`. A paused sandbox is resumed, and its end is put off.";
    const EFFECT: Effect = Effect::Destroys;

    async fn call(session: &Session, args: RunArgs) -> Result<Ran, Failure> {
        if args.command.len() > COMMAND_MAX_BYTES || args.command.contains('\0') {
            return Err(Failure::field(
                "command",
                &args.command,
                format_args!(
                    "write at most {COMMAND_MAX_BYTES} bytes without NUL; put longer scripts into a file with write_file"
                ),
            ));
        }
        let within = seconds("timeout_s", args.timeout_s, TIMEOUT_S)?;
        let keep = kept_bytes(args.max_output_bytes)?;
        let sandbox = session.wake(&args.sandbox, within).await?;
        let program = Program {
            request: ExecRequest {
                cmd: ["/bin/bash", "-l", "-c", &args.command].map(ToOwned::to_owned).to_vec(),
                env: args.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
                working_dir: args.working_dir,
                user: args.user,
                ..ExecRequest::default()
            },
            input: args.stdin.map(Bytes::from),
            within,
            stdout: Kept::both_ends(keep),
            stderr: Kept::both_ends(keep),
        };
        let ended = exec::run(&session.client, sandbox.id.to_string().as_str(), program).await?;
        let exit = ended.exit.as_ref();
        Ok(Ran {
            exit_code: exit.map(|exit| exit.code),
            timed_out: exit.is_none(),
            out_of_memory: exit.is_some_and(|exit| exit.oom_killed),
            stdout: ended.stdout.text(),
            stderr: ended.stderr.text(),
            stdout_cut_bytes: ended.stdout.cut_bytes(),
            stderr_cut_bytes: ended.stderr.cut_bytes(),
            message: exit.and_then(|exit| exit.message.clone()),
        })
    }
}

/// A time that is asked for, within what may be.
pub(super) fn seconds(field: &str, asked: Option<u32>, usual: u32) -> Result<Duration, Failure> {
    match asked.unwrap_or(usual) {
        asked @ 1..=TIMEOUT_MAX_S => Ok(Duration::from_secs(asked.into())),
        asked => Err(Failure::field(
            field,
            asked,
            format_args!(
                "write 1 to {TIMEOUT_MAX_S}; start what takes longer in the background, and look for its end later"
            ),
        )),
    }
}

/// How much of a stream is kept.
pub(super) fn kept_bytes(asked: Option<u32>) -> Result<usize, Failure> {
    match asked.unwrap_or(OUTPUT_BYTES) {
        asked @ 1024..=OUTPUT_MAX_BYTES => Ok(asked as usize),
        asked => Err(Failure::field(
            "max_output_bytes",
            asked,
            format_args!(
                "write 1024 to {OUTPUT_MAX_BYTES}; have the command write more to a file, and read it in pieces with read_file"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_with_the_way_out() {
        assert_eq!(seconds("timeout_s", None, 60).unwrap(), Duration::from_mins(1));
        let late = seconds("timeout_s", Some(3601), 60).unwrap_err().to_string();
        assert!(late.contains("timeout_s") && late.contains("3601") && late.contains("background"));
        assert!(seconds("timeout_s", Some(0), 60).is_err());
        assert_eq!(kept_bytes(None).unwrap(), 32768);
        assert!(kept_bytes(Some(1 << 20)).unwrap_err().to_string().contains("read_file"));
    }
}
