//! Forking machines: a transient snapshot, machines that begin with it, and the snapshot's removal.
//!
//! ```text
//! rows of all ──► node: snapshot ──► node: machines made ──► noted ──► started ──► snapshot gone
//!      └──────────────── undone where one fails ────────────────────────┘
//! ```
//! What is cut off before it is noted is undone at the next start, and finished if it is cut off later.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use futures::{StreamExt as _, stream};
use hearth_api::{Fork, ForkMachine};
use hearth_domain::{Action, MachineName, MachineSpec, RestartPolicy, StateWord};
use hearth_ids::{MachineId, ProjectId, SnapshotId};
use hearth_node_api::{ErrorKind, NodeError, SnapshotRequest};
use hearth_store::{
    Desired, IdempotencyKey, InsertError, MachineRow, Made, NewFork, NewMachine, NewSnapshot, StoreError,
};
use http::{HeaderMap, StatusCode};
use tracing::warn;

use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiBody, ApiPath},
    fault,
    machines::{create::row_of, view},
    made_before,
    snapshots::warm,
    time::now_unix_ms,
};

/// Machines of one fork at most.
const FORKS_MAX: u32 = 100;
/// Machines of one fork that the node makes, starts or removes at once.
const AT_ONCE: usize = 8;
/// How often made-up names are tried.
const NAME_TRIES: u32 = 6;
/// How much of an ID's end stands in a made-up name.
const NAME_TAIL: usize = 6;
/// The longest name.
const NAME_MAX: usize = 63;

/// Forks a machine that runs or is paused: makes others that go on where it is, and starts them. It stands still for a
/// moment, and goes on afterwards. All of them are made, or none. With an `Idempotency-Key` header the request may be sent
/// again: the same machines are answered.
#[utoipa::path(post, path = "/v1/machines/{machine}/fork", tag = "machines", operation_id = "fork_machine",
    params(("machine" = String, Path, description = "Name or ID"),
        ("idempotency-key" = Option<String>, Header, description = "Makes it safe to send the request again", max_length = 255)),
    request_body = ForkMachine,
    responses(
        (status = 201, description = "They are made", body = Fork),
        (status = 200, description = "They were made before, with the same key", body = Fork),
        Problems))]
pub(crate) async fn fork(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    ApiPath(wanted): ApiPath,
    body: ApiBody,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::MachineWrite).await?;
    let source = app.find(&tenant, &wanted).await?;
    let request: ForkMachine = body.json().await?;
    let names = names(&request)?;
    refuse_restart(&request, &source)?;
    let key = made_before::key(&headers, &["fork_machine", &source.spec.id.to_string()], &request)?;
    if let Some(key) = &key
        && let Some(made) = made(&app, tenant.project, key).await?
    {
        return Ok((StatusCode::OK, Json(made)).into_response());
    }
    let fork = match insert(&app, &source, &names, request.auto_remove, key).await {
        Ok(fork) => fork,
        // Another request with the key was faster.
        Err(InsertError::KeyUsed(_)) => return Err(made_before::in_progress()),
        Err(error) => return Err(error.into()),
    };
    fault::point("fork.booked");
    let paused_us = match make(&app, &fork).await {
        Ok(paused_us) => paused_us,
        Err(error) => {
            undo(&app, fork.snapshot.id).await;
            return Err(error);
        }
    };
    finish(&app, fork.snapshot.id).await;
    let rows = fork.machines.into_iter().map(row_of);
    let made = answer(&app, rows, paused_us);
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

fn answer(app: &App, rows: impl Iterator<Item = MachineRow>, paused_us: u64) -> Fork {
    let machine = |row: MachineRow| {
        let status = app.status(row.spec.id);
        view::machine(row, status, true)
    };
    Fork {
        machines: rows.map(machine).collect(),
        paused_us,
    }
}

/// The names that were asked for, one a machine; `None` is made up.
fn names(request: &ForkMachine) -> ApiResult<Vec<Option<MachineName>>> {
    let count = match request.count {
        None if request.names.is_empty() => 1,
        None => u32::try_from(request.names.len()).unwrap_or(u32::MAX),
        Some(count) => count,
    };
    if !(1..=FORKS_MAX).contains(&count) {
        return Err(ApiError::field(
            "count",
            format!("count {count} is not valid: it goes from 1 to {FORKS_MAX}"),
        ));
    }
    if request.names.is_empty() {
        return Ok(vec![None; count as usize]);
    }
    if request.names.len() != count as usize {
        return Err(ApiError::field(
            "names",
            format!(
                "there are {} names for {count} machines; give each one a name, or leave names out",
                request.names.len()
            ),
        ));
    }
    let (mut taken, mut names) = (HashSet::new(), Vec::new());
    for (place, text) in request.names.iter().enumerate() {
        let field = format!("names[{place}]");
        let name: MachineName = text
            .parse()
            .map_err(|error: hearth_domain::InvalidName| ApiError::field(field.as_str(), error.to_string()))?;
        if !taken.insert(text.as_str()) {
            return Err(ApiError::field(field, format!("the name {text:?} is given twice")));
        }
        names.push(Some(name));
    }
    Ok(names)
}

/// What removes itself is not started again.
fn refuse_restart(request: &ForkMachine, source: &MachineRow) -> ApiResult<()> {
    if request.auto_remove && source.spec.restart != RestartPolicy::No {
        return Err(ApiError::field(
            "auto_remove",
            format!(
                "machine {} is started again when it ends, and so are its forks; leave out auto_remove",
                source.spec.name
            ),
        ));
    }
    Ok(())
}

/// A name that tells what a machine was forked from.
fn made_up(source: &MachineName, id: MachineId) -> Option<MachineName> {
    let id = id.to_string();
    let tail = &id[id.len().saturating_sub(NAME_TAIL)..];
    let room = NAME_MAX - "-fork-".len() - NAME_TAIL;
    let stem: String = source.as_str().chars().take(room).collect();
    format!("{stem}-fork-{tail}").parse().ok()
}

/// The fork that is made with a key, if one was.
async fn made(app: &App, project: ProjectId, key: &IdempotencyKey) -> ApiResult<Option<Fork>> {
    let Some(used) = made_before::used(app, project, key).await? else {
        return Ok(None);
    };
    let (Made::Snapshot(id), Some(paused_us)) = (used.made, used.paused_us) else {
        return Err(made_before::in_progress());
    };
    let rows = app.store.machines_of_snapshot(id).await?;
    if rows.is_empty() {
        return Err(made_before::removed("each machine that"));
    }
    Ok(Some(answer(app, rows.into_iter(), paused_us)))
}

/// Notes the fork. Names of our own making that are taken are made up again.
async fn insert(
    app: &App,
    source: &MachineRow,
    names: &[Option<MachineName>],
    auto_remove: bool,
    key: Option<IdempotencyKey>,
) -> Result<NewFork, InsertError> {
    let mut attempt = 0;
    loop {
        let fork = planned(source, names, auto_remove, key.clone());
        match app.store.insert_fork(&fork).await {
            Ok(events) => {
                for event in events {
                    app.publish(event);
                }
                return Ok(fork);
            }
            Err(InsertError::NameTaken { .. }) if attempt < NAME_TRIES && names.iter().all(Option::is_none) => {
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The machines of a fork: what the source is, under names and identities of their own. Ports of the node are nobody's
/// twice, and what made the source has no say over them.
fn planned(
    source: &MachineRow,
    names: &[Option<MachineName>],
    auto_remove: bool,
    key: Option<IdempotencyKey>,
) -> NewFork {
    let created_unix_ms = now_unix_ms();
    let snapshot = NewSnapshot {
        id: SnapshotId::new(),
        name: None,
        spec: source.spec.clone().without_volumes(),
        args: source.args.clone(),
        created_unix_ms,
        key,
        build: None,
    };
    // In this order they are told, also when they are read again.
    let mut ids: Vec<_> = names.iter().map(|_| MachineId::new()).collect();
    ids.sort_unstable();
    let machine = |(id, name): (MachineId, &Option<MachineName>)| {
        let made_up = || made_up(&source.spec.name, id).unwrap_or_else(|| source.spec.name.clone());
        NewMachine {
            spec: MachineSpec {
                id,
                name: name.clone().unwrap_or_else(made_up),
                owner: None,
                ports: Vec::new(),
                auto_remove,
                snapshot: Some(snapshot.id),
                ..source.spec.clone().without_volumes()
            },
            args: source.args.clone(),
            desired: Desired::Running,
            created_unix_ms,
            key: None,
            within_quotas: true,
        }
    };
    let machines = ids.into_iter().zip(names).map(machine).collect();
    NewFork { snapshot, machines }
}

/// Has the node make the snapshot and the machines, and start them. Gives how long the source stood still.
async fn make(app: &App, fork: &NewFork) -> ApiResult<u64> {
    let request = SnapshotRequest {
        id: fork.snapshot.id,
        machine: fork.snapshot.spec.id,
        memory: true,
    };
    let paused_us = app.node.snapshot(request).await?.paused_us;
    fault::point("fork.saved");
    let specs: Vec<_> = fork.machines.iter().map(|machine| machine.spec.clone()).collect();
    let create = || each(specs.clone(), |spec| app.node.create(spec));
    warm::with_room(app, &fork.snapshot.spec.resources, create).await?;
    fault::point("fork.created");
    app.store.note_fork_made(fork.snapshot.id, paused_us).await?;
    fault::point("fork.noted");
    let ids: Vec<_> = fork.machines.iter().map(|machine| machine.spec.id).collect();
    each(ids, |id| app.node.start(id)).await?;
    fault::point("fork.started");
    Ok(paused_us)
}

/// Does something for each, some at once, until one fails; those under way are waited for.
async fn each<T, F>(items: Vec<T>, action: impl Fn(T) -> F) -> Result<(), NodeError>
where
    F: Future<Output = Result<(), NodeError>>,
{
    let failed = AtomicBool::new(false);
    let outcomes = stream::iter(items).map(|item| async {
        if failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let outcome = action(item).await;
        failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
        outcome
    });
    let outcomes: Vec<_> = outcomes.buffer_unordered(AT_ONCE).collect().await;
    outcomes.into_iter().collect()
}

/// Removes the snapshot of a fork whose machines are made. If that fails, it is done at the next start.
pub(crate) async fn finish(app: &App, id: SnapshotId) {
    if let Err(error) = app.node.remove_snapshot(id).await {
        warn!(%id, %error, "cannot remove the snapshot of a fork; it is tried again at the next start");
        return;
    }
    if let Err(error) = app.store.forget_snapshot(id).await {
        warn!(%id, %error, "cannot forget the snapshot of a fork; it is tried again at the next start");
    }
}

/// Removes whatever there is of a fork: machines, snapshot, rows. What cannot be removed now is at the next start.
pub(crate) async fn undo(app: &App, id: SnapshotId) {
    match undone(app, id).await {
        Ok(true) => {}
        Ok(false) => warn!(%id, "cannot undo a fork that failed; it is tried again at the next start"),
        Err(error) => warn!(%id, %error, "cannot forget a fork that failed; it is tried again at the next start"),
    }
}

async fn undone(app: &App, id: SnapshotId) -> Result<bool, StoreError> {
    let rows = app.store.machines_of_snapshot(id).await?;
    let removal = |row: MachineRow| async move {
        // Noted first: should it not succeed, no other start takes the machine for one that is wanted.
        app.store.set_desired(row.spec.id, Desired::Removed).await?;
        let removed = app.node.remove(row.spec.id, true).await;
        if let Err(error) = &removed {
            warn!(id = %row.spec.id, %error, "cannot remove a machine of a fork that failed");
        }
        Ok::<_, StoreError>(gone(&removed))
    };
    let removals: Vec<_> = stream::iter(rows)
        .map(removal)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut all_gone = true;
    for gone in removals {
        all_gone &= gone?;
    }
    all_gone &= gone(&app.node.remove_snapshot(id).await);
    if all_gone {
        app.store.withdraw_snapshot(id).await?;
    }
    Ok(all_gone)
}

/// What the node does not know is gone.
fn gone(removed: &Result<(), NodeError>) -> bool {
    match removed {
        Ok(()) => true,
        Err(error) => error.kind == ErrorKind::NotFound,
    }
}

/// Goes on with a fork whose machines are all made: starts those that were not yet, and removes the snapshot.
pub(crate) async fn go_on(app: &App, id: SnapshotId) -> Result<(), StoreError> {
    for row in app.store.machines_of_snapshot(id).await? {
        let status = app.status(row.spec.id);
        let waits = status.is_some_and(|status| status.state.word() == StateWord::Pending);
        if waits
            && row.desired == Desired::Running
            && let Err(error) = app.node.start(row.spec.id).await
        {
            warn!(id = %row.spec.id, %error, "cannot start a machine of a fork that was cut off; start it by hand");
        }
    }
    finish(app, id).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(request: &ForkMachine) -> Option<String> {
        names(request).unwrap_err().problem.field
    }

    #[test]
    fn there_are_as_many_names_as_machines() {
        let request = |count, names: &[&str]| ForkMachine {
            count,
            names: names.iter().map(ToString::to_string).collect(),
            auto_remove: false,
        };
        let count = |count, texts: &[&str]| names(&request(count, texts)).map(|names| names.len()).ok();
        assert_eq!(count(None, &[]), Some(1));
        assert_eq!(count(None, &["a", "b"]), Some(2));
        assert_eq!(count(Some(100), &[]), Some(100));
        assert_eq!(count(Some(2), &["a", "b"]), Some(2));
        for (wanted, texts, field) in [
            (Some(0), &[][..], "count"),
            (Some(101), &[], "count"),
            (Some(2), &["a"], "names"),
            (None, &["a", "a"], "names[1]"),
            (None, &["a", "/"], "names[1]"),
        ] {
            assert_eq!(refused(&request(wanted, texts)).as_deref(), Some(field));
        }
        let many: Vec<_> = (0..101).map(|n| format!("m{n}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(refused(&request(None, &many)).as_deref(), Some("count"));
    }

    #[test]
    fn made_up_names_tell_the_source_and_fit() {
        let id = MachineId::new();
        let of = |name: &str| made_up(&name.parse().unwrap(), id).unwrap().to_string();
        let tail = &id.to_string()[23..];
        assert_eq!(of("web"), format!("web-fork-{tail}"));
        let long = of(&"x".repeat(63));
        assert_eq!(
            (long.len(), long.ends_with(&format!("x-fork-{tail}"))),
            (NAME_MAX, true)
        );
    }

    #[test]
    fn forks_are_what_the_source_is_and_no_more() {
        let mut source = MachineRow {
            spec: crate::reconcile::test_spec(),
            args: vec!["sleep".into()],
            desired: Desired::Running,
            state: StateWord::Running,
            sequence: 0,
            reason: None,
            exit: None,
            restarts: 0,
            created_unix_ms: 0,
            started_unix_ms: None,
            finished_unix_ms: None,
        };
        source.spec.auto_remove = true;
        source.spec.owner = Some(hearth_domain::MachineOwner::Function {
            function: hearth_ids::FunctionId::new(),
            version: 1,
        });
        let fork = planned(&source, &[None, Some("b".parse().unwrap())], false, None);
        assert_eq!(fork.snapshot.spec, source.spec);
        assert_eq!(fork.machines[1].spec.name.as_str(), "b");
        for machine in &fork.machines {
            let spec = &machine.spec;
            assert_eq!(
                (&spec.owner, spec.auto_remove, spec.snapshot),
                (&None, false, Some(fork.snapshot.id))
            );
            assert_ne!(spec.id, source.spec.id);
            assert_eq!(
                (machine.args.as_slice(), machine.desired),
                (&["sleep".to_owned()][..], Desired::Running)
            );
        }
    }
}
