//! Running triggers: each due time becomes one kept call.
//!
//! The call's idempotency key is made of the trigger and the time, and it is kept before the trigger is said to have run:
//! a process that dies between makes no second call.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

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
    let mut wait = LOOK_AGAIN;
    for trigger in triggers.into_iter().filter(|trigger| trigger.enabled) {
        if let Some(next) = run_one(app, &trigger).await {
            wait = wait.min(Duration::from_millis(next.saturating_sub(now_unix_ms())));
        }
    }
    wait
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
