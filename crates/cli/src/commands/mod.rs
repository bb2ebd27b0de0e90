//! What each command does: calls of the API, and words around them.

mod audit;
mod comeback;
mod copy;
mod doctor;
mod function;
mod image;
mod kernel;
mod key;
mod machine;
mod mcp;
mod node;
mod project;
mod run;
mod sandbox;
mod secret;
mod session;
mod snapshot;
mod template;
mod unpack;
mod watch;

pub(crate) use comeback::Away;
use hearth_client::{ApiPath, Client};

use crate::args::{Command, ImageCommand, KernelCommand, NodeCommand};

/// Runs a command and gives its exit code.
pub(crate) async fn dispatch(command: Command, client: &Client, json: bool) -> anyhow::Result<u8> {
    match command {
        Command::Run(args) => run::run(client, args, json).await,
        Command::Attach(args) => run::attach(client, args, json).await,
        Command::Exec(args) => run::exec(client, args, json).await,
        Command::Ps(args) => machine::ps(client, &args, json).await,
        Command::Inspect(args) => machine::inspect(client, &args.machines, json).await,
        Command::Start(args) => machine::start(client, &args.machines, json).await,
        Command::Stop(args) => machine::stop(client, &args, json).await,
        Command::Restart(args) => machine::restart(client, &args, json).await,
        Command::Kill(args) => machine::kill(client, &args, json).await,
        Command::Pause(args) => snapshot::pause(client, &args, json).await,
        Command::Resume(args) => snapshot::resume(client, &args.machines, json).await,
        Command::Fork(args) => snapshot::fork(client, args, json).await,
        Command::Rollback(args) => snapshot::rollback(client, &args, json).await,
        Command::Snapshot(command) => snapshot::dispatch(command, client, json).await,
        Command::Sandbox(command) => sandbox::dispatch(command, client, json).await,
        Command::Mcp(args) => mcp::mcp(client, args).await,
        Command::Template(command) => template::dispatch(command, client, json).await,
        Command::Rm(args) => machine::rm(client, &args, json).await,
        Command::Wait(args) => machine::wait(client, &args.machines, json).await,
        Command::Logs(args) => watch::logs(client, args, json).await,
        Command::Stats(args) => watch::stats(client, &args, watch::Running::Machines, json).await,
        Command::Events(args) => watch::events(client, args, json).await,
        Command::Cp(args) => copy::cp(client, &args, json).await,
        Command::Function(command) => function::dispatch(command, client, json).await,
        Command::Image(ImageCommand::Pull { reference }) => image::pull(client, &reference, json).await,
        Command::Image(ImageCommand::Import(args)) => image::import(client, args, json).await,
        Command::Image(ImageCommand::Ls { quiet }) => image::ls(client, quiet, json).await,
        Command::Image(ImageCommand::Inspect { images }) => image::inspect(client, &images, json).await,
        Command::Image(ImageCommand::Rm { images, force }) => image::rm(client, &images, force, json).await,
        Command::Image(ImageCommand::Prune { all }) => image::prune(client, all, json).await,
        Command::Kernel(KernelCommand::Import(args)) => kernel::import(client, args, json).await,
        Command::Kernel(KernelCommand::Build { source, jobs }) => kernel::build(client, source, jobs, json).await,
        Command::Kernel(KernelCommand::Ls) => kernel::ls(client, json).await,
        Command::Kernel(KernelCommand::Rm { kernels }) => kernel::rm(client, &kernels, json).await,
        Command::Kernel(KernelCommand::Default { kernel }) => kernel::default(client, kernel, json).await,
        Command::Project(command) => project::dispatch(command, client, json).await,
        Command::Key(command) => key::dispatch(command, client, json).await,
        Command::Secret(command) => secret::dispatch(command, client, json).await,
        Command::Audit(args) => audit::audit(client, args, json).await,
        Command::Node(NodeCommand::Info) => node::info(client, json).await,
        Command::Doctor(args) => doctor::doctor(client, &args, json).await,
        Command::Up(_) | Command::Completion { .. } => {
            unreachable!("handled before there is a client")
        }
    }
}

fn machine_path(machine: &str, rest: &[&str]) -> ApiPath {
    let mut segments = vec!["machines", machine];
    segments.extend(rest);
    ApiPath::v1(&segments)
}
