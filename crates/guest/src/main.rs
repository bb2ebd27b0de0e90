//! The agent inside the guest: PID 1.
//!
//! Started by the kernel from the initramfs it boots the guest ([`boot`]) and serves ([`server`]) until it is told to end, by
//! call or by its power button ([`power`], [`shutdown`]). Started as `hearth-guest --test ADDRESS FOLDER` it only serves: no
//! mounts, no names, no clock, no reset; secrets go to the folder. A further argument, `ROOT`, is the folder in which it does
//! what a restore does to files, and runs hooks; one more, `GROUPS`, a folder of cgroup v2 for what it starts.
//!
//! One thread runs everything that touches state; only blocking file work goes to helper threads. So there are no locks, and a
//! child's exit can never be seen before its start is noted ([`process::reaper`]).

mod agent;
mod boot;
mod clock;
mod entropy;
mod files;
mod forward;
mod freeze;
mod inotify;
mod ioctl;
mod log;
mod metrics;
mod names;
mod netlink;
mod paths;
mod power;
mod process;
mod restore;
mod rewrite;
mod runtime_api;
mod secrets;
mod server;
mod shutdown;
mod volumes;
mod workload;

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use agent::{Agent, Boot};
use process::cgroup::Groups;
use process::reaper::Reaper;
use process::table::ProcessTable;
use restore::Places;

/// One line on the guest's console, which the host keeps.
pub(crate) fn console(line: &str) {
    // There is nobody else to tell if even this fails.
    let _ = writeln!(std::io::stderr(), "hearth-guest: {line}");
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [flag, address, secrets, more @ ..] if flag == "--test" && more.len() <= 2 => {
            let places = more.first().map(|root| Places::new(Path::new(root)));
            let groups = more.get(1).map(|groups| Groups::set_up(Path::new(groups)));
            test(address, Path::new(secrets), places, groups.unwrap_or_default())
        }
        [flag] if flag == "--version" => {
            // Nothing to do about a closed standard output.
            let _ = writeln!(std::io::stdout(), "{}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ if rustix::process::getpid().is_init() => init(),
        _ => {
            console("to be run as PID 1 of a guest, or as `hearth-guest --test ADDRESS FOLDER [ROOT [GROUPS]]`");
            ExitCode::from(2)
        }
    }
}

fn init() -> ExitCode {
    match boot::run() {
        Ok((boot, listener)) => {
            let (listening, ready) = (boot.listening_ns / 1_000_000, boot.root_ready_ns / 1_000_000);
            console(&format!("listening after {listening} ms, root ready after {ready} ms"));
            if let Err(error) = run(boot, listener) {
                console(&format!("cannot serve: {error}"));
            }
        }
        Err(error) => console(&error.to_string()),
    }
    shutdown::reset()
}

fn test(address: &str, secrets: &Path, places: Option<Places>, groups: Groups) -> ExitCode {
    let boot = Boot {
        host_addresses: vec![
            "127.0.0.1"
                .parse()
                .unwrap_or(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
        ],
        own_address: None,
        disk: None,
        secrets: secrets.to_owned(),
        groups,
        places,
        listening_ns: clock::uptime_ns(),
        root_ready_ns: clock::uptime_ns(),
        is_init: false,
        volume_modules: std::sync::Arc::default(),
    };
    let served = TcpListener::bind(address).and_then(|listener| {
        writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
        run(boot, listener)
    });
    served.map_or_else(
        |error| {
            console(&format!("cannot serve on {address}: {error}"));
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// Serves until the end of the process.
fn run(boot: Boot, listener: TcpListener) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .thread_stack_size(512 * 1024)
        .thread_keep_alive(Duration::from_secs(2))
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let reaper = Reaper::default();
        let is_init = boot.is_init;
        let processes = ProcessTable::new(reaper.clone(), boot.groups.clone());
        let agent = Agent::new(boot, processes);
        let children = tokio::task::spawn_local(reaper.run());
        if is_init {
            tokio::task::spawn_local(power::end_when_told(Rc::clone(&agent)));
        }
        tokio::select! {
            () = server::serve(agent, listener) => Ok(()),
            ended = children => ended.map_err(std::io::Error::other)?,
        }
    })
}
