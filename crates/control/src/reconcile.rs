//! Bringing the store and the node together: after a start, and after news was missed.
//!
//! The plan is pure; carrying it out is idempotent, so that being cut off in it is made good by the next time.

use std::collections::HashSet;

use hearth_domain::{MachineSpec, StateWord};
use hearth_ids::MachineId;
use hearth_node_api::MachineStatus;
use hearth_store::{Desired, EventKind, EventRecord, InsertError, MachineRow, NewMachine, Observation, StoreError};
use tracing::{error, info, warn};

use crate::{app::App, observer, snapshots::warm, time::now_unix_ms};

/// Rows that are read at once.
const PAGE: u32 = 500;

/// What is to be done about one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    /// The store learns what the node sees.
    Learn(Box<Observation>),
    /// The node does not know it: it has failed.
    Lose(Box<Observation>),
    /// It should be gone: the node destroys it, if it has it, and the store forgets it.
    FinishRemoval(MachineId),
    /// The store does not know it, any more: it learns of it. Who made a machine may have its only copy of something
    /// on that machine's disk, so nothing is destroyed for want of a row.
    Adopt(Box<MachineSpec>),
}

/// Brings both together after a start.
pub(crate) async fn run(app: &App) -> Result<(), StoreError> {
    let rows = all_rows(app).await?;
    let plan = plan(&rows, app.node.machines(), |id| app.status(id), now_unix_ms());
    if !plan.is_empty() {
        info!(actions = plan.len(), "bringing store and node together");
    }
    apply(app, plan).await
}

/// Reads everything anew after news was missed. What the store does not know is left: it may be just being removed.
pub(crate) async fn catch_up(app: &App) -> Result<(), StoreError> {
    let mut learnt = Vec::new();
    for row in all_rows(app).await? {
        let id = row.spec.id;
        match app.status(id) {
            Some(status) if differs(&row, &status) => learnt.push(observer::of_status(id, &status)),
            // Seen by the node before, so it is not just being made: it was destroyed.
            None if row.sequence > 0 => app.forget(id).await?,
            Some(_) | None => {}
        }
    }
    for event in app.store.observe(&learnt).await? {
        app.publish(event);
    }
    Ok(())
}

async fn all_rows(app: &App) -> Result<Vec<MachineRow>, StoreError> {
    let mut rows = Vec::new();
    let mut before = None;
    loop {
        let page = app.store.machines(None, before, PAGE).await?;
        let Some(last) = page.last() else { return Ok(rows) };
        before = Some(last.spec.id);
        rows.extend(page);
    }
}

fn plan(
    rows: &[MachineRow],
    on_node: Vec<MachineSpec>,
    status: impl Fn(MachineId) -> Option<MachineStatus>,
    now_unix_ms: u64,
) -> Vec<Action> {
    // Nobody has one of these: not even whoever has a row for it, for that was not answered.
    let waited = warm::left_over(&on_node);
    let known: HashSet<_> = rows
        .iter()
        .map(|row| row.spec.id)
        .chain(waited.iter().copied())
        .collect();
    let unknown = on_node.into_iter().filter(|spec| !known.contains(&spec.id));
    let adopted = unknown.map(|spec| Action::Adopt(Box::new(spec)));
    let others = rows.iter().filter(|row| !waited.contains(&row.spec.id));
    let ended = waited.iter().map(|id| Action::FinishRemoval(*id));
    ended
        .chain(others.filter_map(|row| plan_row(row, status(row.spec.id).as_ref(), now_unix_ms)))
        .chain(adopted)
        .collect()
}

fn plan_row(row: &MachineRow, status: Option<&MachineStatus>, now_unix_ms: u64) -> Option<Action> {
    let id = row.spec.id;
    match (row.desired, status) {
        (Desired::Removed, _) => Some(Action::FinishRemoval(id)),
        (_, Some(status)) if differs(row, status) => {
            let news = observer::of_status(id, status);
            let kind = (row.state != status.state.word()).then_some(EventKind::State);
            Some(Action::Learn(Box::new(Observation {
                supersedes: true,
                kind,
                ..news
            })))
        }
        (_, Some(_)) => None,
        // The node destroys what removes itself, and whoever made a machine for itself removes it; only the end of that
        // was not seen.
        (_, None) if row.spec.auto_remove || row.spec.owner.is_some() => Some(Action::FinishRemoval(id)),
        (_, None) if row.state == StateWord::Failed => None,
        (_, None) => Some(Action::Lose(Box::new(lost(row, now_unix_ms)))),
    }
}

fn differs(row: &MachineRow, status: &MachineStatus) -> bool {
    row.sequence != status.sequence || row.state != status.state.word()
}

fn lost(row: &MachineRow, now_unix_ms: u64) -> Observation {
    Observation {
        machine: row.spec.id,
        sequence: row.sequence,
        at_unix_ms: now_unix_ms,
        kind: Some(EventKind::Lost),
        state: StateWord::Failed,
        reason: Some("lost: the node does not know this machine; remove it and make it anew".into()),
        exit: None,
        restarts: None,
        started_unix_ms: None,
        finished_unix_ms: Some(now_unix_ms),
        supersedes: true,
    }
}

async fn apply(app: &App, plan: Vec<Action>) -> Result<(), StoreError> {
    let mut news = Vec::new();
    for action in plan {
        match action {
            Action::Learn(observation) | Action::Lose(observation) => news.push(*observation),
            Action::FinishRemoval(id) => match app.node.remove(id, true).await {
                Ok(()) => app.forget(id).await?,
                Err(error) => warn!(%id, %error, "cannot finish a removal; it is tried again at the next start"),
            },
            Action::Adopt(spec) => news.extend(adopt(app, *spec).await?),
        }
    }
    for event in app.store.observe(&news).await? {
        app.publish(event);
    }
    Ok(())
}

/// Makes a row for a machine of the node that is found there; gives what is seen of it.
async fn adopt(app: &App, spec: MachineSpec) -> Result<Option<Observation>, StoreError> {
    let (id, project, name) = (spec.id, spec.project, spec.name.to_string());
    let status = app.status(id);
    let now_unix_ms = now_unix_ms();
    if !insert(app, spec).await? {
        return Ok(None);
    }
    warn!(%id, name, "the store did not know a machine of the node; it has it again");
    let event = EventRecord {
        sequence: 0,
        at_unix_ms: now_unix_ms,
        kind: EventKind::Adopted,
        project,
        machine: id,
        machine_name: name,
        state: status.as_ref().map_or(StateWord::Pending, |status| status.state.word()),
        exit_code: None,
        reason: Some("the store did not know this machine".into()),
    };
    app.publish(app.store.note_event(event).await?);
    Ok(status.map(|status| Observation {
        supersedes: true,
        kind: None,
        ..observer::of_status(id, &status)
    }))
}

/// Whether the store has the machine now.
async fn insert(app: &App, spec: MachineSpec) -> Result<bool, StoreError> {
    let (id, name) = (spec.id, spec.name.to_string());
    app.store.ensure_project(spec.project, now_unix_ms()).await?;
    let runs = app.status(id).is_some_and(|status| !status.state.is_at_rest());
    let args = spec.workload.entrypoint.iter().flatten().chain(&spec.workload.cmd);
    let new = NewMachine {
        args: args.cloned().collect(),
        desired: if runs { Desired::Running } else { Desired::Stopped },
        created_unix_ms: now_unix_ms(),
        key: None,
        within_quotas: false,
        spec,
    };
    match app.store.insert_machine(&new).await {
        Ok(event) => app.publish(event),
        Err(InsertError::Store(error)) => return Err(error),
        Err(error) => {
            error!(%id, name, %error, "the store does not know a machine of the node and cannot have it; it is left alone until the next start");
            return Ok(false);
        }
    }
    Ok(true)
}

/// A machine for tests of this crate.
#[cfg(test)]
pub(crate) fn test_spec() -> MachineSpec {
    use hearth_domain::{DriverKind, NetworkMode, RecoverPolicy, Resources, RestartPolicy, Workload};
    MachineSpec {
        id: MachineId::new(),
        name: "web".parse().unwrap(),
        image: String::new(),
        image_id: String::new(),
        layers: Vec::new(),
        project: hearth_ids::ProjectId::DEFAULT,
        owner: None,
        kernel_id: String::new(),
        resources: Resources {
            vcpus: 1.try_into().unwrap(),
            memory_mib: 64.try_into().unwrap(),
            disk_mib: None,
        },
        workload: Workload::default(),
        network: NetworkMode::None,
        egress: hearth_domain::EgressRules::default(),
        ports: Vec::new(),
        driver: DriverKind::Fake,
        restart: RestartPolicy::No,
        recover: RecoverPolicy::No,
        stop_timeout_ms: 1,
        auto_remove: false,
        snapshot: None,
        boots: false,
        volumes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use hearth_domain::MachineState;

    use super::*;

    fn row(desired: Desired, state: StateWord, auto_remove: bool) -> MachineRow {
        MachineRow {
            spec: MachineSpec {
                auto_remove,
                ..test_spec()
            },
            args: Vec::new(),
            desired,
            state,
            sequence: 4,
            reason: None,
            exit: None,
            restarts: 0,
            created_unix_ms: 0,
            started_unix_ms: None,
            finished_unix_ms: None,
        }
    }

    fn status(sequence: u64, state: MachineState) -> MachineStatus {
        MachineStatus {
            sequence,
            state,
            since_unix_ms: 7,
            started_unix_ms: None,
            finished_unix_ms: None,
            restarts: 0,
            pid: None,
            address: None,
            guest_boot: None,
            on_disk: false,
            recovery_point_unix_ms: None,
            comes_back: false,
            history: Vec::new(),
        }
    }

    #[test]
    fn a_row_follows_the_node() {
        let running = row(Desired::Running, StateWord::Running, false);
        assert_eq!(plan_row(&running, Some(&status(4, MachineState::Running)), 9), None);
        let failed = status(
            2,
            MachineState::Failed {
                reason: "VMM gone".into(),
            },
        );
        match plan_row(&running, Some(&failed), 9) {
            Some(Action::Learn(news)) => {
                assert_eq!(
                    (news.state, news.supersedes, news.kind),
                    (StateWord::Failed, true, Some(EventKind::State))
                );
                assert_eq!(news.reason.as_deref(), Some("VMM gone"));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_the_node_does_not_know_is_lost_once_or_gone() {
        assert!(matches!(
            plan_row(&row(Desired::Running, StateWord::Running, false), None, 9),
            Some(Action::Lose(news)) if news.kind == Some(EventKind::Lost)
        ));
        assert_eq!(
            plan_row(&row(Desired::Running, StateWord::Failed, false), None, 9),
            None
        );
        let gone = row(Desired::Running, StateWord::Running, true);
        assert_eq!(plan_row(&gone, None, 9), Some(Action::FinishRemoval(gone.spec.id)));
        let removed = row(Desired::Removed, StateWord::Stopped, false);
        let known = status(
            4,
            MachineState::Stopped {
                exit: hearth_domain::ExitStatus::default(),
            },
        );
        assert_eq!(
            plan_row(&removed, Some(&known), 9),
            Some(Action::FinishRemoval(removed.spec.id))
        );
    }

    #[test]
    fn what_the_store_does_not_know_it_learns() {
        let [known, stray] = [false, true].map(|rm| row(Desired::Running, StateWord::Running, rm));
        let on_node = vec![known.spec.clone(), stray.spec.clone()];
        let plan = plan(&[known], on_node, |_| Some(status(4, MachineState::Running)), 9);
        assert_eq!(plan, [Action::Adopt(Box::new(stray.spec))]);
    }
}
