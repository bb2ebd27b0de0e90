//! The log of changes.

use hearth_api::{AuditEntry, AuditList, AuditQuery};
use hearth_client::{ApiPath, Client};

use crate::{
    args::AuditArgs,
    output::{print_json, print_table},
};

/// Entries that are read at once.
const PAGE: u32 = 1000;

pub(crate) async fn audit(client: &Client, args: AuditArgs, json: bool) -> anyhow::Result<u8> {
    let mut query = AuditQuery {
        all: args.all,
        since: args.since,
        actor: args.actor,
        operation: args.operation,
        limit: None,
        cursor: None,
    };
    let mut entries: Vec<AuditEntry> = Vec::new();
    let mut left = args.limit;
    while left > 0 {
        query.limit = Some(left.min(PAGE));
        let page: AuditList = client.get(&ApiPath::v1(&["audit"]).query(&query)).await?;
        left = left.saturating_sub(u32::try_from(page.entries.len()).unwrap_or(u32::MAX));
        entries.extend(page.entries);
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    if json {
        print_json(&entries)?;
        return Ok(0);
    }
    let rows: Vec<[String; 6]> = entries.iter().map(row).collect();
    print_table(["TIME", "WHO", "FROM", "WHAT", "ON", "STATUS"], &rows);
    Ok(0)
}

fn row(entry: &AuditEntry) -> [String; 6] {
    let who = if entry.actor_name.is_empty() {
        entry.actor.clone()
    } else {
        format!("{} ({})", entry.actor_name, entry.actor)
    };
    [
        entry.at.to_string(),
        who,
        entry.origin.clone(),
        entry.operation.clone(),
        entry.target.clone(),
        entry.status.to_string(),
    ]
}
