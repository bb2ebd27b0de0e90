//! Between the node's words and the guest's.

use std::io;

use hearth_domain::{DriverKind, ExitStatus, MachineSpec, NetworkMode};
use hearth_driver::{Driver, DriverError};
use hearth_guest_api::{
    GuestError,
    connect::Code,
    guest::{ExitKind, HostEntry, InitRequest, Names, Stream, TerminalSize, Workload, record},
};
use hearth_network::Slot;
use hearth_node_api::{ErrorKind, LogStream, NodeError};
use rand::RngCore;

use crate::{
    provisions::{RootConfig, Secrets},
    secrets,
    services::{chain, now_ms},
};

/// The signal for a program that names none.
pub(crate) const SIGTERM: i32 = 15;
/// Where programs are looked for if the image does not say (docker's default).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Randomness for the guest's pool, in bytes.
const ENTROPY_BYTES: usize = 64;
/// Until a client tells the size of its own.
const DEFAULT_TERMINAL: TerminalSize = TerminalSize { cols: 80, rows: 24 };
/// The exit code of a program that could not be tried.
const EXIT_NOT_RUN: i32 = 125;
/// What a message from the guest may add to a reason.
const MESSAGE_CHARS: usize = 400;

/// The host's time, as a guest is told it.
pub(crate) fn clock_unix_ns() -> i64 {
    i64::try_from(now_ms()).unwrap_or(0).saturating_mul(1_000_000)
}

/// All that the guest is told after its boot, but for the time.
pub(crate) fn init_request(
    spec: &MachineSpec,
    config: &RootConfig,
    slot: Option<&Slot>,
    secrets: &dyn Secrets,
) -> Result<InitRequest, String> {
    let mut entropy = vec![0; ENTROPY_BYTES];
    rand::rng().fill_bytes(&mut entropy);
    let host_name = spec.name.host_name();
    let mut workload = workload(spec, config)?;
    let opened = secrets::opened(spec, secrets)?;
    workload.env.extend(opened.env);
    let idle = spec.workload.idle;
    // As docker has it, a further command starts where the program does; where there is none, at home, as E2B has it.
    let default_cwd = match workload.cwd.as_str() {
        "" if idle => String::new(),
        "" => "/".to_owned(),
        cwd => cwd.to_owned(),
    };
    // A program brings its environment and its user, which further commands then have as well.
    let (env, default_user) = if idle {
        (workload.env.clone(), workload.user.clone())
    } else {
        Default::default()
    };
    Ok(InitRequest {
        tokens: None,
        env,
        default_user,
        default_cwd,
        // On the bridge its neighbours would see them, too.
        forward_local_ports: idle && spec.network == NetworkMode::Default,
        hostname: host_name.clone(),
        entropy: entropy.into(),
        names: Some(Names {
            nameservers: slot
                .map(|s| s.resolvers.iter().map(ToString::to_string).collect())
                .unwrap_or_default(),
            search: Vec::new(),
            hosts: vec![HostEntry {
                address: "127.0.1.1".to_owned(),
                names: vec![host_name],
            }],
        }),
        workload: (!workload.args.is_empty()).then_some(workload),
        secret_files: opened.files,
        ..InitRequest::default()
    })
}

/// The program, as the spec says, and as the image says where the spec is silent (docker's rules).
fn workload(spec: &MachineSpec, config: &RootConfig) -> Result<Workload, String> {
    let asked = &spec.workload;
    let (entrypoint, default_cmd) = match &asked.entrypoint {
        _ if asked.idle => (Vec::new(), &[][..]),
        Some(entrypoint) => (entrypoint.clone(), &[][..]),
        None => (config.entrypoint.clone(), &config.cmd[..]),
    };
    let cmd = if asked.cmd.is_empty() {
        default_cmd
    } else {
        &asked.cmd[..]
    };
    let args: Vec<String> = entrypoint
        .into_iter()
        .filter(|arg| !arg.is_empty())
        .chain(cmd.iter().cloned())
        .collect();
    if args.is_empty() && !asked.idle {
        return Err(format!("image {} has no command; name one after the image", spec.image));
    }
    let mut env: std::collections::BTreeMap<String, String> = [
        ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
        ("HOSTNAME".to_owned(), spec.name.host_name()),
    ]
    .into();
    if asked.tty {
        env.insert("TERM".to_owned(), "xterm".to_owned());
    }
    env.extend(
        config
            .env
            .iter()
            .filter_map(|line| line.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned())),
    );
    env.extend(asked.env.clone());
    Ok(Workload {
        args,
        env: env.into_iter().collect(),
        cwd: asked
            .working_dir
            .clone()
            .or_else(|| config.working_dir.clone())
            .unwrap_or_default(),
        user: asked.user.clone().or_else(|| config.user.clone()).unwrap_or_default(),
        pty: asked.tty.then_some(DEFAULT_TERMINAL),
        stdin: asked.stdin,
        runtime_api: asked.runtime_api,
    })
}

/// How the guest says its program ended. It may lie; codes are cut to what a shell can show. A user who does not exist
/// is a fault of what was asked for rather than of the program, as docker has it.
pub(crate) fn exit_status(exited: &record::Exited) -> ExitStatus {
    // A program that ran needs no more words than its code.
    let ran = [ExitKind::Exited as i32, ExitKind::Signaled as i32].contains(&exited.kind);
    let why = (!ran && !exited.message.is_empty()).then(|| message(&exited.message));
    let code = if exited.kind == ExitKind::BadUser as i32 {
        EXIT_NOT_RUN
    } else {
        exited.code & 0xff
    };
    ExitStatus {
        code,
        signal: (exited.signal > 0).then_some(exited.signal),
        oom_killed: exited.oom,
        message: why.or_else(|| {
            exited
                .oom
                .then(|| "killed for want of memory; give it more with --memory".to_owned())
        }),
    }
}

/// What a guest says, at a length and in characters that can be shown: a terminal obeys the others.
pub(crate) fn message(text: &str) -> String {
    let shown = |c: char| if c.is_control() && c != '\n' { '\u{fffd}' } else { c };
    text.chars().take(MESSAGE_CHARS).map(shown).collect()
}

/// Where a piece of output was written. A terminal has but one stream.
pub(crate) fn log_stream(stream: i32) -> LogStream {
    if stream == Stream::Stderr as i32 {
        LogStream::Stderr
    } else {
        LogStream::Stdout
    }
}

/// A guest's failure in the node's words.
pub(crate) fn node_error(action: &str, error: &GuestError) -> NodeError {
    let kind = match error.code() {
        Some(Code::NotFound) => ErrorKind::NotFound,
        Some(Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated) => ErrorKind::InvalidInput,
        Some(Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted) => ErrorKind::Conflict,
        Some(Code::DeadlineExceeded) => ErrorKind::Timeout,
        _ if matches!(error, GuestError::Timeout { .. }) => ErrorKind::Timeout,
        _ => ErrorKind::Unavailable,
    };
    NodeError::new(kind, format!("cannot {action}: {}", message(&chain(error))))
}

/// A driver's failure in the node's words.
pub(crate) fn driver_error(action: &str, error: DriverError) -> NodeError {
    let kind = match &error {
        DriverError::Unsupported { .. } => ErrorKind::InvalidInput,
        DriverError::TimedOut { .. } => ErrorKind::Timeout,
        DriverError::MissingProgram { .. } => ErrorKind::Unavailable,
        DriverError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => ErrorKind::NoCapacity,
        _ => ErrorKind::Internal,
    };
    NodeError::new(kind, format!("cannot {action}: {}", chain(&error))).caused_by(error)
}

/// Refuses what takes a driver that saves machines.
pub(crate) fn check_can_save(driver: &dyn Driver, action: &str) -> Result<(), NodeError> {
    if driver.capabilities().snapshot {
        return Ok(());
    }
    let message = format!("cannot {action}: driver {} cannot save machines", driver.kind());
    Err(NodeError::new(ErrorKind::InvalidInput, message))
}

/// For drivers that start no guest: trying again later would not help.
pub(crate) fn no_guest(driver: DriverKind) -> NodeError {
    NodeError::new(
        ErrorKind::Conflict,
        format!("driver {driver} starts no guest that could be spoken to"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_words_are_short_and_harmless() {
        assert_eq!(
            message("no\u{1b}[2J such\nfile\u{7}"),
            "no\u{fffd}[2J such\nfile\u{fffd}"
        );
        assert_eq!(message(&"é".repeat(10_000)).chars().count(), MESSAGE_CHARS);
    }
}
