//! The `hearth` binary: the daemon, and the command line that speaks its API.

mod args;
mod commands;
mod daemon;
mod failure;
mod output;
mod progress;
mod terminal;

use std::process::ExitCode;

use args::{Cli, Command, SandboxCommand};
use clap::{CommandFactory, Parser};
use commands::Away;
use failure::{EXIT_FAILED, EXIT_NOT_RUN};

/// Calls of functions allocate a few dozen times each (docs/adr/0015-allocator.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before any thread: this one becomes a VMM. No command of people's, so neither help nor completion has it.
    let mut args = std::env::args_os().skip(1);
    if args
        .next()
        .is_some_and(|first| first == hearth_driver::launch::SUBCOMMAND)
    {
        return hearth_driver::launch::main(args);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(failure::usage(&error, args::asks_for_json(std::env::args_os()))),
    };
    let failure_code = match &cli.command {
        Command::Run(_)
        | Command::Attach(_)
        | Command::Exec(_)
        | Command::Sandbox(SandboxCommand::Exec(_) | SandboxCommand::Connect { .. }) => EXIT_NOT_RUN,
        _ => EXIT_FAILED,
    };
    let json = cli.json;
    match run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            failure::report(&error, json);
            ExitCode::from(if error.is::<Away>() { EXIT_NOT_RUN } else { failure_code })
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<u8> {
    let (socket, client) = (cli.socket(), cli.client());
    if let Command::Completion { shell } = cli.command {
        clap_complete::generate(shell, &mut Cli::command(), "hearth", &mut std::io::stdout());
        return Ok(0);
    }
    if let Command::Up(args) = cli.command {
        return daemon::up(&socket, &args, cli.json);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(commands::dispatch(cli.command, &client?, cli.json));
    // A read of standard input cannot be cut off, and nobody waits for it any more.
    runtime.shutdown_background();
    outcome
}
