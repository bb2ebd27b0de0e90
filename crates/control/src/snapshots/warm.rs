//! Machines of snapshots that wait, restored and paused, for whoever wants one: it is claimed instead of made.
//!
//! ```text
//! wanted lately ──► planned within the memory for it ──► made, paused ──► waits ──► taken ──► row written ──► claimed
//!                                                                         └──► removed: no room, nobody wants it, shut down
//! ```
//! They have no row until they are claimed, and nobody sees them. They go with their daemon; those that one leaves which is
//! killed are removed by the next.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use futures::future::join_all;
use hearth_domain::{
    Allocation, MachineOwner, MachineSpec, RecoverPolicy, Resources, RestartPolicy, StateWord, WarmPool, admit,
};
use hearth_ids::{MachineId, SnapshotId};
use hearth_node_api::{ErrorKind, NodeBooks, NodeError, PauseMode};
use hearth_store::{SnapshotRow, SnapshotState};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{app::App, fault};

/// How often it is looked how many should wait.
const LOOK: Duration = Duration::from_secs(1);
/// What instances that wait have to make room.
const ROOM_PATIENCE: Duration = Duration::from_secs(5);
/// Until one that is made to wait must run.
const MAKE_TIMEOUT: Duration = Duration::from_mins(1);

/// Those that wait.
pub(crate) struct WarmMachines {
    pool: Mutex<WarmPool<SnapshotId, MachineId>>,
    /// The one that is being made.
    making: Mutex<Option<MachineId>>,
    /// Memory for those that wait, in MiB; 0: none does.
    budget_mib: u64,
    began: Instant,
}

impl WarmMachines {
    pub(crate) fn new(budget_mib: u64) -> Self {
        Self {
            pool: Mutex::default(),
            making: Mutex::default(),
            budget_mib,
            began: Instant::now(),
        }
    }

    fn pool(&self) -> MutexGuard<'_, WarmPool<SnapshotId, MachineId>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_making(&self, machine: Option<MachineId>) -> Option<MachineId> {
        std::mem::replace(&mut self.making.lock().unwrap_or_else(PoisonError::into_inner), machine)
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.pool().waiting()
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Takes one that waits for somebody who wants a machine of this snapshot.
    pub(crate) fn take(&self, snapshot: &SnapshotRow) -> Option<MachineId> {
        let taken = self.pool().take(snapshot.id)?;
        fault::point("warm.claimed");
        Some(taken)
    }

    /// Notes that somebody wanted a machine of this snapshot, and may have it.
    pub(crate) fn note_wanted(&self, snapshot: &SnapshotRow) {
        if self.budget_mib > 0 {
            let memory_mib = snapshot.spec.resources.memory_mib.get().into();
            self.pool().note_wanted(snapshot.id, memory_mib, self.now());
        }
    }

    /// Gives one back that was taken and not claimed.
    pub(crate) fn put_back(&self, snapshot: SnapshotId, machine: MachineId) {
        self.pool().put(snapshot, machine);
    }
}

/// Tries something that takes this room on the node, and once more if there was none and those that wait have made some.
pub(crate) async fn with_room<F>(app: &App, wanted: &Resources, attempt: impl Fn() -> F) -> Result<(), NodeError>
where
    F: Future<Output = Result<(), NodeError>>,
{
    match attempt().await {
        Err(refused) if made_room(app, wanted, &refused).await => attempt().await,
        outcome => outcome,
    }
}

/// Whether the node has this room now. Somebody else may take it before it is asked for.
pub(crate) fn fits(app: &App, wanted: &Resources) -> Result<(), NodeError> {
    let books = app.node.books();
    let books = books.borrow();
    match admit(&books.capacity, books.overcommit, books.allocation, wanted) {
        Ok(_) => Ok(()),
        Err(refusal) => Err(NodeError::new(ErrorKind::NoCapacity, refusal.to_string())),
    }
}

/// Whether what was refused so is worth another try.
async fn made_room(app: &App, wanted: &Resources, refused: &NodeError) -> bool {
    if refused.kind != ErrorKind::NoCapacity || !fits_at_all(app, wanted) {
        return false;
    }
    make_all_room(app).await
}

/// Whether anything went that waits: machines, or instances.
async fn make_all_room(app: &App) -> bool {
    // Set before anybody can ask for anything.
    let instances = match app.plane.get() {
        Some(plane) => plane.worker.make_room(ROOM_PATIENCE).await,
        None => 0,
    };
    make_room(app).await || instances > 0
}

/// Makes room for machines that the node starts again by itself, until told to stop.
pub(crate) async fn make_room_for_restarts(app: Weak<App>, stop: CancellationToken) {
    let Some(mut books) = app.upgrade().map(|app| app.node.books()) else {
        return;
    };
    let mut heard = books.borrow().turned_away.times;
    loop {
        let now = tokio::select! {
            more = books.wait_for(|books| books.turned_away.times > heard) => match more {
                Ok(books) => *books,
                Err(_) => return,
            },
            () = stop.cancelled() => return,
        };
        heard = now.turned_away.times;
        let Some(app) = app.upgrade() else { return };
        if would_fit(&now, waiting_mib(&app)) {
            make_all_room(&app).await;
        }
    }
}

/// Whether a machine that found no room has some once this much memory is given back. CPUs are given out many times, so they
/// are the last to run out.
fn would_fit(books: &NodeBooks, waiting_mib: u64) -> bool {
    let total = books.capacity.total(books.overcommit);
    let held_mib = books.allocation.memory_mib.saturating_sub(waiting_mib);
    waiting_mib > 0 && held_mib + books.turned_away.wanted.memory_mib <= total.memory_mib
}

/// Memory of all that waits, in MiB.
fn waiting_mib(app: &App) -> u64 {
    app.warm.pool().memory_mib() + instances_mib(app)
}

/// That of instances.
fn instances_mib(app: &App) -> u64 {
    app.plane.get().map_or(0, |plane| plane.worker.warm_memory_mib())
}

/// Nobody has to go for what would not fit an empty node.
fn fits_at_all(app: &App, wanted: &Resources) -> bool {
    let books = app.node.books();
    let books = books.borrow();
    admit(&books.capacity, books.overcommit, Allocation::default(), wanted).is_ok()
}

/// Somebody found no room: machines that wait make some. Whether any did.
pub(crate) async fn make_room(app: &App) -> bool {
    let warm = &app.warm;
    let leaving = warm.pool().make_room(warm.now());
    if leaving.is_empty() {
        return false;
    }
    let count = leaving.len();
    info!(count, "the node is short of room: machines that wait go");
    remove(app, leaving).await;
    true
}

/// Removes those of a snapshot that is no more.
pub(crate) async fn forget(app: &App, snapshot: SnapshotId) {
    let leaving = app.warm.pool().forget(snapshot);
    remove(app, leaving).await;
}

async fn remove(app: &App, machines: Vec<MachineId>) {
    let removed = machines.into_iter().map(async |id| {
        if let Err(error) = app.node.remove(id, true).await {
            warn!(%id, %error, "cannot remove a machine that waited; it is tried again at the next start");
        }
    });
    join_all(removed).await;
}

/// Sees to it that as many wait as should, until told to stop; then none does.
pub(crate) async fn keep(app: Weak<App>, stop: CancellationToken) {
    while let Some(app) = app.upgrade().filter(|app| app.warm.budget_mib > 0) {
        tokio::select! {
            () = look(&app) => {}
            () = stop.cancelled() => {
                let warm = &app.warm;
                let mut leaving = warm.pool().make_room(warm.now());
                leaving.extend(warm.note_making(None));
                return remove(&app, leaving).await;
            }
        }
        drop(app);
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(LOOK) => {}
        }
    }
}

async fn look(app: &Arc<App>) {
    let warm = &app.warm;
    let gone = |_: &SnapshotId, id: &MachineId| {
        app.status(*id)
            .is_none_or(|status| status.state.word() != StateWord::Paused)
    };
    // Instances of functions come first.
    let budget_mib = warm.budget_mib.saturating_sub(instances_mib(app));
    let (missing, leaving) = warm.pool().look(budget_mib, warm.now(), gone);
    remove(app, leaving).await;
    // One at a time: a CPU that restores is one that does not answer.
    let Some(snapshot) = missing else { return };
    match make(app, snapshot).await {
        Ok(Some(machine)) => {
            // Its snapshot may have gone meanwhile, and then it is nobody's.
            warm.pool().put(snapshot, machine);
            if ready(app, snapshot).await.is_none() {
                forget(app, snapshot).await;
            }
        }
        Ok(None) => warm.pool().hold_off(snapshot, warm.now()),
        Err(error) => {
            debug!(%snapshot, %error, "no machine waits");
            warm.pool().hold_off(snapshot, warm.now());
        }
    }
}

async fn ready(app: &App, snapshot: SnapshotId) -> Option<SnapshotRow> {
    let row = app.store.snapshot(snapshot).await.ok().flatten()?;
    (row.state == SnapshotState::Ready).then_some(row)
}

/// Makes one that waits. None where there is nothing to make it of: a program that runs meanwhile would do its work for
/// nobody, or twice.
async fn make(app: &App, snapshot: SnapshotId) -> Result<Option<MachineId>, NodeError> {
    let Some(row) = ready(app, snapshot).await else {
        forget(app, snapshot).await;
        return Ok(None);
    };
    let infos = app.node.snapshots().await?;
    if !infos.iter().any(|info| info.id == snapshot && info.programs_held) {
        return Ok(None);
    }
    let spec = waiting(row);
    let id = spec.id;
    app.warm.note_making(Some(id));
    let made = match timeout(MAKE_TIMEOUT, restore_and_pause(app, spec)).await {
        Ok(made) => made,
        Err(_) => Err(NodeError::new(ErrorKind::Timeout, "it does not come up in time")),
    };
    app.warm.note_making(None);
    if made.is_err() {
        remove(app, vec![id]).await;
    }
    made.map(|()| Some(id))
}

/// What waits, of a snapshot. It has no name that a person would give, and publishes nothing.
fn waiting(row: SnapshotRow) -> MachineSpec {
    let id = MachineId::new();
    MachineSpec {
        id,
        owner: Some(MachineOwner::Warm { snapshot: row.id }),
        snapshot: Some(row.id),
        boots: false,
        ports: Vec::new(),
        restart: RestartPolicy::No,
        recover: RecoverPolicy::No,
        auto_remove: false,
        ..row.spec
    }
}

async fn restore_and_pause(app: &App, spec: MachineSpec) -> Result<(), NodeError> {
    let id = spec.id;
    app.node.create(spec).await?;
    app.node.start(id).await?;
    let mut status = app.node.watch(id).ok_or_else(|| NodeError::no_machine(id))?;
    let settled = status
        .wait_for(|status| status.state.word() == StateWord::Running || status.state.is_at_rest())
        .await
        .map(|status| status.state.clone());
    match settled {
        Ok(state) if state.word() == StateWord::Running => {}
        Ok(state) => return Err(NodeError::new(ErrorKind::Conflict, format!("it is {}", state.word()))),
        Err(_) => return Err(NodeError::no_machine(id)),
    }
    app.node.pause(id, PauseMode::Memory).await?;
    fault::point("warm.waits");
    Ok(())
}

/// Those that a daemon before this one left waiting, or left a template half made in, of all that the node has.
pub(crate) fn left_over(on_node: &[MachineSpec]) -> HashSet<MachineId> {
    on_node
        .iter()
        .filter(|spec| spec.is_warm() || matches!(spec.owner, Some(MachineOwner::Build { .. })))
        .map(|spec| spec.id)
        .collect()
}
