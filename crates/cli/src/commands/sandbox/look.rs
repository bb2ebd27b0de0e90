//! Looking at sandboxes.

use hearth_api::{ListSandboxesQuery, Sandbox, SandboxList, SandboxState};
use hearth_client::{ApiPath, Client, ClientError};
use serde::Serialize;

use super::one;
use crate::{
    args::ListSandboxesArgs,
    output::{ago, print_json, print_line, print_table, span},
};

/// Sandboxes a page.
const PAGE: u32 = 500;

pub(super) async fn ls(client: &Client, args: ListSandboxesArgs, json: bool) -> anyhow::Result<u8> {
    let pinned = args.metadata.iter();
    let pinned: Vec<_> = pinned
        .map(|(name, value)| format!("{}={}", hearth_client::encoded(name), hearth_client::encoded(value)))
        .collect();
    let query = ListSandboxesQuery {
        state: args.state.map(Into::into),
        template: args.template,
        metadata: (!pinned.is_empty()).then(|| pinned.join("&")),
        limit: Some(PAGE),
        cursor: None,
    };
    let sandboxes = list(client, query).await?;
    if json {
        print_json(&sandboxes)?;
    } else if args.quiet {
        for sandbox in &sandboxes {
            print_line(sandbox.id.to_string());
        }
    } else {
        let rows: Vec<[String; 6]> = sandboxes.iter().map(row).collect();
        print_table(["ID", "TEMPLATE", "STATE", "STARTED", "LASTS", "METADATA"], &rows);
    }
    Ok(0)
}

async fn list(client: &Client, mut query: ListSandboxesQuery) -> Result<Vec<Sandbox>, ClientError> {
    let mut sandboxes = Vec::new();
    loop {
        let page: SandboxList = client.get(&ApiPath::v1(&["sandboxes"]).query(&query)).await?;
        sandboxes.extend(page.sandboxes);
        match page.next_cursor {
            Some(cursor) => query.cursor = Some(cursor),
            None => return Ok(sandboxes),
        }
    }
}

/// The machines of those that run.
pub(crate) async fn running(client: &Client) -> Result<Vec<String>, ClientError> {
    let query = ListSandboxesQuery {
        state: Some(SandboxState::Running),
        limit: Some(PAGE),
        ..ListSandboxesQuery::default()
    };
    let sandboxes = list(client, query).await?;
    Ok(sandboxes.into_iter().map(|sandbox| sandbox.id.to_string()).collect())
}

fn row(sandbox: &Sandbox) -> [String; 6] {
    let pinned = sandbox.metadata.iter().map(|(name, value)| format!("{name}={value}"));
    [
        sandbox.id.to_string(),
        sandbox
            .template_name
            .clone()
            .unwrap_or_else(|| sandbox.template.clone()),
        sandbox.state.to_string(),
        ago(sandbox.started_at),
        left(sandbox),
        pinned.collect::<Vec<_>>().join(", "),
    ]
}

/// How long a sandbox lasts from now on; one that is paused lasts until it is resumed.
pub(super) fn left(sandbox: &Sandbox) -> String {
    if sandbox.state != SandboxState::Running {
        return String::new();
    }
    let seconds = sandbox.ends_at.duration_since(jiff::Timestamp::now()).as_secs();
    span(seconds.max(0))
}

/// Where a port is.
#[derive(Debug, Serialize)]
struct Place {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic_token: Option<String>,
}

pub(super) async fn url(client: &Client, name: &str, port: u16, json: bool) -> anyhow::Result<u8> {
    let sandbox = one(client, name).await?;
    let Some(url) = sandbox.url else {
        anyhow::bail!("the daemon serves no ports of sandboxes; start it with --gateway");
    };
    let place = Place {
        url: url.replacen("PORT", &port.to_string(), 1),
        traffic_token: sandbox.traffic_token,
    };
    if json {
        print_json(&place)?;
    } else {
        print_line(place.url);
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn sandbox(state: &str) -> Sandbox {
        serde_json::from_value(json!({
            "id": "sbx00000000000000000000000000", "machine": "mch00000000000000000000000000",
            "template": "tpl00000000000000000000000000", "template_name": "base", "state": state,
            "metadata": { "user": "ada", "app": "x" }, "started_at": jiff::Timestamp::now(),
            "ends_at": jiff::Timestamp::now() + Duration::from_secs(150), "timeout_s": 300, "on_timeout": "pause_disk",
            "auto_resume": false, "keep_alive": false, "private_traffic": false, "recover": {},
            "resources": { "cpus": 1, "memory_mib": 256 },
        }))
        .unwrap()
    }

    #[test]
    fn a_row_tells_how_long_one_lasts_that_runs() {
        let runs = row(&sandbox("running"));
        assert_eq!(runs[1..3], ["base", "running"]);
        assert_eq!(runs[4..], ["2 minutes", "app=x, user=ada"]);
        assert_eq!(row(&sandbox("stopped"))[4], "");
    }
}
