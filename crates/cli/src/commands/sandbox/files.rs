//! A sandbox's files: by archives where they are copied, by its own programs where they are looked at.

use hearth_client::Client;

use super::machine;
use crate::{
    args::{CpArgs, ExecArgs, FilesCommand},
    commands::{copy, run},
};

pub(super) async fn dispatch(command: FilesCommand, client: &Client, json: bool) -> anyhow::Result<u8> {
    match command {
        FilesCommand::Ls { sandbox, path } => program(client, &sandbox, &["ls", "-lA", "--"], &[path], json).await,
        FilesCommand::Cat { sandbox, path } => program(client, &sandbox, &["cat", "--"], &[path], json).await,
        FilesCommand::Put {
            sandbox,
            source,
            target,
        } => {
            let target = there(client, &sandbox, &target).await?;
            copy::cp(
                client,
                &CpArgs {
                    source: here(source),
                    target,
                },
                json,
            )
            .await
        }
        FilesCommand::Get {
            sandbox,
            source,
            target,
        } => {
            let source = there(client, &sandbox, &source).await?;
            copy::cp(
                client,
                &CpArgs {
                    source,
                    target: here(target),
                },
                json,
            )
            .await
        }
        FilesCommand::Rm {
            recursive,
            sandbox,
            paths,
        } => {
            let words: &[&str] = if recursive { &["rm", "-r", "--"] } else { &["rm", "--"] };
            program(client, &sandbox, words, &paths, json).await
        }
    }
}

async fn there(client: &Client, sandbox: &str, path: &str) -> anyhow::Result<String> {
    anyhow::ensure!(
        path.starts_with('/'),
        "{path:?} is no absolute path in the sandbox; begin it with /"
    );
    Ok(format!("{}:{path}", machine(client, sandbox).await?))
}

/// A path here, which a colon does not make one of a machine.
fn here(path: String) -> String {
    if path == "-" || path.starts_with(['/', '.']) {
        path
    } else {
        format!("./{path}")
    }
}

async fn program(client: &Client, sandbox: &str, words: &[&str], paths: &[String], json: bool) -> anyhow::Result<u8> {
    let words = words.iter().map(ToString::to_string);
    let args = ExecArgs {
        interactive: false,
        tty: false,
        env: Vec::new(),
        workdir: None,
        user: None,
        machine: machine(client, sandbox).await?,
        cmd: words.chain(paths.iter().cloned()).collect(),
    };
    run::exec(client, args, json).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_here_means_no_machine() {
        for (path, is) in [
            ("a:b", "./a:b"),
            ("-", "-"),
            ("/x", "/x"),
            ("./y", "./y"),
            ("plain", "./plain"),
        ] {
            assert_eq!(here(path.to_owned()), is);
        }
    }
}
