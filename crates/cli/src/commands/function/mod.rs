//! Functions.

mod calls;
mod deploy;
mod look;
mod pack;
mod traffic;

use hearth_client::{ApiPath, Client};

use crate::args::{AliasCommand, FunctionCommand, TriggerCommand};

/// Runs a command on functions and gives its exit code.
pub(crate) async fn dispatch(command: FunctionCommand, client: &Client, json: bool) -> anyhow::Result<u8> {
    match command {
        FunctionCommand::Deploy(args) => deploy::deploy(client, *args, json).await,
        FunctionCommand::Ls => look::ls(client, json).await,
        FunctionCommand::Inspect { functions } => look::inspect(client, &functions, json).await,
        FunctionCommand::Invoke(args) => calls::invoke(client, args, json).await,
        FunctionCommand::Logs(args) => look::logs(client, args, json).await,
        FunctionCommand::Rm { functions } => look::rm(client, &functions, json).await,
        FunctionCommand::Versions { function } => look::versions(client, &function, json).await,
        FunctionCommand::Alias(AliasCommand::Ls { function }) => traffic::aliases(client, &function, json).await,
        FunctionCommand::Alias(AliasCommand::Set {
            function,
            alias,
            shares,
        }) => traffic::set(client, &function, &alias, shares, json).await,
        FunctionCommand::Alias(AliasCommand::Rm { function, alias }) => {
            traffic::rm_alias(client, &function, &alias, json).await
        }
        FunctionCommand::Traffic { function, shares } => traffic::set(client, &function, "live", shares, json).await,
        FunctionCommand::Rollback { function, version } => traffic::rollback(client, &function, version, json).await,
        FunctionCommand::Config { function, settings } => traffic::config(client, &function, &settings, json).await,
        FunctionCommand::Instances { function } => look::instances(client, &function, json).await,
        FunctionCommand::Invocations { function, state } => calls::list(client, function, state, json).await,
        FunctionCommand::Result { invocation } => calls::result(client, &invocation, json).await,
        FunctionCommand::Replay { invocations } => calls::replay(client, &invocations, json).await,
        FunctionCommand::Trigger(TriggerCommand::Ls { function }) => traffic::triggers(client, &function, json).await,
        FunctionCommand::Trigger(TriggerCommand::Set(args)) => traffic::set_trigger(client, args, json).await,
        FunctionCommand::Trigger(TriggerCommand::Rm { function, trigger }) => {
            traffic::rm_trigger(client, &function, &trigger, json).await
        }
    }
}

fn function_path(function: &str, rest: &[&str]) -> ApiPath {
    let mut segments = vec!["functions", function];
    segments.extend(rest);
    ApiPath::v1(&segments)
}
