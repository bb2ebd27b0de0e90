//! Bringing the store and the node together after a start: which snapshots there are, and what forks were cut off.
//!
//! The plan is pure; carrying it out is idempotent, so that being cut off in it is made good by the next time.

use std::collections::{HashMap, HashSet};

use hearth_ids::SnapshotId;
use hearth_node_api::SnapshotInfo;
use hearth_store::{SnapshotFilter, SnapshotRow, SnapshotState, StoreError};
use tracing::{error, info, warn};

use super::{fork, view};
use crate::{app::App, functions::templates};

/// Rows that are read at once.
const PAGE: u32 = 500;

/// What is to be done about one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    /// The node made it, and the store was not told, or took it for lost.
    Learn(Box<SnapshotInfo>),
    /// The node never made it: it is as if nobody had asked.
    Withdraw(SnapshotId),
    /// The node does not have it any more.
    Lose(SnapshotId),
    /// It should be gone: the node removes it, if it has it, and the store forgets it.
    FinishRemoval(SnapshotId),
    /// Not all machines of the fork were made: it is undone.
    UndoFork(SnapshotId),
    /// All machines of the fork are made: it is finished.
    FinishFork(SnapshotId),
    /// No row knows it, and it is no template, so nobody can ever use it: the node removes it.
    RemoveStray(SnapshotId),
}

/// Brings both together after a start.
pub(crate) async fn run(app: &App) -> Result<(), StoreError> {
    let on_node = match app.node.snapshots().await {
        Ok(on_node) => on_node,
        Err(error) => {
            // What is not known is not judged.
            error!(%error, "the node does not tell which snapshots it has; they are looked at at the next start");
            return Ok(());
        }
    };
    let plan = plan(&all_rows(app).await?, on_node);
    if !plan.is_empty() {
        info!(
            actions = plan.len(),
            "bringing the snapshots of store and node together"
        );
    }
    for action in plan {
        apply(app, action).await?;
    }
    Ok(())
}

/// Every snapshot, those of forks and builds too.
pub(crate) async fn all_rows(app: &App) -> Result<Vec<SnapshotRow>, StoreError> {
    let mut rows = Vec::new();
    let mut filter = SnapshotFilter {
        all_kinds: true,
        limit: PAGE,
        ..SnapshotFilter::default()
    };
    loop {
        let page = app.store.snapshots(&filter).await?;
        let Some(last) = page.last() else { return Ok(rows) };
        filter.before = Some(last.id);
        rows.extend(page);
    }
}

fn plan(rows: &[SnapshotRow], on_node: Vec<SnapshotInfo>) -> Vec<Action> {
    let known: HashSet<_> = rows.iter().map(|row| row.id).collect();
    let (mut there, strays): (HashMap<_, _>, HashMap<_, _>) = on_node
        .into_iter()
        .map(|info| (info.id, info))
        .partition(|(id, _)| known.contains(id));
    let of_rows = rows.iter().filter_map(|row| plan_row(row, there.remove(&row.id)));
    let mut plan: Vec<_> = of_rows.collect();
    // Those who serve functions see to their templates themselves.
    let strays = strays.into_values().filter(|info| !templates::is_template(info));
    plan.extend(strays.map(|info| Action::RemoveStray(info.id)));
    plan
}

fn plan_row(row: &SnapshotRow, there: Option<SnapshotInfo>) -> Option<Action> {
    let id = row.id;
    match (row.transient, row.state, there) {
        (true, SnapshotState::Making, _) => Some(Action::UndoFork(id)),
        (true, SnapshotState::Ready | SnapshotState::Removing | SnapshotState::Lost, _) => Some(Action::FinishFork(id)),
        (false, SnapshotState::Removing, _) => Some(Action::FinishRemoval(id)),
        (false, SnapshotState::Making | SnapshotState::Lost, Some(info)) => Some(Action::Learn(Box::new(info))),
        (false, SnapshotState::Making, None) => Some(Action::Withdraw(id)),
        (false, SnapshotState::Ready, None) => Some(Action::Lose(id)),
        (false, SnapshotState::Ready, Some(_)) | (false, SnapshotState::Lost, None) => None,
    }
}

async fn apply(app: &App, action: Action) -> Result<(), StoreError> {
    match action {
        Action::Learn(info) => {
            let id = info.id;
            app.store.note_snapshot_made(id, &view::facts(*info)).await
        }
        Action::Withdraw(id) => app.store.withdraw_snapshot(id).await,
        Action::Lose(id) => {
            warn!(%id, "the node does not have a snapshot any more");
            app.store.lose_snapshot(id).await
        }
        Action::FinishRemoval(id) => {
            if removed(app, id).await {
                app.store.forget_snapshot(id).await?;
            }
            Ok(())
        }
        Action::UndoFork(id) => {
            fork::undo(app, id).await;
            Ok(())
        }
        Action::FinishFork(id) => fork::go_on(app, id).await,
        Action::RemoveStray(id) => {
            if removed(app, id).await {
                warn!(%id, "removed a snapshot of the node that the store does not know");
            }
            Ok(())
        }
    }
}

async fn removed(app: &App, id: SnapshotId) -> bool {
    let removed = app.node.remove_snapshot(id).await;
    if let Err(error) = &removed {
        warn!(%id, %error, "cannot remove a snapshot; it is tried again at the next start");
    }
    removed.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(transient: bool, state: SnapshotState) -> SnapshotRow {
        let spec = crate::reconcile::test_spec();
        SnapshotRow {
            id: SnapshotId::new(),
            project: spec.project,
            name: None,
            spec,
            args: Vec::new(),
            state,
            transient,
            build: None,
            facts: None,
            created_unix_ms: 0,
        }
    }

    fn on_node(row: &SnapshotRow) -> SnapshotInfo {
        SnapshotInfo {
            id: row.id,
            made_unix_ms: 1,
            spec: row.spec.clone(),
            parents: Vec::new(),
            vmm_version: String::new(),
            accelerator: String::new(),
            cpu_features: Vec::new(),
            agent_version: String::new(),
            parts: Vec::new(),
            paused_us: 1,
            programs_held: false,
        }
    }

    #[test]
    fn each_state_is_settled_with_and_without_the_node() {
        use SnapshotState as S;
        type Settled = fn(&SnapshotRow) -> Option<Action>;
        let learn: Settled = |row| Some(Action::Learn(Box::new(on_node(row))));
        let undo: Settled = |row| Some(Action::UndoFork(row.id));
        let finish: Settled = |row| Some(Action::FinishFork(row.id));
        let remove: Settled = |row| Some(Action::FinishRemoval(row.id));
        let (withdraw, lose, nothing): (Settled, Settled, Settled) = (
            |row| Some(Action::Withdraw(row.id)),
            |row| Some(Action::Lose(row.id)),
            |_| None,
        );
        for (transient, state, has_it, has_it_not) in [
            (false, S::Making, learn, withdraw),
            (false, S::Ready, nothing, lose),
            (false, S::Removing, remove, remove),
            (false, S::Lost, learn, nothing),
            (true, S::Making, undo, undo),
            (true, S::Ready, finish, finish),
        ] {
            let row = row(transient, state);
            assert_eq!(
                plan_row(&row, Some(on_node(&row))),
                has_it(&row),
                "{transient} {state:?}"
            );
            assert_eq!(plan_row(&row, None), has_it_not(&row), "{transient} {state:?}");
        }
    }

    #[test]
    fn what_no_row_knows_is_removed_unless_it_is_a_template() {
        let [known, stray, mut template] = [(), (), ()].map(|()| row(false, SnapshotState::Ready));
        template.spec.owner = Some(hearth_domain::MachineOwner::Function {
            function: hearth_ids::FunctionId::new(),
            version: 1,
        });
        let there = vec![on_node(&known), on_node(&stray), on_node(&template)];
        assert_eq!(plan(&[known], there), [Action::RemoveStray(stray.id)]);
    }
}
