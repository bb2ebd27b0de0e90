//! Copies of a sandbox: a transient snapshot of it, sandboxes that begin with that, and its removal. The source goes on as it was.
//!
//! What is cut off is settled as forks of machines are ([`crate::snapshots::fork`]): before the snapshot is noted as made it is
//! undone, after that it is finished, and those copies that were made stay until their time is over.

use futures::future::join_all;
use hearth_ids::SnapshotId;
use hearth_node_api::SnapshotRequest;
use hearth_store::{NewFork, NewSnapshot, SandboxRow, SnapshotRow, SnapshotState};

use super::{NewSandbox, Sandbox, act, create};
use crate::{
    app::App,
    caller::Tenant,
    error::{ApiError, ApiResult},
    fault,
    snapshots::fork,
    templates::Source,
    time::now_unix_ms,
};

/// Copies of one fork at most.
pub(crate) const FORKS_MAX: u32 = 100;

/// Makes copies of a sandbox that runs, or is paused with its memory. Each is made or fails by itself.
pub(crate) async fn fork(
    app: &App,
    tenant: &Tenant,
    sandbox: &Sandbox,
    count: u32,
    timeout_ms: u64,
) -> ApiResult<Vec<ApiResult<SandboxRow>>> {
    if !(1..=FORKS_MAX).contains(&count) {
        return Err(ApiError::field(
            "count",
            format!("count {count} is not valid: it goes from 1 to {FORKS_MAX}"),
        ));
    }
    let (row, snapshot) = saved(app, sandbox).await?;
    let id = snapshot.id;
    let new = NewSandbox {
        source: Source {
            snapshot,
            template: row.template,
            template_id: None,
            alias: row.alias,
        },
        size: None,
        metadata: row.metadata,
        env: app
            .node
            .spec(sandbox.machine)
            .map(|spec| spec.workload.env)
            .unwrap_or_default(),
        egress: super::egress(&row.settings.network)?,
        settings: row.settings,
        recover: app
            .node
            .spec(sandbox.machine)
            .map(|spec| spec.recover)
            .unwrap_or_default(),
        timeout_ms,
        key: None,
    };
    let copies = (0..count).map(|_| create::create(app, tenant, new.clone()));
    let copies = join_all(copies).await;
    fork::finish(app, id).await;
    Ok(copies)
}

/// Makes the snapshot that all copies begin with.
async fn saved(app: &App, sandbox: &Sandbox) -> ApiResult<(SandboxRow, SnapshotRow)> {
    let _turn = sandbox.turn.lock().await;
    let row = act::read(app, sandbox).await?;
    let spec = app
        .node
        .spec(sandbox.machine)
        .ok_or_else(|| super::no_sandbox(&sandbox.id.to_string()))?;
    let snapshot = NewSnapshot {
        id: SnapshotId::new(),
        name: None,
        spec: spec.without_volumes(),
        args: Vec::new(),
        created_unix_ms: now_unix_ms(),
        key: None,
        build: None,
    };
    let id = snapshot.id;
    let booked = NewFork {
        snapshot,
        machines: Vec::new(),
    };
    app.store.insert_fork(&booked).await?;
    let request = SnapshotRequest {
        id,
        machine: sandbox.machine,
        memory: true,
    };
    let info = match app.node.snapshot(request).await {
        Ok(info) => info,
        Err(error) => {
            fork::undo(app, id).await;
            return Err(error.into());
        }
    };
    fault::point("sandbox.copied");
    app.store.note_fork_made(id, info.paused_us).await?;
    let snapshot = app.store.snapshot(id).await?;
    let snapshot = snapshot.filter(|snapshot| snapshot.state == SnapshotState::Ready);
    let snapshot = snapshot.ok_or_else(|| ApiError::internal("the snapshot of a fork is gone"))?;
    Ok((row, snapshot))
}
