//! The `hearth` binary: the daemon, and the command line that speaks its API.

mod args;
mod commands;
mod daemon;
mod output;
mod progress;
mod terminal;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use hearth_client::{Client, ClientError, Endpoint};

/// What `run` and `exec` give when the program was never reached; docker's word for it.
const EXIT_NOT_RUN: u8 = 125;
/// Any other failure.
const EXIT_FAILED: u8 = 1;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Before any thread: this one becomes a VMM.
    if let Command::VmmLaunch { args } = cli.command {
        return hearth_driver::launch::main(args);
    }
    let failure_code = match &cli.command {
        Command::Run(_) | Command::Exec(_) => EXIT_NOT_RUN,
        _ => EXIT_FAILED,
    };
    match run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report(&error);
            ExitCode::from(failure_code)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<u8> {
    if let Command::Completion { shell } = cli.command {
        clap_complete::generate(shell, &mut Cli::command(), "hearth", &mut std::io::stdout());
        return Ok(0);
    }
    if let Command::Up(args) = cli.command {
        return daemon::up(&cli.socket, &args);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::new(cli.host.map_or(Endpoint::Unix(cli.socket), Endpoint::Tcp));
    let outcome = runtime.block_on(commands::dispatch(cli.command, &client, cli.json));
    // A read of standard input cannot be cut off, and nobody waits for it any more.
    runtime.shutdown_background();
    outcome
}

/// Prints an error with its causes; a problem of the daemon's says all in one sentence.
fn report(error: &anyhow::Error) {
    if let Some(ClientError::Problem(problem)) = error.downcast_ref() {
        eprintln!("hearth: {}", problem.detail);
        return;
    }
    eprintln!("hearth: {error:#}");
}
