//! Secrets.

use std::{
    io::{IsTerminal as _, Read as _},
    path::Path,
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hearth_api::{Secret, SecretList, SetSecret};
use hearth_client::{ApiPath, Client};
use http::Method;

use super::machine::{Removed, each};
use crate::{
    args::SecretCommand,
    output::{ago, note, print_json, print_line, print_table},
};

/// The longest value, in bytes; the daemon says what is too long, and this only that there is an end.
const VALUE_MAX: u64 = 1 << 20;

pub(crate) async fn dispatch(command: SecretCommand, client: &Client, json: bool) -> anyhow::Result<u8> {
    match command {
        SecretCommand::Set { name, from_file, value } => {
            let value = match (value, from_file) {
                (Some(value), _) => value.into_bytes(),
                (None, Some(path)) => of_file(&path)?,
                (None, None) => of_stdin(json)?,
            };
            set(client, name.as_str(), &value, json).await
        }
        SecretCommand::Ls => ls(client, json).await,
        SecretCommand::Rm { secrets } => {
            each(&secrets, json, async |name| {
                let path = ApiPath::v1(&["secrets", name]);
                client.act(Method::DELETE, &path).await.map(|()| Removed::of(name))
            })
            .await
        }
    }
}

fn of_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut value = Vec::new();
    file.take(VALUE_MAX)
        .read_to_end(&mut value)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(value)
}

fn of_stdin(json: bool) -> anyhow::Result<Vec<u8>> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        note("type the value, and end it by Ctrl-D", json);
    }
    let mut value = Vec::new();
    stdin
        .lock()
        .take(VALUE_MAX)
        .read_to_end(&mut value)
        .context("cannot read standard input")?;
    // `echo` and people end a line that is not meant.
    if value.last() == Some(&b'\n') {
        value.pop();
    }
    Ok(value)
}

async fn set(client: &Client, name: &str, value: &[u8], json: bool) -> anyhow::Result<u8> {
    let request = SetSecret {
        value: STANDARD.encode(value),
    };
    let path = ApiPath::v1(&["secrets", name]);
    let secret: Secret = client.send_json(Method::PUT, &path, &request).await?;
    if json {
        print_json(&secret)?;
    } else {
        print_line(format!("{} version {}", secret.name, secret.version));
    }
    Ok(0)
}

async fn ls(client: &Client, json: bool) -> anyhow::Result<u8> {
    let list: SecretList = client.get(&ApiPath::v1(&["secrets"])).await?;
    if json {
        print_json(&list.secrets)?;
        return Ok(0);
    }
    let rows: Vec<[String; 3]> = list
        .secrets
        .iter()
        .map(|secret| [secret.name.clone(), secret.version.to_string(), ago(secret.updated_at)])
        .collect();
    print_table(["NAME", "VERSION", "SET"], &rows);
    Ok(0)
}
