//! The one task that writes what the node tells: in batches, so that a thousand machines at once are a few writes.
//!
//! News is a hint. If some was missed, or could not be stored, everything is read anew from the node.

use std::{sync::Arc, time::Duration};

use hearth_domain::{MachineState, StateWord};
use hearth_ids::MachineId;
use hearth_node_api::{MachineStatus, NodeEvent};
use hearth_store::{EventKind, Observation, StoreError};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::app::{App, Flush};

/// News in one write.
const BATCH_MAX: usize = 256;
/// The wait after a write that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

type News = broadcast::Receiver<NodeEvent>;

/// Stores news until told to stop, and what is there then.
pub(crate) async fn run(app: Arc<App>, mut news: News, mut flushes: mpsc::Receiver<Flush>, stop: CancellationToken) {
    let mut missed = false;
    let mut stopping = false;
    while !stopping {
        let mut waiting = Vec::new();
        let mut batch = Vec::new();
        tokio::select! {
            () = stop.cancelled() => stopping = true,
            Some(flush) = flushes.recv() => waiting.push(flush),
            event = news.recv() => take(event, &mut batch, &mut missed, &mut stopping),
        }
        // Whoever asked so far is answered after this round, which takes all that was told before.
        while let Ok(flush) = flushes.try_recv() {
            waiting.push(flush);
        }
        loop {
            fill(&mut news, &mut batch, &mut missed);
            if batch.is_empty() && !missed {
                break;
            }
            if let Err(error) = write(&app, &mut batch, &mut missed).await {
                error!(%error, source = error.source_text(), "cannot store news of machines; trying again");
                missed = true;
                tokio::time::sleep(RETRY_PAUSE).await;
                break;
            }
        }
        for flush in waiting {
            // Whoever asked may have gone.
            let _ = flush.send(());
        }
    }
}

trait SourceText {
    fn source_text(&self) -> String;
}

impl SourceText for StoreError {
    fn source_text(&self) -> String {
        std::error::Error::source(self)
            .map(ToString::to_string)
            .unwrap_or_default()
    }
}

fn take(
    event: Result<NodeEvent, broadcast::error::RecvError>,
    batch: &mut Vec<NodeEvent>,
    missed: &mut bool,
    stopping: &mut bool,
) {
    match event {
        Ok(event) => batch.push(event),
        Err(broadcast::error::RecvError::Lagged(count)) => {
            warn!(count, "news of machines was missed; reading everything anew");
            *missed = true;
        }
        Err(broadcast::error::RecvError::Closed) => *stopping = true,
    }
}

fn fill(news: &mut News, batch: &mut Vec<NodeEvent>, missed: &mut bool) {
    while batch.len() < BATCH_MAX {
        match news.try_recv() {
            Ok(event) => batch.push(event),
            Err(broadcast::error::TryRecvError::Lagged(_)) => *missed = true,
            Err(_) => return,
        }
    }
}

async fn write(app: &App, batch: &mut Vec<NodeEvent>, missed: &mut bool) -> Result<(), StoreError> {
    let news = std::mem::take(batch);
    // That a machine is destroyed is no state of a row: the row goes.
    let observations: Vec<_> = news
        .iter()
        .filter(|event| event.state != MachineState::Destroyed)
        .map(|event| of_event(event, app.status(event.machine).as_ref()))
        .collect();
    for event in app.store.observe(&observations).await? {
        app.publish(event);
    }
    for gone in news.iter().filter(|event| event.state == MachineState::Destroyed) {
        app.forget(gone.machine).await?;
    }
    if std::mem::take(missed)
        && let Err(error) = crate::reconcile::catch_up(app).await
    {
        *missed = true;
        return Err(error);
    }
    Ok(())
}

fn of_event(event: &NodeEvent, status: Option<&MachineStatus>) -> Observation {
    let mut observation = of_state(event.machine, event.sequence, event.at_unix_ms, &event.state);
    if observation.reason.is_none() {
        observation.reason.clone_from(&event.reason);
    }
    observation.restarts = status.map(|status| status.restarts);
    observation.started_unix_ms =
        (event.state == MachineState::Running && event.from == StateWord::Starting).then_some(event.at_unix_ms);
    observation
}

/// What is seen of a machine whose status is read rather than told.
pub(crate) fn of_status(machine: MachineId, status: &MachineStatus) -> Observation {
    let mut observation = of_state(machine, status.sequence, status.since_unix_ms, &status.state);
    observation.restarts = Some(status.restarts);
    observation.started_unix_ms = status.started_unix_ms;
    observation
}

fn of_state(machine: MachineId, sequence: u64, at_unix_ms: u64, state: &MachineState) -> Observation {
    let (exit, reason) = match state {
        MachineState::Stopped { exit } => (Some(exit.clone()), None),
        MachineState::Failed { reason } => (None, Some(reason.clone())),
        _ => (None, None),
    };
    Observation {
        machine,
        sequence,
        at_unix_ms,
        kind: Some(EventKind::State),
        state: state.word(),
        reason,
        exit,
        restarts: None,
        started_unix_ms: None,
        finished_unix_ms: state.is_at_rest().then_some(at_unix_ms),
        supersedes: false,
    }
}
