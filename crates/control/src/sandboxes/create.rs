//! Making sandboxes: a machine that goes on from a template's snapshot. One that waits is claimed, else one is made.

use hearth_domain::{
    EgressRules, MachineOwner, MachineSpec, Metadata, RecoverPolicy, Resources, RestartPolicy, SandboxSettings,
    SandboxState,
};
use hearth_ids::{MachineId, SandboxId};
use hearth_store::{Desired, IdempotencyKey, InsertError, MachineRow, Made, NewMachine, SandboxRow, SnapshotRow};
use tracing::warn;

use super::no_sandbox;
use crate::{
    app::App,
    caller::Tenant,
    error::{ApiError, ApiResult},
    fault,
    machines::{create as machine, run},
    made_before,
    snapshots::find as snapshot,
    templates::{self, Source},
    time::now_unix_ms,
};

/// What may be pinned to one sandbox.
const METADATA_MAX: usize = 100;
/// The longest name or value of it, in bytes.
const METADATA_TEXT_MAX: usize = 4096;
/// All of it, in bytes: whoever looks for sandboxes reads it of each.
const METADATA_BYTES_MAX: usize = 64 * 1024;

/// A boot and a ready command, in milliseconds, at their longest.
const BOOT_MS: u64 = 12 * 60_000;

/// What somebody wants a sandbox to be.
#[derive(Debug, Clone)]
pub(crate) struct NewSandbox {
    /// What it is made of, looked up.
    pub(crate) source: Source,
    /// Its size, where that is not the template's: it boots then, with the template's disk.
    pub(crate) size: Option<Resources>,
    pub(crate) metadata: Metadata,
    /// For commands that bring none of these, under what the template has.
    pub(crate) env: Metadata,
    pub(crate) settings: SandboxSettings,
    /// What the settings' network comes to.
    pub(crate) egress: EgressRules,
    pub(crate) recover: RecoverPolicy,
    pub(crate) timeout_ms: u64,
    pub(crate) key: Option<IdempotencyKey>,
}

/// Makes a sandbox, and returns when it runs.
pub(crate) async fn create(app: &App, tenant: &Tenant, new: NewSandbox) -> ApiResult<SandboxRow> {
    if let Some(key) = &new.key
        && let Some(row) = made(app, tenant, key).await?
    {
        return Ok(row);
    }
    let source = &new.source.snapshot;
    // One that waits has the template's size, and was told already that it mounts nothing.
    let waiting = if new.size.is_none() && new.settings.volumes.is_empty() {
        app.warm.note_wanted(source);
        app.warm.take(source)
    } else {
        None
    };
    if let Some(machine) = waiting {
        match insert(app, tenant, &new, machine).await {
            Ok((row, machine_row)) if machine::claim(app, &machine_row).await? => {
                return started(app, row, &new).await;
            }
            // It is gone, and another one is made.
            Ok((row, _)) => app.store.forget_sandbox(row.id).await?,
            Err(_) => app.warm.put_back(source.id, machine),
        }
    }
    let (row, machine_row) = match insert(app, tenant, &new, MachineId::new()).await {
        Ok(rows) => rows,
        Err(InsertError::KeyUsed(_)) => return Err(made_before::in_progress()),
        Err(error) => return Err(error.into()),
    };
    if let Err(error) = machine::hand_over(app, &machine_row, true).await {
        app.store.forget_sandbox(row.id).await?;
        return Err(snapshot::refused(app, source, error).await);
    }
    started(app, row, &new).await
}

/// The sandbox that was made with a key.
pub(crate) async fn made(app: &App, tenant: &Tenant, key: &IdempotencyKey) -> ApiResult<Option<SandboxRow>> {
    let Some(used) = made_before::used(app, tenant.project, key).await? else {
        return Ok(None);
    };
    let row = match used.made {
        Made::Machine(id) => app.store.sandbox_of(id).await?,
        Made::Snapshot(_) => None,
    };
    let row = row.ok_or_else(|| made_before::removed(used.made))?;
    run::until_running(app, row.machine).await?;
    Ok(Some(row))
}

async fn insert(
    app: &App,
    tenant: &Tenant,
    new: &NewSandbox,
    machine: MachineId,
) -> Result<(SandboxRow, MachineRow), InsertError> {
    let now = now_unix_ms();
    let id = SandboxId::new();
    let row = SandboxRow {
        id,
        project: tenant.project,
        machine,
        template: new.source.template.clone(),
        alias: new.source.alias.clone(),
        metadata: new.metadata.clone(),
        settings: new.settings.clone(),
        state: SandboxState::Running,
        timeout_ms: new.timeout_ms,
        started_unix_ms: now,
        // Its time counts from when it is ready, which is noted then.
        ends_unix_ms: now.saturating_add(new.timeout_ms).saturating_add(until_ready_ms(new)),
    };
    let machine = NewMachine {
        spec: MachineSpec {
            egress: new.egress.clone(),
            ..spec(tenant, new, &row)
        },
        args: Vec::new(),
        desired: Desired::Running,
        created_unix_ms: now,
        key: new.key.clone(),
        within_quotas: true,
    };
    let event = app.store.insert_sandbox(&row, &machine).await?;
    app.publish(event);
    fault::point("sandbox.booked");
    Ok((row, machine::row_of(machine)))
}

/// How long one may take to be ready beyond what a restore takes, in milliseconds.
fn until_ready_ms(new: &NewSandbox) -> u64 {
    let boots = new.size.is_some() || !new.source.snapshot.has_memory();
    if boots { BOOT_MS } else { 0 }
}

fn spec(tenant: &Tenant, new: &NewSandbox, row: &SandboxRow) -> MachineSpec {
    let SnapshotRow { id, spec: of, .. } = &new.source.snapshot;
    let mut workload = of.workload.clone();
    workload.env.extend(new.env.clone());
    MachineSpec {
        id: row.machine,
        project: tenant.project,
        owner: Some(MachineOwner::Sandbox { sandbox: row.id }),
        name: name(row.id),
        workload,
        ports: Vec::new(),
        restart: RestartPolicy::No,
        recover: new.recover,
        auto_remove: false,
        snapshot: Some(*id),
        boots: new.size.is_some(),
        resources: new.size.unwrap_or(of.resources),
        volumes: new.settings.volumes.iter().map(|volume| volume.mount.clone()).collect(),
        ..of.clone()
    }
}

/// A sandbox's machine is called as the sandbox is.
fn name(id: SandboxId) -> hearth_domain::MachineName {
    #[expect(clippy::expect_used, reason = "an ID is 29 characters of a-z and 0-9")]
    id.to_string().parse().expect("an ID is a machine's name")
}

/// Returns when it runs, and is ready where it booted. One that does not is removed.
async fn started(app: &App, row: SandboxRow, new: &NewSandbox) -> ApiResult<SandboxRow> {
    let sandbox = app.sandboxes.add(&row);
    if let Err(error) = ready(app, &row, new).await {
        if let Err(error) = super::kill(app, &sandbox).await {
            warn!(id = %row.id, error = ?error.problem, "cannot remove a sandbox that did not come up");
        }
        return Err(error);
    }
    fault::point("sandbox.made");
    // Its time counts from here.
    let ends = now_unix_ms().saturating_add(row.timeout_ms);
    if !app.store.set_sandbox_end(row.id, ends).await? {
        return Err(no_sandbox(&row.id.to_string()));
    }
    app.sandboxes.changed.notify_one();
    if let Some(template) = new.source.template_id {
        app.store.note_template_used(template, now_unix_ms()).await?;
    }
    Ok(SandboxRow {
        ends_unix_ms: ends,
        ..row
    })
}

async fn ready(app: &App, row: &SandboxRow, new: &NewSandbox) -> ApiResult<()> {
    run::until_running(app, row.machine).await?;
    if new.size.is_none() && new.source.snapshot.has_memory() {
        return Ok(());
    }
    // The start command runs by itself; whether it is ready, the template says.
    templates::until_ready(app, row.machine, &new.source.snapshot).await
}

/// Reads how long a sandbox is to last.
pub(crate) fn timeout_ms(field: &'static str, seconds: i64) -> ApiResult<u64> {
    let ms = u64::try_from(seconds)
        .ok()
        .and_then(|seconds| seconds.checked_mul(1000));
    match ms {
        Some(ms) if (1..=super::TIMEOUT_MAX_MS).contains(&ms) => Ok(ms),
        _ => Err(ApiError::field(
            field,
            format!(
                "{field} {seconds} is not valid: it goes from 1 to {} seconds",
                super::TIMEOUT_MAX_MS / 1000
            ),
        )),
    }
}

/// Whether texts are few and short enough to be kept with a sandbox.
pub(crate) fn check_metadata(metadata: &Metadata) -> ApiResult<()> {
    if metadata.len() > METADATA_MAX {
        return Err(ApiError::field(
            "metadata",
            format!("metadata has {} texts: at most {METADATA_MAX}", metadata.len()),
        ));
    }
    let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > METADATA_BYTES_MAX {
        return Err(ApiError::field(
            "metadata",
            format!("metadata has {bytes} bytes: at most {METADATA_BYTES_MAX}"),
        ));
    }
    let fits = |text: &String| text.len() <= METADATA_TEXT_MAX;
    match metadata.iter().find(|(name, value)| !fits(name) || !fits(value)) {
        None => Ok(()),
        Some((name, _)) => {
            let name: String = name.chars().take(80).collect();
            Err(ApiError::field(
                "metadata",
                format!("metadata {name:?} is too long: name and value have at most {METADATA_TEXT_MAX} bytes"),
            ))
        }
    }
}
