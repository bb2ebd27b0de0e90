//! Running triggers: each due time becomes one kept call.
//!
//! The call's idempotency key is made of the trigger and the time, and it is kept before the trigger is said to have run:
//! a process that dies between makes no second call.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use hearth_domain::plan_cron;
use hearth_gateway::NotAccepted;
use hearth_store::{InvocationSource, RequestHead, TriggerRow};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::spec;
use crate::{
    app::App,
    fault,
    invocations::accept::{Wanted, new_invocation},
    metrics,
    time::{now_unix_ms, timestamp},
};

/// How long the clock is trusted: it may be set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

/// Triggers whose calls are kept at once: those that are due at the same time share the syncs of the disk.
const AT_ONCE: usize = 64;

/// Runs triggers until told to stop.
pub(crate) async fn run(app: Weak<App>, stop: CancellationToken) {
    loop {
        let (wait, changed) = match app.upgrade() {
            None => return,
            Some(app) => {
                let Some(plane) = app.plane.get() else { return };
                (run_due(&app).await, Arc::clone(&plane.triggers_changed))
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = changed.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Runs what is due; says when to look again.
async fn run_due(app: &App) -> Duration {
    let triggers = match app.store.triggers(None).await {
        Ok(triggers) => triggers,
        Err(error) => {
            error!(
                error = hearth_domain::chain(&error),
                "cannot read the triggers; trying again"
            );
            return LOOK_AGAIN;
        }
    };
    let enabled = triggers.into_iter().filter(|trigger| trigger.enabled);
    let next = soonest(enabled, |trigger| async move { run_one(app, &trigger).await }).await;
    let wait = next.map(|next| Duration::from_millis(next.saturating_sub(now_unix_ms())));
    wait.map_or(LOOK_AGAIN, |wait| wait.min(LOOK_AGAIN))
}

/// Runs triggers, [`AT_ONCE`] at a time and begun in their order; gives the soonest time that one of them wants next.
async fn soonest<R: Future<Output = Option<u64>>>(
    triggers: impl Iterator<Item = TriggerRow>,
    run: impl Fn(TriggerRow) -> R,
) -> Option<u64> {
    stream::iter(triggers.map(run))
        .buffer_unordered(AT_ONCE)
        .fold(None, async |soonest: Option<u64>, next| {
            soonest.into_iter().chain(next).min()
        })
        .await
}

/// Runs one trigger if it is due; says when it is next.
async fn run_one(app: &App, trigger: &TriggerRow) -> Option<u64> {
    let wanted = spec::of_row(trigger)?;
    let cron = spec::cron(&wanted).ok()?;
    let plan = plan_cron(&cron, trigger.handled_unix_ms, now_unix_ms());
    if plan.handled_unix_ms == trigger.handled_unix_ms {
        return plan.next_unix_ms;
    }
    if plan.skipped > 0 {
        metrics::trigger("skipped", plan.skipped.into());
        info!(trigger = %trigger.id, name = trigger.name, skipped = plan.skipped, "runs were missed and are left out");
    }
    if let Some(due) = plan.run {
        fault::point("trigger.due");
        let call = new_invocation(Wanted {
            project: trigger.project,
            function: trigger.function,
            qualifier: wanted.qualifier.clone(),
            key: Some(format!("cron:{}:{due}", trigger.id)),
            source: InvocationSource::Cron,
            head: head(&trigger.name, timestamp(due)),
            body: wanted.payload.clone().unwrap_or_default().into_bytes(),
        });
        // One that was kept before is not kept again. A trigger whose payload was changed since has another call's key.
        match app.plane().keeper.accept(call).await {
            Ok(_) | Err(NotAccepted::Conflict) => metrics::trigger("run", 1),
            Err(error) => {
                metrics::trigger("failed", 1);
                warn!(trigger = %trigger.id, %error, "cannot keep a trigger's call; trying again");
                return Some(now_unix_ms() + 1000);
            }
        }
        fault::point("trigger.kept");
    }
    if let Err(error) = app
        .store
        .set_trigger_handled(trigger.id, plan.handled_unix_ms, plan.run)
        .await
    {
        warn!(trigger = %trigger.id, error = hearth_domain::chain(&error), "cannot note a trigger's run; trying again");
        return Some(now_unix_ms() + 1000);
    }
    fault::point("trigger.noted");
    plan.next_unix_ms
}

fn head(name: &str, due: Timestamp) -> RequestHead {
    RequestHead {
        method: "POST".into(),
        path: "/".into(),
        headers: vec![
            ("content-type".into(), "application/json".into()),
            ("x-hearth-trigger".into(), name.to_owned()),
            ("x-hearth-scheduled-at".into(), due.to_string()),
        ],
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hearth_ids::{FunctionId, ProjectId, TriggerId};
    use tokio::{sync::Barrier, time::timeout};

    use super::*;

    fn trigger(number: u64) -> TriggerRow {
        TriggerRow {
            id: TriggerId::new(),
            project: ProjectId::DEFAULT,
            function: FunctionId::new(),
            name: number.to_string(),
            spec: String::new(),
            enabled: true,
            handled_unix_ms: number,
            last_unix_ms: None,
            created_unix_ms: 0,
        }
    }

    #[tokio::test]
    async fn those_due_together_are_run_together_in_their_order_and_within_the_bound() {
        let together = Barrier::new(AT_ONCE);
        let (begun, running, most) = <(AtomicUsize, AtomicUsize, AtomicUsize)>::default();
        let count = 4 * AT_ONCE;
        let triggers = (0..count as u64).rev().map(trigger);
        let (together, begun, running, most) = (&together, &begun, &running, &most);
        let run = soonest(triggers, |trigger| async move {
            let place = begun.fetch_add(1, Ordering::SeqCst);
            assert_eq!(trigger.handled_unix_ms, (count - 1 - place) as u64);
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // None goes on before all that may be under way are.
            together.wait().await;
            running.fetch_sub(1, Ordering::SeqCst);
            (place > 2).then_some(trigger.handled_unix_ms)
        });
        let soonest = timeout(Duration::from_secs(20), run).await.unwrap();
        assert_eq!(soonest, Some(0));
        assert_eq!(most.load(Ordering::SeqCst), AT_ONCE);
        assert_eq!(begun.load(Ordering::SeqCst), count);
    }
}
